//! What reaches the upstream, and what comes back to the client?

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::ReceivedRequest;
use crate::support::RefusingAddress;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::lane::lanes;
use crate::support::wait_until;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

const OPEN: &str = "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api";

/// Starts a gate with one public route to the upstream that the YAML `upstream` describes.
#[track_caller]
fn gate(upstream: &str) -> LocalGate {
    let yaml = GatewayBuilder::new()
        .upstream_with("api", upstream)
        .route("open", OPEN)
        .yaml();
    let gate = LocalGate::start(&yaml);
    gate.wait_ready();
    gate
}

fn endpoints(addresses: &[SocketAddr]) -> String {
    let list: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("endpoints: [{}]", list.join(", "))
}

/// Starts a gate in front of one upstream, with `more` in the upstream's configuration.
#[track_caller]
fn gate_to(upstream: &FakeUpstream, more: &str) -> LocalGate {
    gate(&format!("{}\n{more}", endpoints(&[upstream.address()])))
}

/// Returns an address that refuses connections until the process of the test ends: a port that is free again is soon another's.
fn dead() -> SocketAddr {
    Box::leak(Box::new(RefusingAddress::new())).address()
}

fn ask(gate: &RunningGate, method: &str, target: &str, headers: &str, body: &str) -> Response {
    let length = match body {
        "" => String::new(),
        body => format!("Content-Length: {}\r\n", body.len()),
    };
    RawClient::connect(gate.data()).exchange(format!(
        "{method} {target} HTTP/1.1\r\nHost: api.example.test\r\n{headers}{length}\r\n{body}"
    ))
}

fn get(gate: &RunningGate, target: &str) -> Response {
    ask(gate, "GET", target, "", "")
}

/// Makes the upstream respond with exactly these bytes.
fn respond_with(upstream: &FakeUpstream, bytes: &str) {
    let bytes = bytes.to_owned();
    upstream.respond_with(move |_| bytes.clone().into_bytes());
}

/// Checks that the response is a problem of `status`, and that its access record has `reason`.
#[track_caller]
fn check_problem(gate: &RunningGate, response: &Response, status: u16, reason: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.json()["request_id"], response.header("x-request-id").unwrap());
    assert_eq!(response.header("retry-after").is_some(), status == 503);
    assert_eq!(record(gate, response)["reason"], reason);
    // The client learns nothing about the upstream's address.
    assert!(!response.text().contains("127.0.0.1"), "{}", response.text());
}

#[track_caller]
fn record(gate: &RunningGate, response: &Response) -> Value {
    gate.record(response)
}

fn values(request: &ReceivedRequest, name: &str) -> Vec<String> {
    request.headers_named(name).into_iter().map(str::to_owned).collect()
}

