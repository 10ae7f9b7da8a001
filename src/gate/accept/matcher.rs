//! Which route is a host, a path and a method for?
//!
//! A trie by segments, not a radix tree by bytes: the crate at hand (matchit) refuses `/{tenant}/orders` beside
//! `/{*rest}`, which is how people write a catch-all, and the guard against near misses needs patterns that collide.

use crate::config::HostPattern;
use crate::config::PathPattern;
use crate::gate::accept::normalize;
use crate::gate::accept::rules;
use foldhash::fast::RandomState;
use http::Method;
use std::collections::HashMap;

/// Host, path and method patterns to `T`, compiled once. A lookup costs the length of the path, not the number of
/// routes, and allocates only for paths that are not in folded form (see [`normalize::fold`]).
#[derive(Debug)]
pub struct Matcher<T> {
    values: Vec<T>,
    entries: Vec<Entry>,
    hosts: Hosts,
}

/// What one route matches.
#[derive(Clone, Copy, Debug)]
pub struct Pattern<'c> {
    /// Empty is any host.
    pub hosts: &'c [HostPattern],
    pub path: &'c PathPattern,
    /// Empty is every registered method. GET brings HEAD with it.
    pub methods: &'c [Method],
}

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'m, T> {
    Found(&'m T),
    /// The path differs from that of a route with another protection only in ways that upstreams overlook, and what it
    /// matched literally is something else. To be answered like `NotFound`.
    NearMiss,
    /// The path is known, the method is not; these are, for `Allow` (RFC 9110 section 10.2.1).
    MethodNotAllowed(&'m [Method]),
    NotFound,
}

/// Why patterns do not make a matcher. Numbers count the routes in the order given, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    #[error("routes {first} and {second} match the same host, path and method")]
    Overlap { first: usize, second: usize },
}

impl<T> Matcher<T> {
    /// Compiles `routes`. Their order does not matter: the more specific host wins, then segment by segment a literal
    /// before `{name}` before `{*rest}`.
    ///
    /// # Errors
    /// The first two routes that nothing tells apart.
    pub fn compile<'c>(routes: impl IntoIterator<Item = (Pattern<'c>, T)>) -> Result<Self, MatcherError> {
        let mut matcher = Self {
            values: Vec::new(),
            entries: Vec::new(),
            hosts: Hosts::default(),
        };
        for (route, (pattern, value)) in routes.into_iter().enumerate() {
            let segments = Segment::parse(pattern.path);
            let any = [HostPattern::Any];
            let hosts = if pattern.hosts.is_empty() { &any } else { pattern.hosts };
            for host in hosts {
                matcher.insert(host, &segments, pattern.methods, route)?;
            }
            matcher.values.push(value);
        }
        Ok(matcher)
    }

    fn insert(
        &mut self,
        host: &HostPattern,
        segments: &[Segment],
        methods: &[Method],
        route: usize,
    ) -> Result<(), MatcherError> {
        let tries = self.hosts.tries_mut(host);
        let slot = tries.exact.slot_mut(segments);
        let entry = match slot.first() {
            Some(&entry) => entry,
            None => {
                let entry = self.entries.len();
                self.entries.push(Entry::default());
                slot.push(entry);
                let folded = Segment::fold(segments);
                tries.differ |= folded != segments && !Segment::is_root(segments);
                tries.folded.slot_mut(&folded).push(entry);
                entry
            }
        };
        let added = self.entries[entry].add(methods, route);
        added.map_err(|first| MatcherError::Overlap { first, second: route })
    }

    /// Every method that some route lists, for `Rules::new`.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        let listed = self.entries.iter().flat_map(|entry| &entry.listed);
        listed.map(|(method, _)| method)
    }

    /// The route for `method` on `path` (in normal form) at `host` (lower case, without port).
    ///
    /// The most specific path pattern at the most specific host that has one decides: if its methods do not include
    /// `method`, no less specific route is tried (S099). `same` says whether two routes ask the same of a caller; it
    /// is only called when the path is a near miss (S091).
    ///
    /// `%2F` counts as a near miss of `/`: a route that allows encoded slashes takes them with `{*rest}`, because as
    /// `{name}` they lead, once decoded, to whatever route is there.
    pub fn find(&self, host: &str, path: &str, method: &Method, same: impl Fn(&T, &T) -> bool) -> Lookup<'_, T> {
        let (exact, is_all_that_is_near) = self.exact(host, path);
        let Some(&[exact, ..]) = exact else {
            return Lookup::NotFound;
        };
        let entry = &self.entries[exact];
        let Some(route) = entry.route(method) else {
            return Lookup::MethodNotAllowed(&entry.allowed);
        };
        let found = &self.values[route];
        if is_all_that_is_near {
            return Lookup::Found(found);
        }
        let near = self.near(host, path);
        // Where both spellings are routes, the operator has told them apart.
        let is_near_miss = !near.contains(&exact)
            && near.iter().any(|&near| match self.entries[near].route(method) {
                Some(near) => near != route && !same(found, &self.values[near]),
                None => true,
            });
        if is_near_miss {
            Lookup::NearMiss
        } else {
            Lookup::Found(found)
        }
    }

    /// The entries of the most specific pattern for `path` as it is, and whether [`Self::near`] would give just them. It
    /// does, without another walk, where the path is folded and its walk meets nothing that is another one folded.
    fn exact(&self, host: &str, path: &str) -> (Option<&[usize]>, bool) {
        let mut is_all_that_is_near = path != "/" && normalize::is_folded(path);
        let found = self.hosts.find(host, |tries| {
            is_all_that_is_near &= !tries.differ;
            tries.exact.find(path, EmptyRest::Differs, &mut is_all_that_is_near)
        });
        (found, is_all_that_is_near)
    }

    /// The entries of the most specific pattern for what the most forgiving upstream could understand `path` to be.
    fn near(&self, host: &str, path: &str) -> &[usize] {
        let folded = normalize::fold(path);
        let found = self
            .hosts
            .find(host, |tries| tries.folded.find(&folded, EmptyRest::Matches, &mut false));
        found.unwrap_or_default()
    }
}

