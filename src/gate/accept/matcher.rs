//! Which route matches a host, a path, a method, and then the headers and the query?
//!
//! With a trie by segments, not a radix tree by bytes: the crate `matchit` rejects the usual catch-all, `/{*rest}`
//! beside `/{tenant}/orders`, and patterns that collide, as they do in the check for near misses.

use crate::config::DEFAULT_METHODS;
use crate::config::HostPattern;
use crate::config::MatchConditions;
use crate::config::PathPattern;
use crate::gate::accept::hosts::Hosts;
use crate::gate::accept::hosts::Table;
use crate::gate::accept::matched_field::AmbiguousField;
use crate::gate::accept::normalize;
use crate::gate::accept::rules;
use crate::gate::accept::slot::Slot;
use http::HeaderMap;
use http::Method;

/// A table from host, path and method patterns and conditions to `T`, compiled once. The cost of a look-up depends on the
/// segments of the path, not on the number of routes. A look-up allocates only for a path that is not folded
/// ([`normalize::fold`]), and where routes have conditions.
#[derive(Debug)]
pub struct Matcher<T> {
    values: Vec<T>,
    entries: Vec<Entry>,
    hosts: Hosts<Tries>,
}

/// The pattern of one route.
#[derive(Clone, Copy, Debug)]
pub struct Pattern<'c> {
    /// The hosts; empty for any host.
    pub hosts: &'c [HostPattern],
    pub path: &'c PathPattern,
    /// The methods; empty for [`DEFAULT_METHODS`]. GET includes HEAD.
    pub methods: &'c [Method],
    pub conditions: &'c MatchConditions,
}

/// The parts of a request that routes are matched by.
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'r> {
    /// In lower case, without port.
    pub host: &'r str,
    /// In normal form.
    pub path: &'r str,
    pub method: &'r Method,
    pub headers: &'r HeaderMap,
    /// As received, without the `?`.
    pub query: Option<&'r str>,
}

/// The result of a look-up.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'m, T> {
    Found(&'m T),
    /// The path matches one route, and its folded form another with different protection: an upstream that reads
    /// paths leniently would serve the other route's resource. Answer like `NotFound`.
    NearMiss,
    /// The path matches, but no route takes the method. Holds the methods for `Allow` (RFC 9110 section 10.2.1).
    MethodNotAllowed(&'m [Method]),
    /// Routes match path and method, and the request meets the conditions of none. Answer like `NotFound`.
    ConditionsUnmet,
    /// A field that routes of this path and method are matched by has no certain value.
    Ambiguous(AmbiguousField),
    NotFound,
}

/// Why routes do not compile. The numbers are the positions of the routes, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    #[error("routes {first} and {second} match the same requests")]
    Overlap { first: usize, second: usize },
}

