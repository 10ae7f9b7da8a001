//! Which routes match the same request? Two such routes are an error: the choice must not be chance.

use crate::config::check::Checker;
use crate::config::pattern::DEFAULT_METHODS;
use crate::config::pattern::HostPattern;
use crate::config::pattern::takes;
use crate::config::route::LocatedRoute;
use crate::config::tree::printable;
use http::Method;
use std::collections::HashMap;

/// Reports every route that shares a host, a path shape and a method with an earlier one.
///
/// Patterns of different shapes may match the same path (`/v1/{id}` and `/v1/open`), as may `api.example.com` and
/// `*.example.com`. There the more specific pattern wins (`gate::accept::matcher`).
pub(in crate::config) fn refuse(routes: &[LocatedRoute], checker: &mut Checker<'_>) {
    let mut routes_by_shape: HashMap<(&HostPattern, String), Vec<&LocatedRoute>> = HashMap::new();
    for located in routes {
        let shape = shape(located.route.path.as_str());
        let mut reported = false;
        for host in &located.route.hosts {
            let earlier = routes_by_shape.entry((host, shape.clone())).or_default();
            let rival = earlier
                .iter()
                .find(|other| other.at != located.at && intersect(&other.route.methods, &located.route.methods));
            if let Some(other) = rival.filter(|_| !reported) {
                report(other, located, checker);
                reported = true;
            }
            // A route that lists a host twice was reported already.
            if !earlier.iter().any(|other| other.at == located.at) {
                earlier.push(located);
            }
        }
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
    let hint = format!(
        "`{}` and `{}` have one shape; give them different hosts, paths or methods",
        path(first),
        path(second)
    );
    checker.error_with(at, "overlapping-routes", problem, hint);
}

/// Returns a path pattern without the names in braces: `/v1/{id}` and `/v1/{order}` match the same paths.
fn shape(path: &str) -> String {
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

/// Returns whether routes with these lists take a method in common.
fn intersect(a: &[Method], b: &[Method]) -> bool {
    DEFAULT_METHODS
        .iter()
        .chain(a)
        .chain(b)
        .any(|method| takes(a, method) && takes(b, method))
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
        check(&[], &[Method::POST], true);
        check(&[], &[], true);
        check(&[Method::HEAD], &[Method::POST], false);
        check(&[Method::GET], &[Method::POST], false);
    }

    #[test]
    fn a_route_without_a_list_takes_no_method_of_the_operators_own() {
        let own = |name: &str| Method::from_bytes(name.as_bytes()).unwrap();
        assert!(!intersect(&[], &[own("PROPFIND")]) && !intersect(&[own("PURGE")], &[]));
        assert!(intersect(&[], &[own("PROPFIND"), Method::GET]) && intersect(&[Method::HEAD], &[]));
        assert!(intersect(&[own("PURGE")], &[own("PURGE")]) && !intersect(&[own("PURGE")], &[own("BAN")]));
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
