//! How does the gate respond to each introspection response, to a late one and to none?

use super::fixture::*;
use crate::support::Binary;
use crate::support::LocalGate;
use crate::support::RefusingAddress;
use crate::support::issuer;
use crate::support::wait_until;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;

#[test]
fn an_active_token_passes_as_whose_its_issuer_says_and_is_remembered() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = program(&endpoint, "");
    for _ in 0..3 {
        allowed(&gate, "opaque-1");
    }
    let seen = upstream.received();
    let of = |name: &str| seen[0].headers_named(name).join("|");
    assert_eq!(of("x-keygate-credential-type"), "opaque");
    assert_eq!(of("x-keygate-subject"), "alice");
    assert_eq!(of("x-keygate-client-id"), "app-1");
    assert_eq!(of("x-keygate-scope"), "orders:read");
    assert_eq!(of("x-keygate-credential-id"), "t-1");
    assert_eq!(of("x-keygate-issuer"), "asked");
    assert_eq!(of("authorization"), "");
    let call = endpoint.server.only_received();
    assert_eq!(call.line, "POST /introspect HTTP/1.1");
    assert_eq!(
        call.headers_named("content-type"),
        ["application/x-www-form-urlencoded"]
    );
    assert_eq!(call.headers_named("accept"), ["application/json"]);
    let basic = format!("Basic {}", STANDARD.encode("kg:s3cret"));
    assert_eq!(call.headers_named("authorization"), [basic.as_str()]);
    let record = gate.wait_access_records(3).remove(0);
    assert_eq!(record["credential_type"], "opaque");
    assert_eq!(record["subject"], "alice");
    let issuer = "issuer=\"asked\"";
    let metric = |name: &str, more: &str| gate.metric(&format!("keygate_introspection_{name}{{{issuer}{more}}}"));
    assert_eq!(metric("calls_total", ",result=\"active\""), 1.0);
    assert_eq!(metric("cache_total", ",result=\"hit\""), 2.0);
    assert_eq!(metric("cache_total", ",result=\"miss\""), 1.0);
    assert_eq!(metric("duration_seconds_count", ""), 1.0);
    assert_eq!(metric("cache_entries", ",kind=\"active\""), 1.0);
    let decisions = "credential_type=\"opaque\",outcome=\"allow\",reason=\"none\",route=\"api\"";
    assert_eq!(
        gate.count_of_ended(&format!("keygate_decisions_total{{{decisions}}}")),
        3.0
    );
    // A metric with the value 0 would report that this issuer lost its keys; it never had keys.
    assert!(
        !crate::support::get(gate.admin(), "/metrics")
            .text()
            .contains("keygate_issuer_keys{issuer=\"asked\"}")
    );
    assert_eq!(crate::support::get(gate.admin(), "/readyz").status, 200);
    assert!(!gate.output().contains("opaque-1"), "the token is written nowhere");
}

#[test]
fn s056_what_is_no_introspection_response_is_503_and_never_passes() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "breaker: { failures: 1000 }");
    let bodies = [
        "",
        "{}",
        "{\"active\":\"true\"}",
        "{\"active\":1}",
        "{\"active\":null}",
        "[true]",
        "true",
        "<!doctype html><title>ok</title>",
        "{\"active\":true,\"active\":true}",
        "{\"active\":true",
    ];
    for (index, body) in bodies.into_iter().enumerate() {
        endpoint.respond_with(move |_| ok(body));
        check(&gate, &format!("odd-{index}"), 503, "introspection_unavailable");
    }
    for (index, head) in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 201 Created\r\nContent-Length: 15\r\n\r\n{\"active\":true}",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 15\r\n\r\n{\"active\":true}",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"active\":true}",
        "nonsense\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        endpoint.server.close_after_responses(true);
        endpoint.respond_with(move |_| head.as_bytes().to_vec());
        check(&gate, &format!("head-{index}"), 503, "introspection_unavailable");
    }
    endpoint.server.close_after_responses(false);
    let long = active(json!({ "padding": "x".repeat(64 * 1024) })).to_string();
    endpoint.respond_with(move |_| ok(&long));
    check(&gate, "long", 503, "introspection_unavailable");
    assert!(upstream.received().is_empty());
    // The cache holds none of these failures.
    endpoint.respond_active(json!({}));
    allowed(&gate, "odd-1");
    allowed(&gate, "long");
    endpoint.respond_with(|_| ok("{\"active\":false,\"sub\":\"alice\"}"));
    check(&gate, "inactive", 401, "token_inactive");
    assert_eq!(
        gate.metric("keygate_introspection_calls_total{issuer=\"asked\",result=\"rejected\"}"),
        14.0
    );
    assert_eq!(
        gate.metric("keygate_introspection_calls_total{issuer=\"asked\",result=\"inactive\"}"),
        1.0
    );
}