/// The routes of one host and path pattern, told apart by method.
#[derive(Debug, Default)]
struct Entry {
    listed: Vec<(Method, usize)>,
    /// The route without a list.
    unlisted: Option<usize>,
    allowed: Vec<Method>,
}

impl Entry {
    /// Fails with the route that has one of `methods` already.
    fn add(&mut self, methods: &[Method], route: usize) -> Result<(), usize> {
        if methods.is_empty() {
            if let Some(first) = self.unlisted.replace(route) {
                return Err(first);
            }
            self.allow(&rules::REGISTERED_METHODS);
        }
        for method in methods {
            if let Some(&(_, first)) = self.listed.iter().find(|(listed, _)| listed == method) {
                // One route that names a method twice means it once.
                if first == route {
                    continue;
                }
                return Err(first);
            }
            self.listed.push((method.clone(), route));
            self.allow(std::slice::from_ref(method));
            if method == Method::GET {
                self.allow(&[Method::HEAD]);
            }
        }
        Ok(())
    }

    fn allow(&mut self, methods: &[Method]) {
        for method in methods {
            if !self.allowed.contains(method) {
                self.allowed.push(method.clone());
            }
        }
    }

    fn route(&self, method: &Method) -> Option<usize> {
        let listed = |wanted: &Method| {
            self.listed
                .iter()
                .find(|(listed, _)| listed == wanted)
                .map(|&(_, route)| route)
        };
        let as_get = || (method == Method::HEAD).then(|| listed(&Method::GET)).flatten();
        let unlisted = || self.unlisted.filter(|_| rules::is_registered(method));
        listed(method).or_else(as_get).or_else(unlisted)
    }
}

/// Texts of the configuration to what they lead to. Requests look them up and never add to them, so nobody can fill a
/// table with what collides, and the hash need not withstand that: with SipHash, hashing was two thirds of a look-up.
type Table<V> = HashMap<Box<str>, V, RandomState>;

#[derive(Debug, Default)]
struct Hosts {
    exact: Table<Tries>,
    suffix: Table<Tries>,
    any: Tries,
}

/// The paths of one host: as written, and folded.
#[derive(Debug, Default)]
struct Tries {
    exact: Node,
    folded: Node,
    /// Some pattern is another one folded, beside that of `/`, which only `/` is matched with. Where none is, the two tries
    /// are the same.
    differ: bool,
}

