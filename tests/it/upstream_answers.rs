//! Does each upstream response reach the client that asked, and no other client,
//! however the upstream frames, cuts or times its bytes (S101)?

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::StartGate;
use crate::support::issuer::claims_with;
use crate::support::issuer::identity_yaml;
use crate::support::issuer::token;
use crate::support::lane::Lane;
use crate::support::lane::lanes;
use keygate::jose::sign::SigningKey;
use serde_json::json;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::time::Duration;

fn gate(upstream: std::net::SocketAddr) -> LocalGate {
    start(upstream)
}

fn start<G: StartGate>(upstream: std::net::SocketAddr) -> G {
    let yaml = GatewayBuilder::new()
        .upstream("api", upstream)
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api")
        .yaml();
    let gate = G::start_with(&yaml, &[]);
    gate.wait_ready();
    gate
}

fn respond_with(upstream: &FakeUpstream, bytes: &str) {
    let bytes = bytes.to_owned();
    upstream.respond_with(move |_| bytes.clone().into_bytes());
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

/// Reads up to the end of a head.
#[track_caller]
fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1);
        head.push(byte[0]);
    }
}

// pingora reads a response with two lengths as RFC 9112 section 6.3 allows: as chunked, without the other length.
lanes!(s101_an_answer_with_two_ends_is_502_and_its_connection_is_not_used_again: own, own_tls);
fn s101_an_answer_with_two_ends_is_502_and_its_connection_is_not_used_again() {
    let upstream = FakeUpstream::start();
    let gate = gate(upstream.address());
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : 1\r\nContent-Length: 0\r\n\r\n",
        // The request asked for no other protocol.
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        respond_with(&upstream, bytes);
        let before = upstream.connections();
        let mut client = RawClient::connect(gate.data());
        for _ in 0..2 {
            assert_eq!(client.exchange(GET).status, 502, "{bytes:?}");
        }
        assert_eq!(upstream.connections(), before + 2, "a connection for each: {bytes:?}");
    }
}

/// The state of an upstream's connection after a part of a response.
#[derive(Clone, Copy, Debug)]
enum AfterPart {
    StaysOpen,
    Closes,
    Resets,
}

lanes!(the_received_part_of_a_broken_response_arrives_before_the_cut);
fn the_received_part_of_a_broken_response_arrives_before_the_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = gate(listener.local_addr().unwrap());
    let chunked = "Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n";
    let mut records = 0;
    for (rest, after) in [
        (format!("{chunked}zz\r\nbad\r\n"), AfterPart::StaysOpen),
        (format!("{chunked}4\r\nbad!!\r\n"), AfterPart::StaysOpen),
        (chunked.to_owned(), AfterPart::Closes),
        (chunked.to_owned(), AfterPart::Resets),
        (format!("{chunked}0\r\nTrailer: "), AfterPart::Closes),
        ("Content-Length: 9\r\n\r\ngood".to_owned(), AfterPart::Closes),
        ("Content-Length: 9\r\n\r\ngood".to_owned(), AfterPart::Resets),
    ] {
        let mut client = RawClient::connect(gate.data());
        client.send(GET);
        let (mut upstream, _) = listener.accept().unwrap();
        // A connection that is closed with unread bytes is reset.
        if !matches!(after, AfterPart::Resets) {
            read_head(&mut upstream);
        }
        // In one piece, so that the good part and the fault arrive together.
        upstream
            .write_all(format!("HTTP/1.1 200 OK\r\n{rest}").as_bytes())
            .unwrap();
        let open = matches!(after, AfterPart::StaysOpen).then_some(upstream);
        let received = client.receive_to_end();
        let received = String::from_utf8_lossy(&received);
        assert!(
            received.starts_with("HTTP/1.1 200 "),
            "{rest:?} {after:?}: {received:?}"
        );
        assert!(received.contains("good"), "{rest:?} {after:?}: {received:?}");
        assert!(
            !received.contains("bad\r\n") && !received.ends_with("\r\n0\r\n\r\n"),
            "{received:?}"
        );
        records += 1;
        let record = gate.wait_access_records(records).pop().unwrap();
        let found = ["status", "response", "decision", "reason"].map(|field| record[field].to_string());
        assert_eq!(
            found,
            ["200", "\"cut\"", "\"error\"", "\"upstream_failed\""],
            "{rest:?} {after:?}"
        );
        drop(open);
    }
    // A response that is whole is not recorded as cut.
    let mut client = RawClient::connect(gate.data());
    client.send(GET);
    let (mut upstream, _) = listener.accept().unwrap();
    read_head(&mut upstream);
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .unwrap();
    let response = client.receive();
    assert_eq!(gate.record(&response).get("response"), None);
}

