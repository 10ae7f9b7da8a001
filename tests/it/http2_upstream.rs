//! Does an upstream that speaks HTTP/2 get the same requests as one of HTTP/1.1, from clients of both? A request of an
//! HTTP/1.1 client is decided in Keygate's own lane and handed over to pingora's.

use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::RefusingAddress;
use crate::support::Response;
use crate::support::api_key;
use crate::support::http2_upstream::Http2Upstream;
use crate::support::lane::lanes;
use crate::support::wait_until;
use serde_json::json;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

struct Gate {
    running: LocalGate,
    upstream: Http2Upstream,
    /// The field with an API key.
    key: String,
}

impl Gate {
    fn start() -> Self {
        let upstream = Http2Upstream::start();
        let (key, entry) = api_key("scopes: [read]");
        let refusing = RefusingAddress::new();
        let running = LocalGate::start_with(
            &config(upstream.address(), refusing.address()),
            &[("keys.yaml", &format!("keys:\n{entry}"))],
        );
        running.wait_ready();
        Self {
            running,
            upstream,
            key: format!("x-api-key: {}\r\n", key.expose()),
        }
    }

    fn connect(&self) -> RawClient {
        RawClient::connect(self.running.data())
    }

    #[track_caller]
    fn get(&self, client: &mut RawClient, path: &str, fields: &str) -> Response {
        client.exchange(format!(
            "GET {path} HTTP/1.1\r\nHost: api.test\r\n{}{fields}\r\n",
            self.key
        ))
    }
}

fn config(upstream: SocketAddr, refusing: SocketAddr) -> String {
    GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .top("requests: { body_bytes: 2MiB }")
        .limit("twice", "by: credential\nquota: 2/hour\nburst: 2")
        .upstream_with(
            "new",
            &format!("endpoints: [\"{upstream}\"]\nprotocol: h2c\nread_timeout: 1s\nhost: inside.test\nset_headers: {{ x-set: here }}"),
        )
        .upstream_with("gone", &format!("endpoints: [\"{refusing}\"]\nprotocol: h2c"))
        .route("twice", "match: { path: /twice }\naccept: [api_key]\nupstream: new\nlimits: [twice]")
        .route("gone", "match: { path: /gone }\naccept: [api_key]\nupstream: gone")
        .route("all", "match: { path: \"/{*rest}\" }\naccept: [api_key]\nupstream: new")
        .yaml()
}

lanes!(s079_a_request_arrives_as_over_http1);
fn s079_a_request_arrives_as_over_http1() {
    let gate = Gate::start();
    let mut client = gate.connect();
    let fields = "x-keygate-subject: forged\r\nCookie: a=1\r\nTE: trailers\r\n";
    let response = gate.get(&mut client, "/a%2Db/c?d=e%20f", fields);
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert_eq!(response.header("x-from"), Some("upstream"));
    let record = gate.running.record(&response);
    assert_eq!(
        (&record["decision"], &record["upstream"], &record["bytes_out"]),
        (&json!("allow"), &json!("new"), &json!(2))
    );
    let request = gate.upstream.only_received();
    assert_eq!(request.head.method, "GET");
    assert_eq!(request.head.uri, "http://inside.test/a-b/c?d=e%20f");
    for (name, values) in [
        ("x-api-key", &[][..]),
        ("x-keygate-credential-type", &["api_key"]),
        ("x-keygate-scope", &["read"]),
        ("x-forwarded-host", &["api.test"]),
        ("x-set", &["here"]),
        ("cookie", &["a=1"]),
        ("te", &["trailers"]),
        ("connection", &[]),
        ("host", &[]),
    ] {
        assert_eq!(request.headers_named(name), values, "{name}");
    }
    assert!(!request.headers_named("x-keygate-subject").contains(&"forged"));
    assert_eq!((request.body.len(), request.trailers.is_some()), (0, false));
}

lanes!(bodies_of_both_directions_arrive_whole_and_connections_are_shared);
fn bodies_of_both_directions_arrive_whole_and_connections_are_shared() {
    let gate = Gate::start();
    let mut client = gate.connect();
    let body = "b".repeat(1 << 20);
    let head = |framing: &str| format!("POST /up HTTP/1.1\r\nHost: api.test\r\n{}{framing}\r\n", gate.key);
    let sized = format!("{}{body}", head(&format!("Content-Length: {}\r\n", body.len())));
    let chunked = format!(
        "{}100000\r\n{body}\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked\r\n")
    );
    for request in [sized, chunked] {
        assert_eq!(client.exchange(request).text(), "ok");
        let received = gate.upstream.only_received();
        assert_eq!(received.body.len(), 1 << 20);
        assert_eq!(received.headers_named("transfer-encoding"), [""; 0]);
    }
    assert_eq!(gate.get(&mut client, "/large", "").body.len(), 1 << 20);
    // Trailers are for clients of HTTP/2; a client of HTTP/1.1 gets the whole body without them.
    assert_eq!(gate.get(&mut client, "/pieces", "").text(), "onetwo");
    assert_eq!(gate.get(&mut client, "/after", "").text(), "ok");
    assert_eq!(gate.upstream.connections(), 1);
}

