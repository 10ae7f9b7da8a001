//! How does the gate authenticate itself at the introspection endpoint: with a secret, a private key (RFC 7523) or a token?

use super::fixture::*;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::issuer;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use serde_json::Value;
use serde_json::json;
use std::process::Command;

#[test]
fn check_refuses_a_private_key_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let check = |pem: &str, more: &str| {
        std::fs::write(folder.path().join("client.pem"), pem).unwrap();
        let yaml = GatewayBuilder::new()
            .issuer(
                "asked",
                &format!("issuer: {ASKED}\naudiences: any\nintrospection:\n  url: https://asked.example.test/i\n  client_id: kg\n  private_key_jwt: {{ key_file: client.pem{more} }}"),
            )
            .upstream("api", "127.0.0.1:9".parse().unwrap())
            .route("api", ROUTE)
            .yaml();
        let file = folder.path().join("keygate.yaml");
        std::fs::write(&file, yaml).unwrap();
        let checked = Command::new(crate::support::program())
            .arg("check")
            .arg(&file)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        (checked.status.success(), output)
    };
    let key = SigningKey::generate_es256().unwrap();
    let private = key.to_pkcs8_pem().unwrap();
    assert!(check(private.expose(), "").0);
    assert!(check(private.expose(), ", algorithm: ES256").0);
    for (pem, more, why) in [
        (
            private.expose().as_str(),
            ", algorithm: RS256",
            "not a PKCS #8 private key for RS256",
        ),
        (key.public_pem().as_str(), "", "not a `PRIVATE KEY` block"),
        ("nothing", "", "no PEM block in it"),
        (&format!("{0}{0}", private.expose()), "", "more than one PEM block"),
    ] {
        let (good, output) = check(pem, more);
        assert!(
            !good && output.contains(why) && output.contains("issuers.asked"),
            "{output}"
        );
    }
}

/// Checks the parameters that authenticate Keygate. Does not verify the signature of the assertion.
#[test]
fn private_key_jwt_says_who_keygate_is_by_a_fresh_assertion() {
    let endpoint = Endpoint::start();
    let key = SigningKey::generate_es256().unwrap();
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .top(TOP)
        .issuer(
            "asked",
            &endpoint.yaml("").replace(
                "client_secret: s3cret",
                "private_key_jwt: { key_file: client.pem, kid: key-7, audience: \"https://asked.example.test/token\" }",
            ),
        )
        .upstream("api", upstream.address())
        .route("api", ROUTE)
        .yaml();
    let gate = Binary::start_with(&yaml, &[("client.pem", key.to_pkcs8_pem().unwrap().expose())]);
    allowed(&gate, "one");
    allowed(&gate, "two");
    let mut ids = Vec::new();
    for call in endpoint.server.received() {
        assert!(call.headers_named("authorization").is_empty());
        let form: Vec<(String, String)> = url::form_urlencoded::parse(&call.body).into_owned().collect();
        let of = |name: &str| form.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!(
            of("client_assertion_type"),
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        assert_eq!(of("client_id"), "kg");
        let assertion = of("client_assertion");
        let parts: Vec<Value> = assertion
            .split('.')
            .take(2)
            .map(|part| serde_json::from_slice(&issuer::from_base64url(part)).unwrap())
            .collect();
        assert_eq!(parts[0], json!({ "alg": "ES256", "kid": "key-7", "typ": "JWT" }));
        let claims = &parts[1];
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("kg"), &json!("kg")));
        assert_eq!(claims["aud"], "https://asked.example.test/token");
        let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert!(exp - iat == 60 && iat <= issuer::now() && iat + 60 > issuer::now());
        ids.push(claims["jti"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1], "an assertion is used once");
    assert!(!gate.output().contains("client_assertion="));
}

