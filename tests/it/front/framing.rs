//! Where does a request end, and how does the gate treat the bytes after the request? (S101 to S103)

use crate::front::Gate;
use crate::front::get_with;
use crate::front::protected;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::lane::lanes;

/// Returns a POST of `target` with `fields`, and with `after` behind the head.
fn post(target: &str, fields: &str, after: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: gate.test\r\n{fields}\r\n{after}")
}

/// Checks that the response announces `Connection: close`, and that the connection ends.
#[track_caller]
fn assert_closes(client: &mut RawClient, response: &Response) {
    assert_eq!(response.header("connection"), Some("close"), "{:?}", response.headers);
    assert!(client.is_closed());
}

// It is about bytes on a connection of HTTP/1.1.
lanes!(s101_ambiguous_framing_is_refused_and_the_connection_closed: own, own_tls, filter_http1);
fn s101_ambiguous_framing_is_refused_and_the_connection_closed() {
    let gate = Gate::start();
    let smuggled = "0\r\n\r\nGET /open/smuggled HTTP/1.1\r\nHost: gate.test\r\n\r\n";
    for (fields, reason) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "length_and_encoding",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "length_and_encoding",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "transfer_encoding_repeated",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "transfer_encoding",
        ),
        ("Transfer-Encoding: xchunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding: gzip, chunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding: chunked, identity\r\n", "transfer_encoding"),
        ("Transfer-Encoding: identity\r\n", "transfer_encoding"),
        ("Transfer-Encoding: chunked;q=1\r\n", "transfer_encoding"),
        ("Transfer-Encoding: \"chunked\"\r\n", "transfer_encoding"),
        ("Transfer-Encoding:\r\n", "transfer_encoding"),
        ("Transfer-Encoding: \x0bchunked\r\n", "header_value"),
        ("Transfer-Encoding : chunked\r\n", "header_name"),
        ("Transfer-Encoding:\r\n chunked\r\n", "transfer_encoding"),
        ("X: 1\r\n Transfer-Encoding: chunked\r\n", "header_folded"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "content_length_repeated"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "content_length_repeated"),
        ("Content-Length: 5, 5\r\n", "content_length"),
        ("Content-Length: +5\r\n", "content_length"),
        ("Content-Length: -5\r\n", "content_length"),
        ("Content-Length: 0x5\r\n", "content_length"),
        ("Content-Length: 5 5\r\n", "content_length"),
        ("Content-Length: 99999999999999999999\r\n", "content_length"),
        ("Content-Length:\r\n", "content_length"),
    ] {
        for target in ["/open/a", "/both/a"] {
            let mut client = gate.connect();
            let response = gate.refuses_on(&mut client, post(target, fields, smuggled), 400, reason);
            assert_closes(&mut client, &response);
        }
    }
    let old = "POST /open/a HTTP/1.0\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut client = gate.connect();
    let response = gate.refuses_on(&mut client, old, 400, "transfer_encoding_http10");
    assert_closes(&mut client, &response);
    assert!(gate.upstream.received().is_empty(), "{:?}", gate.upstream.received());
}

// It is about bytes of a head that frames cannot carry.
lanes!(s101_chunked_is_the_same_in_any_case_and_arrives_whole: own, own_tls, filter_http1);
fn s101_chunked_is_the_same_in_any_case_and_arrives_whole() {
    let gate = Gate::start();
    for coding in ["chunked", "Chunked", "CHUNKED", " chunked\t"] {
        let request = post(
            "/open/a",
            &format!("Transfer-Encoding:{coding}\r\n"),
            "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        );
        assert_eq!(gate.exchange(request).status, 200, "{coding:?}");
        let received = gate.upstream.received();
        assert_eq!(received.last().unwrap().body, b"abcde", "{coding:?}");
    }
}

// It is about bytes on a connection of HTTP/1.1.
lanes!(s101_broken_chunks_never_become_a_request: own, own_tls, filter_http1);
fn s101_broken_chunks_never_become_a_request() {
    let gate = Gate::start();
    for after in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "ffffffffffffffffff\r\nabc",
        "0x3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
    ] {
        let request = post("/open/a", "Transfer-Encoding: chunked\r\n", after);
        let mut client = gate.connect();
        client.send(request);
        match client.try_receive() {
            Ok(response) => assert!(response.status >= 400, "{after:?}: {}", response.status),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{after:?}"),
        }
        assert!(client.is_closed(), "{after:?}");
    }
    assert!(gate.upstream.received().is_empty(), "{:?}", gate.upstream.received());
}

