//! Which bytes, time and connections may a client use? (S107, and every key of `requests`)

use crate::front::Gate;
use crate::front::get_with;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::lane::lanes;
use crate::support::wait_until;
use std::time::Duration;
use std::time::Instant;

/// The `head_timeout` of `s107_a_head_has_one_deadline_however_it_drips`: short enough to wait for, and long
/// enough that a busy machine sends a whole head in time.
const SHORT: Duration = Duration::from_millis(500);

fn gate(requests: &str) -> Gate {
    Gate::start_with(|gate| gate.top(&format!("requests: {{ {requests} }}")))
}

/// Sends `bytes` one by one, with a pause after each, until the gate responds. Returns the status and the time it took.
#[track_caller]
fn drip(client: RawClient, bytes: impl IntoIterator<Item = u8>) -> (u16, Duration) {
    let started = Instant::now();
    let mut client = client.patience(Duration::from_millis(20));
    for byte in bytes {
        client.send([byte]);
        if let Ok(response) = client.try_receive() {
            return (response.status, started.elapsed());
        }
    }
    panic!("it took all of it");
}

// A head in frames is tested in `http2`.
lanes!(s107_a_head_has_one_deadline_however_it_drips: own, own_tls, filter_http1);
fn s107_a_head_has_one_deadline_however_it_drips() {
    let gate = gate("head_timeout: 500ms");
    let endless = || {
        b"GET /open/a HTTP/1.1\r\nX: "
            .iter()
            .copied()
            .chain(std::iter::repeat_n(b'a', 4000))
    };
    let (counted, looked_up) = (gate.denied("head_timeout"), gate.looked_up());
    let (status, took) = drip(gate.connect(), endless());
    assert_eq!(status, 408);
    assert!(took >= SHORT - Duration::from_millis(50) && took < PATIENCE, "{took:?}");
    // On a used connection, the time limit starts with the second head, not with the connection.
    let mut used = gate.connect();
    assert_eq!(used.exchange(get_with("/open/a", "")).status, 200);
    assert_eq!(drip(used, endless()).0, 408);
    let records = gate.running.wait_access_records(3);
    assert_eq!(
        records
            .iter()
            .filter(|record| record["reason"] == "head_timeout")
            .count(),
        2
    );
    assert_eq!(
        (gate.denied("head_timeout"), gate.looked_up()),
        (counted + 2.0, looked_up)
    );
    assert_eq!(gate.upstream.received().len(), 1);
    // Half a head followed by silence gets the same response.
    let mut silent = gate.connect();
    let response = silent.exchange("GET /open/a HTT");
    assert_eq!((response.status, response.header("connection")), (408, Some("close")));
    assert!(silent.is_closed());
}

// It is about bytes of a head that frames cannot carry.
lanes!(what_cannot_begin_a_request_is_answered_at_once: own, own_tls, filter_http1);
fn what_cannot_begin_a_request_is_answered_at_once() {
    let gate = gate("head_timeout: 60s");
    // First the TLS handshake of a client that was configured with `https`.
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0",
        b"\r\n",
        b" GET",
    ] {
        let mut client = gate.connect();
        let response = gate.refuses_on(&mut client, bytes, 400, "request_line");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
}

lanes!(a_head_that_arrives_in_pieces_in_time_is_a_head);
fn a_head_that_arrives_in_pieces_in_time_is_a_head() {
    let gate = gate("head_timeout: 10s");
    let mut client = gate.connect();
    for byte in get_with("/open/a", "X-A: 1\r\n").bytes() {
        client.send([byte]);
    }
    assert_eq!(client.receive().status, 200);
    assert_eq!(gate.upstream.only_received().headers_named("x-a"), ["1"]);
}

