//! From which addresses may a route and a listener be used, and can a client claim another address than it has?

use crate::front::Gate;
use crate::front::get_with;
use crate::support::GatewayBuilder;
use crate::support::lane::lanes;
use crate::support::wait_until;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;

const INSIDE: &str = "addresses: { allow: [10.0.0.0/8, \"fd00::/8\"], deny: [10.9.0.0/16] }";

fn inside(gate: GatewayBuilder) -> GatewayBuilder {
    let route = |path: &str| format!("match: {{ path: {path} }}\n{INSIDE}\nupstream: up");
    gate.route("inside", &format!("{}\naccept: [jwt]", route("/inside")))
        .route("inside-open", &format!("{}\npublic: true", route("/inside-open")))
        .route(
            "loopback",
            "match: { path: /loopback }\npublic: true\naddresses: { allow: [127.0.0.0/8] }\nupstream: up",
        )
        .route(
            "elsewhere",
            "match: { path: /elsewhere }\npublic: true\naddresses: { deny: [\"::ffff:127.0.0.0/104\"] }\nupstream: up",
        )
}

lanes!(s082_s110_a_client_that_claims_an_address_does_not_have_it);
fn s082_s110_a_client_that_claims_an_address_does_not_have_it() {
    let gate = Gate::start_with(inside);
    let token = format!("Authorization: Bearer {}\r\n", gate.token);
    for claim in [
        "X-Forwarded-For: 10.0.0.1\r\n",
        "Forwarded: for=10.0.0.1\r\n",
        "X-Real-IP: 10.0.0.1\r\n",
        "",
    ] {
        gate.refuses_unread(
            get_with("/inside", &format!("{claim}{token}")),
            403,
            "address_not_allowed",
        );
        // Before authentication: not even that a credential is missing is said.
        gate.refuses_unread(get_with("/inside", claim), 403, "address_not_allowed");
        gate.refuses_unread(get_with("/inside-open", claim), 403, "address_not_allowed");
        gate.refuses_unread(get_with("/elsewhere", claim), 403, "address_not_allowed");
        assert_eq!(gate.exchange(get_with("/loopback", claim)).status, 200);
    }
}

lanes!(a_route_reads_the_address_that_a_trusted_proxy_reports);
fn a_route_reads_the_address_that_a_trusted_proxy_reports() {
    let gate = Gate::start_with(|gate| inside(gate.top("trusted_proxies: [127.0.0.1/32]")));
    let token = format!("Authorization: Bearer {}\r\n", gate.token);
    for (fields, status) in [
        ("X-Forwarded-For: 10.0.0.1\r\n", 200),
        ("X-Forwarded-For: ::ffff:10.0.0.1\r\n", 200),
        ("X-Forwarded-For: fd00::1\r\n", 200),
        ("Forwarded: for=\"[fd00::1]:4711\"\r\n", 200),
        ("X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\n", 200),
        // Denied inside what is allowed.
        ("X-Forwarded-For: 10.9.0.1\r\n", 403),
        ("X-Forwarded-For: ::ffff:10.9.0.1\r\n", 403),
        ("X-Forwarded-For: 192.0.2.1\r\n", 403),
        // The client has written everything but the rightmost address.
        ("X-Forwarded-For: 10.0.0.1, 192.0.2.1\r\n", 403),
        ("X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 192.0.2.1\r\n", 403),
        // The address of the client is unknown, and that of the proxy counts for nothing.
        ("X-Forwarded-For: unknown\r\n", 403),
        ("Forwarded: for=_hidden\r\n", 403),
        ("X-Forwarded-For: 10.0.0.1\r\nForwarded: for=192.0.2.1\r\n", 403),
        // The proxy itself is the client.
        ("", 403),
    ] {
        let request = get_with("/inside", &format!("{fields}{token}"));
        if status == 200 {
            assert_eq!(gate.exchange(&request).status, 200, "{fields}");
        } else {
            gate.refuses_unread(&request, 403, "address_not_allowed");
        }
    }
    for fields in ["X-Forwarded-For: unknown\r\n", "Forwarded: for=_hidden\r\n"] {
        // An address that is unknown is not outside what is denied.
        gate.refuses(get_with("/elsewhere", fields), 403, "address_not_allowed");
        gate.refuses(get_with("/loopback", fields), 403, "address_not_allowed");
    }
}

/// Returns the bytes that the listener at `address` sends to a client that has sent the begin of a handshake, or of a request.
fn answer_of(address: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the system accepts the connection");
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    // The gate may have closed it already.
    let _ = stream.write_all(sent);
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    received
}

lanes!(a_listener_closes_connections_of_peers_it_is_not_for);
fn a_listener_closes_connections_of_peers_it_is_not_for() {
    let lane = crate::support::lane::Lane::current();
    let with = |yaml: &str, rules: &str| {
        let keys = format!("{}    addresses: {rules}\n", lane.listener_yaml());
        let listener = format!("  - address: 127.0.0.1:0\n{}", lane.listener_yaml());
        yaml.replacen(&listener, &format!("  - address: 127.0.0.1:0\n{keys}"), 1)
    };
    let upstream = crate::support::FakeUpstream::start();
    let open = Gate::builder(&upstream, "x-api-key")
        .top("trusted_proxies: [127.0.0.1/32]")
        .yaml();
    let closed = with(&open, "{ allow: [127.0.0.0/8], deny: [\"::ffff:127.0.0.1/128\"] }");
    assert_ne!(open, closed);
    let gate: Gate = Gate::start_from(upstream, &closed, &[], "");
    // No report of a proxy changes the address of the peer.
    let request = get_with("/open/a", "X-Forwarded-For: 127.0.0.9\r\n");
    // A handshake would be answered with an alert, and a request with an answer.
    for sent in [
        &b"\x16\x03\x01\x00\x05hello"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        request.as_bytes(),
        b"",
    ] {
        assert_eq!(answer_of(gate.running.data(), sent), b"", "{}", sent.escape_ascii());
    }
    wait_until("each connection is counted", || gate.denied("peer_not_allowed") == 4.0);
    assert_eq!(gate.upstream.received().len(), 0);
    // A reload opens and closes it for new connections.
    gate.running.reload(&with(&open, "{ allow: [127.0.0.0/8] }"));
    assert_eq!(gate.exchange(get_with("/open/a", "")).status, 200);
    gate.running.reload(&with(&open, "{ deny: [127.0.0.0/8] }"));
    assert_eq!(answer_of(gate.running.data(), request.as_bytes()), b"");
}