// It is about bytes on a connection of HTTP/1.1.
lanes!(s101_broken_chunks_are_answered: own, own_tls, filter_http1);
/// The client waits for a response, so the gate sends one, and the record does not say that the client left.
fn s101_broken_chunks_are_answered() {
    let gate = Gate::start();
    let request = post("/open/a", "Transfer-Encoding: chunked\r\n", "zz\r\nabc\r\n0\r\n\r\n");
    gate.refuses_late(&mut gate.connect(), request, 400, "refused_by_parser");
}

// A WebSocket needs a connection of HTTP/1.1 to itself.
lanes!(s102_bytes_after_an_upgrade_are_no_request: own, own_tls, filter_http1);
fn s102_bytes_after_an_upgrade_are_no_request() {
    let gate = Gate::start();
    let good = format!("Authorization: Bearer {}\r\n", gate.token);
    let pipelined = "GET /both/smuggled HTTP/1.1\r\nHost: gate.test\r\n\r\n";
    // The upstream declines the upgrade and responds normally.
    for upgrade in ["websocket", "foo/1, websocket", "h2c, websocket"] {
        let fields = format!("{good}Connection: Upgrade\r\nUpgrade: {upgrade}\r\n");
        let before = gate.upstream.received().len();
        let mut client = gate.connect();
        let response = client.exchange(format!("{}{pipelined}", get_with("/both/a", &fields)));
        assert_eq!(response.status, 200, "{upgrade}");
        // The bytes after the request get no response: the gate does not pipeline.
        assert_closes(&mut client, &response);
        let received = gate.upstream.received();
        assert_eq!(received.len(), before + 1, "{upgrade}: {received:?}");
        assert!(!String::from_utf8_lossy(&received[before].raw).contains("smuggled"));
    }
    // The same for a request that the gate refuses.
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let before = gate.upstream.received().len();
    let mut client = gate.connect();
    let response = client.exchange(format!(
        "{}{}",
        get_with("/both/a", fields),
        pipelined.replace("/both/", "/open/")
    ));
    assert_eq!(response.status, 401);
    assert_closes(&mut client, &response);
    // Not even to an open route do the bytes become a request.
    assert_eq!(gate.upstream.received().len(), before);
    for fields in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 60\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let mut client = gate.connect();
        let response = gate.refuses_on(&mut client, post("/open/a", fields, pipelined), 400, "upgrade");
        assert_closes(&mut client, &response);
    }
    let old = "GET /open/a HTTP/1.0\r\nHost: gate.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    gate.refuses(old, 400, "upgrade_http10");
    // An upgrade to h2c is not forwarded.
    let response = gate.exchange(get_with(
        "/open/h2c",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    ));
    assert_eq!(response.status, 200);
    let last = gate.upstream.received().pop().unwrap();
    assert!(
        last.headers_named("upgrade").is_empty() && last.headers_named("http2-settings").is_empty(),
        "{last:?}"
    );
}

// A WebSocket needs a connection of HTTP/1.1 to itself.
lanes!(s102_after_a_switch_bytes_flow_both_ways_and_are_no_requests: own, own_tls, filter_http1);
fn s102_after_a_switch_bytes_flow_both_ways_and_are_no_requests() {
    let gate = Gate::start();
    gate.upstream.respond_with(|_| {
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello".to_vec()
    });
    let fields = format!(
        "Authorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        gate.token
    );
    let mut client = gate.connect();
    let response = client.exchange(get_with("/both/a", &fields));
    assert_eq!(response.status, 101);
    // The fake upstream reads these bytes as a request, which shows
    // that they arrived and that the gate did not parse them.
    client.send("GET /both/raw HTTP/1.1\r\nX-Keygate-Subject: raw\r\n\r\n");
    let received = gate.upstream.wait_received(2);
    assert_eq!(received[1].target(), "/both/raw");
    assert_eq!(received[1].headers_named("x-keygate-subject"), ["raw"]);
    assert!(received[1].headers_named("x-forwarded-for").is_empty());
}

lanes!(s103_a_small_unread_body_is_drained_and_never_the_next_request);
fn s103_a_small_unread_body_is_drained_and_never_the_next_request() {
    let gate = Gate::start();
    let inner = "GET /open/smuggled HTTP/1.1\r\nHost: gate.test\r\n\r\n";
    let mut client = gate.connect();
    for _ in 0..3 {
        let request = post("/both/a", &format!("Content-Length: {}\r\n", inner.len()), inner);
        let response = gate.refuses_on(&mut client, request, 401, "credential_missing");
        assert_ne!(response.header("connection"), Some("close"));
    }
    // The body may come later than the response.
    client.send(post("/both/a", "Content-Length: 5000\r\n", ""));
    assert_eq!(client.receive().status, 401);
    client.send(&inner.repeat(5000)[..5000]);
    assert_eq!(client.exchange(get_with("/open/next", "")).status, 200);
    assert_eq!(gate.upstream.only_received().target(), "/open/next");
}