// It is about the end of a TLS session.
lanes!(over_tls_a_response_that_is_cut_does_not_end_like_a_whole_one: own_tls);
/// The body of a response to HTTP/1.0 may end with its connection, so only `close_notify` tells a whole one.
fn over_tls_a_response_that_is_cut_does_not_end_like_a_whole_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = gate(listener.local_addr().unwrap());
    for (end, is_whole) in [("0\r\n\r\n", true), ("zz\r\n", false)] {
        let mut client = Lane::current().connect(gate.data()).expect("TLS");
        client.write_all(b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
        let (mut upstream, _) = listener.accept().unwrap();
        read_head(&mut upstream);
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n{end}");
        upstream.write_all(response.as_bytes()).unwrap();
        let mut received = Vec::new();
        let read = client.read_to_end(&mut received);
        assert!(received.ends_with(b"\r\n\r\ngood"), "{}", received.escape_ascii());
        let kind = read.map_err(|error| error.kind());
        assert_eq!(kind.is_ok(), is_whole, "{kind:?}");
    }
}

lanes!(s101_bytes_after_an_answer_are_nobodys);
fn s101_bytes_after_an_answer_are_nobodys() {
    let upstream = FakeUpstream::start();
    let gate = gate(upstream.address());
    respond_with(
        &upstream,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret",
    );
    let mut one = RawClient::connect(gate.data());
    assert_eq!(one.exchange(GET).text(), "ok");
    respond_with(&upstream, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine");
    for _ in 0..3 {
        assert_eq!(one.exchange(GET).text(), "mine");
        assert_eq!(RawClient::connect(gate.data()).exchange(GET).text(), "mine");
    }
}

lanes!(s101_bytes_that_come_on_an_idle_connection_end_it);
/// A pooled connection must carry no bytes before its next request.
fn s101_bytes_that_come_on_an_idle_connection_end_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = gate(listener.local_addr().unwrap());
    let mut client = RawClient::connect(gate.data());
    for _ in 0..3 {
        client.send(GET);
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(b"\r\n\r\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "a connection of its own for each");
            seen.push(byte[0]);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        assert_eq!(client.receive().text(), "ok");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
            .unwrap();
        // The gate closes the connection without waiting for a request. The bytes that
        // the gate did not read turn the close into a reset.
        match stream.read(&mut byte) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

lanes!(s106_two_callers_of_one_address_are_two_requests_upstream);
fn s106_two_callers_of_one_address_are_two_requests_upstream() {
    let upstream = FakeUpstream::start();
    upstream.respond_with(|request| {
        let subject = request.headers_named("x-keygate-subject").concat();
        let head = "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=3600\r\nETag: \"1\"\r\nContent-Type: text/plain";
        format!("{head}\r\nContent-Length: {}\r\n\r\n{subject}", subject.len()).into_bytes()
    });
    let key = SigningKey::generate_es256().unwrap();
    let yaml = GatewayBuilder::new()
        .top("failed_authentication: off")
        .issuer("main", &format!("{}\npublic_key_files: [key.pem]", identity_yaml()))
        .upstream("api", upstream.address())
        .route("api", "match: { path: /a }\naccept: [jwt]\nupstream: api")
        .yaml();
    let gate = LocalGate::start_with(&yaml, &[("key.pem", &key.public_pem())]);
    for round in 1..=3 {
        for subject in ["alice", "bob"] {
            let token = token(&key, &claims_with(json!({ "sub": subject })));
            let request = format!("GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
            let response = RawClient::connect(gate.data()).exchange(request);
            assert_eq!(
                (response.status, response.text().as_str()),
                (200, subject),
                "round {round}"
            );
        }
        assert_eq!(RawClient::connect(gate.data()).exchange(GET).status, 401);
        assert_eq!(upstream.received().len(), 2 * round);
    }
}

lanes!(every_framing_of_an_answer_in_every_cut_reaches_the_client_whole);
fn every_framing_of_an_answer_in_every_cut_reaches_the_client_whole() {
    let upstream = CuttingUpstream::start();
    let gate = gate(upstream.address);
    let mut client = RawClient::connect(gate.data());
    for step in [1, 2, 3, 5, 17, 1_000] {
        upstream.step(step);
        for (path, body) in [
            ("/length", "0123456789"),
            ("/chunks", "0123456789"),
            ("/close", "0123456789"),
            ("/none", ""),
        ] {
            let response = client.exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(
                (response.status, response.text().as_str()),
                (200, body),
                "{path} by {step}"
            );
            assert_eq!(response.header("x-end"), Some("1"), "{path} by {step}");
        }
    }
}

/// An upstream that sends its responses in pieces of `step` bytes.
struct CuttingUpstream {
    address: std::net::SocketAddr,
    step: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl CuttingUpstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let step = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(1));
        let shared = step.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let step = shared.clone();
                std::thread::spawn(move || serve_cut(stream.unwrap(), &step));
            }
        });
        Self { address, step }
    }

    fn step(&self, step: usize) {
        self.step.store(step, std::sync::atomic::Ordering::SeqCst);
    }
}