// The same bounds in frames are tested in `http2`.
lanes!(s107_head_bytes_and_count_are_bounded_from_both_sides: own, own_tls, filter_http1);
fn s107_head_bytes_and_count_are_bounded_from_both_sides() {
    let gate = gate("head_bytes: 2000, head_count: 10, target_bytes: 500, credential_bytes: 1000");
    let empty = get_with("/open/a", "X: \r\n").len();
    let bytes = |count: usize| get_with("/open/a", &format!("X: {}\r\n", "a".repeat(count - empty)));
    assert_eq!(gate.exchange(bytes(2000)).status, 200);
    gate.refuses_unread(bytes(2001), 431, "head_too_long");
    // An endless head is refused when it is too long, not when it ends.
    let response = gate.refuses_unread(
        format!("GET /open/a HTTP/1.1\r\nX: {}", "a".repeat(3000)),
        431,
        "head_too_long",
    );
    assert_eq!(response.header("connection"), Some("close"));
    gate.refuses_unread(vec![b'a'; 1 << 20], 431, "head_too_long");

    let fields = |count: usize| get_with("/open/a", &"X: 1\r\n".repeat(count - 1));
    assert_eq!(gate.exchange(fields(10)).status, 200);
    gate.refuses_unread(fields(11), 431, "header_count");
    gate.refuses_unread(fields(200), 431, "header_count");

    let target = |count: usize| get_with(&format!("/open/{}", "a".repeat(count - 6)), "");
    assert_eq!(gate.exchange(target(500)).status, 200);
    gate.refuses_unread(target(501), 414, "target_too_long");
    gate.refuses_unread(
        get_with(&format!("/open/?{}", "a".repeat(494)), ""),
        414,
        "target_too_long",
    );
    assert_eq!(gate.upstream.received().len(), 3);
}

// The same bounds in frames are tested in `http2`.
lanes!(s107_ten_thousand_fields_and_a_megabyte_are_refused_unread_at_the_defaults: own, own_tls, filter_http1);
fn s107_ten_thousand_fields_and_a_megabyte_are_refused_unread_at_the_defaults() {
    let gate = Gate::start();
    let good = format!("Authorization: Bearer {}\r\n", gate.token);
    gate.refuses_unread(
        get_with("/both/a", &format!("{good}{}", "X: 1\r\n".repeat(10_000))),
        431,
        "head_too_long",
    );
    gate.refuses_unread(
        get_with("/both/a", &format!("{good}{}", "X:\r\n".repeat(101))),
        431,
        "header_count",
    );
    gate.refuses_unread(
        get_with("/both/a", &format!("{good}X: {}\r\n", "a".repeat(1 << 20))),
        431,
        "head_too_long",
    );
    gate.refuses_unread(
        get_with(&format!("/both/{}", "a".repeat(8 << 10)), &good),
        414,
        "target_too_long",
    );
}

// The answer would come before a handshake, so there is none.
lanes!(the_connection_after_the_last_is_told_so_and_a_slot_is_free_again_after_a_close: own, filter_http1);
fn the_connection_after_the_last_is_told_so_and_a_slot_is_free_again_after_a_close() {
    let gate = gate("connections: 2");
    let mut first = gate.connect();
    let mut second = gate.connect();
    for client in [&mut first, &mut second] {
        assert_eq!(client.exchange(get_with("/open/a", "")).status, 200);
    }
    let mut third = gate.connect();
    // The refusal comes at once, before a request.
    let response = third.receive();
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
    assert_eq!(
        (response.json()["type"].as_str(), response.header("connection")),
        (Some("urn:keygate:problem:overloaded"), Some("close"))
    );
    assert!(third.is_closed());
    let record = gate.record(response.json()["request_id"].as_str().unwrap());
    assert_eq!(
        (&record["reason"], &record["status"]),
        (&"too_many_connections".into(), &503.into())
    );
    assert_eq!(gate.denied("too_many_connections"), 1.0);
    // Earlier connections are still served.
    assert_eq!(first.exchange(get_with("/open/a", "")).status, 200);
    assert_eq!(second.exchange(get_with("/open/a", "")).status, 200);
    drop(first);
    wait_until("the slot is free", || {
        gate.exchange(get_with("/open/a", "")).status == 200
    });
}

// The answer would come before a handshake, so there is none.
lanes!(s107_connections_over_the_bound_are_bounded_too: own, filter_http1);
fn s107_connections_over_the_bound_are_bounded_too() {
    let gate = gate("connections: 1");
    let mut first = gate.connect();
    assert_eq!(first.exchange(get_with("/open/a", "")).status, 200);
    // No client reads or closes, so the gate keeps up to 64 refused connections open for a second each.
    let started = Instant::now();
    let mut surplus: Vec<RawClient> = (0..300).map(|_| gate.connect()).collect();
    // The metric counts every refused connection, with or without a response.
    wait_until("every connection is refused", || {
        gate.denied("too_many_connections") == 300.0
    });
    let elapsed = started.elapsed();
    let responses = surplus.iter_mut().filter_map(|client| client.try_receive().ok());
    let statuses: Vec<u16> = responses.map(|response| response.status).collect();
    assert!(statuses.iter().all(|status| *status == 503));
    // Each slot serves one connection a second, so a slow machine allows more responses.
    let most = 64 * (usize::try_from(elapsed.as_secs()).unwrap() + 1);
    assert!(
        (64..=most).contains(&statuses.len()),
        "{} of 300 got a response in {elapsed:?}",
        statuses.len()
    );
    assert_eq!(first.exchange(get_with("/open/a", "")).status, 200);
}

