//! Which route wins, which requests never reach a less specific route, and does the trie agree with a simple matcher?

use super::*;
use crate::config::MatchField;
use crate::config::ValuePattern;
use crate::config::match_condition::MatchCondition;
use crate::gate::accept::matched_field::FieldFault;
use http::HeaderName;
use http::HeaderValue;
use proptest::prelude::*;

/// A route of the tests: host (`*` any, `*.a` suffix), path, methods and conditions separated by spaces, and value. A
/// condition is `x-a=1`, `x-a=1*` for a prefix, `x-a=*`, or the same after `?` for the query.
type Row<'c> = (&'c str, &'c str, &'c str, &'c str);

fn host_pattern(host: &str) -> HostPattern {
    match (host, host.strip_prefix("*.")) {
        ("*", _) => HostPattern::Any,
        (_, Some(suffix)) => HostPattern::Suffix(suffix.to_owned()),
        (_, None) => HostPattern::Exact(host.to_owned()),
    }
}

fn conditions(words: &str) -> MatchConditions {
    let condition = |word: &str| {
        let (name, value) = word.split_once('=')?;
        Some(MatchCondition {
            field: match name.strip_prefix('?') {
                Some(name) => MatchField::Parameter(name.to_owned()),
                None => MatchField::Header(name.parse().unwrap()),
            },
            pattern: match value.strip_suffix('*') {
                Some("") => ValuePattern::Present,
                Some(prefix) => ValuePattern::Prefix(prefix.to_owned()),
                None => ValuePattern::Exact(value.to_owned()),
            },
        })
    };
    MatchConditions::new(words.split_whitespace().filter_map(condition).collect())
}

fn compile<'c>(rows: &[Row<'c>]) -> Result<Matcher<&'c str>, MatcherError> {
    let parts: Vec<_> = rows
        .iter()
        .map(|(host, path, methods, value)| {
            let conditions = conditions(methods);
            let methods: Vec<Method> = methods
                .split_whitespace()
                .filter(|word| !word.contains('='))
                .map(|method| method.parse().unwrap())
                .collect();
            (
                [host_pattern(host)],
                path.parse::<PathPattern>().unwrap(),
                methods,
                conditions,
                *value,
            )
        })
        .collect();
    Matcher::compile(parts.iter().map(|(hosts, path, methods, conditions, value)| {
        let pattern = Pattern {
            hosts,
            path,
            methods,
            conditions,
        };
        (pattern, *value)
    }))
}

fn starts_alike(a: &&str, b: &&str) -> bool {
    a.as_bytes()[0] == b.as_bytes()[0]
}

/// Returns the result of `matcher.find`, where values protect alike when they start with the same letter. After the method,
/// `request` has fields `x-a=1` and a query `?a=1`.
fn find<'m>(matcher: &'m Matcher<&'m str>, host: &str, path: &str, request: &str) -> Lookup<'m, &'m str> {
    let mut words = request.split_whitespace();
    let method: Method = words.next().unwrap().parse().unwrap();
    let (mut headers, mut query) = (HeaderMap::new(), None);
    for word in words {
        match (word.strip_prefix('?'), word.split_once('=')) {
            (None, Some((name, value))) => {
                let name: HeaderName = name.parse().unwrap();
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            (parameters, _) => query = parameters,
        }
    }
    let parts = RequestParts {
        host,
        path,
        method: &method,
        headers: &headers,
        query,
    };
    matcher.find(&parts, starts_alike)
}