fn serve_cut(mut stream: TcpStream, step: &std::sync::atomic::AtomicUsize) {
    stream.set_nodelay(true).unwrap();
    loop {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => seen.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8(seen).unwrap();
        let (rest, closes) = match head.split(' ').nth(1).unwrap() {
            "/length" => ("Content-Length: 10\r\nX-End: 1\r\n\r\n0123456789", false),
            "/chunks" => (
                "Transfer-Encoding: chunked\r\nX-End: 1\r\n\r\n4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\nT: 1\r\n\r\n",
                false,
            ),
            "/close" => ("X-End: 1\r\n\r\n0123456789", true),
            _ => ("Content-Length: 0\r\nX-End: 1\r\n\r\n", false),
        };
        let response = format!("HTTP/1.1 200 OK\r\n{rest}");
        for piece in response
            .as_bytes()
            .chunks(step.load(std::sync::atomic::Ordering::SeqCst))
        {
            if stream.write_all(piece).is_err() {
                return;
            }
            std::thread::yield_now();
        }
        if closes {
            return;
        }
    }
}

// pingora forwards no interim response over HTTP/2.
lanes!(an_interim_answer_goes_to_those_who_know_of_it: own, own_tls, filter_http1);
fn an_interim_answer_goes_to_those_who_know_of_it() {
    let upstream = FakeUpstream::start();
    let gate = gate(upstream.address());
    respond_with(
        &upstream,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let mut client = RawClient::connect(gate.data());
    let hints = client.exchange(GET);
    assert_eq!(
        (hints.status, hints.header("link"), hints.header("x-hop")),
        (103, Some("</a>"), None)
    );
    assert_eq!(client.receive().text(), "ok");
    let mut old = RawClient::connect(gate.data());
    let response: Response = old.exchange("GET /a HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
}

// It is about `Connection` and the end of a connection, which HTTP/2 has for all streams at once.
lanes!(an_answer_that_comes_before_the_request_is_over_ends_the_clients_connection: own, own_tls, filter_http1);
/// After an early response the upstream may read the rest of
/// the request or not, so the next request's start is unknown.
fn an_answer_that_comes_before_the_request_is_over_ends_the_clients_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = gate(listener.local_addr().unwrap());
    let mut client = RawClient::connect(gate.data());
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nbegin");
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"begin") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1);
        seen.push(byte[0]);
    }
    stream
        .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        .unwrap();
    let response = client.receive();
    assert_eq!((response.status, response.text().as_str()), (413, "no"));
    assert_eq!(response.header("connection"), Some("close"));
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.is_closed());
    // The gate forwards no byte of the second request.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "{rest:?}");
}

