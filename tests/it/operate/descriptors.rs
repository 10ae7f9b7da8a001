//! What happens where the file descriptors of the process are not enough for its clients?

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::get;
use crate::support::poll;
use crate::support::raw_http2;
use crate::support::raw_http2::RawHttp2;
use crate::support::wait_until;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc;

const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// FOUND F01: idle clients took every descriptor, good requests timed out or were answered as the upstream's fault, and so did
/// probes and scrapes.
#[test]
fn clients_that_take_every_descriptor_stop_neither_requests_nor_probes() {
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .upstream("api", upstream.address())
        .route("open", "match: { path: /a }\npublic: true\nupstream: api")
        .yaml();
    let gate = Binary::start_with_descriptors(&yaml, &[], 128);
    gate.wait_for_output("Fewer connections than `requests.connections`");
    let mut established = RawClient::connect(gate.data());
    assert_eq!(established.exchange(REQUEST).status, 200);
    // More than there are descriptors; the system accepts them in the name of the gate.
    let idle: Vec<RawClient> = (0..200).map(|_| RawClient::connect(gate.data())).collect();
    wait_until("connections are refused", || {
        gate.metric("keygate_connections_refused_total{reason=\"too_many_connections\"}") >= 1.0
    });
    for _ in 0..20 {
        assert_eq!(established.exchange(REQUEST).status, 200);
        assert_eq!(get(gate.admin(), "/readyz").status, 200);
    }
    // While many are refused at a time, some are closed without an answer.
    let refused = poll(PATIENCE, || {
        let mut stranger = TcpStream::connect(gate.data()).ok()?;
        stranger.set_read_timeout(Some(PATIENCE)).ok()?;
        stranger.write_all(REQUEST.as_bytes()).ok()?;
        let mut answer = String::new();
        stranger.read_to_string(&mut answer).ok()?;
        Some(answer).filter(|answer| !answer.is_empty())
    });
    let refused = refused.expect("an answer");
    assert!(
        refused.starts_with("HTTP/1.1 503 ") && refused.contains("urn:keygate:problem:overloaded"),
        "{refused}"
    );
    assert_eq!(
        gate.metric("keygate_accept_errors_total{listener=\"data\",reason=\"process_descriptors\"}"),
        0.0
    );
    drop(idle);
    wait_until("new clients are served again", || {
        let mut client = RawClient::connect(gate.data());
        client.send(REQUEST);
        client.try_receive().is_ok_and(|response| response.status == 200)
    });
}

/// FOUND F01: each request of HTTP/2 needs a connection to an upstream of its own.
#[test]
fn streams_that_would_take_every_descriptor_are_refused_and_blame_no_upstream() {
    let upstream = FakeUpstream::start();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    upstream.respond_with(move |_| {
        let _ = released.lock().unwrap().recv_timeout(PATIENCE);
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    let yaml = GatewayBuilder::new()
        .upstream("api", upstream.address())
        .route("open", "match: { path: /a }\npublic: true\nupstream: api")
        .yaml()
        .replacen(
            "  - address: 127.0.0.1:0\n",
            "  - { address: 127.0.0.1:0, protocol: h2c }\n",
            1,
        );
    let gate = Binary::start_with_descriptors(&yaml, &[], 128);
    let streams: Vec<u32> = (0..90).map(|number| 2 * number + 1).collect();
    let mut clients: Vec<RawHttp2> = (0..3).map(|_| RawHttp2::connect(gate.data())).collect();
    for client in &mut clients {
        for stream in &streams {
            assert!(client.request(*stream, &raw_http2::get(b"/a", &[])));
        }
    }
    let failed = "keygate_requests_total{method=\"GET\",route=\"open\",status_class=\"5xx\"}";
    wait_until("streams are refused", || gate.metric(failed) >= 100.0);
    assert_eq!(get(gate.admin(), "/readyz").status, 200);
    drop(release);
    drop(clients);
    wait_until("all have ended", || gate.metric("keygate_requests_in_flight") == 0.0);
    assert!(!gate.output().contains("Endpoint fails"), "{}", gate.output());
}