// It is about `Connection` and the end of a connection, which HTTP/2 has for all streams at once.
lanes!(the_last_request_of_a_connection_is_answered_with_close: own, own_tls, filter_http1);
fn the_last_request_of_a_connection_is_answered_with_close() {
    let gate = gate("requests_per_connection: 3");
    let mut client = gate.connect();
    // Refused requests count as well.
    for (target, status) in [("/open/a", 200), ("/both/a", 401)] {
        let response = client.exchange(get_with(target, ""));
        assert_eq!(
            (response.status, response.header("connection")),
            (status, Some("keep-alive"))
        );
    }
    let response = client.exchange(get_with("/open/a", ""));
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    assert_eq!(gate.exchange(get_with("/open/a", "")).status, 200);
}

lanes!(an_idle_connection_is_closed_without_a_word);
fn an_idle_connection_is_closed_without_a_word() {
    let gate = Gate::start();
    // The first two requests have the default timeout, so a slow machine sends them in time.
    let mut used = gate.connect();
    assert_eq!(used.exchange(get_with("/open/a", "")).status, 200);
    let shorter = Gate::builder(&gate.upstream, "x-api-key")
        .top("requests: { idle_timeout: 300ms }")
        .yaml();
    gate.running.reload(&shorter);
    let mut fresh = gate.connect();
    assert_eq!(
        fresh.try_receive().unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof
    );
    assert_eq!(used.exchange(get_with("/open/a", "")).status, 200);
    assert_eq!(
        used.try_receive().unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof
    );
    // Without a request there is no record.
    assert_eq!(gate.running.wait_access_records(2).len(), 2);
}

// It is about `Connection` and the end of a connection, which HTTP/2 has for all streams at once.
lanes!(an_announced_body_over_the_limit_is_refused_before_the_upstream_hears_of_it: own, own_tls, filter_http1);
fn an_announced_body_over_the_limit_is_refused_before_the_upstream_hears_of_it() {
    let gate = gate("body_bytes: 1000");
    let post = |target: &str, length: usize, body: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: gate.test\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let whole = "x".repeat(1000);
    assert_eq!(gate.exchange(post("/open/a", 1000, &whole)).status, 200);
    assert_eq!(gate.upstream.only_received().body, whole.as_bytes());
    for (length, body) in [(1001, ""), (1001, &*whole), (usize::MAX, "")] {
        let mut client = gate.connect();
        let response = gate.refuses_on(&mut client, post("/open/a", length, body), 413, "body_too_large");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
    // The gate checks the credential before the announced length.
    gate.refuses(post("/both/a", 1001, ""), 401, "credential_missing");
    assert_eq!(gate.upstream.connections(), 1);
}

// It is about `Connection` and the end of a connection, which HTTP/2 has for all streams at once.
lanes!(a_chunked_body_over_the_limit_is_cut_off_and_never_whole_upstream: own, own_tls, filter_http1);
fn a_chunked_body_over_the_limit_is_cut_off_and_never_whole_upstream() {
    let gate = gate("body_bytes: 1000");
    let head = "POST /open/a HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    assert_eq!(
        gate.exchange(format!("{head}{}0\r\n\r\n", chunk.repeat(10))).status,
        200
    );
    assert_eq!(gate.upstream.only_received().body.len(), 1000);
    for chunks in [
        format!("{}1\r\nx\r\n0\r\n\r\n", chunk.repeat(10)),
        chunk.repeat(100),
        format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001)),
    ] {
        let mut client = gate.connect();
        let response = gate.refuses_late(&mut client, format!("{head}{chunks}"), 413, "body_too_large");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
    assert_eq!(gate.upstream.received().len(), 1);
}

