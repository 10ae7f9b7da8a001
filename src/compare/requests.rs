//! Which requests may two configurations decide differently? `pairs` finds an example of each kind, and the route that
//! decides the example on either side.

use crate::config::DEFAULT_METHODS;
use crate::config::HostPattern;
use crate::config::PathPattern;
use crate::config::Route;
use crate::gate::accept::Lookup;
use crate::gate::accept::Matcher;
use crate::gate::accept::matcher::MatcherError;
use crate::gate::accept::matcher::Pattern;
use http::Method;
use std::collections::BTreeSet;
use std::collections::HashMap;

/// The indexes of the routes that decide the same requests in the old and in the new configuration.
pub(in crate::compare) struct Pair {
    /// `None` if no old route serves the requests.
    pub old: Option<usize>,
    pub new: usize,
    /// One of these requests: `GET api.example.com/v1/orders/any`.
    pub example: String,
}

/// Returns every pair once, in the order of the new routes.
///
/// A few example requests find every pair. Let route P decide a request before, and route N now. Replace each path
/// segment, and each part of the host, that is a wildcard in both P and N by a word that occurs in no pattern. P and N
/// still match the request, no other pattern begins to match, and each side still chooses the most specific match: P
/// and N. So it is enough to try, for each P and N, the paths and hosts built in this way, with the listed and the
/// registered methods. The gate's own matcher finds the route that decides.
///
/// # Errors
/// If two routes of one side match the same requests.
pub(in crate::compare) fn pairs(old: &[Route], new: &[Route]) -> Result<Vec<Pair>, MatcherError> {
    let (before, after) = (matcher(old)?, matcher(new)?);
    let unused = UnusedSegments::of(old.iter().chain(new));
    let olds: Vec<Vec<Segment<'_>>> = old.iter().map(|route| segments(&route.path)).collect();
    let mut found: Vec<Pair> = Vec::new();
    let mut seen: HashMap<(usize, Option<usize>), ()> = HashMap::new();
    for (number, route) in new.iter().enumerate() {
        let own = segments(&route.path);
        let rivals = old
            .iter()
            .zip(&olds)
            .map(|(rival, segments)| (rival, segments.as_slice()));
        for (rival, rival_segments) in rivals.chain([(route, own.as_slice())]) {
            for path in unused.common_paths(&own, rival_segments) {
                for (host, method) in unused.hosts_and_methods(route, rival) {
                    if decides(&after, &host, &path, &method) != Some(number) {
                        continue;
                    }
                    let decided = decides(&before, &host, &path, &method);
                    if seen.insert((number, decided), ()).is_none() {
                        found.push(Pair {
                            old: decided,
                            new: number,
                            example: format!("{method} {host}{path}"),
                        });
                    }
                }
            }
        }
    }
    Ok(found)
}

fn matcher(routes: &[Route]) -> Result<Matcher<usize>, MatcherError> {
    Matcher::compile(routes.iter().enumerate().map(|(number, route)| {
        let pattern = Pattern {
            hosts: &route.hosts,
            path: &route.path,
            methods: &route.methods,
        };
        (pattern, number)
    }))
}

/// Returns the index of the route that decides the request. For a near miss returns `None`, because the gate rejects
/// the request.
fn decides(matcher: &Matcher<usize>, host: &str, path: &str, method: &Method) -> Option<usize> {
    match matcher.find(host, path, method, |_, _| true) {
        Lookup::Found(&number) => Some(number),
        Lookup::NearMiss | Lookup::MethodNotAllowed(_) | Lookup::NotFound => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment<'p> {
    Literal(&'p str),
    Any,
    Rest,
}

fn segments(path: &PathPattern) -> Vec<Segment<'_>> {
    let segments = path.as_str().split('/').skip(1);
    segments
        .map(|segment| match segment.strip_prefix('{') {
            Some(inner) if inner.starts_with('*') => Segment::Rest,
            Some(_) => Segment::Any,
            None => Segment::Literal(segment),
        })
        .collect()
}

/// A word that occurs in no pattern, and a number of path segments that exceeds every pattern.
struct UnusedSegments {
    word: String,
    depth: usize,
}

impl UnusedSegments {
    fn of<'r>(routes: impl Iterator<Item = &'r Route>) -> Self {
        let (mut texts, mut depth) = (String::new(), 1);
        for route in routes {
            depth = depth.max(route.path.as_str().matches('/').count() + 1);
            texts.push_str(route.path.as_str());
            for host in &route.hosts {
                match host {
                    HostPattern::Any => {}
                    HostPattern::Exact(name) | HostPattern::Suffix(name) => texts.push_str(name),
                }
                texts.push(' ');
            }
        }
        let texts = texts.to_ascii_lowercase();
        let mut word = "any".to_owned();
        while texts.contains(&word) {
            word.push('z');
        }
        Self { word, depth }
    }

    /// Returns a path of each length that both patterns match.
    fn common_paths(&self, one: &[Segment<'_>], other: &[Segment<'_>]) -> Vec<String> {
        let rest = |segments: &[Segment<'_>]| segments.last() == Some(&Segment::Rest);
        let lengths = match (rest(one), rest(other)) {
            (false, false) if one.len() == other.len() => one.len()..=one.len(),
            (true, false) if other.len() >= one.len() => other.len()..=other.len(),
            (false, true) if one.len() >= other.len() => one.len()..=one.len(),
            (true, true) => one.len().max(other.len())..=self.depth.max(one.len()).max(other.len()),
            _ => return Vec::new(),
        };
        let at = |segments: &[Segment<'_>], index: usize| match segments.get(index) {
            Some(Segment::Literal(text)) => Some((*text).to_owned()),
            Some(Segment::Any | Segment::Rest) | None => None,
        };
        lengths
            .filter_map(|length| {
                let mut path = String::new();
                for index in 0..length {
                    let segment = match (at(one, index), at(other, index)) {
                        (Some(one), Some(other)) if one != other => return None,
                        (Some(text), _) | (None, Some(text)) => text,
                        (None, None) => self.word.clone(),
                    };
                    path.push('/');
                    path.push_str(&segment);
                }
                Some(path)
            })
            .collect()
    }

    fn hosts_and_methods(&self, one: &Route, other: &Route) -> Vec<(String, Method)> {
        let host = |host: &HostPattern| match host {
            HostPattern::Any => self.word.clone(),
            HostPattern::Exact(name) => name.clone(),
            HostPattern::Suffix(name) => format!("{}.{name}", self.word),
        };
        let hosts: BTreeSet<String> = one.hosts.iter().chain(&other.hosts).map(host).collect();
        let mut methods: Vec<Method> = one.methods.iter().chain(&other.methods).cloned().collect();
        // A route without a list matches the registered methods. A list with GET includes HEAD.
        methods.extend(DEFAULT_METHODS);
        let mut distinct: Vec<Method> = Vec::new();
        for method in methods {
            if !distinct.contains(&method) {
                distinct.push(method);
            }
        }
        let pairs = hosts
            .iter()
            .flat_map(|host| distinct.iter().map(|method| (host.clone(), method.clone())));
        pairs.collect()
    }
}
