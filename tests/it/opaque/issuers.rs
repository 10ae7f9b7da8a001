//! Which issuer does a token belong to: the issuer with the endpoint, or an issuer with keys?

use super::fixture::*;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::TestIssuer;
use crate::support::issuer;
use keygate::jose::sign::SigningKey;
use serde_json::json;

#[test]
fn a_jwt_goes_to_the_issuer_it_names_and_to_no_other() {
    let endpoint = Endpoint::start();
    let key = SigningKey::generate_es256().unwrap();
    let signed = TestIssuer::start(&[&key]);
    let (gate, upstream) = start_with::<LocalGate>(|gateway| {
        gateway
            .issuer("asked", &endpoint.yaml(""))
            .issuer("signed", &signed.yaml("cooldown: 1h"))
            .route("api", ROUTE)
    });
    gate.wait_ready();
    // Tokens of the issuer with keys, valid or not, never reach the endpoint.
    allowed(&gate, &issuer::token(&key, &issuer::claims()));
    let stranger = SigningKey::generate_es256().unwrap();
    check(&gate, &issuer::token(&stranger, &issuer::claims()), 401, "unknown_key");
    let unknown = issuer::claims_with(json!({ "iss": "https://nobody.example.test" }));
    check(&gate, &issuer::token(&key, &unknown), 401, "unknown_issuer");
    assert_eq!(endpoint.calls(), 0);
    // A token that names the issuer with the endpoint is introspected, whatever its signature.
    let foreign = issuer::token(&stranger, &issuer::claims_with(json!({ "iss": ASKED })));
    allowed(&gate, &foreign);
    assert_eq!(endpoint.calls(), 1);
    let seen = upstream.received();
    assert_eq!(seen[0].headers_named("x-keygate-credential-type"), ["jwt"]);
    assert_eq!(seen[1].headers_named("x-keygate-credential-type"), ["opaque"]);
    // A token that is no JWT is introspected. `alg: none` with the other issuer's name makes no JWT of that issuer.
    endpoint.respond_active(json!({ "active": false }));
    let none = issuer::unsigned(r#"{"alg":"none"}"#, &issuer::claims().to_string(), b"");
    check(&gate, &none, 401, "token_inactive");
}

/// One server issues both JWTs and opaque tokens.
#[test]
fn a_jwt_of_an_issuer_with_keys_and_an_endpoint_is_checked_by_the_keys() {
    let endpoint = Endpoint::start();
    let key = SigningKey::generate_es256().unwrap();
    let upstream = FakeUpstream::start();
    let on = |path: &str, issuers: &str| {
        format!("match: {{ path: {path} }}\naccept: [jwt]\nissuers: [{issuers}]\nupstream: api")
    };
    let yaml = GatewayBuilder::new()
        .top(TOP)
        .issuer("asked", &endpoint.yaml("cache_ttl: 5m"))
        .issuer(
            "signed",
            &format!("issuer: {ASKED}\naudiences: [api]\npublic_key_files: [key.pem]"),
        )
        .upstream("api", upstream.address())
        .route("asked", &on("/asked", "asked"))
        .route("both", &on("/both", "asked, signed"))
        .yaml();
    let gate = LocalGate::start_with(&yaml, &[("key.pem", &key.public_pem())]);
    let ask = |path: &str, token: &str| RawClient::connect(gate.data()).exchange(request(path, token)).status;
    assert_eq!(ask("/both", "opaque"), 200);
    assert_eq!(endpoint.calls(), 1);
    let claims = issuer::claims_with(json!({ "iss": ASKED, "aud": "api" }));
    assert_eq!(ask("/both", &issuer::token(&key, &claims)), 200);
    assert_eq!(endpoint.calls(), 1, "its signature says enough");
    // The endpoint decides about a JWT only where it is the sole authority; where there are keys, the keys decide.
    let stranger = issuer::token(&SigningKey::generate_es256().unwrap(), &claims);
    assert_eq!(ask("/asked", &stranger), 200);
    assert_eq!(ask("/both", &stranger), 401);
    assert_eq!(ask("/asked", &stranger), 200);
    assert_eq!(endpoint.calls(), 2);
}

#[test]
fn without_an_issuer_to_ask_an_opaque_token_is_401_as_ever() {
    let endpoint = Endpoint::start();
    let key = SigningKey::generate_es256().unwrap();
    let (gate, upstream) = {
        let upstream = FakeUpstream::start();
        let yaml = GatewayBuilder::new()
            .top(TOP)
            .issuer("asked", &endpoint.yaml(""))
            .issuer(
                "signed",
                &format!("{}\npublic_key_files: [key.pem]", issuer::identity_yaml()),
            )
            .upstream("api", upstream.address())
            .route("api", &format!("{ROUTE}\nissuers: [signed]"))
            .yaml();
        (
            LocalGate::start_with(&yaml, &[("key.pem", &key.public_pem())]),
            upstream,
        )
    };
    check(&gate, "opaque", 401, "token_malformed");
    check(
        &gate,
        &issuer::token(&key, &issuer::claims_with(json!({ "iss": ASKED }))),
        401,
        "unknown_issuer",
    );
    assert_eq!((endpoint.calls(), upstream.received().len()), (0, 0));
}

#[test]
fn limits_count_an_opaque_token_as_its_client() {
    let endpoint = Endpoint::start();
    endpoint.respond_active_by_token(|token| json!({ "client_id": token.split('-').next().unwrap() }));
    let (gate, _upstream) = start_with::<LocalGate>(|gateway| {
        gateway
            .issuer("asked", &endpoint.yaml(""))
            .limit("per-client", "by: client\nquota: 2/hour")
            .route("api", &format!("{ROUTE}\nlimits: [per-client]"))
    });
    allowed(&gate, "a-1");
    allowed(&gate, "a-2");
    check(&gate, "a-3", 429, "limit_spent");
    allowed(&gate, "b-1");
}
