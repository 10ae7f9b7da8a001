//! Does `total_timeout` end a request whose upstream is slow, and spare streams and idle connections (SPEC 2.8)?

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::lane::Lane;
use crate::support::lane::lanes;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

/// Long enough for an exchange with an upstream that responds at once, on a busy machine too.
const TOTAL: Duration = Duration::from_secs(3);

/// Starts an upstream that sends `first` and then `drip` every 20 ms until the peer closes.
fn dripping(first: &'static str, drip: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || drip_into(stream.unwrap(), first, drip));
        }
    });
    address
}

fn drip_into(mut stream: TcpStream, first: &str, drip: &str) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(first.as_bytes());
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    loop {
        // Waits for the end of the connection, at most 20 ms.
        let gone = matches!(stream.read(&mut [0; 64]), Ok(0));
        if gone || stream.write_all(drip.as_bytes()).is_err() {
            return;
        }
    }
}

fn gate(upstream: SocketAddr) -> LocalGate {
    gate_with(upstream, "")
}

/// Starts a gate with `more` in the configuration of the upstream.
fn gate_with(upstream: SocketAddr, more: &str) -> LocalGate {
    let settings = format!("endpoints: [\"{upstream}\"]\ntotal_timeout: 3s\nread_timeout: 20s\n{more}");
    let yaml = GatewayBuilder::new()
        .upstream_with("api", &settings)
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api");
    let gate = LocalGate::start(&yaml.yaml());
    gate.wait_ready();
    gate
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

lanes!(an_upstream_that_says_nothing_is_504_when_the_total_ends);
fn an_upstream_that_says_nothing_is_504_when_the_total_ends() {
    let gate = gate(dripping("", ""));
    let started = Instant::now();
    let response = RawClient::connect(gate.data()).exchange(GET);
    assert!(started.elapsed() >= TOTAL, "{:?}", started.elapsed());
    assert_eq!(response.status, 504, "{}", response.text());
    let record = gate.wait_access_records(1).remove(0);
    assert_eq!(
        (&record["reason"], &record["decision"]),
        (&"upstream_timeout".into(), &"error".into())
    );
}

lanes!(a_route_may_wait_for_less_than_its_upstream);
fn a_route_may_wait_for_less_than_its_upstream() {
    let settings = format!("endpoints: [\"{}\"]\nread_timeout: 5m", dripping("", ""));
    let route = "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api\nread_timeout: 1s";
    let gate = GatewayBuilder::new()
        .upstream_with("api", &settings)
        .route("open", route);
    let gate = LocalGate::start(&gate.yaml());
    gate.wait_ready();
    let response = RawClient::connect(gate.data()).exchange(GET);
    assert_eq!(response.status, 504, "{}", response.text());
    let record = gate.wait_access_records(1).remove(0);
    assert_eq!(record["reason"], "upstream_timeout");
}

lanes!(a_response_that_trickles_is_cut_when_the_total_ends_and_never_whole);
fn a_response_that_trickles_is_cut_when_the_total_ends_and_never_whole() {
    let rows = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "x", None),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1\r\nx\r\n",
            None,
        ),
        // A head without an end: nothing was forwarded, so the client gets a 504.
        ("HTTP/1.1 200 OK\r\nX-A: b", "b", Some(504)),
    ];
    for_each(&rows, |(first, drip, status)| {
        let gate = gate(dripping(first, drip));
        let started = Instant::now();
        let mut client = RawClient::connect(gate.data());
        client.send(GET);
        match (client.try_receive(), status) {
            (Ok(response), Some(status)) => assert_eq!(response.status, status, "{first:?}: {}", response.text()),
            (Err(error), None) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{first:?}"),
            (response, _) => panic!("{first:?}: {response:?}"),
        }
        assert!(started.elapsed() >= TOTAL, "{first:?}: {:?}", started.elapsed());
        let record = gate.wait_access_records(1).remove(0);
        assert_eq!(
            (&record["reason"], &record["decision"]),
            (&"upstream_timeout".into(), &"error".into()),
            "{first:?}"
        );
    });
}

/// Calls `check` with all `rows` at once, because each takes longer than [`TOTAL`].
fn for_each<T: Copy + Send + Sync>(rows: &[T], check: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for row in rows {
            scope.spawn(|| check(*row));
        }
    });
}

