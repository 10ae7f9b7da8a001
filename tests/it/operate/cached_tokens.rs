//! Does a cached verification end when a reload changes the issuer's rules, the route's rules or the issuer?

use crate::operate::ISSUER_YAML;
use crate::operate::bearer;
use crate::operate::get;
use crate::operate::token;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use keygate::jose::sign::SigningKey;
use serde_json::json;
use std::net::SocketAddr;

const ROUTE: &str = "match: { path: /a }\naccept: [jwt]\nupstream: only";

fn gateway(upstream: SocketAddr, issuer: &str, route: &str) -> String {
    GatewayBuilder::new()
        .top("failed_authentication: off")
        .issuer("main", issuer)
        .issuer("other", &ISSUER_YAML.replace("issuer.test", "other.test"))
        .upstream("only", upstream)
        .route("only", route)
        .yaml()
}

#[test]
fn a_remembered_token_meets_every_rule_that_its_issuer_has_now() {
    let upstream = FakeUpstream::start();
    let (key, stranger) = (
        SigningKey::generate_es256().unwrap(),
        SigningKey::generate_es256().unwrap(),
    );
    let loose = gateway(upstream.address(), ISSUER_YAML, ROUTE);
    let files = [
        ("issuer.pem", key.public_pem()),
        ("stranger.pem", stranger.public_pem()),
    ];
    let gate = LocalGate::start_with(&loose, &files.each_ref().map(|(name, pem)| (*name, pem.as_str())));
    // The token has `typ` at+jwt. Each rule with status 401 rejects the token for one property.
    let header = bearer(&token(&key, &json!({ "env": "test" })));
    let ask = || get(gate.data(), "/a", &[&header]).status;
    let issuer = |from: &str, to: &str| gateway(upstream.address(), &ISSUER_YAML.replace(from, to), ROUTE);
    let more = |line: &str| gateway(upstream.address(), &format!("{ISSUER_YAML}\n{line}"), ROUTE);
    for (rule, stricter, expected) in [
        ("issuer", issuer("https://issuer.test", "https://issuer.example"), 401),
        ("audiences", issuer("[https://api.test]", "[https://another.test]"), 401),
        ("keys", issuer("[issuer.pem]", "[stranger.pem]"), 401),
        ("algorithms", more("algorithms: [RS256]"), 401),
        ("types", more("types: [JWT]"), 401),
        ("max_lifetime", more("max_lifetime: 5m"), 401),
        ("required_claims", more("required_claims: { env: [production] }"), 401),
        ("client_id_claims", more("client_id_claims: [aud, iat]"), 200),
        ("client_id_claims of a wrong type", more("client_id_claims: [iat]"), 401),
        (
            "organization_claim of a wrong type",
            more("organization_claim: iat"),
            401,
        ),
        ("scope_claims of a wrong type", more("scope_claims: [iat]"), 401),
    ] {
        assert_eq!((ask(), ask()), (200, 200), "{rule}: before");
        gate.reload(&stricter);
        assert_eq!((ask(), ask()), (expected, expected), "{rule}: outlived its rule");
        gate.reload(&loose);
    }
    assert_eq!(ask(), 200);
}

#[test]
fn a_remembered_token_meets_the_rules_of_the_route_it_is_on() {
    let upstream = FakeUpstream::start();
    let key = SigningKey::generate_es256().unwrap();
    let loose = gateway(upstream.address(), ISSUER_YAML, ROUTE);
    let gate = LocalGate::start_with(&loose, &[("issuer.pem", &key.public_pem())]);
    let header = bearer(&token(&key, &json!({})));
    let ask = || get(gate.data(), "/a", &[&header]).status;
    let route = |more: &str| gateway(upstream.address(), ISSUER_YAML, &format!("{ROUTE}\n{more}"));
    for (rule, stricter, expected) in [
        ("audiences", route("audiences: [https://another.test]"), 401),
        ("issuers", route("issuers: [other]"), 401),
        ("scopes", route("scopes: { all: [write] }"), 403),
    ] {
        assert_eq!((ask(), ask()), (200, 200), "{rule}: before");
        gate.reload(&stricter);
        assert_eq!((ask(), ask()), (expected, expected), "{rule}: outlived its rule");
        gate.reload(&loose);
    }
    // Tokens of an issuer that was removed and added again are verified anew.
    let misses = gate.metric("keygate_token_cache_misses_total");
    let without = GatewayBuilder::new()
        .issuer("other", &ISSUER_YAML.replace("issuer.test", "other.test"))
        .upstream("only", upstream.address())
        .route("only", ROUTE);
    gate.reload(&without.yaml());
    assert_eq!(ask(), 401, "its issuer is gone");
    gate.reload(&loose);
    assert_eq!((ask(), ask()), (200, 200));
    assert_eq!(gate.metric("keygate_token_cache_misses_total"), misses + 2.0);
}
