//! Do the requests of web pages come to the routes that match by headers? A preflight goes ahead of them without these headers.

use crate::config::check::Checker;
use crate::config::match_condition::MatchField;
use crate::config::overlap::shape;
use crate::config::pattern::HostPattern;
use crate::config::pattern::takes;
use crate::config::reserved_field;
use crate::config::route::LocatedRoute;
use http::HeaderName;
use http::header::ACCEPT;
use http::header::ACCEPT_LANGUAGE;
use http::header::CONTENT_LANGUAGE;
use http::header::CONTENT_TYPE;
use std::collections::HashMap;

/// Warns of routes with CORS rules that a page's request cannot come to.
pub(in crate::config) fn warn(routes: &[LocatedRoute], checker: &mut Checker<'_>) {
    let mut slots: HashMap<(&HostPattern, String), Vec<&LocatedRoute>> = HashMap::new();
    for located in routes {
        for host in &located.route.hosts {
            let slot = slots.entry((host, shape(located.route.path.as_str()))).or_default();
            slot.push(located);
        }
    }
    for located in routes.iter().filter(|located| located.route.cors.is_some()) {
        warn_of_unlisted_headers(located, checker);
        let mut rivals = located.route.hosts.iter().filter_map(|host| {
            let slot = slots.get(&(host, shape(located.route.path.as_str())))?;
            slot.iter().find(|other| differs(located, other))
        });
        if let Some(other) = rivals.next() {
            let at = checker.tree.first_of(located.at, &["cors"]);
            let problem = format!(
                "preflights are not answered: route `{}` ({}) may get the same request, and its CORS rules differ",
                other.route.name,
                checker.tree.whereabouts(other.at, at)
            );
            let hint =
                "a preflight does not have the headers that decide between the two; write the same `cors` on both";
            checker.warn(at, "cors-differ", problem, hint);
        }
    }
}

/// Returns whether `other` may get a request that a preflight for `located` announces, and has other CORS rules.
fn differs(located: &LocatedRoute, other: &LocatedRoute) -> bool {
    let (one, other) = (&located.route, &other.route);
    let Some(cors) = one.cors.as_ref().filter(|_| one.name != other.name) else {
        return false;
    };
    // Without a list of headers, it follows from the credentials.
    let is_same = one.cors == other.cors && (cors.headers.is_some() || one.accept == other.accept);
    !is_same && cors.methods.iter().any(|method| takes(&other.methods, method))
}

/// Warns of headers that the route matches by and that no page may set.
fn warn_of_unlisted_headers(located: &LocatedRoute, checker: &mut Checker<'_>) {
    let listed = located.route.cors.as_ref().and_then(|cors| cors.headers.as_ref());
    let may_be_set = |name: &HeaderName| {
        // CORS-safelisted request-headers, and those that browsers send by themselves (Fetch standard).
        let safelisted = [ACCEPT, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, CONTENT_TYPE];
        safelisted.contains(name)
            || is_forbidden_request_header(name.as_str())
            || listed.is_some_and(|listed| listed.contains(name))
    };
    for name in located.route.conditions.headers().filter(|name| !may_be_set(name)) {
        let at = reserved_field::place(located, &MatchField::Header(name.clone()), checker);
        let problem = format!("no page may set `{name}`, so no request of a page comes here");
        let hint = "add it to `cors.headers`, beside the header of the credential";
        checker.warn(at, "header-not-in-cors", problem, hint);
    }
}

/// Returns whether a browser lets no page set the header (Fetch standard, "forbidden request-header"). `name` is in lower
/// case.
pub(in crate::config) fn is_forbidden_request_header(name: &str) -> bool {
    name.starts_with("sec-")
        || name.starts_with("proxy-")
        || matches!(
            name,
            "accept-charset"
                | "accept-encoding"
                | "access-control-request-headers"
                | "access-control-request-method"
                | "connection"
                | "content-length"
                | "cookie"
                | "cookie2"
                | "date"
                | "dnt"
                | "expect"
                | "host"
                | "keep-alive"
                | "origin"
                | "referer"
                | "set-cookie"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "via"
        )
}