// It is about `Connection` and the end of a connection, which HTTP/2 has for all streams at once.
lanes!(s103_after_a_large_or_unknown_unread_body_the_connection_is_closed: own, own_tls, filter_http1);
fn s103_after_a_large_or_unknown_unread_body_the_connection_is_closed() {
    let gate = Gate::start();
    let limit = 64 * 1024;
    for fields in [
        format!("Content-Length: {}\r\n", limit + 1),
        "Transfer-Encoding: chunked\r\n".to_owned(),
        format!("Content-Length: {}\r\n", 1 << 20),
    ] {
        let mut client = gate.connect();
        let response = gate.refuses_on(&mut client, post("/both/a", &fields, ""), 401, "credential_missing");
        assert_eq!(response.header("connection"), Some("close"), "{fields}");
        client.send("0\r\n\r\nGET /open/smuggled HTTP/1.1\r\nHost: gate.test\r\n\r\n");
        assert!(client.is_closed(), "{fields}");
    }
    let mut client = gate.connect();
    let at_most = post("/both/a", &format!("Content-Length: {limit}\r\n"), &"x".repeat(limit));
    assert_ne!(
        gate.refuses_on(&mut client, at_most, 401, "credential_missing")
            .header("connection"),
        Some("close")
    );
    assert_eq!(client.exchange(get_with("/open/next", "")).status, 200);
    assert_eq!(gate.upstream.only_received().target(), "/open/next");
}

// It is about `Connection` and the end of a connection, which HTTP/2 has for all streams at once.
lanes!(s103_a_body_that_was_not_asked_for_is_not_waited_for: own, own_tls, filter_http1);
fn s103_a_body_that_was_not_asked_for_is_not_waited_for() {
    let gate = Gate::start();
    let mut client = gate.connect();
    let request = post("/both/a", "Content-Length: 5\r\nExpect: 100-continue\r\n", "");
    let response = gate.refuses_on(&mut client, request, 401, "credential_missing");
    // After a refusal the client may omit the body: the gate must not read the next request as that body.
    assert_eq!(response.header("connection"), Some("close"));
    client.send("GET /open/smuggled HTTP/1.1\r\nHost: gate.test\r\n\r\n");
    assert!(client.is_closed());
    assert!(gate.upstream.received().is_empty());
}

// pingora forwards no interim response over HTTP/2.
lanes!(expect_continue_is_the_upstreams_to_answer: own, own_tls, filter_http1);
fn expect_continue_is_the_upstreams_to_answer() {
    let gate = Gate::start();
    let mut client = gate.connect();
    client.send(post("/open/a", "Content-Length: 5\r\nExpect: 100-continue\r\n", ""));
    assert_eq!(client.receive().status, 100);
    client.send("hello");
    let response = client.receive();
    assert_eq!(response.status, 200);
    assert_eq!(gate.upstream.only_received().body, b"hello");
    // The body arrived, so the gate knows where the next request begins.
    assert_eq!(response.header("connection"), Some("keep-alive"));
    assert_eq!(client.exchange(get_with("/open/next", "")).status, 200);
    for other in ["200-ok", "100-continue, x", ""] {
        let mut client = gate.connect();
        let response = gate.refuses_on(
            &mut client,
            post("/open/a", &format!("Expect: {other}\r\n"), ""),
            417,
            "expectation",
        );
        assert_closes(&mut client, &response);
    }
}

lanes!(an_expectation_that_nobody_knows_is_refused: filter_http2);
fn an_expectation_that_nobody_knows_is_refused() {
    let gate = Gate::start();
    let request = post("/open/a", "Expect: 200-ok\r\nContent-Length: 0\r\n", "");
    gate.refuses_on(&mut gate.connect(), request, 417, "expectation");
}