#[track_caller]
fn check(rows: &[Row<'_>], host: &str, path: &str, method: &str, expected: &str) {
    let matcher = compile(rows).unwrap();
    let found = match find(&matcher, host, path, method) {
        Lookup::ConditionsUnmet => "unmet".to_owned(),
        Lookup::Ambiguous(ambiguous) => format!("ambiguous {}", ambiguous.field.name()),
        Lookup::Found(value) => (*value).to_owned(),
        Lookup::NearMiss => "near".to_owned(),
        Lookup::MethodNotAllowed(allowed) => allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(" "),
        Lookup::NotFound => "none".to_owned(),
    };
    assert_eq!(found, expected, "{method} {host} {path}");
}

#[test]
fn a_literal_wins_over_a_parameter_and_that_over_the_rest() {
    let rows = [
        ("*", "/", "", "a-root"),
        ("*", "/a", "", "a-literal"),
        ("*", "/{x}", "", "a-param"),
        ("*", "/{*rest}", "", "a-rest"),
        ("*", "/a/{x}/c", "", "a-inner"),
        ("*", "/{x}/b/{*rest}", "", "a-inner-rest"),
        ("*", "/a/", "", "a-slash"),
    ];
    for (path, expected) in [
        ("/", "a-root"),
        ("/a", "a-literal"),
        ("/b", "a-param"),
        ("/a/", "a-slash"),
        ("/b/", "a-rest"),
        ("/a/b/c", "a-inner"),
        ("/a/b/d", "a-inner-rest"),
        ("/a/b/c/d", "a-inner-rest"),
        ("/x/b/c", "a-inner-rest"),
        ("/x/c/c", "a-rest"),
        ("/x/b/", "a-rest"),
        ("/x/b", "a-rest"),
    ] {
        check(&rows, "h", path, "GET", expected);
    }
}

/// With a pattern that differs from its folded form, the folded patterns have a trie of their own.
#[test]
fn the_root_is_no_near_miss_of_the_rest() {
    let rows = [
        ("*", "/", "", "a-root"),
        ("*", "/{*rest}", "", "b-rest"),
        ("*", "/C", "", "c"),
    ];
    for rows in [&rows[..2], &rows] {
        check(rows, "h", "/", "GET", "a-root");
        check(rows, "h", "/x/", "GET", "b-rest");
    }
}

#[test]
fn the_rest_is_one_character_at_least_and_a_parameter_one_segment() {
    let rows = [("*", "/a/{*rest}", "", "a"), ("*", "/b/{x}", "", "b")];
    for (path, expected) in [
        ("/a", "none"),
        ("/a/", "none"),
        ("/a/x", "a"),
        ("/a/x/y/", "a"),
        ("/a//", "a"),
        ("/b/", "none"),
        ("/b/x", "b"),
        ("/b/x/", "none"),
        ("/b//x", "none"),
        ("/", "none"),
        ("/ax", "none"),
    ] {
        check(&rows, "h", path, "GET", expected);
    }
    check(&[], "h", "/", "GET", "none");
}

#[test]
fn an_exact_host_wins_over_the_longest_suffix_and_that_over_any() {
    let rows = [
        ("*", "/{*rest}", "", "any"),
        ("*.example.com", "/x", "", "suffix"),
        ("*.b.example.com", "/x", "", "sub-suffix"),
        ("a.b.example.com", "/x", "", "zexact"),
    ];
    for (host, expected) in [
        ("a.b.example.com", "zexact"),
        ("c.b.example.com", "sub-suffix"),
        ("d.c.b.example.com", "sub-suffix"),
        ("b.example.com", "suffix"),
        ("example.com", "any"),
        ("xexample.com", "any"),
        ("", "any"),
        ("com", "any"),
    ] {
        check(&rows, host, "/x", "GET", expected);
    }
    // A host without a matching path leaves the request to less specific hosts.
    check(&rows, "a.b.example.com", "/y", "GET", "any");
}

#[test]
fn s099_the_most_specific_path_decides_about_methods() {
    let rows = [
        ("*", "/{*rest}", "", "any"),
        ("*", "/orders/{id}", "GET PURGE", "orders"),
        ("h", "/only", "POST", "only"),
    ];
    check(&rows, "h", "/orders/1", "GET", "orders");
    check(&rows, "h", "/orders/1", "HEAD", "orders");
    check(&rows, "h", "/orders/1", "PURGE", "orders");
    check(&rows, "h", "/orders/1", "DELETE", "GET HEAD PURGE");
    check(&rows, "h", "/orders/1", "get", "GET HEAD PURGE");
    check(&rows, "h", "/only", "HEAD", "POST");
    check(&rows, "h", "/other", "PATCH", "any");
    check(&rows, "h", "/other", "PURGE", "GET HEAD POST PUT DELETE OPTIONS PATCH");
    check(&rows, "h", "/other", "TRACE", "GET HEAD POST PUT DELETE OPTIONS PATCH");
}

#[test]
fn routes_share_a_path_by_methods() {
    let rows = [
        ("*", "/o/{id}", "GET", "read"),
        ("*", "/o/{other_name}", "POST", "write"),
        ("*", "/o/{id}", "", "all"),
        ("*", "/p", "HEAD", "head"),
        ("*", "/p", "PUT", "put"),
    ];
    check(&rows, "h", "/o/1", "GET", "read");
    check(&rows, "h", "/o/1", "HEAD", "read");
    check(&rows, "h", "/o/1", "POST", "write");
    check(&rows, "h", "/o/1", "PUT", "all");
    check(&rows, "h", "/p", "HEAD", "head");
}

#[test]
fn indistinguishable_routes_do_not_compile() {
    let overlap = |rows: &[Row<'_>]| compile(rows).err();
    let expected = Some(MatcherError::Overlap { first: 0, second: 1 });
    assert_eq!(overlap(&[("*", "/{a}", "", "a"), ("*", "/{b}", "", "b")]), expected);
    assert_eq!(
        overlap(&[("*", "/a", "GET", "a"), ("*", "/a", "POST GET", "b")]),
        expected
    );
    assert_eq!(overlap(&[("*", "/a", "HEAD", "a"), ("*", "/a", "GET", "b")]), expected);
    assert_eq!(
        overlap(&[("*", "/a", "x-a=1 ?b=2*", "a"), ("*", "/a", "?b=2* x-a=1", "b")]),
        expected
    );
    assert_eq!(overlap(&[("*", "/a", "GET", "a"), ("h", "/a", "GET", "b")]), None);
    assert_eq!(overlap(&[("*", "/a", "GET GET HEAD", "a")]), None);
    assert_eq!(overlap(&[("*", "/a", "x-a=1", "a"), ("*", "/a", "x-a=1*", "b")]), None);
}

#[test]
fn the_most_specific_conditions_win_and_a_miss_goes_to_the_next() {
    let rows = [
        ("*", "/o", "", "any"),
        ("*", "/o", "x-v=2", "two"),
        ("*", "/o", "x-v=2 x-beta=*", "two-beta"),
        ("*", "/o", "x-v=2 ?dry=yes", "two-dry"),
        ("*", "/o", "x-v=2*", "twos"),
        ("*", "/o", "x-v=2.1*", "two-ones"),
        ("*", "/o", "x-v=*", "some"),
        ("*", "/o", "?dry=yes", "dry"),
        ("*", "/o", "GET x-v=9", "listed"),
    ];
    for (request, expected) in [
        ("PUT", "any"),
        ("PUT ?dry=no", "any"),
        ("PUT ?dry=yes", "dry"),
        ("PUT x-v=2", "two"),
        ("PUT X-V=2", "two"),
        ("PUT x-v=2 ?dry=yes", "two-dry"),
        ("PUT x-v=2 x-beta=", "two-beta"),
        ("PUT x-v=2 x-beta= ?dry=yes", "two-beta"),
        ("PUT x-v=2.0", "twos"),
        ("PUT x-v=2.1", "two-ones"),
        ("PUT x-v=2.15", "two-ones"),
        ("PUT x-v=1", "some"),
        ("PUT x-v=", "some"),
        ("PUT x-v=3 ?dry=yes", "some"),
        ("GET x-v=9", "listed"),
        ("HEAD x-v=9", "listed"),
        ("PUT x-v=9", "some"),
        ("GET x-v=2", "two"),
        ("GET", "any"),
    ] {
        check(&rows, "h", "/o", request, expected);
    }
}

#[test]
fn s099_conditions_that_do_not_hold_lead_to_no_less_specific_path_or_host() {
    let rows = [
        ("*", "/{*rest}", "", "rest"),
        ("*", "/o", "x-v=1", "one"),
        ("*", "/o", "POST ?q=1", "write"),
        ("*.d", "/p", "", "suffix"),
        ("h.d", "/p", "x-v=1", "exact"),
    ];
    check(&rows, "h", "/o", "GET x-v=1", "one");
    check(&rows, "h", "/o", "GET", "unmet");
    check(&rows, "h", "/o", "GET x-v=2", "unmet");
    check(&rows, "h", "/o", "POST ?q=2", "unmet");
    check(&rows, "h", "/o", "POST x-v=1", "one");
    check(
        &rows,
        "h",
        "/o",
        "PURGE x-v=1",
        "GET HEAD POST PUT DELETE OPTIONS PATCH",
    );
    check(&rows, "h.d", "/p", "GET x-v=1", "exact");
    check(&rows, "h.d", "/p", "GET", "unmet");
    check(&rows, "x.d", "/p", "GET", "suffix");
}

#[test]
fn only_the_fields_that_decide_between_routes_of_the_slot_must_be_certain() {
    let rows = [
        ("*", "/o", "x-v=1 x-w=1", "both"),
        ("*", "/o", "?q=1", "query"),
        ("*", "/o", "", "any"),
        ("*", "/p", "", "other"),
        ("*", "/q", "GET", "plain"),
        ("*", "/q", "x-v=1", "other-method"),
    ];
    check(&rows, "h", "/o", "GET x-v=1 x-v=1", "ambiguous x-v");
    check(&rows, "h", "/o", "GET x-w=2 x-w=1", "ambiguous x-w");
    check(&rows, "h", "/o", "GET x-v=1 x-w=1 ?q=1&q=1", "ambiguous q");
    check(&rows, "h", "/o", "GET x-u=1 x-u=2 ?a&a", "any");
    check(&rows, "h", "/p", "GET x-v=1 x-v=1 ?q&q", "other");
    check(&rows, "h", "/q", "GET x-v=1 x-v=1", "plain");
    check(&rows, "h", "/q", "PUT x-v=1 x-v=1", "ambiguous x-v");
    let matcher = compile(&rows).unwrap();
    let Lookup::Ambiguous(ambiguous) = find(&matcher, "h", "/o", "GET ?q=%zz") else {
        panic!("the parameter is malformed");
    };
    assert_eq!(ambiguous.fault, FieldFault::ParameterEncoding);
}

#[test]
fn s091_every_route_of_the_near_path_must_protect_alike_whatever_its_conditions() {
    let public = ("*", "/{*rest}", "", "public");
    let secret_by_header = [public, ("*", "/a", "x-v=1", "secret"), ("*", "/a", "", "public-a")];
    for request in ["GET", "GET x-v=1", "GET x-v=2"] {
        check(&secret_by_header, "h", "/A", request, "near");
    }
    check(&secret_by_header, "h", "/a", "GET", "public-a");
    check(&secret_by_header, "h", "/a", "GET x-v=1", "secret");
    let alike = [public, ("*", "/a", "x-v=1", "public-1"), ("*", "/a", "", "public-a")];
    check(&alike, "h", "/A", "GET x-v=1", "public");
    // `/a` would be answered with 404 without the header.
    let not_always = [public, ("*", "/a", "x-v=1", "public-1")];
    check(&not_always, "h", "/A", "GET x-v=1", "near");
    check(&not_always, "h", "/A", "GET", "near");
    // The route of the request is one with conditions.
    let own = [
        ("*", "/{*rest}", "x-v=1", "public"),
        ("*", "/{*rest}", "", "secret"),
        ("*", "/a", "", "secret"),
    ];
    check(&own, "h", "/A", "GET x-v=1", "near");
    check(&own, "h", "/A", "GET", "secret");
}

#[test]
fn candidates_are_all_routes_of_the_path_and_method_whatever_their_conditions() {
    let rows = [
        ("*", "/o", "", "any"),
        ("*", "/o", "x-v=1", "one"),
        ("*", "/o", "GET ?q=1", "get"),
        ("*", "/{*rest}", "", "rest"),
        ("*", "/O/x", "x-v=1", "zzz"),
    ];
    let matcher = compile(&rows).unwrap();
    let of = |path: &str, method: Method| matcher.candidates("h", path, &method, starts_alike);
    assert_eq!(of("/o", Method::HEAD), Ok(vec![&"get", &"one", &"any"]));
    assert_eq!(of("/o", Method::PUT), Ok(vec![&"one", &"any"]));
    assert_eq!(of("/x", Method::PUT), Ok(vec![&"rest"]));
    assert_eq!(of("/", Method::PUT), Err(Lookup::NotFound));
    assert_eq!(of("/o/X", Method::PUT), Err(Lookup::NearMiss));
    let purge = Method::from_bytes(b"PURGE").unwrap();
    assert!(matches!(of("/o", purge), Err(Lookup::MethodNotAllowed(_))));
}

#[test]
fn escapes_match_in_normal_form() {
    let rows = [("*", "/caf%C3%A9/~me", "", "a")];
    check(&rows, "h", "/caf%C3%A9/~me", "GET", "a");
}

#[test]
fn s095_a_dot_is_a_dot() {
    let rows = [("*", "/v1.0/x", "", "a")];
    check(&rows, "h", "/v1.0/x", "GET", "a");
    check(&rows, "h", "/v1x0/x", "GET", "none");
    check(&rows, "h", "/v1.0/xy", "GET", "none");
    check(&rows, "h", "/y/v1.0/x", "GET", "none");
}

#[test]
fn s091_near_misses_of_a_protected_path_are_not_found() {
    let rows = [("*", "/{*rest}", "", "public"), ("*", "/admin", "", "secret")];
    check(&rows, "h", "/admin", "GET", "secret");
    for path in [
        "/ADMIN",
        "/admin/",
        "/admin.",
        "/admin;x",
        "/Admin;x=1/",
        "/admin%20",
        "//admin",
        "/;x/admin",
        "/admin%3Fx",
        "/%2Fadmin",
        "/%2541dmin",
    ] {
        check(&rows, "h", path, "GET", "near");
    }
    for path in ["/admins", "/x/admin", "/admin/x", "/README.md", "/a;b", "/X/"] {
        check(&rows, "h", path, "GET", "public");
    }
}

#[test]
fn s091_the_guard_holds_inside_a_path_and_across_hosts() {
    let rows = [
        ("*", "/{*rest}", "", "public"),
        ("h", "/u/{id}/keys", "", "secret"),
        ("*.d", "/Reports/", "", "secret"),
        ("*", "/files/secret/{*rest}", "", "secret"),
    ];
    check(&rows, "h", "/u/7/keys", "GET", "secret");
    check(&rows, "h", "/u/7/KEYS", "GET", "near");
    check(&rows, "h", "/U/7;a/keys/", "GET", "near");
    check(&rows, "other", "/u/7/KEYS", "GET", "public");
    // A pattern that is not folded has a folded path among its near misses.
    check(&rows, "a.d", "/Reports/", "GET", "secret");
    check(&rows, "a.d", "/reports", "GET", "near");
    check(&rows, "a.d", "/Reports", "GET", "near");
    // Separators that the upstream may add or drop.
    check(&rows, "h", "/files//secret/x", "GET", "near");
    check(&rows, "h", "/files/secret%2Fx", "GET", "near");
    // A rule for everything below a folder protects the folder too.
    check(&rows, "h", "/files/secret", "GET", "near");
    check(&rows, "h", "/files/secret/", "GET", "near");
}

#[test]
fn s091_encoded_slashes_belong_to_the_rest() {
    let catch_all = ("*", "/{*rest}", "", "secret");
    let as_name = [catch_all, ("*", "/fetch/{url}", "", "public")];
    let as_rest = [catch_all, ("*", "/fetch/{*url}", "", "public")];
    check(&as_name, "h", "/fetch/https%3A%2F%2Fa", "GET", "near");
    check(&as_rest, "h", "/fetch/https%3A%2F%2Fa", "GET", "public");
    check(&as_name, "h", "/fetch/a", "GET", "public");
}

#[test]
fn s091_a_method_that_the_near_route_refuses_is_a_near_miss() {
    let rows = [("*", "/{*rest}", "", "public"), ("*", "/admin", "POST", "secret")];
    check(&rows, "h", "/admin", "GET", "POST");
    check(&rows, "h", "/admin/", "GET", "near");
    check(&rows, "h", "/admin/", "POST", "near");
}

#[test]
fn s091_routes_that_protect_alike_may_be_near() {
    let rows = [("*", "/{*rest}", "", "same-rest"), ("*", "/admin", "", "same-admin")];
    check(&rows, "h", "/ADMIN", "GET", "same-rest");
    check(&rows, "h", "/admin/", "GET", "same-rest");
}

#[test]
fn s091_two_spellings_that_are_both_routes_are_distinguished() {
    let rows = [
        ("*", "/docs", "", "public"),
        ("*", "/Docs", "", "secret"),
        ("*", "/docs/", "", "zeta"),
    ];
    check(&rows, "h", "/docs", "GET", "public");
    check(&rows, "h", "/Docs", "GET", "secret");
    check(&rows, "h", "/docs/", "GET", "zeta");
    check(&rows, "h", "/DOCS", "GET", "none");
}

#[test]
fn one_walk_is_enough_for_usual_routes_and_paths() {
    let plain = ("*", "/v1/orders/{*rest}", "", "a");
    let check = |rows: &[Row<'_>], path: &str, is_enough: bool| {
        let matcher = compile(rows).unwrap();
        assert_eq!(matcher.exact("h.d", path).1, is_enough, "{path} {rows:?}");
    };
    check(&[plain, ("*", "/", "", "b")], "/v1/orders/7", true);
    check(&[plain, ("h.d", "/{x}", "", "b")], "/v1/orders/7", true);
    // A request for `/v1/orders` may reach the resource that `/v1/orders/{*rest}` protects.
    check(&[plain, ("*", "/v1/{x}", "", "b")], "/v1/orders", false);
    check(&[plain], "/v1/Orders/7", false);
    check(&[plain], "/v1/orders/7/", false);
    check(&[plain, ("*", "/v1/B", "", "b")], "/v1/orders/7", false);
    check(&[plain, ("h.d", "/v1/b/", "", "b")], "/v1/orders/7", false);
}

#[test]
fn listed_methods_are_known_to_the_rules() {
    let matcher = compile(&[("*", "/a", "GET PURGE", "a"), ("*", "/b", "", "b")]).unwrap();
    let methods: Vec<_> = matcher.methods().map(Method::as_str).collect();
    assert_eq!(methods, ["GET", "HEAD", "PURGE"]);
}

/// Returns how specifically `pattern` matches, one number a segment, smaller is more specific; `None` for no match.
fn slow_match(pattern: &str, path: &str) -> Option<Vec<u8>> {
    let (pattern_head, pattern_tail) = split(pattern);
    let (head, tail) = split(path);
    if pattern_head.starts_with("{*") {
        let whole = path.strip_prefix('/').unwrap();
        return (!whole.is_empty()).then(|| vec![2]);
    }
    let is_param = pattern_head.starts_with('{');
    let rank = if is_param && !head.is_empty() {
        1
    } else if !is_param && head == pattern_head {
        0
    } else {
        return None;
    };
    let mut ranks = vec![rank];
    match (pattern_tail, tail) {
        (None, None) => {}
        (Some(pattern), Some(path)) => ranks.extend(slow_match(pattern, path)?),
        (None, Some(_)) | (Some(_), None) => return None,
    }
    Some(ranks)
}

fn split(path: &str) -> (&str, Option<&str>) {
    let path = path.strip_prefix('/').unwrap();
    match path.find('/') {
        Some(at) => (&path[..at], Some(&path[at..])),
        None => (path, None),
    }
}

fn slow_host(pattern: &str, host: &str) -> Option<usize> {
    match pattern.strip_prefix("*.") {
        _ if pattern == "*" => Some(usize::MAX),
        _ if pattern == host => Some(0),
        Some(suffix) if host.ends_with(&format!(".{suffix}")) => Some(1000 - suffix.len()),
        _ => None,
    }
}

fn slow<'c>(rows: &[Row<'c>], host: &str, path: &str) -> Option<&'c str> {
    let matches = rows
        .iter()
        .filter_map(|row| Some(((slow_host(row.0, host)?, slow_match(row.1, path)?), row.3)));
    matches.min_by(|a, b| a.0.cmp(&b.0)).map(|(_, value)| value)
}

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "A", "{x}", "{y}", "c.d"]);
    let last = prop::sample::select(vec!["", "a", "b", "{x}", "{*rest}", "{*rest}"]);
    (prop::collection::vec(segment, 0..3), last).prop_map(|(segments, last)| {
        let inner: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        format!("{inner}/{last}")
    })
}