impl<T> Matcher<T> {
    /// Compiles `routes`. Their order does not matter: the more specific host wins, then segment by segment a
    /// literal before `{name}` before `{*rest}`, then a route that lists the method before a route without a list, then
    /// the route whose conditions are more specific.
    ///
    /// # Errors
    /// The first route that equals an earlier one in host, path, method and conditions, and that earlier route.
    /// `config::load` refuses further routes between which only their order would decide.
    pub fn compile<'c>(routes: impl IntoIterator<Item = (Pattern<'c>, T)>) -> Result<Self, MatcherError> {
        let mut matcher = Self {
            values: Vec::new(),
            entries: Vec::new(),
            hosts: Hosts::default(),
        };
        // The first pattern of each entry, in the order of the entries.
        let mut placed: Vec<(&HostPattern, Vec<Segment>)> = Vec::new();
        for (route, (pattern, value)) in routes.into_iter().enumerate() {
            let segments = Segment::parse(pattern.path);
            let hosts = match pattern.hosts {
                [] => &[HostPattern::Any],
                hosts => hosts,
            };
            for host in hosts {
                if matcher.insert(host, &segments, &pattern, route)? {
                    placed.push((host, segments.clone()));
                }
            }
            matcher.values.push(value);
        }
        for (entry, (host, segments)) in placed.iter().enumerate() {
            let tries = matcher.hosts.of_mut(host);
            if tries.differ {
                tries.folded.slot_mut(&Segment::fold(segments)).push(entry);
            }
        }
        matcher.shrink();
        Ok(matcher)
    }

    /// Adds the pattern of a route. Returns `true` if it has a new entry.
    ///
    /// # Errors
    /// An earlier route matches the same requests.
    fn insert(
        &mut self,
        host: &HostPattern,
        segments: &[Segment],
        pattern: &Pattern<'_>,
        route: usize,
    ) -> Result<bool, MatcherError> {
        let tries = self.hosts.of_mut(host);
        let slot = tries.exact.slot_mut(segments);
        let (entry, is_new) = match slot.first() {
            Some(&entry) => (entry, false),
            None => {
                let entry = self.entries.len();
                self.entries.push(Entry::default());
                slot.push(entry);
                tries.differ |= Segment::fold(segments) != segments && !Segment::is_root(segments);
                (entry, true)
            }
        };
        let added = self.entries[entry].add(pattern, route);
        added.map_err(|first| MatcherError::Overlap { first, second: route })?;
        Ok(is_new)
    }

    /// Frees the memory that was reserved for further routes.
    fn shrink(&mut self) {
        self.values.shrink_to_fit();
        self.entries.shrink_to_fit();
        for entry in &mut self.entries {
            entry.listed.shrink_to_fit();
            entry.allowed.shrink_to_fit();
        }
    }

    /// Returns every method that some route lists, for [`rules::AcceptRules::new`].
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        let listed = self.entries.iter().flat_map(|entry| &entry.listed);
        listed.map(|(method, _)| method)
    }

    /// Returns the route for `request`.
    ///
    /// The most specific path pattern at the most specific host with a matching pattern decides: if its methods do not
    /// include the method, or its routes have conditions that the request does not meet, no less specific path is tried
    /// (S099). `same` returns whether two routes protect alike, and is called only where the folded path matches another
    /// route (S091).
    ///
    /// Folding turns `%2F` into `/`. A route that allows encoded slashes should match them with `{*rest}`: `{name}`
    /// matches only the first part of the folded segment, and the path may then be a near miss of another route.
    pub fn find(&self, request: &RequestParts<'_>, same: impl Fn(&T, &T) -> bool) -> Lookup<'_, T> {
        let &RequestParts { host, path, method, .. } = request;
        let (exact, near_is_same) = self.exact(host, path);
        let Some(&[exact, ..]) = exact else {
            return Lookup::NotFound;
        };
        let entry = &self.entries[exact];
        let mut slots = entry.slots(method).peekable();
        if slots.peek().is_none() {
            return Lookup::MethodNotAllowed(&entry.allowed);
        }
        let found = slots.find_map(|slot| slot.route(request.headers, request.query).transpose());
        let route = match found {
            Some(Ok(route)) => route,
            Some(Err(ambiguous)) => return Lookup::Ambiguous(ambiguous),
            None => return Lookup::ConditionsUnmet,
        };
        if !near_is_same && self.is_near_miss(exact, route, request.host, path, method, same) {
            Lookup::NearMiss
        } else {
            Lookup::Found(&self.values[route])
        }
    }

    /// Returns every route that may get a request for `method` on `path` at `host`, whatever headers and query it has; the
    /// least specific last. At least one.
    ///
    /// # Errors
    /// Why no route gets it: `NearMiss` if one of the routes would be.
    pub fn candidates(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        same: impl Fn(&T, &T) -> bool,
    ) -> Result<Vec<&T>, Lookup<'_, T>> {
        let (exact, near_is_same) = self.exact(host, path);
        let Some(&[exact, ..]) = exact else {
            return Err(Lookup::NotFound);
        };
        let entry = &self.entries[exact];
        let routes: Vec<usize> = entry.slots(method).flat_map(Slot::routes).collect();
        if routes.is_empty() {
            return Err(Lookup::MethodNotAllowed(&entry.allowed));
        }
        let is_near_miss = |route: &usize| self.is_near_miss(exact, *route, host, path, method, &same);
        if !near_is_same && routes.iter().any(is_near_miss) {
            return Err(Lookup::NearMiss);
        }
        Ok(routes.into_iter().map(|route| &self.values[route]).collect())
    }

    /// Returns whether the folded path matches another entry than `exact`, with a route that protects `method` in another way
    /// than `route`. Each of its routes counts, whatever their conditions: clients choose headers and query.
    fn is_near_miss(
        &self,
        exact: usize,
        route: usize,
        host: &str,
        path: &str,
        method: &Method,
        same: impl Fn(&T, &T) -> bool,
    ) -> bool {
        let near = self.near(host, path);
        let differs = |near: usize| near != route && !same(&self.values[route], &self.values[near]);
        let is_protected_otherwise = |near: &usize| {
            let entry = &self.entries[*near];
            // Without a route for every request, some are answered with 404 under the other spelling.
            !entry.slots(method).any(Slot::has_unconditional) || entry.slots(method).flat_map(Slot::routes).any(differs)
        };
        // Where both spellings are patterns, the operator distinguished them on purpose.
        !near.contains(&exact) && near.iter().any(is_protected_otherwise)
    }

    /// Returns the entries of the most specific pattern for `path` as it is, and `true` if [`Self::near`] certainly
    /// returns the same entries: the path and the patterns of every searched host are folded, and [`EmptyRest`] made no
    /// difference. That saves most requests a second walk.
    fn exact(&self, host: &str, path: &str) -> (Option<&[usize]>, bool) {
        let mut near_is_same = path != "/" && normalize::is_folded(path);
        let found = self.hosts.find(host, |tries| {
            near_is_same &= !tries.differ;
            tries.exact.find(path, EmptyRest::Differs, &mut near_is_same)
        });
        (found, near_is_same)
    }

    /// Returns the entries of the most specific pattern for the folded `path`, as the most lenient upstream reads it.
    fn near(&self, host: &str, path: &str) -> &[usize] {
        let folded = normalize::fold(path);
        self.hosts.find(host, |tries| tries.near(&folded)).unwrap_or_default()
    }
}

