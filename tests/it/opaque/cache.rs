//! How long does the gate rely on an introspection response, and which rules does a cached response meet?

use super::fixture::*;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::still_clock;
use keygate::model::clock::Clock;
use keygate::model::clock::Timestamp;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;

#[test]
fn s058_what_is_remembered_on_one_route_meets_the_rules_of_another() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = start_with::<LocalGate>(|gateway| {
        let route = |path: &str, more: &str| {
            format!("match: {{ path: {path} }}\naccept: [jwt]\nissuers: [asked]\n{more}\nupstream: api")
        };
        gateway
            .issuer("asked", &endpoint.yaml(""))
            .route("read", &route("/read", "scopes: { all: [\"orders:read\"] }"))
            .route("write", &route("/write", "scopes: { all: [\"orders:write\"] }"))
            .route("other", &route("/other", "audiences: [other]"))
    });
    let on = |path: &str| RawClient::connect(gate.data()).exchange(request(path, "opaque"));
    assert_eq!(on("/read").status, 200);
    let refused = on("/write");
    assert_eq!(refused.status, 403);
    assert!(refused.header("www-authenticate").unwrap().contains("orders:write"));
    assert_eq!(on("/other").status, 401);
    assert_eq!(on("/read").status, 200);
    assert_eq!((endpoint.calls(), upstream.received().len()), (1, 2));
}

#[test]
fn s060_a_remembered_token_is_refused_once_it_has_expired() {
    let endpoint = Endpoint::start();
    let clock = still_clock();
    let (gate, upstream) = gate_at(&clock, &endpoint, "cache_ttl: 5m");
    let exp = clock.now().wall.as_unix_secs() + 60;
    endpoint.respond_active(json!({ "exp": exp }));
    allowed(&gate, "short");
    let left = Timestamp::from_unix_secs(exp).saturating_since(clock.now().wall);
    clock.advance(left - Duration::from_millis(1));
    allowed(&gate, "short");
    assert_eq!(endpoint.calls(), 1, "the cache still holds the token");
    clock.advance(Duration::from_millis(2));
    let response = ask(gate.data(), "short");
    assert_eq!(response.status, 401);
    assert!(response.text().contains("token-expired"), "{}", response.text());
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn s061_junk_drives_no_good_token_out_of_memory() {
    let endpoint = Endpoint::start();
    endpoint.respond_active_by_token(|token| {
        if token.starts_with("good") {
            json!({})
        } else {
            json!({ "active": false })
        }
    });
    let (gate, _upstream) = gate(&endpoint, "cache_bytes: 64KiB\n  cache_ttl: 5m");
    for index in 0..5 {
        allowed(&gate, &format!("good-{index}"));
    }
    let mut client = RawClient::connect(gate.data());
    for index in 0..1_000 {
        let junk = format!("{index}{}", "x".repeat(500));
        assert_eq!(client.exchange(request("/orders", &junk)).status, 401);
    }
    let calls = endpoint.calls();
    for index in 0..5 {
        allowed(&gate, &format!("good-{index}"));
    }
    assert_eq!(endpoint.calls(), calls, "they are still remembered");
    let bytes = gate.metric("keygate_introspection_cache_bytes{issuer=\"asked\"}");
    assert!(bytes > 0.0 && bytes <= 65_536.0, "{bytes}");
}

#[test]
fn a_changed_issuer_forgets_what_it_was_told_and_requests_under_way_end_as_they_began() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "timeout: 15s\n  cache_ttl: 5m");
    allowed(&gate, "token");
    let hanging = endpoint.hang();
    let mut waiting = RawClient::connect(gate.data());
    waiting.send(request("/orders", "waiting"));
    endpoint.server.wait_received(2);
    let changed = |endpoint: &Endpoint| {
        GatewayBuilder::new()
            .top(TOP)
            .upstream("api", upstream.address())
            .issuer(
                "asked",
                &endpoint
                    .yaml("cache_ttl: 4m")
                    .replace("audiences: [api]", "audiences: [other]"),
            )
            .route("api", ROUTE)
            .yaml()
    };
    gate.reload(&changed(&endpoint));
    drop(hanging);
    assert_eq!(
        waiting.receive().status,
        200,
        "decided by the configuration it came under"
    );
    check(&gate, "token", 401, "wrong_audience");
    assert_eq!(endpoint.calls(), 3, "asked again");
}

#[test]
fn s038_a_stream_that_an_opaque_token_opened_ends_when_the_token_does() {
    let endpoint = Endpoint::start();
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let held = std::thread::spawn(move || {
        use std::io::Read;
        use std::io::Write;
        let (mut stream, _) = upstream.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 5\r\n\r\nab")
            .unwrap();
        // Reads until the gate closes.
        while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
    });
    let gateway = GatewayBuilder::new().top(TOP).upstream("api", address);
    let yaml = gateway.issuer("asked", &endpoint.yaml("")).route("api", ROUTE).yaml();
    // The clock stands still, so the token cannot expire before the stream opens. The stream ends by a timer.
    let clock = still_clock();
    let gate = LocalGate::start_at(&clock, &yaml, &[]);
    let exp = clock.now().wall.as_unix_secs() + 2;
    let left = Timestamp::from_unix_secs(exp).saturating_since(clock.now().wall);
    endpoint.respond_active(json!({ "exp": exp }));
    let mut client = RawClient::connect(gate.data());
    let sent_at = Instant::now();
    client.send(request("/events", "opaque"));
    assert!(client.try_receive().is_err(), "it is cut before its end");
    assert!(sent_at.elapsed() >= left, "{:?}", sent_at.elapsed());
    let record = gate.wait_access_records(1).remove(0);
    assert_eq!(
        (&record["status"], &record["reason"]),
        (&json!(200), &json!("stream_ended_with_credential")),
        "{record}"
    );
    held.join().unwrap();
}
