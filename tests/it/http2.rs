//! Is HTTP/2 (RFC 9113) as strict and as bounded as HTTP/1.1? Here are the rules of frames and connections; the rules of
//! requests run over HTTP/2 too, in the tests of `lanes!`.

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::StartGate;
use crate::support::lane::lanes;
use crate::support::raw_http2;
use crate::support::raw_http2::CONTINUATION;
use crate::support::raw_http2::DATA;
use crate::support::raw_http2::END_HEADERS;
use crate::support::raw_http2::END_STREAM;
use crate::support::raw_http2::GOAWAY;
use crate::support::raw_http2::HEADERS;
use crate::support::raw_http2::PING;
use crate::support::raw_http2::RST_STREAM;
use crate::support::raw_http2::RawHttp2;
use crate::support::raw_http2::SETTINGS;
use crate::support::raw_http2::Verdict;
use crate::support::raw_http2::WINDOW_UPDATE;
use crate::support::raw_http2::block;
use crate::support::raw_http2::frame;
use crate::support::raw_http2::get;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;
use std::time::Instant;

/// Codes of RFC 9113 section 7.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;

struct Gate<G = LocalGate> {
    running: G,
    upstream: FakeUpstream,
}

impl<G: StartGate> Gate<G> {
    /// Starts a gate with a public route, and `requests` in that section.
    fn start(requests: &str) -> Self {
        let upstream = FakeUpstream::start();
        let yaml = GatewayBuilder::new()
            .top(&format!("requests: {{ connections: 100, {requests} }}"))
            .upstream("up", upstream.address())
            .route("open", "match: { path: \"/open/{*rest}\" }\npublic: true\nupstream: up")
            .yaml();
        let running = G::start_with(&yaml, &[]);
        running.wait_ready();
        Self { running, upstream }
    }

    #[track_caller]
    fn connect(&self) -> RawHttp2 {
        RawHttp2::connect(self.running.data())
    }

    /// Checks that a new client is served.
    #[track_caller]
    fn serves(&self) {
        let response =
            RawClient::connect(self.running.data()).exchange("GET /open/good HTTP/1.1\r\nHost: gate.test\r\n\r\n");
        assert_eq!(response.status, 200);
    }

    /// Checks that a request with `fields` is refused, and that the upstream hears nothing of it. The same connection
    /// then serves a good request, unless it was closed.
    #[track_caller]
    fn refuses(&self, fields: &[(&[u8], &[u8])]) -> Verdict {
        let before = self.upstream.received().len();
        let mut client = self.connect();
        client.request(1, fields);
        let verdict = client.verdict(1);
        let text: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii()))
            .collect();
        assert!(
            matches!(
                verdict,
                Verdict::Status(400) | Verdict::Reset(PROTOCOL_ERROR) | Verdict::GoAway(PROTOCOL_ERROR)
            ),
            "{verdict:?}: {text:?}"
        );
        assert_eq!(self.upstream.received().len(), before, "{text:?}");
        verdict
    }
}

lanes!(s098_a_path_without_its_slash_is_refused: filter_http2);
fn s098_a_path_without_its_slash_is_refused() {
    let gate: Gate = Gate::start("");
    for path in [
        &b"open/a"[..],
        b"",
        b"*",
        b"http://gate.test/open/a",
        b"//gate.test/open/a",
        b"/open/../a",
    ] {
        gate.refuses(&get(path, &[]));
    }
    let mut client = gate.connect();
    client.request(1, &get(b"/open/a", &[]));
    assert_eq!(client.verdict(1), Verdict::Status(200));
    assert_eq!(gate.upstream.only_received().target(), "/open/a");
}