lanes!(a_failure_is_answered_once_and_the_next_request_is_served);
fn a_failure_is_answered_once_and_the_next_request_is_served() {
    let gate = Gate::start();
    for (path, status, reason) in [
        ("/reset", 502, "upstream_failed"),
        ("/hang", 504, "upstream_timeout"),
        ("/gone", 502, "connect_failed"),
    ] {
        let response = gate.get(&mut gate.connect(), path, "");
        assert_eq!(
            (response.status, &response.json()["status"]),
            (status, &json!(status)),
            "{path}"
        );
        let record = gate.running.record(&response);
        assert_eq!(
            (&record["reason"], &record["decision"]),
            (&json!(reason), &json!("error")),
            "{path}"
        );
    }
    assert_eq!(gate.get(&mut gate.connect(), "/good", "").text(), "ok");
}

lanes!(a_request_that_is_handed_over_is_decided_once);
fn a_request_that_is_handed_over_is_decided_once() {
    let gate = Gate::start();
    let mut client = gate.connect();
    let statuses = [(); 3].map(|()| gate.get(&mut client, "/twice", "").status);
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(gate.running.wait_access_records(3).len(), 3);
    wait_until("none is in flight", || {
        gate.running.metric("keygate_requests_in_flight") == 0.0
    });
}

lanes!(an_upstream_can_change_its_protocol_at_a_reload);
fn an_upstream_can_change_its_protocol_at_a_reload() {
    let gate = Gate::start();
    let mut client = gate.connect();
    assert_eq!(gate.get(&mut client, "/a", "").status, 200);
    let refusing = RefusingAddress::new();
    let yaml = config(gate.upstream.address(), refusing.address());
    gate.running
        .reload(&yaml.replace("protocol: h2c\n    read", "protocol: http1\n    read"));
    // An upstream of HTTP/2 gives no response to HTTP/1.1.
    assert_eq!(gate.get(&mut client, "/a", "").status, 502);
    gate.running.reload(&yaml);
    assert_eq!(gate.get(&mut gate.connect(), "/a", "").status, 200);
}

lanes!(an_upload_takes_longer_than_the_upstream_may_be_silent);
fn an_upload_takes_longer_than_the_upstream_may_be_silent() {
    let gate = Gate::start();
    let mut client = gate.connect().patience(Duration::from_millis(400));
    client.send(format!(
        "POST /up HTTP/1.1\r\nHost: api.test\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        gate.key
    ));
    // `read_timeout` is a second.
    for part in ["1", "2", "3", "4", "5"] {
        client.send(format!("1\r\n{part}\r\n"));
        let early = client.try_receive();
        assert!(
            early.is_err_and(|error| error.kind() != ErrorKind::UnexpectedEof),
            "{part}"
        );
    }
    client.send("1\r\n6\r\n0\r\n\r\n");
    assert_eq!(client.patience(PATIENCE).receive().text(), "ok");
    assert_eq!(gate.upstream.only_received().body, b"123456");
}

// A client of HTTP/2 gets no interim response.
lanes!(a_client_that_waits_for_100_continue_gets_it: own, own_tls, filter_http1);
fn a_client_that_waits_for_100_continue_gets_it() {
    let gate = Gate::start();
    let mut client = gate.connect();
    let fields = format!("{}Expect: 100-continue\r\nContent-Length: 5\r\n", gate.key);
    client.send(format!("POST /up HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n"));
    assert_eq!(client.receive().status, 100);
    client.send("hello");
    assert_eq!(client.receive().text(), "ok");
    let request = gate.upstream.only_received();
    assert_eq!(
        (request.body.as_slice(), request.headers_named("expect")),
        (&b"hello"[..], vec![])
    );
}

// It is about HTTP/1.0.
lanes!(a_client_of_http_1_0_is_told_to_use_another_version: own, own_tls);
fn a_client_of_http_1_0_is_told_to_use_another_version() {
    let gate = Gate::start();
    let response = gate
        .connect()
        .exchange(format!("GET /a HTTP/1.0\r\nHost: api.test\r\n{}\r\n", gate.key));
    assert_eq!(response.status, 505);
    assert!(gate.upstream.take_received().is_empty());
}