/// Both sides of a WebSocket stall: the client does not read, the upstream is gone, and
/// the client goes on sending. The gate can only wait, which must cost no processor time.
#[test]
fn a_tunnel_whose_upstream_died_waits_for_its_client_without_turning_round() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate: Binary = start(listener.local_addr().unwrap());
    let mut client = TcpStream::connect(gate.data()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .write_all(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    read_head(&mut upstream);
    upstream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    // Fills all buffers between the upstream and the client, until no byte moves for a second.
    upstream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let chunk = vec![b'x'; 1 << 20];
    let mut written = 0;
    while let Ok(count) = upstream.write(&chunk) {
        written += count;
    }
    let arrived = written - unacknowledged(&upstream);
    drop(upstream);
    for _ in 0..5 {
        client.write_all(b"still here").unwrap();
    }
    // A loop that turns round would take a second; a thread that waits takes no time, however busy the machine is.
    let mut witness = RawClient::connect(gate.data()).patience(Duration::from_secs(1));
    let before = gate.cpu();
    assert!(witness.try_receive().is_err(), "nobody asked");
    let spent = gate.cpu() - before;
    assert!(spent < Duration::from_millis(100), "{spent:?} of CPU in 1 s of nothing");
    // Bytes that had arrived at the gate are not lost.
    read_head(&mut client);
    let mut seen = 0;
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        seen += count;
    }
    assert!(seen >= arrived, "{seen} of {arrived} bytes");
}

/// Returns the number of bytes that were written to `stream` and that the system of the peer has not acknowledged.
fn unacknowledged(stream: &TcpStream) -> usize {
    let endpoint = |address: std::net::SocketAddr| match address {
        // As the table writes an address: the bytes in the order of the machine.
        std::net::SocketAddr::V4(address) => {
            let ip = u32::from_ne_bytes(address.ip().octets());
            format!("{ip:08X}:{:04X}", address.port())
        }
        std::net::SocketAddr::V6(address) => panic!("{address}"),
    };
    let ends = [stream.local_addr(), stream.peer_addr()].map(|address| endpoint(address.unwrap()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|columns| columns[1] == ends[0] && columns[2] == ends[1])
        .expect("the system lists the connection");
    let (sending, _) = line[4].split_once(':').unwrap();
    usize::from_str_radix(sending, 16).unwrap()
}

// It is about `Connection` and the end of a connection, which HTTP/2 has for all streams at once.
lanes!(an_early_answer_to_a_request_that_came_whole_keeps_its_word_about_the_connection: own, own_tls, filter_http1);
/// The whole request has arrived, so the next request begins at a known byte although the upstream responded early.
fn an_early_answer_to_a_request_that_came_whole_keeps_its_word_about_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = gate(listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        // Closing a connection with unread bytes would reset it, and the gate might lose the response.
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            open.push(stream.try_clone().unwrap());
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                if !stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    return;
                }
                head.push(byte[0]);
            }
            let response = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(response).unwrap();
            if head.starts_with(b"GET") {
                return;
            }
        }
    });
    for size in [10, 10_000, 3_000_000] {
        let mut client = RawClient::connect(gate.data());
        let head = format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
        client.send([head.as_bytes(), &vec![b'x'; size]].concat());
        let response = client.receive();
        assert_eq!(response.status, 200);
        match response.header("connection") {
            Some("keep-alive") => assert_eq!(client.exchange("GET / HTTP/2\r\n\r\n").status, 400, "{size}"),
            _ => assert!(client.is_closed(), "{size}"),
        }
    }
    assert_eq!(RawClient::connect(gate.data()).exchange(GET).text(), "ok");
    answering.join().unwrap();
}

// pingora forwards no interim response over HTTP/2.
lanes!(an_answer_in_place_of_100_continue_ends_the_exchange_at_once: own, own_tls, filter_http1);
/// A client that gets a final response to `Expect: 100-continue` sends no body, so the gate must not wait for a body.
fn an_answer_in_place_of_100_continue_ends_the_exchange_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = gate(listener.local_addr().unwrap());
    let mut client = RawClient::connect(gate.data());
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let (mut stream, _) = listener.accept().unwrap();
    read_head(&mut stream);
    stream
        .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let response = client.receive();
    assert_eq!((response.status, response.header("connection")), (401, Some("close")));
    let responded_at = std::time::Instant::now();
    assert!(client.is_closed());
    // For a client that sends a body, the gate would read on for 2 s.
    assert!(
        responded_at.elapsed() < Duration::from_millis(1_900),
        "{:?}",
        responded_at.elapsed()
    );
}