lanes!(s093_one_request_has_one_host: filter_http2);
fn s093_one_request_has_one_host() {
    let gate: Gate = Gate::start("");
    gate.refuses(&get(b"/open/a", &[(b"host", b"other.test")]));
    gate.refuses(&get(b"/open/a", &[(b"host", b"gate.test"), (b"host", b"gate.test")]));
    let without: Vec<(&[u8], &[u8])> = vec![(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/open/a")];
    gate.refuses(&without);
    for host in [&b"u@gate.test"[..], b"gate.test:x", b".gate.test", b"gate test", b""] {
        let mut fields = without.clone();
        fields.insert(2, (b":authority", host));
        gate.refuses(&fields);
    }
    let mut client = gate.connect();
    client.request(1, &get(b"/open/a", &[(b"host", b"gate.test")]));
    assert_eq!(client.verdict(1), Verdict::Status(200));
    assert_eq!(gate.upstream.only_received().headers_named("host"), ["gate.test"]);
}

lanes!(s105_what_would_split_a_head_of_http1_is_refused: filter_http2);
fn s105_what_would_split_a_head_of_http1_is_refused() {
    let gate: Gate = Gate::start("");
    for (name, value) in [
        (&b"x-a"[..], &b"1\r\nx-api-key: forged"[..]),
        (b"x-a", b"1\nx-b: 2"),
        (b"x-a", b"1\r"),
        (b"x-a", b"1\0"),
        (b"x-a", b"\x01"),
        (b"x-a", b"\x7F"),
        (b"x-a: 1\r\nx-b", b"2"),
        (b"x-a:", b"1"),
        (b"x a", b"1"),
        (b"X-A", b"1"),
        (b"", b"1"),
        (b":x", b"1"),
        (b":status", b"200"),
        // Fields of one connection (RFC 9113 section 8.2.2).
        (b"connection", b"x-keygate-subject"),
        (b"keep-alive", b"1"),
        (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"),
        (b"te", b"gzip"),
        // Two lengths, and none.
        (b"content-length", b"1, 2"),
        (b"content-length", b"+0"),
        (b"content-length", b"-1"),
    ] {
        gate.refuses(&get(b"/open/a", &[(name, value)]));
    }
    for path in [
        &b"/open/a HTTP/1.1\r\nx-api-key: forged\r\n\r\n"[..],
        b"/open/\r\n",
        b"/open/\0",
        b"/open/a b",
        b"/open/\xFF",
    ] {
        gate.refuses(&get(path, &[]));
    }
    for (index, value) in [
        (0, &b"GET /open/a HTTP/1.1\r\n"[..]),
        (0, b"G T"),
        (0, b""),
        (1, b"http\r\n"),
    ] {
        let mut fields = get(b"/open/a", &[]);
        fields[index].1 = value;
        gate.refuses(&fields);
    }
    // Twice, after other fields, and missing.
    gate.refuses(&get(b"/open/a", &[(b":path", b"/open/b")]));
    gate.refuses(&[get(b"/open/a", &[]), vec![(b":method", b"GET")]].concat());
    let mut late = get(b"/open/a", &[(b"x-a", b"1")]);
    late.swap(3, 4);
    gate.refuses(&late);
    gate.refuses(&get(b"/open/a", &[])[1..]);
    // CONNECT, plain and extended (RFC 8441), is not served.
    let mut connect = get(b"/open/a", &[(b":protocol", b"websocket")]);
    connect[0].1 = b"CONNECT";
    let verdict = {
        let mut client = gate.connect();
        client.request(1, &connect);
        client.verdict(1)
    };
    assert_ne!(verdict, Verdict::Status(200));
    assert!(gate.upstream.received().is_empty());
}

lanes!(s101_the_length_of_a_body_is_the_one_that_was_announced: filter_http2);
fn s101_the_length_of_a_body_is_the_one_that_was_announced() {
    let gate: Gate = Gate::start("");
    for (announced, body) in [(&b"5"[..], &b"abc"[..]), (b"2", b"abc")] {
        let mut client = gate.connect();
        let mut fields = get(b"/open/a", &[(b"content-length", announced)]);
        fields[0].1 = b"POST";
        client.frame(HEADERS, END_HEADERS, 1, &block(&fields));
        client.frame(DATA, END_STREAM, 1, body);
        let verdict = client.verdict(1);
        assert!(
            matches!(
                verdict,
                Verdict::Reset(PROTOCOL_ERROR) | Verdict::GoAway(PROTOCOL_ERROR)
            ),
            "{verdict:?}"
        );
    }
    assert!(gate.upstream.received().is_empty(), "no request arrived whole");
    gate.serves();
}

// An empty frame ends a body that was sent before. pingora ended the chunks of HTTP/1.1 twice, and the second end was
// the beginning of the next request on the upstream's connection.
lanes!(s105_a_body_ends_once_whatever_its_last_frame_holds: filter_http2);
fn s105_a_body_ends_once_whatever_its_last_frame_holds() {
    let gate: Gate = Gate::start("");
    let mut client = gate.connect();
    let mut fields = get(b"/open/a", &[]);
    fields[0].1 = b"POST";
    for stream in [1, 3, 5] {
        client.frame(HEADERS, END_HEADERS, stream, &block(&fields));
        client.frame(DATA, 0, stream, b"body");
        client.frame(DATA, END_STREAM, stream, b"");
        assert_eq!(client.verdict(stream), Verdict::Status(200));
    }
    let received = gate.upstream.received();
    assert_eq!(received.len(), 3);
    assert_eq!(gate.upstream.connections(), 1);
    for request in received {
        assert_eq!(
            (request.method(), request.target(), &*request.body),
            ("POST", "/open/a", &b"body"[..])
        );
    }
}

lanes!(s107_a_head_is_bounded_in_bytes_fields_and_target: filter_http2);
fn s107_a_head_is_bounded_in_bytes_fields_and_target() {
    let gate: Gate = Gate::start("head_bytes: 2000, head_count: 10, target_bytes: 500, credential_bytes: 1000");
    // `GET /open/a HTTP/1.1`, `host: gate.test` and `x: …`, each with a line end, and the empty line.
    let empty = "GET /open/a HTTP/1.1\r\nhost: gate.test\r\nx: \r\n\r\n".len();
    let value = |bytes: usize| vec![b'a'; bytes - empty];
    for (bytes, status) in [(2000, Verdict::Status(200)), (2001, Verdict::Status(0))] {
        let mut client = gate.connect();
        client.request(1, &get(b"/open/a", &[(b"x", &value(bytes))]));
        assert_eq!(client.verdict(1), status, "{bytes}");
    }
    for (count, status) in [(9, Verdict::Status(200)), (10, Verdict::Status(0))] {
        let mut client = gate.connect();
        client.request(1, &get(b"/open/a", &vec![(&b"x"[..], &b"1"[..]); count]));
        assert_eq!(client.verdict(1), status, "{count}");
    }
    for (length, status) in [(500, Verdict::Status(200)), (501, Verdict::Status(0))] {
        let mut client = gate.connect();
        let path = format!("/open/{}", "a".repeat(length - "/open/".len()));
        client.request(1, &get(path.as_bytes(), &[]));
        assert_eq!(client.verdict(1), status, "{length}");
    }
    assert_eq!(gate.upstream.received().len(), 3);
}

lanes!(s107_split_cookies_are_one_field: filter_http2);
fn s107_split_cookies_are_one_field() {
    let gate: Gate = Gate::start("head_count: 5");
    let crumbs: Vec<String> = (0..90).map(|number| format!("c{number}=1")).collect();
    let fields: Vec<(&[u8], &[u8])> = crumbs.iter().map(|crumb| (&b"cookie"[..], crumb.as_bytes())).collect();
    let mut client = gate.connect();
    client.request(1, &get(b"/open/a", &fields));
    assert_eq!(client.verdict(1), Verdict::Status(200));
    assert_eq!(
        gate.upstream.only_received().headers_named("cookie"),
        [crumbs.join("; ")]
    );
}

lanes!(s101_an_upload_that_was_answered_early_never_looks_whole: filter_http2);
fn s101_an_upload_that_was_answered_early_never_looks_whole() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = GatewayBuilder::new()
        .upstream("up", upstream.local_addr().unwrap())
        .route("open", "match: { path: \"/open/{*rest}\" }\npublic: true\nupstream: up")
        .yaml();
    let gate = LocalGate::start(&yaml);
    gate.wait_ready();
    let mut client = RawHttp2::connect(gate.data());
    let mut fields = get(b"/open/a", &[(b"x-request-id", b"early")]);
    fields[0].1 = b"POST";
    client.frame(HEADERS, END_HEADERS, 1, &block(&fields));
    client.frame(DATA, 0, 1, b"begin");
    let (mut stream, _) = upstream.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"begin\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1);
        seen.push(byte[0]);
    }
    stream
        .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    client.verdict(1);
    client.frame(DATA, 0, 1, b"more");
    client.frame(DATA, END_STREAM, 1, b"");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(
        String::from_utf8_lossy(&rest),
        "",
        "no end of the chunks, and no more of them"
    );
    let record = gate.record_of("early");
    assert_eq!((&record["status"], &record["decision"]), (&202.into(), &"allow".into()));
}

lanes!(s107_a_connection_without_a_request_has_the_time_of_a_head: filter_http2);
fn s107_a_connection_without_a_request_has_the_time_of_a_head() {
    let gate: Gate = Gate::start("head_timeout: 300ms, idle_timeout: 300ms");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for sent in [
        Vec::new(),
        preface[..10].to_vec(),
        preface.to_vec(),
        [&preface[..], &frame(SETTINGS, 0, 0, b"")].concat(),
        // A head without its end.
        [
            &preface[..],
            &frame(SETTINGS, 0, 0, b""),
            &frame(HEADERS, 0, 1, &block(&get(b"/open/a", &[]))),
        ]
        .concat(),
        // A request of HTTP/1.1.
        b"GET /open/a HTTP/1.1\r\nHost: gate.test\r\n\r\n".to_vec(),
    ] {
        let mut client = RawHttp2::silent(gate.running.data());
        client.send(&sent);
        let started = Instant::now();
        client.wait_closed();
        assert!(started.elapsed() < PATIENCE, "{:?}", sent.escape_ascii().to_string());
    }
    assert!(gate.upstream.received().is_empty());
}

lanes!(the_last_request_of_a_connection_is_announced_and_answered: filter_http2);
fn the_last_request_of_a_connection_is_announced_and_answered() {
    let gate: Gate = Gate::start("requests_per_connection: 3");
    let mut client = gate.connect();
    for stream in [1, 3, 5] {
        client.request(stream, &get(b"/open/a", &[]));
        assert_eq!(client.verdict(stream), Verdict::Status(200), "{stream}");
    }
    assert_eq!(client.wait_closed(), Some(NO_ERROR));
    assert_eq!(gate.upstream.received().len(), 3);
}

lanes!(a_body_that_stops_ends_its_stream_alone: filter_http2);
fn a_body_that_stops_ends_its_stream_alone() {
    let gate: Gate = Gate::start("body_read_timeout: 300ms");
    let mut client = gate.connect();
    let mut fields = get(b"/open/a", &[(b"x-request-id", b"stops")]);
    fields[0].1 = b"POST";
    client.frame(HEADERS, END_HEADERS, 1, &block(&fields));
    client.frame(DATA, 0, 1, b"abc");
    assert!(matches!(client.verdict(1), Verdict::Reset(_)));
    client.request(3, &get(b"/open/a", &[]));
    assert_eq!(client.verdict(3), Verdict::Status(200));
    let record = gate.running.record_of("stops");
    assert_eq!(
        (&record["reason"], record.get("status")),
        (&"body_timeout".into(), None)
    );
    assert_eq!(gate.upstream.only_received().method(), "GET");
}

lanes!(s108_a_stream_that_is_reset_ends_its_request: filter_http2);
fn s108_a_stream_that_is_reset_ends_its_request() {
    let gate: Gate = Gate::start("");
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    gate.upstream.respond_with(move |_| {
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    let mut client = gate.connect();
    client.request(1, &get(b"/open/a", &[(b"x-request-id", b"leaver")]));
    gate.upstream.wait_received(1);
    client.frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    let record = gate.running.record_of("leaver");
    assert_eq!((&record["reason"], record.get("status")), (&"client_gone".into(), None));
    drop(release);
    client.request(3, &get(b"/open/b", &[]));
    assert_eq!(client.verdict(3), Verdict::Status(200));
}

/// The most that a flood of one connection may add to the memory of the program.
const GROWTH_KIB_MAX: u64 = 24 * 1024;
/// The most processor time that a flood may cost. Each sends 20 000 frames or more, and a build for tests is slow.
const CPU_MAX: Duration = Duration::from_secs(8);

/// Sends what `flood` sends for each number up to `count`, in one piece for 100, until the server takes no more. Checks
/// that memory and processor time stay bounded, and that another client is served. Returns how many were sent.
#[track_caller]
fn flood(count: u32, mut prepare: impl FnMut(&mut RawHttp2), flood: impl Fn(u32) -> Vec<u8>) -> u32 {
    let gate: Gate<Binary> = Gate::start("");
    gate.serves();
    let (before, used) = (gate.running.resident_kib(), gate.running.cpu());
    let mut client = gate.connect();
    prepare(&mut client);
    let mut sent = 0;
    while sent < count {
        let piece: Vec<u8> = (sent..sent + 100).flat_map(&flood).collect();
        if !client.send(&piece) {
            break;
        }
        sent += 100;
    }
    gate.serves();
    let grown = gate.running.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more after {sent}");
    let cpu = gate.running.cpu().saturating_sub(used);
    assert!(cpu < CPU_MAX, "{cpu:?} for {sent}");
    drop(client);
    sent
}

/// The streams of a flood: odd and rising.
const fn stream(number: u32) -> u32 {
    2 * number + 1
}

lanes!(s104_rapid_resets_end_the_connection: filter_http2);
fn s104_rapid_resets_end_the_connection() {
    let head = block(&get(b"/open/a", &[]));
    let sent = flood(
        20_000,
        |_| (),
        |number| {
            let reset = 8_u32.to_be_bytes();
            [
                frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &head),
                frame(RST_STREAM, 0, stream(number), &reset),
            ]
            .concat()
        },
    );
    assert!(sent < 20_000, "the server took all of them");
}

lanes!(s104_streams_that_the_server_has_to_reset_end_the_connection: filter_http2);
fn s104_streams_that_the_server_has_to_reset_end_the_connection() {
    // MadeYouReset: each request is followed by a frame that is an error of its stream.
    let head = block(&get(b"/open/a", &[]));
    let sent = flood(
        20_000,
        |_| (),
        |number| {
            [
                frame(HEADERS, END_HEADERS, stream(number), &head),
                frame(WINDOW_UPDATE, 0, stream(number), &0_u32.to_be_bytes()),
            ]
            .concat()
        },
    );
    assert!(sent < 20_000, "the server took all of them");
}

lanes!(s104_malformed_requests_end_the_connection: filter_http2);
fn s104_malformed_requests_end_the_connection() {
    let head = block(&get(b"/open/\r\n", &[]));
    let sent = flood(
        20_000,
        |_| (),
        |number| frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &head),
    );
    assert!(sent < 20_000, "the server took all of them");
}

lanes!(s104_a_head_without_end_ends_the_connection: filter_http2);
fn s104_a_head_without_end_ends_the_connection() {
    // A CONTINUATION flood, with fields and with nothing in the frames.
    let fields = block(&[(b"x-a", &[b'a'; 1000])]);
    for part in [&fields[..], b""] {
        let begin = |client: &mut RawHttp2| {
            client.frame(HEADERS, END_STREAM, 1, &block(&get(b"/open/a", &[])));
        };
        let sent = flood(200_000, begin, |_| frame(CONTINUATION, 0, 1, part));
        assert!(sent < 200_000, "the server took all of them: {}", part.len());
    }
}

lanes!(s104_empty_data_ends_the_connection_or_costs_nothing: filter_http2);
fn s104_empty_data_ends_the_connection_or_costs_nothing() {
    let begin = |client: &mut RawHttp2| {
        let mut fields = get(b"/open/a", &[]);
        fields[0].1 = b"POST";
        client.frame(HEADERS, END_HEADERS, 1, &block(&fields));
    };
    flood(100_000, begin, |_| frame(DATA, 0, 1, b""));
}

lanes!(s104_pings_settings_and_unread_answers_take_no_memory: filter_http2);
fn s104_pings_settings_and_unread_answers_take_no_memory() {
    // The client reads nothing, so the answers would have to wait in memory.
    flood(200_000, |_| (), |_| frame(PING, 0, 0, b"12345678"));
    flood(100_000, |_| (), |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
    flood(200_000, |_| (), |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()));
    let head = block(&get(b"/open/a", &[]));
    flood(
        20_000,
        |_| (),
        |number| frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &head),
    );
}

