//! Which routes match the same request? Two such routes are an error: the choice must not be chance.

use crate::config::check::Checker;
use crate::config::match_condition::MatchConditions;
use crate::config::match_condition::MatchField;
use crate::config::match_condition::PatternShape;
use crate::config::match_condition::Specificity;
use crate::config::pattern::DEFAULT_METHODS;
use crate::config::pattern::HostPattern;
use crate::config::pattern::list_has;
use crate::config::route::LocatedRoute;
use crate::config::route::Route;
use crate::config::tree::printable;
use http::Method;
use std::collections::HashMap;

/// Reports every route that may match the same request as an earlier one where neither is more specific.
///
/// Patterns of different shapes may match the same path (`/v1/{id}` and `/v1/open`), as may `api.example.com` and
/// `*.example.com`. There the more specific pattern wins (`gate::accept::matcher`). So does, with one host and one shape,
/// a route that lists the method before a route without a list, and then the route whose conditions are more specific.
pub(in crate::config) fn refuse(routes: &[LocatedRoute], checker: &mut Checker<'_>) {
    let mut slots: HashMap<(&HostPattern, String), Slot<'_>> = HashMap::new();
    for located in routes {
        let shape = shape(located.route.path.as_str());
        for host in &located.route.hosts {
            slots.entry((host, shape.clone())).or_default().add(located);
        }
    }
    for located in routes {
        let shape = shape(located.route.path.as_str());
        let mut rivals = located
            .route
            .hosts
            .iter()
            .filter_map(|host| slots.get(&(host, shape.clone()))?.rival(located));
        if let Some(other) = rivals.next() {
            report(other, located, checker);
        }
    }
}

/// The routes of one host and one shape of paths.
#[derive(Default)]
struct Slot<'r> {
    /// By the shapes of the conditions: of two routes with one shape, a request matches both only if the values are equal.
    by_shape: HashMap<Vec<(&'r MatchField, PatternShape)>, SameShape<'r>>,
}

#[derive(Default)]
struct SameShape<'r> {
    specificity: Specificity,
    by_conditions: HashMap<&'r MatchConditions, Vec<&'r LocatedRoute>>,
}

impl<'r> Slot<'r> {
    fn add(&mut self, located: &'r LocatedRoute) {
        let conditions = &located.route.conditions;
        let same = self.by_shape.entry(conditions.shape()).or_default();
        same.specificity = conditions.specificity();
        let equal = same.by_conditions.entry(conditions).or_default();
        // A route that lists a host twice was reported already.
        if !equal.iter().any(|other| other.at == located.at) {
            equal.push(located);
        }
    }

    /// Returns the first earlier route that may match the same request as `located`, where neither is more specific.
    fn rival(&self, located: &LocatedRoute) -> Option<&'r LocatedRoute> {
        let conditions = &located.route.conditions;
        let specificity = conditions.specificity();
        let shape = conditions.shape();
        let mut rivals = Vec::new();
        for (other, same) in &self.by_shape {
            if *other == shape {
                rivals.extend(same.by_conditions.get(conditions).into_iter().flatten());
            } else if same.specificity == specificity {
                let routes = same.by_conditions.values().flatten();
                rivals.extend(routes.filter(|other| self.is_undecided(&located.route, &other.route)));
            }
        }
        let is_rival = |other: &&&LocatedRoute| {
            other.at.0 < located.at.0 && intersect(&other.route.methods, &located.route.methods)
        };
        rivals
            .into_iter()
            .filter(is_rival)
            .min_by_key(|other| other.at.0)
            .copied()
    }

    /// Returns whether a request may meet the conditions of both routes, and no more specific route gets all such requests.
    fn is_undecided(&self, one: &Route, other: &Route) -> bool {
        let Some(both) = one.conditions.joined(&other.conditions) else {
            return false;
        };
        let more_specific = self
            .by_shape
            .values()
            .filter(|same| same.specificity > one.conditions.specificity());
        let mut deciding = more_specific.flat_map(|same| same.by_conditions.values().flatten());
        !deciding.any(|decides| {
            both.implies(&decides.route.conditions) && covers(&decides.route.methods, &one.methods, &other.methods)
        })
    }
}