/// The routes of one host and path pattern, by method.
#[derive(Debug, Default)]
struct Entry {
    /// A list with GET has HEAD too.
    listed: Vec<(Method, Slot)>,
    /// The routes without a list of methods.
    unlisted: Slot,
    /// The methods of all these routes.
    allowed: Vec<Method>,
}

impl Entry {
    /// Adds `route`.
    ///
    /// # Errors
    /// The earlier route that has the same conditions and one of the methods, or that is without a list too.
    fn add(&mut self, pattern: &Pattern<'_>, route: usize) -> Result<(), usize> {
        if pattern.methods.is_empty() {
            self.unlisted.add(pattern.conditions, route)?;
            self.allow(&DEFAULT_METHODS);
        }
        for method in pattern.methods {
            self.add_listed(method, pattern.conditions, route)?;
            if method == Method::GET {
                self.add_listed(&Method::HEAD, pattern.conditions, route)?;
            }
        }
        Ok(())
    }

    fn add_listed(&mut self, method: &Method, conditions: &MatchConditions, route: usize) -> Result<(), usize> {
        let known = self.listed.iter().position(|(listed, _)| listed == method);
        let place = known.unwrap_or_else(|| {
            self.listed.push((method.clone(), Slot::default()));
            self.listed.len() - 1
        });
        match self.listed[place].1.add(conditions, route) {
            // A route may list a method twice.
            Err(first) if first != route => return Err(first),
            Ok(()) | Err(_) => {}
        }
        self.allow(std::slice::from_ref(method));
        Ok(())
    }

    fn allow(&mut self, methods: &[Method]) {
        for method in methods {
            if !self.allowed.contains(method) {
                self.allowed.push(method.clone());
            }
        }
    }

    /// Returns the routes for `method`, those that list it first.
    fn slots(&self, method: &Method) -> impl Iterator<Item = &Slot> {
        let listed = self.listed.iter().find(|(listed, _)| listed == method);
        let takes_unlisted = !self.unlisted.is_empty() && rules::is_default_method(method);
        let listed = listed.map(|(_, slot)| slot);
        listed.into_iter().chain(takes_unlisted.then_some(&self.unlisted))
    }
}

/// The path patterns of one host, as written and folded.
#[derive(Debug, Default)]
struct Tries {
    exact: Node,
    /// Empty unless `differ`: the two tries would be equal but for the pattern `/`, and take much memory.
    folded: Node,
    /// `true` if a pattern other than `/` differs from its folded form. If `false`, the folded forms differ from the
    /// patterns only in the pattern `/`, which only the path `/` matches.
    differ: bool,
}

impl Tries {
    /// Returns the entries of the most specific pattern for a folded path.
    fn near(&self, folded: &str) -> Option<&[usize]> {
        if self.differ {
            return self.folded.find(folded, EmptyRest::Matches, &mut false);
        }
        let root = (folded == "/").then(|| self.exact.literals.get("")).flatten();
        root.and_then(|node| filled(&node.end))
            .or_else(|| self.exact.find(folded, EmptyRest::Matches, &mut false))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Param,
    Rest,
}

impl Segment {
    /// Returns the segments of `path`. Does not normalize them: the escapes of a `PathPattern` are in normal form.
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

