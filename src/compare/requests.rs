//! Which requests may two configurations decide differently? `pairs` finds an example of each kind, and the route that
//! decides the example on either side.

use crate::config::DEFAULT_METHODS;
use crate::config::HostPattern;
use crate::config::MatchConditions;
use crate::config::MatchField;
use crate::config::PathPattern;
use crate::config::Route;
use crate::config::ValuePattern;
use crate::gate::accept::Lookup;
use crate::gate::accept::Matcher;
use crate::gate::accept::matched_field::encode;
use crate::gate::accept::matcher::MatcherError;
use crate::gate::accept::matcher::Pattern;
use crate::gate::accept::matcher::RequestParts;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use std::collections::BTreeSet;
use std::collections::HashMap;

/// The indexes of the routes that decide the same requests in the old and in the new configuration.
pub(in crate::compare) struct Pair {
    /// `None` if no old route serves the requests.
    pub old: Option<usize>,
    pub new: usize,
    /// One of these requests: `GET api.example.com/v1/orders/any`, with the headers that decide.
    pub example: String,
}

/// Returns every pair once, in the order of the new routes.
///
/// A few example requests find every pair. Let route P decide a request before, and route N now. Replace each path
/// segment, and each part of the host, that is a wildcard in both P and N by a word that occurs in no pattern. Remove each
/// header and query parameter that neither P nor N has a condition on, and replace the part of each other value that both
/// leave open by a character that occurs in no condition. P and N still match the request, no other pattern begins to
/// match, and each side still chooses the most specific match: P and N. So it is enough to try, for each P and N, the
/// paths, hosts and fields built in this way, with the listed and the registered methods. The gate's own matcher finds the
/// route that decides.
///
/// # Errors
/// If two routes of one side match the same requests.
pub(in crate::compare) fn pairs(old: &[Route], new: &[Route]) -> Result<Vec<Pair>, MatcherError> {
    let (before, after) = (matcher(old)?, matcher(new)?);
    let unused = UnusedSegments::of(old.iter().chain(new));
    let olds: Vec<Vec<Segment<'_>>> = old.iter().map(|route| shape(&route.path)).collect();
    let mut found: Vec<Pair> = Vec::new();
    let mut seen: HashMap<(usize, Option<usize>), ()> = HashMap::new();
    for (number, route) in new.iter().enumerate() {
        let own = shape(&route.path);
        let rivals = old
            .iter()
            .zip(&olds)
            .map(|(rival, segments)| (rival, segments.as_slice()));
        for (rival, rival_segments) in rivals.chain([(route, own.as_slice())]) {
            let Some(conditions) = route.conditions.joined(&rival.conditions) else {
                continue;
            };
            let fields = unused.fields(&conditions);
            for path in unused.common_paths(&own, rival_segments) {
                for (host, method) in unused.hosts_and_methods(route, rival) {
                    let example = Example {
                        host: &host,
                        path: &path,
                        method: &method,
                        fields: &fields,
                    };
                    if example.decided_by(&after) != Some(number) {
                        continue;
                    }
                    let decided = example.decided_by(&before);
                    if seen.insert((number, decided), ()).is_none() {
                        found.push(Pair {
                            old: decided,
                            new: number,
                            example: example.text(),
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
            conditions: &route.conditions,
        };
        (pattern, number)
    }))
}

/// A request that shows which routes decide.
struct Example<'e> {
    host: &'e str,
    path: &'e str,
    method: &'e Method,
    fields: &'e Fields,
}

/// The headers and the query of an example.
struct Fields {
    headers: HeaderMap,
    query: Option<String>,
}

impl Example<'_> {
    /// Returns the index of the route that decides the request. For a near miss returns `None`, because the gate rejects
    /// the request.
    fn decided_by(&self, matcher: &Matcher<usize>) -> Option<usize> {
        let request = RequestParts {
            host: self.host,
            path: self.path,
            method: self.method,
            headers: &self.fields.headers,
            query: self.fields.query.as_deref(),
        };
        match matcher.find(&request, |_, _| true) {
            Lookup::Found(&number) => Some(number),
            Lookup::NearMiss
            | Lookup::MethodNotAllowed(_)
            | Lookup::ConditionsUnmet
            | Lookup::Ambiguous(_)
            | Lookup::NotFound => None,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{} {}{}", self.method, self.host, self.path);
        if let Some(query) = &self.fields.query {
            text.push('?');
            text.push_str(query);
        }
        for (index, (name, value)) in self.fields.headers.iter().enumerate() {
            let separator = if index == 0 { " with" } else { " and" };
            let value = String::from_utf8_lossy(value.as_bytes());
            text.push_str(&format!("{separator} {name}: {value}"));
        }
        text
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::compare) enum Segment<'p> {
    Literal(&'p str),
    Any,
    Rest,
}

/// Returns the segments of a pattern. Equal for patterns that match the same paths.
pub(in crate::compare) fn shape(path: &PathPattern) -> Vec<Segment<'_>> {
    let segments = path.as_str().split('/').skip(1);
    segments
        .map(|segment| match segment.strip_prefix('{') {
            Some(inner) if inner.starts_with('*') => Segment::Rest,
            Some(_) => Segment::Any,
            None => Segment::Literal(segment),
        })
        .collect()
}

/// A word that occurs in no pattern, a number of path segments that exceeds every pattern, and a character that occurs in no
/// condition.
struct UnusedSegments {
    word: String,
    character: char,
    depth: usize,
}

impl UnusedSegments {
    fn of<'r>(routes: impl Iterator<Item = &'r Route>) -> Self {
        let (mut texts, mut depth) = (String::new(), 1);
        let mut values = String::new();
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
            for condition in route.conditions.iter() {
                match &condition.pattern {
                    ValuePattern::Exact(text) | ValuePattern::Prefix(text) => values.push_str(text),
                    ValuePattern::Present => {}
                }
            }
        }
        let texts = texts.to_ascii_lowercase();
        let mut word = "any".to_owned();
        while texts.contains(&word) {
            word.push('z');
        }
        let mut characters = ('0'..='z').filter(char::is_ascii_alphanumeric).rev();
        let character = characters.find(|character| !values.contains(*character)).unwrap_or('~');
        Self { word, character, depth }
    }

    /// Returns fields that meet `conditions` and, as far as these leave that open, no others.
    fn fields(&self, conditions: &MatchConditions) -> Fields {
        let mut headers = HeaderMap::new();
        let mut query = String::new();
        for condition in conditions.iter() {
            let value = match &condition.pattern {
                ValuePattern::Exact(text) => text.clone(),
                ValuePattern::Prefix(text) => format!("{text}{}", self.character),
                ValuePattern::Present => self.character.to_string(),
            };
            match &condition.field {
                MatchField::Header(name) => {
                    let value = HeaderValue::from_str(&value).expect("`config` accepts only printable ASCII");
                    headers.insert(name, value);
                }
                MatchField::Parameter(name) => {
                    let separator = if query.is_empty() { "" } else { "&" };
                    query.push_str(separator);
                    query.push_str(&encode(name));
                    query.push('=');
                    query.push_str(&encode(&value));
                }
            }
        }
        Fields {
            headers,
            query: (!query.is_empty()).then_some(query),
        }
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
