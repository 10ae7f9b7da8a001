//! Which values does a host have, by the host patterns of routes?

use crate::config::HostPattern;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// A map whose keys come from the configuration. Requests never add a key, so no client can fill the map with
/// collisions, and a fast hash is enough: SipHash took two thirds of a look-up.
pub type Table<V> = HashMap<Box<str>, V, RandomState>;

/// One value for each host pattern.
#[derive(Debug, Default)]
pub struct Hosts<V> {
    exact: Table<V>,
    suffix: Table<V>,
    any: V,
}

impl<V: Default> Hosts<V> {
    pub fn of_mut(&mut self, pattern: &HostPattern) -> &mut V {
        match pattern {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.as_str().into()).or_default(),
            HostPattern::Suffix(name) => self.suffix.entry(name.as_str().into()).or_default(),
        }
    }
}

impl<V> Hosts<V> {
    /// Returns the first `Some` of `look`: at the host itself, then at its suffixes from long to short, then at
    /// [`HostPattern::Any`].
    pub fn find<'m, A>(&'m self, host: &str, mut look: impl FnMut(&'m V) -> Option<A>) -> Option<A> {
        if let Some(found) = self.exact.get(host).and_then(&mut look) {
            return Some(found);
        }
        let mut rest = host;
        while !self.suffix.is_empty()
            && let Some((_, suffix)) = rest.split_once('.')
        {
            if let Some(found) = self.suffix.get(suffix).and_then(&mut look) {
                return Some(found);
            }
            rest = suffix;
        }
        look(&self.any)
    }
}