#[test]
fn s057_an_issuer_that_does_not_answer_is_503_and_the_operator_reads_why_once() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = program(&endpoint, "timeout: 300ms\n  breaker: { failures: 1000 }");
    for status in [
        "500 Oops",
        "401 Unauthorized",
        "403 Forbidden",
        "429 Slow Down",
        "404 Not Found",
        "400 Bad",
    ] {
        endpoint.respond_with(move |_| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes());
        check(&gate, &format!("t{status:.3}"), 503, "introspection_unavailable");
    }
    endpoint.respond_with(|_| {
        b"HTTP/1.1 307 Away\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    check(&gate, "redirected", 503, "introspection_unavailable");
    let hanging = endpoint.hang();
    let started = Instant::now();
    check(&gate, "late", 503, "introspection_unavailable");
    assert!(started.elapsed() >= Duration::from_millis(250), "it was waited for");
    drop(hanging);
    assert!(upstream.received().is_empty());
    gate.wait_for_output("Issuer cannot be asked about tokens");
    let warnings = gate.output().matches("Issuer cannot be asked about tokens").count();
    assert_eq!(warnings, 1, "{}", gate.output());
    assert!(gate.output().contains("status 500"), "{}", gate.output());
    endpoint.respond_active(json!({}));
    allowed(&gate, "t500");
}

#[test]
fn s057_an_endpoint_that_is_not_there_is_503() {
    let endpoint = Endpoint::start();
    let refusing = RefusingAddress::new();
    let yaml = endpoint
        .yaml("")
        .replace(&endpoint.server.address().to_string(), &refusing.to_string());
    let (gate, upstream) = start_with::<LocalGate>(|gateway| gateway.issuer("asked", &yaml).route("api", ROUTE));
    check(&gate, "opaque", 503, "introspection_unavailable");
    assert!(upstream.received().is_empty());
    assert_eq!(
        gate.metric("keygate_introspection_calls_total{issuer=\"asked\",result=\"failure\"}"),
        1.0
    );
}

#[test]
fn s057_addresses_inside_are_not_asked_unless_the_file_says_so() {
    let endpoint = Endpoint::start();
    let yaml = endpoint
        .yaml("")
        .replace("allow_private_addresses: true", "allow_private_addresses: false");
    let (gate, _upstream) = start_with::<Binary>(|gateway| gateway.issuer("asked", &yaml).route("api", ROUTE));
    check(&gate, "opaque", 503, "introspection_unavailable");
    assert_eq!(endpoint.server.connections(), 0);
    gate.wait_for_output("is not a public address");
}

#[test]
fn s059_an_active_token_that_breaks_the_issuers_rules_is_refused() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "");
    let now = issuer::now();
    for (changes, reason) in [
        (json!({ "iss": "https://asked.example.test/" }), "token_issuer"),
        (json!({ "aud": "other" }), "wrong_audience"),
        (json!({ "aud": null }), "token_claim_missing"),
        (json!({ "exp": now - 60 }), "token_expired"),
        (json!({ "nbf": now + 60 }), "token_not_yet_valid"),
        (json!({ "exp": now + 90_000 }), "token_lifetime"),
        (json!({ "token_type": "DPoP" }), "token_not_bearer"),
        (json!({ "token_use": "refresh_token" }), "not_an_access_token"),
        (json!({ "scope": ["orders:read", 7] }), "token_claim_invalid"),
        (json!({ "active": false }), "token_inactive"),
    ] {
        let (token, given) = (format!("token-{reason}"), changes.clone());
        endpoint.respond_active(changes);
        check(&gate, &token, 401, reason);
        // The refusal comes from the cache, with the same reason.
        let calls = endpoint.calls();
        check(&gate, &token, 401, reason);
        assert_eq!(endpoint.calls(), calls, "{given}");
    }
    assert!(upstream.received().is_empty());
    endpoint.respond_active(json!({ "iss": ASKED, "token_type": "bearer", "nbf": now - 60 }));
    allowed(&gate, "good");
}

#[test]
fn rules_and_headers_read_what_the_issuer_says_of_a_token() {
    let endpoint = Endpoint::start();
    endpoint.respond_active_by_token(|token| match token {
        "gold" => json!({ "tier": "gold", "email": "a,b@example.test" }),
        "silver" => json!({ "tier": "silver" }),
        _ => json!({}),
    });
    let (gate, upstream) = start_with::<LocalGate>(|gateway| {
        let issuer = format!("{}\nclaim_headers: {{ \"/email\": x-user-email }}", endpoint.yaml(""));
        gateway
            .issuer("asked", &issuer)
            .route("api", &format!("{ROUTE}\nclaims: {{ \"/tier\": [gold] }}"))
    });
    allowed(&gate, "gold");
    allowed(&gate, "gold");
    for seen in upstream.received() {
        assert_eq!(seen.headers_named("x-user-email"), ["a%2Cb@example.test"]);
    }
    check(&gate, "silver", 403, "claim_not_allowed");
    check(&gate, "none", 403, "claim_not_allowed");
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn an_issuer_that_is_asked_can_be_tried_out() {
    let endpoint = Endpoint::start();
    endpoint.respond_active_by_token(|token| json!({ "active": token == "good" }));
    let (gate, upstream) = start_with::<LocalGate>(|gateway| {
        let issuer = format!("{}\nmode: shadow", endpoint.yaml("breaker: { failures: 1000 }"));
        gateway.issuer("asked", &issuer).route("api", ROUTE)
    });
    allowed(&gate, "good");
    allowed(&gate, "bad");
    endpoint.respond_with(|_| ok("{}"));
    allowed(&gate, "unknown");
    let subjects: Vec<usize> = upstream
        .received()
        .iter()
        .map(|seen| seen.headers_named("x-keygate-subject").len())
        .collect();
    assert_eq!(subjects, [1, 0, 0], "nobody was proved by a token that is not good");
    for reason in ["token_inactive", "introspection_unavailable"] {
        let labels = format!("credential_type=\"opaque\",outcome=\"would_deny\",reason=\"{reason}\",route=\"api\"");
        let counted = || gate.metric(&format!("keygate_decisions_total{{{labels}}}")) == 1.0;
        wait_until("it is counted", counted);
    }
}
