//! Which endpoints do the names of an upstream stand for?

use super::GET;
use super::counts;
use super::in_service;
use crate::support::Admin;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RefusingAddress;
use crate::support::RunningGate;
use crate::support::lane::lanes;
use crate::support::name_server::NameServer;
use crate::support::still_clock;
use crate::support::wait_until;
use serde_json::json;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::time::Duration;

const SERVICE: &str = "_api._tcp.internal";
const TOKEN: &str = "correct-horse-battery-staple-and-more";

/// Returns a configuration with one open route to [`SERVICE`]. `server` has its records.
fn config(server: &NameServer) -> String {
    config_of(SERVICE, server)
}

fn config_of(endpoint: &str, server: &NameServer) -> String {
    let upstream = format!("endpoints: [\"{endpoint}\"]\nname_servers: [\"{}\"]", server.address());
    GatewayBuilder::new()
        .admin(&format!("token: {TOKEN}"))
        .upstream_with("api", &upstream)
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api")
        .yaml()
}

fn status(gate: &RunningGate) -> u16 {
    RawClient::connect(gate.data()).exchange(GET).status
}

/// Waits until the gate knows an endpoint at each of `addresses`.
fn wait_for_endpoints(gate: &RunningGate, addresses: &[SocketAddr]) {
    for address in addresses {
        wait_until("the name is looked up", || in_service(gate, address));
    }
}

lanes!(srv_records_say_ports_weights_and_who_stands_by);
fn srv_records_say_ports_weights_and_who_stands_by() {
    let [heavy, light, standby] = [(); 3].map(|()| FakeUpstream::start());
    let server = NameServer::start();
    server.set_service(
        SERVICE,
        &[
            (heavy.address(), 10, 30_000),
            (light.address(), 10, 10_000),
            (standby.address(), 20, 1),
        ],
    );
    // The start waits for the first look-up.
    let gate = LocalGate::start(&config(&server));
    assert!((0..133).all(|_| status(&gate) == 200));
    // 100 and 33 of 133: weights are scaled to at most 100.
    assert_eq!(counts(&[&heavy, &light, &standby]), [100, 33, 0]);
}

lanes!(a_failed_connection_has_the_name_looked_up_at_once: own, filter_http1);
fn a_failed_connection_has_the_name_looked_up_at_once() {
    let (gone, moved) = (RefusingAddress::new(), FakeUpstream::start());
    let server = NameServer::start();
    server.set_service(SERVICE, &[(gone.address(), 1, 1)]);
    let clock = still_clock();
    let gate = LocalGate::start_at(&clock, &config(&server), &[]);
    gate.wait_ready();
    wait_for_endpoints(&gate, &[gone.address()]);
    assert_eq!(server.service_queries(SERVICE), 1);
    server.set_service(SERVICE, &[(moved.address(), 1, 1)]);
    assert_eq!(status(&gate), 502);
    // Nine seconds before the next look-up in turn.
    clock.advance(Duration::from_secs(1));
    wait_until("the service has moved", || status(&gate) == 200);
    assert_eq!(server.service_queries(SERVICE), 2);
    assert!(!in_service(&gate, gone.address()), "its series are gone");
}

lanes!(every_address_of_a_name_is_used_and_stays_while_the_name_server_is_silent: own, filter_http2);
fn every_address_of_a_name_is_used_and_stays_while_the_name_server_is_silent() {
    let (server, upstream) = (NameServer::start(), FakeUpstream::start());
    let port = upstream.address().port();
    let yaml = config_of(&format!("api.internal:{port}"), &server);
    server.set_addresses("api.internal", &[Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)]);
    let clock = still_clock();
    let gate = LocalGate::start_at(&clock, &yaml, &[]);
    gate.wait_ready();
    let nobody = SocketAddr::from(([127, 0, 0, 2], port));
    wait_for_endpoints(&gate, &[upstream.address(), nobody]);
    // One of the two refuses, and the request goes to the other one.
    assert!((0..4).all(|_| status(&gate) == 200));
    let asked = server.queries();
    server.set_silent(true);
    clock.advance(Duration::from_secs(10));
    wait_until("the name was asked for again", || server.queries() > asked);
    assert!((0..4).all(|_| status(&gate) == 200));
}

#[test]
fn a_start_waits_for_the_first_look_up() {
    let (server, upstream) = (NameServer::start(), FakeUpstream::start());
    server.set_service(SERVICE, &[(upstream.address(), 1, 1)]);
    server.set_silent(true);
    let yaml = config(&server);
    let starting = std::thread::spawn(move || Binary::start(&yaml));
    wait_until("the name was asked for", || server.queries() > 0);
    // The question is repeated within a second.
    server.set_silent(false);
    let gate = starting.join().unwrap();
    assert_eq!(status(&gate), 200, "it listens once the name is looked up");
}

#[test]
fn an_operator_sees_which_name_does_not_resolve_and_why() {
    let (server, upstream) = (NameServer::start(), FakeUpstream::start());
    let gate = LocalGate::start(&config(&server));
    gate.wait_ready();
    let admin = Admin::new(&gate, TOKEN);
    let shown = || admin.get("/upstreams/api")["names"][0].clone();
    let missing = json!({ "name": SERVICE, "addresses": 0, "problem": "there is no such name" });
    wait_until("the look-up has failed", || shown() == missing);
    server.set_service(SERVICE, &[(upstream.address(), 1, 1)]);
    let found = json!({ "name": SERVICE, "addresses": 1, "problem": null });
    wait_until("the name resolves", || shown() == found);
}

#[test]
fn a_reload_that_names_other_name_servers_asks_them_at_once() {
    let (before, after) = (NameServer::start(), NameServer::start());
    let (old, new) = (FakeUpstream::start(), FakeUpstream::start());
    before.set_service(SERVICE, &[(old.address(), 1, 1)]);
    after.set_service(SERVICE, &[(new.address(), 1, 1)]);
    let clock = still_clock();
    let gate = LocalGate::start_at(&clock, &config(&before), &[]);
    gate.wait_ready();
    wait_for_endpoints(&gate, &[old.address()]);
    // The clock stands still: no look-up in turn is due.
    gate.reload(&config(&after));
    wait_for_endpoints(&gate, &[new.address()]);
}

#[test]
fn a_name_that_does_not_resolve_is_503_and_said_once() {
    let (server, upstream) = (NameServer::start(), FakeUpstream::start());
    let gate = Binary::start(&config(&server));
    gate.wait_ready();
    wait_until("the name was asked for twice", || server.service_queries(SERVICE) >= 2);
    assert_eq!(status(&gate), 503);
    server.set_service(SERVICE, &[(upstream.address(), 1, 1)]);
    wait_until("the name resolves", || status(&gate) == 200);
    let again = "Endpoint name resolves again";
    wait_until("the log says so", || gate.output().contains(again));
    let output = gate.output();
    let fails: Vec<&str> = output
        .lines()
        .filter(|line| line.contains("does not resolve"))
        .collect();
    assert_eq!(fails.len(), 1, "{output}");
    assert!(
        fails[0].contains(SERVICE) && fails[0].contains("there is no such name"),
        "{}",
        fails[0]
    );
    assert_eq!(output.matches(again).count(), 1);
}
