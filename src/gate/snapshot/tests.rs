//! Which routes protect alike, and what does a compiled configuration contain?

use super::*;
use crate::model::clock::Timestamp;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Reasons;
use std::path::Path;

/// The path of the configuration, for relative paths in it.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/keygate.yaml");

const TOP: &str = "
listeners: [{ address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
store: { path: x.db }
api_keys: { pepper: \"01234567890123456789012345678901\" }
issuers:
  a: { issuer: https://a.test, audiences: [a], jwks_url: https://a.test/jwks, claim_headers: { /email: x-email, /name: x-name } }
  b: { issuer: https://b.test, audiences: [b], jwks_url: https://b.test/jwks, claim_headers: { /mail: x-email } }
  shadow: { issuer: https://c.test, audiences: [c], jwks_url: https://c.test/jwks, mode: shadow }
limits:
  one: { by: ip, quota: 1/s }
  two: { by: ip, quota: 2/s }
  shadow: { by: ip, quota: 3/s, mode: shadow }
plans:
  gold: { credentials: api_key, limits: [one, shadow] }
  silver: { credentials: api_key }
upstreams: { e: { builtin: echo } }
routes:
";

/// Compiles a configuration with these routes, each of the rest of its section.
fn compile(routes: &[&str]) -> Snapshot {
    let mut yaml = TOP.to_owned();
    for (index, section) in routes.iter().enumerate() {
        yaml.push_str(&format!(
            "  - {{ name: r{index}, match: {{ path: /{index} }}, upstream: e, {section} }}\n"
        ));
    }
    let config = config::parse(&yaml, Path::new(FILE), &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let reasons = Reasons {
        denials: &[],
        heads: &[],
        connections: &[],
    };
    let metrics = Arc::new(Metrics::new(&reasons, Timestamp::default()));
    Snapshot::compile(&config, &LiveState::new(metrics, "127.0.0.1:9".parse().unwrap())).unwrap()
}

#[track_caller]
fn check(one: &str, other: &str, expected: bool) {
    let snapshot = compile(&[one, other]);
    let [one_route, other_route] = &*snapshot.routes else {
        panic!("two routes");
    };
    let found = one_route.protects_like(other_route, &Method::GET);
    assert_eq!(found, expected, "{one} | {other}");
    assert_eq!(
        other_route.protects_like(one_route, &Method::GET),
        expected,
        "{other} | {one}"
    );
}

#[test]
fn s091_routes_protect_alike_if_all_that_can_refuse_is_the_same() {
    let jwt = "accept: [jwt], issuers: [a]";
    check(jwt, jwt, true);
    check(jwt, "public: true", false);
    check(jwt, "accept: [jwt, api_key], issuers: [a]", false);
    check("accept: [api_key]", "accept: [jwt, api_key], issuers: [a]", false);
    check(jwt, "accept: [jwt], issuers: [b]", false);
    check(jwt, "accept: [jwt], issuers: [a], audiences: [x]", false);
    for (more, other) in [
        ("scopes: { all: [x] }", "scopes: { all: [y] }"),
        ("limits: [one]", "limits: [two]"),
        (
            "addresses: { allow: [10.0.0.0/8] }",
            "addresses: { deny: [10.0.0.0/8] }",
        ),
        ("addresses: { allow: [10.0.0.0/8] }", "forward_credential: false"),
        ("limits: [one]", "forward_credential: false"),
        ("cors: { origins: https://a.test }", "cors: { origins: https://b.test }"),
    ] {
        check(&format!("{jwt}, {more}"), &format!("{jwt}, {more}"), true);
        check(&format!("{jwt}, {more}"), &format!("{jwt}, {other}"), false);
    }
    let key = "accept: [api_key]";
    check(
        &format!("{key}, plans: [gold]"),
        &format!("{key}, plans: [silver]"),
        false,
    );
    check(
        &format!("{key}, plans: [gold, silver]"),
        &format!("{key}, plans: [silver, gold]"),
        true,
    );
    let both = "accept: [jwt, api_key], issuers: [a]";
    check(both, &format!("{both}, two_credentials: report"), false);
    // A limit in shadow mode refuses nothing.
    check(
        &format!("{jwt}, limits: [one, shadow]"),
        &format!("{jwt}, limits: [one]"),
        true,
    );
    check(
        &format!("{jwt}, limits: [one, two]"),
        &format!("{jwt}, limits: [two, one]"),
        true,
    );
}

#[test]
fn limits_in_shadow_mode_are_apart_from_those_that_refuse() {
    let snapshot = compile(&["accept: [jwt], issuers: [a], limits: [one, shadow, two]"]);
    let names = |limits: &[CompiledLimit]| limits.iter().map(|limit| limit.name().to_string()).collect::<Vec<_>>();
    let route = &snapshot.routes[0];
    assert_eq!(names(&route.limits), ["one", "two"]);
    assert_eq!(names(&route.shadow_limits), ["shadow"]);
    assert_eq!((route.limit_metrics.len(), route.shadow_limit_metrics.len()), (2, 1));
    let gold = &snapshot.plan_limits["gold"];
    assert_eq!(names(&gold.limits), ["one"]);
    assert_eq!(names(&gold.shadow_limits), ["shadow"]);
    assert_eq!((gold.limit_metrics.len(), gold.shadow_limit_metrics.len()), (1, 1));
}

#[test]
fn a_route_is_in_the_mode_of_its_issuers() {
    let snapshot = compile(&[
        "accept: [jwt], issuers: [shadow]",
        "accept: [jwt], issuers: [a, b]",
        "accept: [api_key]",
    ]);
    let modes: Vec<Mode> = snapshot.routes.iter().map(|route| route.trust.mode).collect();
    assert_eq!(modes, [Mode::Shadow, Mode::Enforce, Mode::Enforce]);
}

#[test]
fn a_header_that_two_issuers_fill_is_reserved_once() {
    let snapshot = compile(&["public: true"]);
    assert_eq!(*snapshot.claim_headers, ["x-email", "x-name"]);
}

#[test]
fn challenges_name_the_credentials_that_the_route_accepts() {
    let snapshot = compile(&["accept: [jwt], issuers: [a]", "accept: [api_key]"]);
    let accepted = |index: usize| {
        let accepted = snapshot.routes[index].accepted();
        (accepted.bearer, accepted.api_key, accepted.resource_metadata)
    };
    assert_eq!(accepted(0), (true, false, None));
    assert_eq!(accepted(1), (false, true, None));
}

#[test]
fn a_published_snapshot_is_in_force_and_an_earlier_one_stays_with_its_requests() {
    let current = CurrentSnapshot::new(compile(&["public: true"]));
    let before = current.load();
    current.publish(compile(&["public: true", "public: true"]));
    assert_eq!((before.routes.len(), current.load().routes.len()), (1, 2));
}