    /// Returns whether `segments` are those of `/`.
    fn is_root(segments: &[Self]) -> bool {
        matches!(segments, [Self::Literal(text)] if text.is_empty())
    }

    /// Returns the segments of the folded pattern: a literal may become several segments, or none.
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

/// The treatment of an empty rest: does `/a/{*rest}` match `/a` and `/a/`?
#[derive(Clone, Copy, PartialEq, Eq)]
enum EmptyRest {
    /// No match: the pattern requires at least one character.
    Differs,
    /// A match: an operator who protects everything below `/a/` wants `/a` and `/a/` protected too.
    Matches,
}

#[derive(Debug, Default)]
struct Node {
    literals: Literals,
    param: Option<Box<Node>>,
    /// The entries of the patterns that end here: several only in a folded trie.
    end: Vec<usize>,
    /// The entries of the patterns that end in `{*rest}` here: several only in a folded trie.
    rest: Vec<usize>,
}

impl Node {
    fn slot_mut(&mut self, segments: &[Segment]) -> &mut Vec<usize> {
        match segments {
            [] => &mut self.end,
            // `PathPattern` guarantees that nothing follows `{*rest}`.
            [Segment::Rest, ..] => &mut self.rest,
            [Segment::Param, after @ ..] => self.param.get_or_insert_default().slot_mut(after),
            [Segment::Literal(text), after @ ..] => self.literals.node_mut(text).slot_mut(after),
        }
    }

    /// Returns the entries of the most specific pattern for `path`, one at least. Sets `is_conclusive` to `false` where
    /// the result may depend on `empty_rest`.
    fn find(&self, path: &str, empty_rest: EmptyRest, is_conclusive: &mut bool) -> Option<&[usize]> {
        let path = path.strip_prefix('/')?;
        // Folded paths have no trailing slash, so the root has no segment at all.
        let is_root = path.is_empty() && empty_rest == EmptyRest::Matches;
        self.walk((!is_root).then_some(path), empty_rest, is_conclusive)
    }

    /// Walks the trie. `path` is the part after the matched segments and their slash; `None` where the path ended
    /// without a slash. Recurses as deep as the deepest pattern, and visits no node twice: only one sequence of
    /// segments leads to each node.
    fn walk(&self, path: Option<&str>, empty_rest: EmptyRest, is_conclusive: &mut bool) -> Option<&[usize]> {
        let Some(path) = path else {
            return filled(&self.end).or_else(|| {
                *is_conclusive &= self.rest.is_empty();
                filled(&self.rest).filter(|_| empty_rest == EmptyRest::Matches)
            });
        };
        let (segment, after) = match path.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (path, None),
        };
        let literal = self.literals.get(segment);
        if let Some(found) = literal.and_then(|node| node.walk(after, empty_rest, is_conclusive)) {
            return Some(found);
        }
        let param = self.param.as_ref().filter(|_| !segment.is_empty());
        if let Some(found) = param.and_then(|node| node.walk(after, empty_rest, is_conclusive)) {
            return Some(found);
        }
        filled(&self.rest).filter(|_| !path.is_empty())
    }
}

/// The nodes below a node by their literal segments. Most nodes have one: the smallest table has room for four nodes,
/// and one comparison is quicker than a hash.
#[derive(Debug)]
enum Literals {
    One(Box<str>, Box<Node>),
    /// None, or at least two.
    Many(Table<Node>),
}

impl Default for Literals {
    fn default() -> Self {
        Self::Many(Table::default())
    }
}

impl Literals {
    fn get(&self, segment: &str) -> Option<&Node> {
        match self {
            Self::One(text, node) => (**text == *segment).then_some(&**node),
            Self::Many(nodes) => nodes.get(segment),
        }
    }

    /// Returns the node of `segment`, and makes it if there is none.
    fn node_mut(&mut self, segment: &str) -> &mut Node {
        *self = match std::mem::take(self) {
            Self::One(text, node) if *text == *segment => Self::One(text, node),
            Self::One(text, node) => Self::Many(Table::from_iter([(text, *node)])),
            Self::Many(nodes) if nodes.is_empty() => Self::One(segment.into(), Box::default()),
            Self::Many(nodes) => Self::Many(nodes),
        };
        match self {
            Self::One(_, node) => node,
            Self::Many(nodes) => nodes.entry(segment.into()).or_default(),
        }
    }
}

fn filled(entries: &[usize]) -> Option<&[usize]> {
    (!entries.is_empty()).then_some(entries)
}

#[cfg(test)]
mod tests;