lanes!(a_client_that_sends_all_of_its_body_first_gets_its_refusal);
fn a_client_that_sends_all_of_its_body_first_gets_its_refusal() {
    let gate = gate("body_bytes: 1000");
    // More than two sockets buffer: `send` returns only after the gate reads.
    let body = vec![b'x'; 8 << 20];
    for (target, status, reason) in [
        ("/open/a", 413, "body_too_large"),
        ("/both/a", 401, "credential_missing"),
        ("/nowhere", 404, "no_route"),
    ] {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: gate.test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), &body].concat();
        gate.refuses_on(&mut gate.connect(), request, status, reason);
    }
}

// pingora forwards no interim response over HTTP/2.
lanes!(a_body_over_the_limit_is_refused_also_after_100_continue: own, own_tls, filter_http1);
fn a_body_over_the_limit_is_refused_also_after_100_continue() {
    let gate = gate("body_bytes: 1000");
    let mut client = gate.connect();
    client
        .send("POST /open/a HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.receive().status, 100);
    let chunk = format!("3e9\r\n{}\r\n", "x".repeat(1001));
    gate.refuses_late(&mut client, chunk, 413, "body_too_large");
}

// Over HTTP/2, pingora cannot answer while it waits for the body: the stream is reset, see `http2`.
lanes!(a_body_that_stops_is_not_waited_for: own, own_tls, filter_http1);
fn a_body_that_stops_is_not_waited_for() {
    let gate = gate("body_read_timeout: 500ms");
    for (fields, body) in [
        ("Content-Length: 10\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"),
        ("Content-Length: 10\r\n", ""),
    ] {
        let mut client = gate.connect();
        let request = format!("POST /open/a HTTP/1.1\r\nHost: gate.test\r\n{fields}\r\n{body}");
        let response = gate.refuses_late(&mut client, request, 408, "body_timeout");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
    assert!(gate.upstream.received().is_empty());
}

lanes!(a_slow_answer_is_no_slow_body);
/// The time limits of the client's side do not limit the upstream's time to respond.
fn a_slow_answer_is_no_slow_body() {
    let gate = gate("body_read_timeout: 300ms, idle_timeout: 300ms, head_timeout: 300ms");
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    gate.upstream.respond_with(move |_| {
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    for request in [
        get_with("/open/a", ""),
        "POST /open/a HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
        "POST /open/a HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            .to_owned(),
    ] {
        let mut client = gate.connect().patience(Duration::from_secs(1));
        client.send(&request);
        let early = client.try_receive().map(|response| (response.status, response.text()));
        assert!(
            early.is_err_and(|error| error.kind() != std::io::ErrorKind::UnexpectedEof),
            "{request}"
        );
        release.send(()).unwrap();
        assert_eq!(client.patience(PATIENCE).receive().status, 200, "{request}");
    }
}

// pingora answers at once to bytes after a request.
lanes!(s108_bytes_after_a_request_do_not_hide_that_its_client_is_gone: own, own_tls);
fn s108_bytes_after_a_request_do_not_hide_that_its_client_is_gone() {
    let gate = Gate::start();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    gate.upstream.respond_with(move |_| {
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        Vec::new()
    });
    let mut client = gate.connect();
    let request = "POST /open/a HTTP/1.1\r\nHost: gate.test\r\nX-Request-Id: leaver\r\nContent-Length: 2\r\n\r\nok";
    client.send(format!("{request}{}", get_with("/open/b", "")));
    gate.upstream.wait_received(1);
    drop(client);
    let record = gate.record("leaver");
    assert_eq!(
        (&record["reason"], record.get("status")),
        (&"client_gone".into(), None),
        "{record}"
    );
    drop(release);
}

lanes!(a_client_that_leaves_is_recorded_and_nobody_is_blamed);
fn a_client_that_leaves_is_recorded_and_nobody_is_blamed() {
    let gate = Gate::start();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    gate.upstream.respond_with(move |_| {
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        Vec::new()
    });
    let mut client = gate.connect();
    client.send(get_with("/open/a", "X-Request-Id: leaver\r\n"));
    gate.upstream.wait_received(1);
    drop(client);
    let record = gate.record("leaver");
    assert_eq!(
        (&record["reason"], record.get("status")),
        (&"client_gone".into(), None),
        "{record}"
    );
    drop(release);
}
