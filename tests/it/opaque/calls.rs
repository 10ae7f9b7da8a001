//! When does the gate call the introspection endpoint, how often, and how many calls run at once?

use super::fixture::*;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::still_clock;
use crate::support::wait_until;
use serde_json::json;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn s062_a_token_is_one_parameter_whatever_is_in_it() {
    let endpoint = Endpoint::start();
    let (gate, _upstream) = gate(&endpoint, "");
    allowed(&gate, "a+b/c~d==");
    let call = endpoint.server.only_received();
    let body = String::from_utf8(call.body.clone()).unwrap();
    assert_eq!(body, "token=a%2Bb%2Fc%7Ed%3D%3D&token_type_hint=access_token");
    // Characters that no token may contain are refused before introspection.
    for odd in ["a&token=b", "a%26b", "a\tb", "a;b", "a\"b"] {
        assert_eq!(ask(gate.data(), odd).status, 400, "{odd:?}");
    }
    assert_eq!(endpoint.calls(), 1);
}

#[test]
fn s063_many_requests_with_one_token_are_one_call() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "timeout: 15s");
    let hanging = endpoint.hang();
    let mut clients: Vec<RawClient> = (0..30).map(|_| RawClient::connect(gate.data())).collect();
    for client in &mut clients {
        client.send(request("/orders", "popular"));
    }
    endpoint.server.wait_received(1);
    let misses = "keygate_introspection_cache_total{issuer=\"asked\",result=\"miss\"}";
    wait_until("all of them wait", || gate.metric(misses) == 30.0);
    assert!(upstream.received().is_empty());
    drop(hanging);
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    assert_eq!(endpoint.calls(), 1);
    assert_eq!(upstream.received().len(), 30);
}

#[test]
fn s108_a_client_that_goes_away_while_its_token_is_asked_about_reaches_nothing() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "timeout: 15s\n  concurrency: 1");
    let hanging = endpoint.hang();
    let mut first = RawClient::connect(gate.data());
    first.send(request("/orders", "first"));
    endpoint.server.wait_received(1);
    // The second request waits behind the first: its call has not begun.
    let mut second = RawClient::connect(gate.data());
    second.send(request("/orders", "second"));
    let misses = "keygate_introspection_cache_total{issuer=\"asked\",result=\"miss\"}";
    wait_until("both wait", || gate.metric(misses) == 2.0);
    drop((first, second));
    let records = gate.wait_access_records(2);
    for record in &records {
        assert_eq!(
            (&record["decision"], &record["reason"]),
            (&json!("deny"), &json!("client_gone")),
            "{record}"
        );
    }
    drop(hanging);
    let done = "keygate_introspection_calls_total{issuer=\"asked\",result=\"active\"}";
    wait_until("the call under way has ended", || gate.metric(done) == 1.0);
    allowed(&gate, "third");
    let tokens: Vec<String> = endpoint.server.received().iter().map(token_of).collect();
    assert_eq!(
        tokens,
        ["first", "third"],
        "nobody wanted to know about the second any more"
    );
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn after_failures_in_a_row_the_gate_suspends_its_calls_and_then_makes_one_probe() {
    let endpoint = Endpoint::start();
    let clock = still_clock();
    let (gate, upstream) = gate_at(
        &clock,
        &endpoint,
        "timeout: 15s\n  breaker: { failures: 3, open_for: 2s }",
    );
    endpoint.respond_with(|_| b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec());
    for index in 0..3 {
        check(&gate, &format!("t{index}"), 503, "introspection_unavailable");
    }
    endpoint.respond_active(json!({}));
    check(&gate, "t0", 503, "introspection_suspended");
    let suspended = "keygate_introspection_suspended{issuer=\"asked\"}";
    assert_eq!(gate.metric(suspended), 1.0);
    clock.advance(Duration::from_millis(1_999));
    check(&gate, "t0", 503, "introspection_suspended");
    assert_eq!(endpoint.calls(), 3);
    clock.advance(Duration::from_millis(1));
    // One call probes the endpoint. Until it ends, the gate makes no other call.
    let hanging = endpoint.hang();
    let mut probing = RawClient::connect(gate.data());
    probing.send(request("/orders", "t0"));
    endpoint.server.wait_received(4);
    check(&gate, "t1", 503, "introspection_suspended");
    drop(hanging);
    assert_eq!(probing.receive().status, 200);
    assert_eq!((endpoint.calls(), upstream.received().len()), (4, 1));
    assert_eq!(gate.metric(suspended), 0.0);
    allowed(&gate, "t1");
}

