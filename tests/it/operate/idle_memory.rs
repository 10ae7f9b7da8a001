//! How much memory does a connection hold that waits for its next request? Thousands wait, and few are in work.

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::RawClient;
use crate::support::tls_client;
use crate::support::tls_client::Authority;
use crate::support::wait_until;
use rustls::version::TLS13;

const CONNECTIONS: u64 = 500;
/// Connections that are opened before the measurement, so that what all share is there.
const WARM_UP: u64 = 50;

/// Opens connections with `connect`, sends a request on each, and waits until each holds at most `kib_max`.
#[track_caller]
fn check(listener: &str, files: &[(&str, &str)], kib_max: u64, connect: impl Fn(&Binary) -> RawClient) {
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .upstream("orders", upstream.address())
        .route("open", "match: { path: /open }\npublic: true\nupstream: orders")
        .yaml()
        .replacen(
            "  - address: 127.0.0.1:0\n",
            &format!("  - {{ address: 127.0.0.1:0{listener} }}\n"),
            1,
        );
    let gate = Binary::start_with(&yaml, files);
    let open = || {
        let mut client = connect(&gate);
        let request = "GET /open HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
        assert_eq!(client.exchange(request).status, 200);
        client
    };
    let mut clients: Vec<RawClient> = (0..WARM_UP).map(|_| open()).collect();
    let before = gate.resident_kib();
    clients.extend((0..CONNECTIONS).map(|_| open()));
    // Buffers give back their room after a second.
    wait_until(&format!("{kib_max} KiB a connection"), || {
        gate.resident_kib().saturating_sub(before) <= CONNECTIONS * kib_max
    });
    assert_eq!(gate.metric("keygate_connections_open"), (WARM_UP + CONNECTIONS) as f64);
}

#[test]
fn an_idle_connection_holds_little() {
    check("", &[], 10, |gate| RawClient::connect(gate.data()));
}

#[test]
fn an_idle_connection_over_tls_holds_little() {
    let authority = Authority::new();
    let one = authority.certificate(&["api.example.com"], |_| ());
    let client = authority.client(&[&TLS13]);
    let listener = ", tls: { certificate: one.pem, private_key: one.key }";
    let files = [("one.pem", &*one.certificate), ("one.key", &*one.key)];
    check(listener, &files, 18, |gate| {
        tls_client::connect(&client, gate.data(), "api.example.com")
            .unwrap()
            .http()
    });
}