lanes!(a_stream_goes_on_past_the_total);
fn a_stream_goes_on_past_the_total() {
    let upgrade = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let rows = [
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            "3\r\n:\n\n\r\n",
        ),
        (
            upgrade,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "x",
        ),
    ];
    for_each(&rows, |(request, first, drip)| {
        // The upstream's own type says that it streams, whatever the client is told.
        let gate = gate_with(
            dripping(first, drip),
            "response: { set_headers: { content-type: text/plain } }",
        );
        let mut stream = TcpStream::connect(gate.data()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let until = Instant::now() + TOTAL * 3 / 2;
        while Instant::now() < until {
            let count = stream.read(&mut [0; 1024]).expect("it goes on");
            assert!(count > 0, "cut: {first:?}");
        }
    });
}

lanes!(the_total_is_the_time_of_one_request_and_not_of_its_connection);
fn the_total_is_the_time_of_one_request_and_not_of_its_connection() {
    let upstream = FakeUpstream::start();
    let gate = gate(upstream.address());
    let mut client = RawClient::connect(gate.data());
    assert_eq!(client.exchange(GET).status, 200);
    // The time limit of the first request does not end an idle connection.
    let mut client = client.patience(TOTAL * 3 / 2);
    assert!(!client.is_closed());
    // Nor does the limit of the next request begin with the connection.
    let mut client = client.patience(PATIENCE);
    client.send(GET);
    assert_eq!(client.receive().status, 200);
}

lanes!(a_client_that_stalls_in_its_body_is_408_whatever_the_upstreams_timeouts);
fn a_client_that_stalls_in_its_body_is_408_whatever_the_upstreams_timeouts() {
    let body_read = Duration::from_millis(1_500);
    let upstream_waits = dripping("", "");
    let settings = |more: &str| format!("endpoints: [\"{upstream_waits}\"]\n{more}");
    let yaml = GatewayBuilder::new()
        .top("requests: { body_read_timeout: 1500ms }")
        .upstream_with("hasty", &settings("read_timeout: 500ms"))
        .upstream_with("short", &settings("total_timeout: 1s"))
        .route("hasty", "match: { path: /hasty }\npublic: true\nupstream: hasty")
        .route("short", "match: { path: /short }\npublic: true\nupstream: short");
    let gate = LocalGate::start(&yaml.yaml());
    gate.wait_ready();
    let lane = Lane::current();
    let rows = [
        ("Content-Length: 9\r\n\r\nabc", true),
        ("Content-Length: 9\r\n\r\n", true),
        ("Content-Length: 900000\r\n\r\nabc", false),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false),
    ];
    for_each(&rows, |(body, is_short)| {
        lane.run(|| {
            for path in ["/hasty", "/short"] {
                let id = format!("{}{}", &path[1..], body.len());
                let mut client = RawClient::connect(gate.data());
                let started = Instant::now();
                client.send(format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n{body}"
                ));
                match client.try_receive() {
                    Ok(response) => assert_eq!(response.status, 408, "{path} {body:?}"),
                    // pingora has no time limit for a longer body over HTTP/2: the stream is reset.
                    Err(error) => assert!(lane == Lane::FilterHttp2 && !is_short, "{path} {body:?}: {error}"),
                }
                if path == "/hasty" {
                    assert!(started.elapsed() >= body_read, "{body:?}: {:?}", started.elapsed());
                }
                assert_eq!(gate.record_of(&id)["reason"], "body_timeout", "{path} {body:?}");
            }
        });
    });
}

lanes!(an_upstream_that_says_nothing_after_the_whole_body_is_504);
fn an_upstream_that_says_nothing_after_the_whole_body_is_504() {
    let yaml = GatewayBuilder::new()
        .top("requests: { body_read_timeout: 300ms }")
        .upstream_with(
            "api",
            &format!("endpoints: [\"{}\"]\nread_timeout: 1s", dripping("", "")),
        )
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api");
    let gate = LocalGate::start(&yaml.yaml());
    gate.wait_ready();
    let started = Instant::now();
    let response =
        RawClient::connect(gate.data()).exchange("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(response.status, 504, "{}", response.text());
    assert_eq!(gate.record(&response)["reason"], "upstream_timeout");
}

lanes!(a_client_that_does_not_read_is_blamed_itself);
fn a_client_that_does_not_read_is_blamed_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
    });
    let yaml = GatewayBuilder::new()
        .top("requests: { idle_timeout: 2s }")
        .upstream_with("api", &format!("endpoints: [\"{address}\"]\nread_timeout: 500ms"))
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api");
    let gate = LocalGate::start(&yaml.yaml());
    gate.wait_ready();
    let mut client = RawClient::connect(gate.data());
    client.send("GET /a HTTP/1.1\r\nHost: a\r\nX-Request-Id: deaf\r\n\r\n");
    let record = gate.record_of("deaf");
    let found = ["status", "response", "reason"].map(|field| record[field].to_string());
    assert_eq!(found, ["200", "\"cut\"", "\"client_gone\""]);
    drop(client);
}