lanes!(s104_a_small_head_that_unpacks_to_a_large_one_is_refused: filter_http2);
fn s104_a_small_head_that_unpacks_to_a_large_one_is_refused() {
    let gate: Gate<Binary> = Gate::start("");
    gate.serves();
    let before = gate.running.resident_kib();
    let mut client = gate.connect();
    // Puts a field of 4 000 bytes into the table of the connection, then names it 4 000 times: 16 MB in 8 KiB.
    let mut packed = block(&get(b"/open/a", &[]));
    packed.push(0x40);
    let field = block(&[(b"x-a", &[b'a'; 4000])]);
    packed.extend(&field[1..]);
    packed.extend([0xBE; 4000]);
    client.frame(HEADERS, END_HEADERS | END_STREAM, 1, &packed);
    assert_ne!(client.verdict(1), Verdict::Status(200));
    let grown = gate.running.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
    assert_eq!(gate.upstream.received().len(), 1);
    gate.serves();
}

lanes!(a_connection_that_ends_is_told_so_and_its_requests_are_answered: filter_http2);
fn a_connection_that_ends_is_told_so_and_its_requests_are_answered() {
    let mut gate: Gate<Binary> = Gate::start("");
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    gate.upstream.respond_with(move |_| {
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    let mut client = gate.connect();
    client.request(1, &get(b"/open/a", &[]));
    gate.upstream.wait_received(1);
    gate.running.signal("TERM");
    loop {
        let told = client
            .read()
            .unwrap()
            .expect("the connection stays open for the request");
        if told.kind == GOAWAY {
            assert_eq!(told.payload[4..8], NO_ERROR.to_be_bytes());
            break;
        }
    }
    release.send(()).unwrap();
    assert_eq!(client.verdict(1), Verdict::Status(200));
    client.wait_closed();
    assert!(gate.running.wait_exit().success());
}

#[test]
fn a_field_block_is_written_as_rfc_7541_says() {
    assert_eq!(raw_http2::block(&[(b"a", b"b")]), [0, 1, b'a', 1, b'b']);
    let long = raw_http2::block(&[(b"a", &[b'x'; 300])]);
    assert_eq!(long[..6], [0, 1, b'a', 127, 128 + 45, 1]);
    assert_eq!(long.len(), 6 + 300);
    assert_eq!(frame(PING, 1, 3, b"ab"), [0, 0, 2, PING, 1, 0, 0, 0, 3, b'a', b'b']);
}