// It is about bytes on a connection of HTTP/1.1.
lanes!(a_pipelined_request_is_never_part_of_the_first_and_never_passes_unchecked: own, own_tls, filter_http1);
/// A second request arrives before the response to the first. The gate does not serve the second, and no byte
/// of the second becomes part of the first. The close tells the client to send the second again.
fn a_pipelined_request_is_never_part_of_the_first_and_never_passes_unchecked() {
    let gate = Gate::start();
    let good = format!("Authorization: Bearer {}\r\n", gate.token);
    let second = get_with("/both/second", "");
    for first in [
        get_with("/both/first", &good),
        post("/both/first", &format!("{good}Content-Length: 3\r\n"), "abc"),
        post(
            "/both/first",
            &format!("{good}Transfer-Encoding: chunked\r\n"),
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        get_with("/nowhere", &good),
        get_with("/both/first", ""),
        post("/both/first", "Content-Length: 3\r\n", "abc"),
    ] {
        let before = gate.upstream.received().len();
        let mut client = gate.connect();
        let response = client.exchange(format!("{first}{second}"));
        let forwarded = first.contains(&good) && first.contains("/both/");
        assert_eq!(
            response.status,
            if forwarded {
                200
            } else if first.contains("/nowhere") {
                404
            } else {
                401
            },
            "{first}"
        );
        // The end of a chunked body is unknown in advance, so only the close itself is certain.
        if !first.contains("chunked") {
            assert_eq!(response.header("connection"), Some("close"), "{first}");
        }
        assert!(client.is_closed(), "{first}");
        let received = gate.upstream.received();
        assert_eq!(received.len(), before + usize::from(forwarded), "{first}");
        assert!(
            received
                .iter()
                .all(|request| !String::from_utf8_lossy(&request.raw).contains("second"))
        );
    }
}

// It is about bytes on a connection of HTTP/1.1.
lanes!(a_request_that_comes_before_the_answer_to_the_first_is_refused_with_it: own, own_tls, filter_http1);
/// The same while the upstream works on the first request. The second request costs the first its
/// response: the client gets the reason, and the record does not blame the upstream.
fn a_request_that_comes_before_the_answer_to_the_first_is_refused_with_it() {
    let gate = Gate::start();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    gate.upstream.respond_with(move |_| {
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    let mut client = gate.connect();
    client.send(get_with("/open/first", ""));
    gate.upstream.wait_received(1);
    client.send(get_with("/open/second", ""));
    let response = client.receive();
    assert_eq!(
        (response.status, &response.json()["type"]),
        (400, &"urn:keygate:problem:pipelined".into())
    );
    let record = gate.record(response.header("x-request-id").unwrap());
    assert_eq!(
        (&record["reason"], &record["path"]),
        (&"pipelined".into(), &"/open/first".into())
    );
    assert_closes(&mut client, &response);
    drop(release);
    assert_eq!(gate.upstream.only_received().target(), "/open/first");
}

// It is about HTTP/1.0.
lanes!(http_1_0_is_answered_and_closed_unless_it_asks_otherwise: own, own_tls, filter_http1);
fn http_1_0_is_answered_and_closed_unless_it_asks_otherwise() {
    let gate = Gate::start();
    gate.upstream.respond_with(|request| match request.target() {
        "/open/chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
    });
    for host in ["", "Host: gate.test\r\n"] {
        let mut client = gate.connect();
        let response = client.exchange(format!("GET /open/a HTTP/1.0\r\n{host}\r\n"));
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
        assert!(client.is_closed());
    }
    // The upstream request is HTTP/1.1, which requires a Host (RFC 9112 section 3.2).
    let endpoint = gate.upstream.address().to_string();
    let hosts: Vec<_> = gate
        .upstream
        .received()
        .iter()
        .map(|request| request.headers_named("host").join(", "))
        .collect();
    assert_eq!(hosts, [endpoint.as_str(), "gate.test"]);
    // The host of the target is the one that routes are matched by.
    let absolute = "GET http://gate.test/open/a HTTP/1.0\r\n\r\n";
    assert_eq!(gate.exchange(absolute).status, 200);
    let received = gate.upstream.received().pop().unwrap();
    assert_eq!(
        (
            received.headers_named("host"),
            received.headers_named("x-forwarded-host")
        ),
        (vec!["gate.test"], vec!["gate.test"])
    );
    let mut client = gate.connect();
    for _ in 0..3 {
        let response = client.exchange("GET /open/a HTTP/1.0\r\nHost: gate.test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    }
    // RFC 9112 section 6.1: a server must not send a transfer coding to HTTP/1.0.
    let mut client = gate.connect();
    let response = client.exchange("GET /open/chunked HTTP/1.0\r\nHost: gate.test\r\n\r\n");
    assert_eq!(
        (response.status, response.header("transfer-encoding")),
        (200, None),
        "{:?}",
        response.headers
    );
    assert_eq!(response.text(), "ok");
    assert!(client.is_closed());
    // A refusal ends an HTTP/1.0 connection too.
    let mut client = gate.connect();
    let response = client.exchange("GET /both/a HTTP/1.0\r\nHost: gate.test\r\n\r\n");
    assert_eq!(response.status, 401);
    assert!(client.is_closed());
}

// It is about bytes of a head that frames cannot carry.
lanes!(an_absolute_form_target_is_forwarded_in_origin_form: own, own_tls, filter_http1);
fn an_absolute_form_target_is_forwarded_in_origin_form() {
    let gate = Gate::start();
    for (target, forwarded) in [
        ("http://gate.test/open/a?b=c", "/open/a?b=c"),
        ("HTTP://gate.test/open/a", "/open/a"),
        ("https://gate.test/open/a", "/open/a"),
        ("http://gate.test/open/%7Ea", "/open/~a"),
    ] {
        let before = gate.upstream.received().len();
        assert_eq!(gate.exchange(get_with(target, "")).status, 200, "{target}");
        let request = gate.upstream.wait_received(before + 1).remove(before);
        assert_eq!(request.target(), forwarded, "{target}");
        assert_eq!(request.headers_named("host"), ["gate.test"], "{target}");
    }
    for (target, reason) in [
        ("http://other.test/open/a", "host_mismatch"),
        ("http://gate.test:80/open/a", "host_mismatch"),
        // RFC 9112 section 3.2 requires the identical text, and `head::check` enforces this.
        ("http://GATE.test/open/a", "host_mismatch"),
        ("http://user@gate.test/open/a", "target_host"),
        ("ftp://gate.test/open/a", "target"),
        ("//gate.test/open/a", "path_empty_segment"),
        ("gate.test/open/a", "target"),
        ("*", "target"),
    ] {
        gate.refuses(get_with(target, ""), 400, reason);
    }
    gate.refuses(get_with("http://gate.test", ""), 404, "no_route");
}

// It is about bytes of a head that frames cannot carry.
lanes!(head_is_answered_without_a_body_whoever_answers: own, own_tls, filter_http1);
fn head_is_answered_without_a_body_whoever_answers() {
    let gate = Gate::start_with(|gate| {
        gate.route(
            "get",
            &protected("get", "[jwt]").replace("}\" }", "}\", methods: [GET] }"),
        )
    });
    gate.upstream.respond_with(|request| {
        let body = if request.method() == "HEAD" { "" } else { "ok" };
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}").into_bytes()
    });
    let good = format!("Authorization: Bearer {}\r\n", gate.token);
    let mut client = gate.connect();
    for (target, fields, status) in [
        ("/get/a", &*good, 200),
        ("/get/a", "", 401),
        ("/nowhere", "", 404),
        ("/get/a", "Authorization: Bearer x\r\nx-api-key: y\r\n", 400),
        ("/open/a", "", 200),
    ] {
        client.send(get_with(target, fields).replacen("GET", "HEAD", 1));
        let head = client.receive_to_head();
        assert_eq!(head.status, status, "{target}");
        // The next response begins right after the head, so there was no body; the announced length is that of GET.
        let get = client.exchange(get_with(target, fields));
        assert_eq!(get.status, status, "{target}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{target}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{target}");
    }
    assert_eq!(gate.upstream.received()[0].method(), "HEAD");
    // Also for a head that is itself refused.
    let mut client = gate.connect();
    client.send("HEAD /open/a HTTP/1.1\r\n\r\n");
    assert_eq!(client.receive_to_head().status, 400);
    assert!(client.is_closed(), "a body followed");
}

// It is about bytes of a head that frames cannot carry.
lanes!(what_the_parser_refuses_by_itself_is_answered_counted_and_recorded: own, own_tls, filter_http1);
/// The head passes `head::check` but exceeds a limit of `http`: a name of
/// 64 KiB, which only a raised `head_bytes` permits.
fn what_the_parser_refuses_by_itself_is_answered_counted_and_recorded() {
    let gate = Gate::start_with(|gate| gate.top("requests: { head_bytes: 128KiB }"));
    let named = |length: usize| get_with("/open/a", &format!("{}: 1\r\n", "n".repeat(length)));
    assert_eq!(gate.exchange(named(65_535)).status, 200);
    let counted = gate.denied("refused_by_parser");
    let mut client = gate.connect();
    let response = client.exchange(named(65_536));
    assert_eq!(response.status, 400);
    assert_eq!(response.json()["type"], "urn:keygate:problem:malformed-request");
    assert_closes(&mut client, &response);
    let record = gate.running.record(&response);
    assert_eq!(record["reason"], "refused_by_parser");
    assert_eq!((&record["status"], &record["decision"]), (&400.into(), &"deny".into()));
    assert_eq!(gate.denied("refused_by_parser"), counted + 1.0);
    assert_eq!(gate.upstream.received().len(), 1);
}