fn report(first: &LocatedRoute, second: &LocatedRoute, checker: &mut Checker<'_>) {
    let at = checker.tree.entry(second.at, "match").unwrap_or(second.at);
    let first_at = checker.tree.entry(first.at, "match").unwrap_or(first.at);
    let problem = format!(
        "route `{}` matches requests that route `{}` ({}) matches too",
        second.route.name,
        first.route.name,
        checker.tree.whereabouts(first_at, at),
    );
    let path = |located: &LocatedRoute| printable(located.route.path.as_str());
    let (one, other) = (path(first), path(second));
    let hint = if first.route.conditions == second.route.conditions {
        format!("`{one}` and `{other}` have one shape; give them different hosts, paths, methods or conditions")
    } else {
        format!(
            "neither {} nor {} is more specific, and a request may meet both; add a condition to one of them, or a route with \
             both",
            fields_text(&first.route.conditions),
            fields_text(&second.route.conditions)
        )
    };
    checker.error_with(at, "overlapping-routes", problem, hint);
}

/// Returns the fields that the conditions are about. Not their values, which may be from the environment.
fn fields_text(conditions: &MatchConditions) -> String {
    let fields: Vec<String> = conditions.iter().map(|condition| condition.field.to_string()).collect();
    format!("the condition on {}", fields.join(" and "))
}

/// Returns a path pattern without the names in braces: `/v1/{id}` and `/v1/{order}` match the same paths.
pub(in crate::config) fn shape(path: &str) -> String {
    let segment = |segment: &str| {
        if segment.starts_with("{*") {
            "{*}".to_owned()
        } else if segment.starts_with('{') {
            "{}".to_owned()
        } else {
            segment.to_owned()
        }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// Returns whether routes with these lists take a method in common, and neither is more specific about it: a route that lists
/// a method gets it before a route without a list.
fn intersect(a: &[Method], b: &[Method]) -> bool {
    match (a, b) {
        ([], []) => true,
        ([], _) | (_, []) => false,
        (a, b) => common(a, b).next().is_some(),
    }
}

/// Returns the methods that both lists contain.
fn common<'m>(a: &'m [Method], b: &'m [Method]) -> impl Iterator<Item = &'m Method> {
    let all = DEFAULT_METHODS.iter().chain(a).chain(b);
    all.filter(move |method| list_has(a, method) && list_has(b, method))
}

/// Returns whether a route with `methods` gets every method that routes with the lists `a` and `b` have in common.
fn covers(methods: &[Method], a: &[Method], b: &[Method]) -> bool {
    match (a, b) {
        ([], []) => methods.is_empty() || DEFAULT_METHODS.iter().all(|method| list_has(methods, method)),
        (a, b) => common(a, b).all(|method| list_has(methods, method)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_overlaps_with_get() {
        let check = |a: &[Method], b: &[Method], expected| {
            assert_eq!(intersect(a, b), expected, "{a:?} {b:?}");
            assert_eq!(intersect(b, a), expected, "{b:?} {a:?}");
        };
        check(&[Method::GET], &[Method::HEAD], true);
        check(&[Method::GET], &[Method::GET, Method::POST], true);
        check(&[Method::GET, Method::POST], &[Method::PUT, Method::POST], true);
        check(&[], &[], true);
        check(&[Method::HEAD], &[Method::POST], false);
        check(&[Method::GET], &[Method::POST], false);
    }

    #[test]
    fn a_route_that_lists_a_method_is_more_specific_than_one_without_a_list() {
        let own = |name: &str| Method::from_bytes(name.as_bytes()).unwrap();
        assert!(!intersect(&[], &[own("PROPFIND")]) && !intersect(&[own("PURGE")], &[]));
        assert!(!intersect(&[], &[own("PROPFIND"), Method::GET]) && !intersect(&[Method::HEAD], &[]));
        assert!(intersect(&[own("PURGE")], &[own("PURGE")]) && !intersect(&[own("PURGE")], &[own("BAN")]));
    }

    #[test]
    fn a_route_decides_between_two_if_it_gets_each_method_that_both_take() {
        let (get, post) = ([Method::GET], [Method::GET, Method::POST]);
        assert!(covers(&get, &get, &post) && covers(&post, &post, &post));
        assert!(!covers(&get, &post, &post) && !covers(&[Method::HEAD], &get, &post));
        assert!(covers(&[], &[], &[]) && covers(&DEFAULT_METHODS, &[], &[]));
        // A route without a list comes after those that list the method.
        assert!(!covers(&[], &get, &post) && !covers(&get, &[], &[]));
    }

    #[test]
    fn names_in_braces_do_not_tell_paths_apart() {
        let check = |a: &str, b: &str, same: bool| assert_eq!(shape(a) == shape(b), same, "{a} {b}");
        check("/{x}", "/{y}", true);
        check("/a/{*x}", "/a/{*y}", true);
        check("/{x}/{y}", "/{a}/{b}", true);
        check("/{x}", "/{*x}", false);
        check("/a/{x}", "/a/b", false);
        check("/a", "/a/", false);
        check("/a", "/A", false);
    }
}
