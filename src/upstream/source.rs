//! Which addresses does an entry of `endpoints` have now? Names are resolved in the background (`fetch/resolve.rs`), never
//! during a request.

use crate::config::EndpointHost;
use crate::model::clock::Tick;
use crate::model::endpoint_address::EndpointAddress;
use crate::upstream::endpoint::Endpoint;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The shortest time between two look-ups that failed connections ask for.
const LOOKUP_AGAIN: Duration = Duration::from_secs(1);

/// An entry of `endpoints`. Its state outlives reloads.
#[derive(Debug)]
pub struct EndpointSource {
    host: EndpointHost,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    lookups: Mutex<Lookups>,
}

/// The look-ups of a name.
#[derive(Debug, Default)]
struct Lookups {
    is_running: bool,
    /// A failed connection asks for the next look-up at once.
    is_wanted: bool,
    last: Option<Tick>,
    /// The look-ups that failed since the last one that did not.
    failures: u64,
}

/// A change of the result of look-ups, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupChange {
    /// Look-ups begin to fail.
    Fails,
    /// Look-ups succeed again, after this number of failures.
    Succeeds { failures: u64 },
}

impl EndpointSource {
    /// Returns the source of an entry. A name has no endpoints until [`Self::replace`] sets them.
    pub fn new(host: &EndpointHost) -> Self {
        let literal = match host {
            EndpointHost::Inet { host, port } => host
                .parse::<IpAddr>()
                .ok()
                .map(|ip| EndpointAddress::Inet(SocketAddr::new(ip, *port))),
            EndpointHost::Unix { path } => Some(EndpointAddress::Unix(Arc::clone(path))),
        };
        let endpoints = literal.map(|address| Arc::new(Endpoint::new(address)));
        Self {
            host: host.clone(),
            endpoints: ArcSwap::from_pointee(endpoints.into_iter().collect()),
            lookups: Mutex::default(),
        }
    }

    /// Returns the name to resolve and the port of its addresses; `None` for a literal address and a unix socket.
    pub fn name(&self) -> Option<(&str, u16)> {
        match &self.host {
            EndpointHost::Inet { host, port } if host.parse::<IpAddr>().is_err() => Some((host, *port)),
            EndpointHost::Inet { .. } | EndpointHost::Unix { .. } => None,
        }
    }

    /// Returns the endpoints that the entry has now.
    pub fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// Replaces the addresses of a name; those that stay keep their state. Returns whether that changed anything.
    pub fn replace(&self, mut addresses: Vec<SocketAddr>) -> bool {
        addresses.sort_unstable();
        addresses.dedup();
        let before = self.endpoints.load();
        let is_same = before.len() == addresses.len()
            && before
                .iter()
                .zip(&addresses)
                .all(|(endpoint, address)| *endpoint.address() == EndpointAddress::Inet(*address));
        if is_same {
            return false;
        }
        let endpoint = |address: SocketAddr| {
            let address = EndpointAddress::Inet(address);
            let existing = before.iter().find(|endpoint| *endpoint.address() == address);
            existing.map_or_else(|| Arc::new(Endpoint::new(address.clone())), Arc::clone)
        };
        let endpoints: Vec<Arc<Endpoint>> = addresses.into_iter().map(endpoint).collect();
        self.endpoints.store(Arc::new(endpoints));
        true
    }

    /// Asks for a look-up at once: an address of the name does not take connections any more.
    pub fn want_lookup(&self) {
        if self.name().is_some() {
            self.lookups.lock().is_wanted = true;
        }
    }

    /// Returns whether the name is to be looked up now: for the first time, after `every`, or because a failed connection
    /// asks for it. The caller then reports the result to [`Self::end_lookup`].
    pub fn begin_lookup(&self, every: Duration, now: Tick) -> bool {
        if self.name().is_none() {
            return false;
        }
        let has_none = self.endpoints.load().is_empty();
        let mut lookups = self.lookups.lock();
        let wait = if lookups.is_wanted || has_none {
            LOOKUP_AGAIN
        } else {
            every
        };
        let is_due = !lookups.is_running && lookups.last.is_none_or(|last| now.saturating_since(last) >= wait);
        if is_due {
            lookups.is_running = true;
            lookups.is_wanted = false;
            lookups.last = Some(now);
        }
        is_due
    }

    /// Records the result of a look-up. Returns what to log: repetitions are counted, not told.
    pub fn end_lookup(&self, has_failed: bool) -> Option<LookupChange> {
        let mut lookups = self.lookups.lock();
        lookups.is_running = false;
        if has_failed {
            lookups.failures = lookups.failures.saturating_add(1);
            (lookups.failures == 1).then_some(LookupChange::Fails)
        } else {
            let failures = std::mem::take(&mut lookups.failures);
            (failures > 0).then_some(LookupChange::Succeeds { failures })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    const fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn source(host: &str) -> EndpointSource {
        EndpointSource::new(&EndpointHost::Inet {
            host: host.to_owned(),
            port: 80,
        })
    }

    #[test]
    fn the_addresses_of_a_name_keep_their_state() {
        let [one, two, three]: [SocketAddr; 3] = [1, 2, 3].map(|last| ([192, 0, 2, last], 80).into());
        let source = source("api.example");
        assert!(source.endpoints().is_empty());
        assert!(source.replace(vec![two, one, two]));
        let before = source.endpoints();
        assert!(!source.replace(vec![one, two]), "nothing changed");
        assert!(source.replace(vec![two, three]));
        let after = source.endpoints();
        assert!(Arc::ptr_eq(&before[1], &after[0]));
        assert_eq!(*after[1].address(), EndpointAddress::Inet(three));
    }

    #[test]
    fn a_name_is_looked_up_at_once_then_in_turn_and_after_a_failed_connection() {
        let source = source("api.example");
        assert!(source.begin_lookup(EVERY, at(0)));
        assert!(!source.begin_lookup(EVERY, at(20_000)), "one look-up at a time");
        assert_eq!(source.end_lookup(true), Some(LookupChange::Fails));
        assert!(!source.begin_lookup(EVERY, at(999)) && source.begin_lookup(EVERY, at(1_000)));
        assert_eq!(source.end_lookup(true), None, "a repetition");
        assert!(source.begin_lookup(EVERY, at(2_000)));
        source.replace(vec![([192, 0, 2, 1], 80).into()]);
        assert_eq!(source.end_lookup(false), Some(LookupChange::Succeeds { failures: 2 }));
        assert!(!source.begin_lookup(EVERY, at(11_999)) && source.begin_lookup(EVERY, at(12_000)));
        assert_eq!(source.end_lookup(false), None);
        source.want_lookup();
        assert!(!source.begin_lookup(EVERY, at(12_999)) && source.begin_lookup(EVERY, at(13_000)));
        source.end_lookup(false);
        assert!(!source.begin_lookup(EVERY, at(15_000)), "the wish is granted");
    }

    #[test]
    fn an_address_is_never_looked_up() {
        let source = source("192.0.2.1");
        source.want_lookup();
        assert!(!source.begin_lookup(EVERY, at(0)));
        assert_eq!(source.endpoints().len(), 1);
    }
}