lanes!(three_endpoints_get_a_third_each);
fn three_endpoints_get_a_third_each() {
    let upstreams: Vec<FakeUpstream> = (0..3).map(|_| FakeUpstream::start()).collect();
    let addresses: Vec<SocketAddr> = upstreams.iter().map(FakeUpstream::address).collect();
    let gate = gate(&endpoints(&addresses));
    let mut client = RawClient::connect(gate.data());
    for _ in 0..30 {
        assert_eq!(client.exchange("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    let counts: Vec<usize> = upstreams.iter().map(|upstream| upstream.received().len()).collect();
    assert_eq!(counts, [10, 10, 10]);
    let connections: Vec<usize> = upstreams.iter().map(FakeUpstream::connections).collect();
    // A task forwards one request of the client after another, and returns each connection to the pool before the next.
    assert_eq!(connections, [1, 1, 1], "each connection is used again");
}

lanes!(an_endpoint_that_cannot_be_connected_to_is_passed_over_whatever_the_method);
fn an_endpoint_that_cannot_be_connected_to_is_passed_over_whatever_the_method() {
    let upstream = FakeUpstream::start();
    let gate = gate(&endpoints(&[dead(), upstream.address()]));
    for method in ["GET", "POST", "DELETE", "PATCH"] {
        for _ in 0..2 {
            assert_eq!(ask(&gate, method, "/a", "", "body").status, 200, "{method}");
        }
    }
    let received = upstream.received();
    assert_eq!(received.len(), 8);
    assert!(received.iter().all(|request| request.body == b"body"));
    assert!(gate.metric("keygate_upstream_connect_failures_total{upstream=\"api\"}") >= 1.0);
}

lanes!(with_every_endpoint_dead_the_answer_is_502_after_the_configured_attempts);
fn with_every_endpoint_dead_the_answer_is_502_after_the_configured_attempts() {
    for (attempts, expected) in [(1, 1.0), (2, 2.0), (5, 5.0)] {
        let gate = gate(&format!(
            "{}\nconnect_attempts: {attempts}",
            endpoints(&[dead(), dead()])
        ));
        check_problem(&gate, &ask(&gate, "POST", "/a", "", "x"), 502, "connect_failed");
        assert_eq!(
            gate.metric("keygate_upstream_connect_failures_total{upstream=\"api\"}"),
            expected
        );
    }
}

lanes!(an_upstream_that_does_not_answer_in_time_is_504);
fn an_upstream_that_does_not_answer_in_time_is_504() {
    let upstream = FakeUpstream::start();
    let hanging = Arc::new(Mutex::new(()));
    let held = Arc::clone(&hanging);
    upstream.respond_with(move |_| {
        drop(held.lock());
        Vec::new()
    });
    let _hanging = hanging.lock().unwrap();
    let gate = gate_to(&upstream, "read_timeout: 300ms");
    check_problem(&gate, &get(&gate, "/a"), 504, "upstream_timeout");
    check_problem(&gate, &ask(&gate, "POST", "/a", "", "body"), 504, "upstream_timeout");
    assert_eq!(upstream.received().len(), 2, "asked once each");
}

lanes!(an_upstream_that_closes_or_answers_garbage_is_502);
fn an_upstream_that_closes_or_answers_garbage_is_502() {
    let upstream = FakeUpstream::start();
    upstream.close_after_responses(true);
    let gate = gate_to(&upstream, "retries: { attempts: 0 }");
    let mut requests = 0;
    for bytes in [
        "",
        "H",
        "SSH-2.0-OpenSSH_9\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nA: b",
    ] {
        respond_with(&upstream, bytes);
        for method in ["GET", "POST"] {
            let response = ask(&gate, method, "/a", "", "body");
            requests += 1;
            assert_eq!(response.status, 502, "{bytes:?}: {}", response.text());
            check_problem(&gate, &response, 502, "upstream_failed");
            assert_eq!(upstream.received().len(), requests, "{method} {bytes:?} was sent again");
        }
    }
}

lanes!(a_response_that_breaks_off_is_never_taken_for_a_whole_one);
fn a_response_that_breaks_off_is_never_taken_for_a_whole_one() {
    let upstream = FakeUpstream::start();
    upstream.close_after_responses(true);
    let gate = gate_to(&upstream, "");
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    ] {
        respond_with(&upstream, bytes);
        let before = gate.access_records().len();
        let mut client = RawClient::connect(gate.data());
        client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.try_receive().is_err(), "{bytes:?} came whole");
        assert!(client.is_closed());
        let records = gate.wait_access_records(before + 1);
        let record = records.last().unwrap();
        assert_eq!(
            (&record["decision"], &record["reason"]),
            (&json!("error"), &json!("upstream_failed")),
            "{bytes:?}"
        );
        assert_eq!(record["status"], 200);
    }
}

lanes!(a_request_that_may_have_been_acted_on_is_sent_again_only_where_that_changes_nothing);
/// The gate cannot know whether a sent request was processed: a retry could pay twice (RFC 9110 section 9.2.2).
fn a_request_that_may_have_been_acted_on_is_sent_again_only_where_that_changes_nothing() {
    for (method, status, arrivals) in [("POST", 502, 1), ("PATCH", 502, 1), ("GET", 200, 2), ("DELETE", 200, 2)] {
        // Tries again: when the next request comes before the connection
        // is back in the pool, the gate dials a new one.
        let seen = (0..50).find_map(|_| over_an_old_connection(method));
        assert_eq!(seen, Some((status, arrivals)), "{method}");
    }
}

lanes!(a_body_that_is_sent_again_counts_once);
/// The gate receives a body once, even where it sends the stored body twice.
fn a_body_that_is_sent_again_counts_once() {
    let seen = (0..50).find_map(|_| {
        let upstream = FakeUpstream::start();
        let yaml = GatewayBuilder::new()
            .top("requests: { body_bytes: 1KiB }")
            .upstream("api", upstream.address())
            .route("open", OPEN)
            .yaml();
        let gate = LocalGate::start(&yaml);
        gate.wait_ready();
        let mut client = RawClient::connect(gate.data());
        assert_eq!(client.exchange("GET /first HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        let taken = AtomicBool::new(false);
        upstream.respond_with(move |_| {
            if taken.swap(true, Ordering::SeqCst) {
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
            } else {
                Vec::new()
            }
        });
        upstream.close_after_responses(true);
        let before = upstream.connections();
        let body = "x".repeat(1_000);
        let response = client.exchange(format!(
            "PUT /second HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{body}"
        ));
        // Otherwise the connection was not back in the pool, and the gate dialled a new one.
        // On a new connection a failure is a 502 at once, so the body was not sent twice.
        (upstream.received().len() == 3 || response.status == 413 && upstream.connections() == before + 1)
            .then(|| (response.status, record(&gate, &response)["bytes_in"].clone()))
    });
    assert_eq!(seen, Some((200, json!(1_000))));
}

/// Sends `method` over a pooled connection; the upstream reads the whole request once, then closes without a
/// response. Returns the status and the number of arrivals; `None` where the gate dialled a new connection instead.
fn over_an_old_connection(method: &str) -> Option<(u16, usize)> {
    let upstream = FakeUpstream::start();
    let gate = gate_to(&upstream, "");
    let mut client = RawClient::connect(gate.data());
    assert_eq!(client.exchange("GET /first HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    let taken = AtomicBool::new(false);
    upstream.respond_with(move |_| {
        if taken.swap(true, Ordering::SeqCst) {
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
        } else {
            Vec::new()
        }
    });
    upstream.close_after_responses(true);
    let before = upstream.connections();
    let response = client.exchange(format!(
        "{method} /second HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\npay"
    ));
    let received = upstream.received();
    assert!(received[1..].iter().all(|request| request.body == b"pay"), "{method}");
    let arrivals = received.len() - 1;
    (upstream.connections() + 1 == before + arrivals).then_some((response.status, arrivals))
}

// `Connection` cannot be sent over HTTP/2.
lanes!(what_a_client_says_about_its_connection_stays_there: own, own_tls, filter_http1);
fn what_a_client_says_about_its_connection_stays_there() {
    let upstream = FakeUpstream::start();
    let gate = gate_to(&upstream, "");
    let headers = "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nX-End: 1\r\n";
    assert_eq!(ask(&gate, "GET", "/a", headers, "").status, 200);
    let received = upstream.only_received();
    for name in ["x-hop", "keep-alive", "proxy-connection", "te"] {
        assert!(values(&received, name).is_empty(), "{name} in {received:?}");
    }
    assert_eq!(values(&received, "x-end"), ["1"]);
}

lanes!(an_endpoint_by_name_is_resolved_in_the_background_and_one_that_cannot_be_is_503);
fn an_endpoint_by_name_is_resolved_in_the_background_and_one_that_cannot_be_is_503() {
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .upstream_with(
            "api",
            &format!("endpoints: [\"localhost:{}\"]", upstream.address().port()),
        )
        .upstream_with("nowhere", "endpoints: [\"no-such-name.invalid:80\"]")
        .route("open", OPEN)
        .route("nowhere", "match: { path: /nowhere }\npublic: true\nupstream: nowhere")
        .yaml();
    let gate = LocalGate::start(&yaml);
    gate.wait_ready();
    check_problem(&gate, &get(&gate, "/nowhere"), 503, "no_endpoint");
    RawClient::connect(gate.data()).exchange_until("GET /a HTTP/1.1\r\nHost: a\r\n\r\n", 200, &[503]);
    // `localhost` may have an IPv6 address too, without a listener.
    for _ in 0..4 {
        assert_eq!(ask(&gate, "POST", "/a", "", "x").status, 200);
    }
    check_problem(&gate, &get(&gate, "/nowhere"), 503, "no_endpoint");
}

lanes!(the_upstreams_header_rules_have_the_last_word);
fn the_upstreams_header_rules_have_the_last_word() {
    let upstream = FakeUpstream::start();
    let more = "host: inside.example.test\nset_headers: { x-gateway: keygate, x-tenant: \"7\" }\nremove_headers: [x-debug, user-agent]";
    let gate = gate_to(&upstream, more);
    let headers =
        "X-Gateway: forged\r\nX-GATEWAY: twice\r\nX-Debug: 1\r\nx-debug: 2\r\nUser-Agent: me\r\nX-Other: kept\r\n";
    assert_eq!(ask(&gate, "GET", "/a", headers, "").status, 200);
    let received = upstream.only_received();
    assert_eq!(values(&received, "x-gateway"), ["keygate"]);
    assert_eq!(values(&received, "x-tenant"), ["7"]);
    assert_eq!(values(&received, "host"), ["inside.example.test"]);
    assert_eq!(values(&received, "x-forwarded-host"), ["api.example.test"]);
    assert!(values(&received, "x-debug").is_empty() && values(&received, "user-agent").is_empty());
    assert_eq!(values(&received, "x-other"), ["kept"]);
}

lanes!(the_host_that_was_asked_for_is_sent_unless_another_is_configured);
fn the_host_that_was_asked_for_is_sent_unless_another_is_configured() {
    let upstream = FakeUpstream::start();
    let gate = gate_to(&upstream, "");
    assert_eq!(get(&gate, "/a").status, 200);
    assert_eq!(values(&upstream.only_received(), "host"), ["api.example.test"]);
}

lanes!(s094_the_path_that_was_checked_is_the_path_that_is_forwarded);
fn s094_the_path_that_was_checked_is_the_path_that_is_forwarded() {
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .upstream("api", upstream.address())
        .route("v1", "match: { path: \"/v1/{*rest}\" }\npublic: true\nstrip_prefix: /v1\nupstream: api")
        .route("root", "match: { path: /v1 }\npublic: true\nstrip_prefix: /v1\nupstream: api")
        .route("plain", "match: { path: \"/plain/{*rest}\" }\npublic: true\nupstream: api")
        .route(
            "odd",
            "match: { path: \"/odd/{*rest}\" }\npublic: true\nstrip_prefix: /odd\nallow: [encoded_slash, empty_segments]\nupstream: api",
        )
        .yaml();
    let gate = LocalGate::start(&yaml);
    let mut forwarded = 0;
    for (sent, expected) in [
        ("/v1/orders", "/orders"),
        ("/v1/orders?x=1&y=%2F..%2f", "/orders?x=1&y=%2F..%2f"),
        ("/v1/orders/", "/orders/"),
        ("/v1/v1/orders", "/v1/orders"),
        ("/v1/a%20b/%C3%A9", "/a%20b/%C3%A9"),
        // Lower-case and needless escapes are normalized before matching, and the normal form is forwarded.
        ("/v1/%c3%a9/%61", "/%C3%A9/a"),
        ("/%76%31/orders", "/orders"),
        ("/v1", "/"),
        ("/v1?q", "/?q"),
        ("/v1?", "/?"),
        ("/plain/%7Euser", "/plain/~user"),
        ("/plain/a;b=c,d@e", "/plain/a;b=c,d@e"),
        ("/plain/a?", "/plain/a?"),
        ("/plain/v1/orders", "/plain/v1/orders"),
        ("/odd/a%2fb", "/a%2Fb"),
        ("/odd/a//b", "/a//b"),
        ("http://api.example.test/v1/orders?x", "/orders?x"),
        ("http://api.example.test/plain/orders?x", "/plain/orders?x"),
    ] {
        let response = get(&gate, sent);
        assert_eq!(response.status, 200, "{sent}: {}", response.text());
        forwarded += 1;
        assert_eq!(upstream.received()[forwarded - 1].target(), expected, "{sent}");
    }
    // `{*rest}` matches at least one character.
    for unmatched in ["/v1/", "/v1/?", "/v1x/orders"] {
        assert_eq!(get(&gate, unmatched).status, 404, "{unmatched}");
    }
    for refused in [
        "/v1/../plain/a",
        "/v1/%2e%2e/plain/a",
        "/v1//orders",
        "/v1/a%2fb",
        "/v1/%2fetc",
        "/v1/a%00",
        "/v1/a%5cb",
        "/v1/%252e%252e/a",
        "/odd/../v1/a",
        "/odd/..%2fv1",
        "/odd/%2e%2e%2fv1",
    ] {
        let status = get(&gate, refused).status;
        assert!(matches!(status, 400 | 404), "{refused}: {status}");
    }
    assert_eq!(upstream.received().len(), forwarded);
}

lanes!(a_prefix_that_is_stripped_never_leaves_a_path_that_names_another_host);
fn a_prefix_that_is_stripped_never_leaves_a_path_that_names_another_host() {
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .upstream("api", upstream.address())
        .route(
            "odd",
            "match: { path: \"/odd/{*rest}\" }\npublic: true\nstrip_prefix: /odd\nallow: [empty_segments]\nupstream: api",
        )
        .yaml();
    let gate = LocalGate::start(&yaml);
    // `//evil.example/x` in origin form is a path: the request line must keep this form, and Host must not change.
    assert_eq!(get(&gate, "/odd//evil.example/x").status, 200);
    let received = upstream.only_received();
    assert_eq!(received.line, "GET //evil.example/x HTTP/1.1");
    assert_eq!(values(&received, "host"), ["api.example.test"]);
}

lanes!(request_ids_and_traces_are_kept_when_well_formed_and_made_otherwise);
fn request_ids_and_traces_are_kept_when_well_formed_and_made_otherwise() {
    let upstream = FakeUpstream::start();
    let gate = gate_to(&upstream, "");
    let good_trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let long = "x".repeat(300);
    let cases = [
        ("X-Request-Id: abc-123\r\n".to_owned(), Some("abc-123")),
        (String::new(), None),
        ("X-Request-Id: \r\n".to_owned(), None),
        ("X-Request-Id: a b\r\n".to_owned(), None),
        ("X-Request-Id: <script>\r\n".to_owned(), None),
        ("X-Request-Id: a\r\nX-Request-Id: b\r\n".to_owned(), None),
        (format!("X-Request-Id: {long}\r\n"), None),
    ];
    for (index, (headers, kept)) in cases.iter().enumerate() {
        let response = ask(&gate, "GET", "/a", headers, "");
        let id = response.header("x-request-id").expect("one is returned").to_owned();
        match kept {
            Some(kept) => assert_eq!(id, *kept),
            None => assert!(
                id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{headers:?}: {id}"
            ),
        }
        assert_eq!(
            values(&upstream.received()[index], "x-request-id"),
            std::slice::from_ref(&id)
        );
        assert_eq!(record(&gate, &response)["request_id"], id);
    }
    let base = cases.len();
    let traces = [
        (format!("traceparent: {good_trace}\r\ntracestate: a=b\r\n"), true),
        ("tracestate: a=b\r\n".to_owned(), false),
        (format!("traceparent: {good_trace}x\r\ntracestate: a=b\r\n"), false),
        (
            "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\n".to_owned(),
            false,
        ),
        (
            format!("traceparent: {good_trace}\r\ntraceparent: {good_trace}\r\n"),
            false,
        ),
    ];
    for (index, (headers, kept)) in traces.iter().enumerate() {
        let response = ask(&gate, "GET", "/a", headers, "");
        let received = &upstream.received()[base + index];
        let trace = values(received, "traceparent");
        assert_eq!(trace.len(), 1, "{headers:?}");
        assert_eq!(trace[0].len(), 55, "{trace:?}");
        let same_trace = trace[0][3..35] == good_trace[3..35];
        assert_eq!(same_trace, *kept, "{headers:?}");
        assert_eq!(values(received, "tracestate").len(), usize::from(*kept), "{headers:?}");
        assert_eq!(record(&gate, &response)["trace_id"], trace[0][3..35]);
    }
}

lanes!(large_bodies_pass_in_both_directions_up_to_the_limit);
fn large_bodies_pass_in_both_directions_up_to_the_limit() {
    let upstream = FakeUpstream::start();
    let size = 10 * 1024 * 1024;
    let download: Arc<Vec<u8>> = Arc::new((0..size).map(|index| (index % 251) as u8).collect());
    let body = Arc::clone(&download);
    upstream.respond_with(move |_| {
        let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        response.extend_from_slice(&body);
        response
    });
    let gate = gate_to(&upstream, "");
    let mut client = RawClient::connect(gate.data());
    let head = format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    let response = client.send(head).send(&*download).receive();
    assert_eq!(response.status, 200);
    assert!(response.body == *download, "the response differs");
    assert!(upstream.only_received().body == *download, "the request differs");
    let record = record(&gate, &response);
    assert_eq!(
        (&record["bytes_in"], &record["bytes_out"]),
        (&json!(size), &json!(size))
    );
    // In chunks too, and one byte over the limit in either framing.
    let chunked = |size: usize| {
        let mut body =
            format!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n").into_bytes();
        body.extend(std::iter::repeat_n(b'x', size));
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        body
    };
    assert_eq!(RawClient::connect(gate.data()).exchange(chunked(size)).status, 200);
    assert_eq!(upstream.wait_received(2)[1].body.len(), size);
    let head = format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", size + 1);
    let response = RawClient::connect(gate.data()).exchange(head);
    check_problem(&gate, &response, 413, "body_too_large");
    let response = RawClient::connect(gate.data()).exchange(chunked(size + 1));
    check_problem(&gate, &response, 413, "body_too_large");
    assert_eq!(
        upstream.received().len(),
        2,
        "a request over the limit never arrives whole"
    );
}

lanes!(what_an_upstream_does_with_its_connection_is_its_own_matter);
fn what_an_upstream_does_with_its_connection_is_its_own_matter() {
    let upstream = FakeUpstream::start();
    let gate = gate_to(&upstream, "");
    let mut client = RawClient::connect(gate.data());
    upstream.close_after_responses(true);
    respond_with(
        &upstream,
        "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
    );
    for _ in 0..3 {
        let response = client.exchange("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
        assert_ne!(response.header("connection"), Some("close"));
        assert_eq!((response.header("keep-alive"), response.header("x-hop")), (None, None));
    }
    assert_eq!(upstream.connections(), 3);
    // A body without a length ends when the upstream closes.
    respond_with(&upstream, "HTTP/1.0 200 OK\r\n\r\nold");
    let response = client.exchange("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, "old"));
}

lanes!(an_idle_connection_is_used_again_by_other_clients);
fn an_idle_connection_is_used_again_by_other_clients() {
    let upstream = FakeUpstream::start();
    let gate = gate_to(&upstream, "");
    // Each worker has a pool of its own, and a client may come before the connection of the previous request is free.
    wait_until("a client's request uses the connection of another client's", || {
        let before = upstream.connections();
        assert_eq!(get(&gate, "/a").status, 200);
        upstream.connections() == before
    });
}

// pingora forwards no interim response over HTTP/2.
lanes!(responses_of_every_framing_pass_as_they_are: own, own_tls, filter_http1);
fn responses_of_every_framing_pass_as_they_are() {
    let upstream = FakeUpstream::start();
    let gate = gate_to(&upstream, "");
    let mut client = RawClient::connect(gate.data());
    let mut exchange = |method: &str, bytes: &str| {
        respond_with(&upstream, bytes);
        client.send(format!("{method} /a HTTP/1.1\r\nHost: a\r\n\r\n"));
        match method {
            "HEAD" => client.receive_to_head(),
            _ => client.receive(),
        }
    };
    let chunked = exchange(
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!((chunked.status, chunked.text().as_str()), (200, "abcde"));
    let none = exchange("GET", "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n");
    assert_eq!((none.status, none.header("x-a"), none.body.len()), (204, Some("1"), 0));
    let same = exchange("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n");
    assert_eq!((same.status, same.header("etag")), (304, Some("\"1\"")));
    let head = exchange("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n");
    assert_eq!((head.status, head.header("content-length")), (200, Some("77")));
    let empty = exchange("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    let own = exchange(
        "GET",
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!((own.status, own.header("www-authenticate")), (401, Some("Basic")));
    let cookies = exchange(
        "GET",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(cookies.headers_named("set-cookie"), ["a", "b"]);
    let hinted = exchange(
        "GET",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!((hinted.status, hinted.header("link")), (103, Some("</a>")));
    let hinted = client.receive();
    assert_eq!((hinted.status, hinted.text().as_str()), (200, "ok"));
}

lanes!(s086_what_an_upstream_says_about_limits_and_request_ids_is_replaced);
fn s086_what_an_upstream_says_about_limits_and_request_ids_is_replaced() {
    let upstream = FakeUpstream::start();
    respond_with(
        &upstream,
        "HTTP/1.1 200 OK\r\nRateLimit: \"theirs\";r=99;t=1\r\nRateLimit-Policy: \"theirs\";q=99;w=1\r\nX-RateLimit-Limit: 99\r\nX-RateLimit-Remaining: 99\r\nX-RateLimit-Remaining: 98\r\nX-RateLimit-Reset: 99\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n",
    );
    let yaml = GatewayBuilder::new()
        .limit("few", "by: ip\nquota: 5/hour")
        .upstream("api", upstream.address())
        .route(
            "limited",
            "match: { path: /limited }\npublic: true\nlimits: [few]\nupstream: api",
        )
        .route("open", OPEN)
        .yaml();
    let gate = LocalGate::start(&yaml);
    for left in (0..5).rev() {
        let response = get(&gate, "/limited");
        assert_eq!(response.status, 200);
        assert_eq!(response.header("x-ratelimit-limit"), Some("5"));
        assert_eq!(
            response.header("x-ratelimit-remaining"),
            Some(left.to_string().as_str())
        );
        assert_ne!(response.header("x-ratelimit-reset"), Some("99"));
        assert!(response.header("ratelimit").unwrap().starts_with("\"few\""));
        assert!(response.header("ratelimit-policy").unwrap().starts_with("\"few\""));
        assert_ne!(response.header("x-request-id"), Some("theirs"));
    }
    let refused = get(&gate, "/limited");
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(upstream.received().len(), 5);
    // Where the route has no limit, the upstream's fields pass.
    let open = get(&gate, "/open");
    assert_eq!(open.header("x-ratelimit-limit"), Some("99"));
}