/// Starts a gate with `authentication` in place of the secret, sends a request, and returns the `Authorization` and the
/// form that the endpoint received.
fn call_with(authentication: &str, files: &[(&str, &str)]) -> (Vec<String>, String) {
    let endpoint = Endpoint::start();
    let upstream = FakeUpstream::start();
    let written = endpoint.yaml("");
    let yaml = written.replace("client_id: kg\n  client_secret: s3cret", authentication);
    assert_ne!(yaml, written);
    let gateway = GatewayBuilder::new().top(TOP).issuer("asked", &yaml);
    let yaml = gateway.upstream("api", upstream.address()).route("api", ROUTE).yaml();
    let gate = LocalGate::start_with(&yaml, files);
    allowed(&gate, "t0ken");
    let call = endpoint.server.only_received();
    let authorization = call.headers_named("authorization");
    (
        authorization.into_iter().map(str::to_owned).collect(),
        String::from_utf8(call.body.clone()).unwrap(),
    )
}

#[test]
fn the_endpoint_gets_the_secret_as_it_wants_it() {
    const FORM: &str = "token=t0ken&token_type_hint=access_token";
    let client = "client_id: \"k g\"\n  client_secret: \"file:secret\"";
    let secret = [("secret", "p%w:d+\n")];
    // `k+g:p%25w%3Ad%2B` and `k g:p%w:d+` in base64.
    let basic = |pair: &str| vec![format!("Basic {pair}")];
    assert_eq!(
        call_with(client, &secret),
        (basic("aytnOnAlMjV3JTNBZCUyQg=="), FORM.to_owned())
    );
    let with = |method: &str| call_with(&format!("{client}\n  authentication: {method}"), &secret);
    assert_eq!(
        with("client_secret_basic"),
        (basic("aytnOnAlMjV3JTNBZCUyQg=="), FORM.to_owned())
    );
    assert_eq!(
        with("client_secret_basic_unencoded"),
        (basic("ayBnOnAldzpkKw=="), FORM.to_owned())
    );
    assert_eq!(
        with("client_secret_post"),
        (Vec::new(), format!("{FORM}&client_id=k+g&client_secret=p%25w%3Ad%2B"))
    );
    assert_eq!(
        call_with("bearer_token: \"file:token\"", &[("token", "eyJ.abc-_~+/=\n")]),
        (vec!["Bearer eyJ.abc-_~+/=".to_owned()], FORM.to_owned())
    );
}

#[test]
fn a_rotated_bearer_token_is_sent_without_a_signal() {
    let endpoint = Endpoint::start();
    let upstream = FakeUpstream::start();
    let yaml = endpoint.yaml("cache_ttl: 0s").replace(
        "client_id: kg\n  client_secret: s3cret",
        "bearer_token: \"file:introspection.token\"",
    );
    let gateway = GatewayBuilder::new().top(TOP).issuer("asked", &yaml);
    let yaml = gateway.upstream("api", upstream.address()).route("api", ROUTE).yaml();
    let gate = Binary::start_with(&yaml, &[("introspection.token", "first")]);
    allowed(&gate, "one");
    gate.replace_file("introspection.token", "second");
    wait_until("the new token is sent", || {
        allowed(&gate, "two");
        let last = endpoint.server.received().pop().unwrap();
        last.headers_named("authorization") == ["Bearer second"]
    });
    assert!(!gate.output().contains("Bearer"));
}

/// RFC 6749 section 5.2 allows 400 for a client that did not authenticate in `Authorization`.
#[test]
fn a_400_about_the_client_stops_the_calls_and_is_said() {
    let endpoint = Endpoint::start();
    let body = r#"{"error":"invalid_client"}"#;
    endpoint.respond_with(move |_| {
        format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    });
    let (gate, _upstream) = program(
        &endpoint,
        "authentication: client_secret_post\n  breaker: { failures: 1, open_for: 1h }",
    );
    check(&gate, "one", 503, "introspection_unavailable");
    check(&gate, "two", 503, "introspection_suspended");
    gate.wait_for_output("refused the credential of Keygate itself");
}
