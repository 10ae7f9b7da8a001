//! F60 in earnest: endpoints are processes that are stopped and killed, and time passes by itself.

use super::GET;
use super::config;
use super::in_service;
use crate::support::Binary;
use crate::support::GatewayBuilder;
use crate::support::RawClient;
use crate::support::wait_until;

/// Starts a gate that answers for itself, as an endpoint.
fn endpoint() -> Binary {
    let yaml = GatewayBuilder::new()
        .upstream_with("echo", "builtin: echo")
        .route("all", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: echo");
    let endpoint = Binary::start(&yaml.yaml());
    endpoint.wait_ready();
    endpoint
}

#[test]
fn endpoints_that_are_stopped_and_killed_fail_no_idempotent_request() {
    let (stopped, killed) = (endpoint(), endpoint());
    let more = "ejection: { time: 100ms }\nretries: { try_timeout: 300ms }";
    let gate = Binary::start(&config(&[stopped.data(), killed.data()], more));
    gate.wait_ready();
    let all_served = || {
        let served = (0..20).filter(|_| RawClient::connect(gate.data()).exchange(GET).status == 200);
        assert_eq!(served.count(), 20, "{}", gate.output());
    };
    all_served();
    stopped.signal("STOP");
    all_served();
    assert!(!in_service(&gate, stopped.data()), "{}", gate.output());
    stopped.signal("CONT");
    wait_until("the endpoint is back", || in_service(&gate, stopped.data()));
    let address = killed.data();
    drop(killed.kill());
    all_served();
    assert!(!in_service(&gate, address), "{}", gate.output());
    assert_eq!(gate.output().matches("\"Endpoint fails\"").count(), 2);
}