#[test]
fn a_changed_issuer_is_not_suspended() {
    let (endpoint, upstream) = (Endpoint::start(), FakeUpstream::start());
    let yaml = |breaker: &str| {
        let gateway = GatewayBuilder::new().top(TOP).upstream("api", upstream.address());
        gateway
            .issuer("asked", &endpoint.yaml(breaker))
            .route("api", ROUTE)
            .yaml()
    };
    let gate = LocalGate::start(&yaml("breaker: { failures: 1, open_for: 1m }"));
    endpoint.respond_with(|_| b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec());
    check(&gate, "t0", 503, "introspection_unavailable");
    let suspended = "keygate_introspection_suspended{issuer=\"asked\"}";
    assert_eq!(gate.metric(suspended), 1.0);
    endpoint.respond_active(json!({}));
    gate.reload(&yaml("breaker: { failures: 2, open_for: 1m }"));
    wait_until("its new task has begun", || gate.metric(suspended) == 0.0);
    allowed(&gate, "t1");
}

#[test]
fn the_end_of_a_suspension_is_logged() {
    let endpoint = Endpoint::start();
    let (gate, _upstream) = program(&endpoint, "breaker: { failures: 1, open_for: 1s }");
    endpoint.respond_with(|_| b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec());
    check(&gate, "t0", 503, "introspection_unavailable");
    assert!(!gate.output().contains("Issuer answers about tokens again"));
    endpoint.respond_active(json!({}));
    RawClient::connect(gate.data()).exchange_until(&request("/orders", "t0"), 200, &[503]);
    gate.wait_for_output("Issuer answers about tokens again");
}

#[test]
fn one_odd_token_does_not_keep_the_others_out() {
    let endpoint = Endpoint::start();
    endpoint.respond_with(|request| match token_of(request).as_str() {
        "odd" => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "long" => ok(&active(json!({ "groups": "x".repeat(70_000) })).to_string()),
        _ => ok(&active(json!({})).to_string()),
    });
    let (gate, _upstream) = gate(&endpoint, "breaker: { failures: 2, open_for: 1h }");
    for _ in 0..4 {
        check(&gate, "odd", 503, "introspection_unavailable");
        check(&gate, "long", 503, "introspection_unavailable");
    }
    allowed(&gate, "good");
}

#[test]
fn no_more_calls_run_at_once_than_configured_and_all_are_answered() {
    let endpoint = Endpoint::start();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    endpoint.server.respond_with(move |_| {
        let _ = released.lock().unwrap().recv_timeout(PATIENCE);
        ok(&active(json!({})).to_string())
    });
    let (gate, upstream) = gate(&endpoint, "concurrency: 3\n  timeout: 15s");
    let mut clients: Vec<RawClient> = (0..40).map(|_| RawClient::connect(gate.data())).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(request("/orders", &format!("token-{index}")));
    }
    let misses = "keygate_introspection_cache_total{issuer=\"asked\",result=\"miss\"}";
    wait_until("all of them wait", || gate.metric(misses) == 40.0);
    // The endpoint holds every call until the test releases it, so a fourth call at once would arrive.
    for ended in 0..40 {
        let begun = (ended + 3).min(40);
        assert_eq!(
            endpoint.server.wait_received(begun).len(),
            begun,
            "{ended} calls have ended"
        );
        release.send(()).unwrap();
        let done = "keygate_introspection_calls_total{issuer=\"asked\",result=\"active\"}";
        wait_until("a call ends", || gate.metric(done) == ended as f64 + 1.0);
    }
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    assert!(
        endpoint.server.connections() < endpoint.calls() / 2,
        "connections are kept and used again"
    );
    assert_eq!(upstream.received().len(), 40);
}

#[test]
fn more_tokens_than_can_wait_are_503_at_once() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "concurrency: 1\n  timeout: 15s");
    let hanging = endpoint.hang();
    // One call is in flight, and for each permitted call sixteen requests may wait.
    let mut clients: Vec<RawClient> = (0..17).map(|_| RawClient::connect(gate.data())).collect();
    let misses = "keygate_introspection_cache_total{issuer=\"asked\",result=\"miss\"}";
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(request("/orders", &format!("token-{index}")));
        let sent = index as f64 + 1.0;
        wait_until("it waits", || gate.metric(misses) == sent);
    }
    check(&gate, "one-more", 503, "introspection_busy");
    drop(hanging);
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    assert_eq!(upstream.received().len(), 17);
}