impl Hosts {
    fn tries_mut(&mut self, host: &HostPattern) -> &mut Tries {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.as_str().into()).or_default(),
            HostPattern::Suffix(name) => self.suffix.entry(name.as_str().into()).or_default(),
        }
    }

    /// The first answer of `look`: at the host itself, then at its suffixes from long to short, then at any host.
    fn find<'m, A>(&'m self, host: &str, mut look: impl FnMut(&'m Tries) -> Option<A>) -> Option<A> {
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

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Param,
    Rest,
}

impl Segment {
    /// A pattern is in normal form already, as the paths that are matched are.
    fn parse(path: &PathPattern) -> Vec<Self> {
        let segments = path
            .as_str()
            .split('/')
            .skip(1)
            .map(|segment| match segment.strip_prefix('{') {
                Some(inner) if inner.starts_with('*') => Self::Rest,
                Some(_) => Self::Param,
                None => Self::Literal(segment.into()),
            });
        segments.collect()
    }

    /// Whether they are those of `/`.
    fn is_root(segments: &[Self]) -> bool {
        matches!(segments, [Self::Literal(text)] if text.is_empty())
    }

    fn fold(segments: &[Self]) -> Vec<Self> {
        let mut folded = Vec::with_capacity(segments.len());
        for segment in segments {
            match segment {
                Self::Literal(text) => {
                    let path = format!("/{text}");
                    let literals = normalize::fold(&path);
                    let literals = literals.split('/').filter(|literal| !literal.is_empty());
                    folded.extend(literals.map(|literal| Self::Literal(literal.into())));
                }
                Self::Param | Self::Rest => folded.push(segment.clone()),
            }
        }
        folded
    }
}

/// Whether `/a` and `/a/` are what `/a/{*rest}` is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EmptyRest {
    /// The pattern asks for one character at least.
    Differs,
    /// Near enough: who protects everything below `/a/` did not mean `/a/` to be open.
    Matches,
}

#[derive(Debug, Default)]
struct Node {
    literals: Table<Node>,
    param: Option<Box<Node>>,
    /// Entries whose pattern ends here; more than one only in a folded trie.
    end: Vec<usize>,
    /// Entries whose pattern ends in `{*rest}` here.
    rest: Vec<usize>,
}

impl Node {
    fn slot_mut(&mut self, segments: &[Segment]) -> &mut Vec<usize> {
        match segments {
            [] => &mut self.end,
            // Nothing follows `{*rest}`; `PathPattern` sees to it.
            [Segment::Rest, ..] => &mut self.rest,
            [Segment::Param, after @ ..] => self.param.get_or_insert_default().slot_mut(after),
            [Segment::Literal(text), after @ ..] => self.literals.entry(text.clone()).or_default().slot_mut(after),
        }
    }

    /// The entries of the most specific pattern for `path`; never empty. `regardless` stays true where `empty_rest` made no
    /// difference.
    fn find(&self, path: &str, empty_rest: EmptyRest, regardless: &mut bool) -> Option<&[usize]> {
        let path = path.strip_prefix('/')?;
        // Folded paths have no trailing slash, so the root has no segment at all.
        let is_root = path.is_empty() && empty_rest == EmptyRest::Matches;
        self.walk((!is_root).then_some(path), empty_rest, regardless)
    }

    /// `path` is what follows the slash after the segments that led here, `None` when that was all. As deep as the
    /// deepest pattern; visits no node twice, because one sequence of segments leads to each.
    fn walk(&self, path: Option<&str>, empty_rest: EmptyRest, regardless: &mut bool) -> Option<&[usize]> {
        let Some(path) = path else {
            return filled(&self.end).or_else(|| {
                *regardless &= self.rest.is_empty();
                filled(&self.rest).filter(|_| empty_rest == EmptyRest::Matches)
            });
        };
        let (segment, after) = match path.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (path, None),
        };
        let literal = self.literals.get(segment);
        if let Some(found) = literal.and_then(|node| node.walk(after, empty_rest, regardless)) {
            return Some(found);
        }
        let param = self.param.as_ref().filter(|_| !segment.is_empty());
        if let Some(found) = param.and_then(|node| node.walk(after, empty_rest, regardless)) {
            return Some(found);
        }
        filled(&self.rest).filter(|_| !path.is_empty())
    }
}

fn filled(entries: &[usize]) -> Option<&[usize]> {
    (!entries.is_empty()).then_some(entries)
}

#[cfg(test)]
mod tests;