fn rows() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let host = prop::sample::select(vec!["*", "h.d", "*.d", "*.h.d"]);
    prop::collection::vec((host, pattern()), 0..8)
}

const VALUES: [&str; 8] = ["p0", "p1", "p2", "p3", "s4", "s5", "s6", "s7"];

/// Returns rows with values, without those that overlap an earlier one.
fn compiled<'a>(rows: &'a [(&'static str, String)]) -> Vec<Row<'a>> {
    let mut kept: Vec<Row<'a>> = Vec::new();
    for (index, (host, path)) in rows.iter().enumerate() {
        // Mixes values in `p` and in `s`, so that protections differ.
        kept.push((host, path, "", VALUES[(index * 5) % 8]));
        if compile(&kept).is_err() {
            kept.pop();
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_trie_agrees_with_a_slow_obvious_matcher(
        rows in rows(),
        host in prop::sample::select(vec!["h.d", "x.d", "x.h.d", "d", "y"]),
        path in "(/(a|b|A|x|c\\.d|)){1,4}",
    ) {
        let rows = compiled(&rows);
        let matcher = compile(&rows).unwrap();
        let request = RequestParts { host, path: &path, method: &Method::GET, headers: &HeaderMap::new(), query: None };
        let found = match matcher.find(&request, |_, _| true) {
            Lookup::Found(value) => Some(*value),
            Lookup::NotFound => None,
            other => return Err(TestCaseError::fail(format!("protections are the same: {other:?}"))),
        };
        prop_assert_eq!(found, slow(&rows, host, &path));
    }

    #[test]
    fn the_table_of_conditions_agrees_with_trying_each_route(
        routes in prop::collection::vec("(x-a=[ab]{0,2}\\*? )?(x-b=[ab]\\*? )?(\\?q=[ab]{0,2}\\*? )?", 0..12),
        values in prop::collection::vec(prop::option::of("[ab]{0,3}"), 3),
    ) {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for conditions in &routes {
            rows.push(("*", "/o", conditions, conditions));
            if compile(&rows).is_err() {
                rows.pop();
            }
        }
        let matcher = compile(&rows).unwrap();
        let named = ["x-a=", "x-b=", "?q="].into_iter().zip(&values);
        let request: String = named.filter_map(|(name, value)| Some(format!(" {name}{}", value.as_ref()?))).collect();
        let value_of = |field: &MatchField| match field.name() {
            "x-a" => values[0].as_ref(),
            "x-b" => values[1].as_ref(),
            _ => values[2].as_ref(),
        };
        let is_met = |conditions: &MatchConditions| conditions.iter().all(|condition| {
            value_of(&condition.field).is_some_and(|value| condition.pattern.admits(value.as_bytes()))
        });
        let met = rows.iter().map(|row| conditions(row.2)).filter(is_met);
        let best = met.map(|conditions| conditions.specificity()).max();
        match find(&matcher, "h", "/o", &format!("GET{request}")) {
            Lookup::Found(found) => {
                prop_assert!(is_met(&conditions(found)), "{request} {found}");
                prop_assert_eq!(Some(conditions(found).specificity()), best, "{} {}", request, found);
            }
            Lookup::ConditionsUnmet | Lookup::MethodNotAllowed(_) | Lookup::NotFound => prop_assert_eq!(best, None),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }

    #[test]
    fn where_one_walk_is_enough_the_other_finds_the_same(
        rows in rows(),
        host in prop::sample::select(vec!["h.d", "x.d", "x.h.d", "d", "y"]),
        path in "(/(a|b|A|x|c\\.d|)){1,4}",
    ) {
        let rows = compiled(&rows);
        let matcher = compile(&rows).unwrap();
        if let (found, true) = matcher.exact(host, &path) {
            prop_assert_eq!(found.unwrap_or_default(), matcher.near(host, &path), "{} {:?}", path, rows);
        }
    }

    #[test]
    fn s091_another_spelling_never_reaches_another_protection(
        rows in rows(),
        path in "(/(a|b|A|x|c\\.d)){1,4}",
        host in prop::sample::select(vec!["h.d", "x.d", "x.h.d", "y"]),
        spelling in 0..7_usize,
    ) {
        let rows = compiled(&rows);
        let matcher = compile(&rows).unwrap();
        let other = match spelling {
            0 => path.to_ascii_uppercase(),
            1 => format!("{path}/"),
            2 => format!("{path}."),
            3 => format!("{path};x"),
            4 => path.replacen('/', "//", 1),
            5 => path.to_ascii_lowercase(),
            _ => path.replace('a', "%2561"),
        };
        let is_literal = |row: &Row<'_>| !row.1.contains('{');
        if let (Lookup::Found(one), Lookup::Found(two)) =
            (find(&matcher, host, &path, "GET"), find(&matcher, host, &other, "GET"))
        {
            // Two patterns that fold alike are both found, on purpose: the operator distinguished them.
            let folded: Vec<_> = rows.iter().map(|row| Segment::fold(&Segment::parse(&row.1.parse().unwrap()))).collect();
            let is_ambiguous = (1..folded.len()).any(|index| folded[..index].contains(&folded[index]));
            let is_protected_literally = rows.iter().any(|row| is_literal(row) && row.3 == *one);
            if is_protected_literally && !is_ambiguous {
                prop_assert_eq!(one.as_bytes()[0], two.as_bytes()[0], "{} {} {:?}", path, other, rows);
            }
        }
    }
}

/// A pattern escapes the bytes that the normal form of a request escapes.
#[test]
fn a_pattern_is_in_the_normal_form_of_every_byte_it_may_hold() {
    for byte in 0x21..0x7F_u8 {
        let written = format!("/a{}b", char::from(byte));
        let Ok(pattern) = written.parse::<crate::config::PathPattern>() else {
            continue;
        };
        let normal = crate::gate::accept::normalize::path(&written).unwrap();
        assert_eq!(pattern.as_str(), normal.text, "{written}");
    }
}

proptest! {
    /// A literal pattern whose path is refused in every request would match none.
    #[test]
    fn the_path_of_a_pattern_is_one_that_requests_may_have(
        parts in prop::collection::vec(prop::sample::select(vec!["a", ".", "..", ";", "%20", "%3B", "%C3%A9", "%25", "/", "|"]), 0..6)
    ) {
        let text = format!("/{}", parts.concat());
        if let Ok(pattern) = text.parse::<crate::config::PathPattern>() {
            let normal = normalize::path(pattern.as_str()).map(|path| (path.text.into_owned(), path.oddities));
            prop_assert_eq!(normal, Ok((pattern.as_str().to_owned(), normalize::Oddities::default())));
        }
    }
}
