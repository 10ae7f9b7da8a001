//! Does a stream end with the credential that opened it (S038)?

use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::api_key;
use crate::support::issuer::claims_with;
use crate::support::issuer::identity_yaml;
use crate::support::issuer::token;
use crate::support::lane::lanes;
use crate::support::still_clock;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use keygate::model::api_key::ApiKeyText;
use keygate::model::clock::Clock;
use keygate::model::clock::ManualClock;
use keygate::model::clock::Timestamp;
use serde_json::json;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

const SSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
const SSE_END: &str = "9\r\ndata: 2\n\n\r\n0\r\n\r\n";
const WEBSOCKET: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// An upstream whose connections the test reads and writes itself.
struct HeldUpstream {
    address: SocketAddr,
    arrived: mpsc::Receiver<HeldConnection>,
}

/// One connection after its request head.
struct HeldConnection {
    stream: TcpStream,
    head: String,
}

impl HeldUpstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, arrived) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let Some(head) = read_head(&mut stream) else {
                    return;
                };
                if sender.send(HeldConnection { stream, head }).is_err() {
                    return;
                }
            }
        });
        Self { address, arrived }
    }

    #[track_caller]
    fn next(&self) -> HeldConnection {
        self.arrived.recv_timeout(PATIENCE).expect("a request arrives")
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

impl HeldConnection {
    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    #[track_caller]
    fn receive(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("bytes arrive");
        String::from_utf8(bytes).unwrap()
    }

    /// Returns whether the gate closes the connection, cleanly or not, before reading times
    /// out after [`PATIENCE`] and before the gate sends bytes.
    fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// A gate whose clock stands still, so that no credential expires before its stream opens. A timer ends each stream.
struct Gate {
    running: LocalGate,
    clock: Arc<ManualClock>,
    upstream: HeldUpstream,
    key: SigningKey,
    api_key: ApiKeyText,
}

/// The end of a credential after the time of the gate's clock. The bytes that a test exchanges
/// over a stream before its end take milliseconds.
const SOON_SECS: u64 = 4;
/// An end that no test reaches.
const LATE_SECS: u64 = 3_600;

/// Starts a gate with the issuer's skew `skew` and an API key that expires after `api_key_secs`.
fn gate(skew: &str, api_key_secs: u64) -> Gate {
    let clock = still_clock();
    let api_key_ends = clock.now().wall.as_unix_secs() + api_key_secs;
    let upstream = HeldUpstream::start();
    let key = SigningKey::generate_es256().unwrap();
    let ends = jiff::Timestamp::from_second(i64::try_from(api_key_ends).unwrap()).unwrap();
    let (api_key, entry) = api_key(&format!("expires_at: {ends}"));
    let keys = format!(
        "keys:
{entry}"
    );
    let issuer = format!("{}\npublic_key_files: [key.pem]\nclock_skew: {skew}", identity_yaml());
    let yaml = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .issuer("main", &issuer)
        .upstream("api", upstream.address)
        .route("open", "match: { path: /open }\npublic: true\nupstream: api")
        .route("api", "match: { path: /stream }\naccept: [jwt, api_key]\nupstream: api")
        .yaml();
    let files = [("key.pem", key.public_pem()), ("keys.yaml", keys)];
    let running = LocalGate::start_at(
        &clock,
        &yaml,
        &files.each_ref().map(|(name, text)| (*name, text.as_str())),
    );
    running.wait_ready();
    Gate {
        running,
        clock,
        upstream,
        key,
        api_key,
    }
}

impl Gate {
    /// Returns the header line of a token that expires [`SOON_SECS`] after the time of the gate's clock.
    fn bearer(&self) -> String {
        let expires = self.ends().as_unix_secs();
        let claims = claims_with(json!({ "iat": expires - 60, "exp": expires }));
        format!("Authorization: Bearer {}\r\n", token(&self.key, &claims))
    }

    /// Returns the end of the credentials that end soon.
    fn ends(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.clock.now().wall.as_unix_secs() + SOON_SECS)
    }

    /// Returns the time from the gate's clock to [`Self::ends`]: a stream of that credential lives as long.
    fn life(&self) -> Duration {
        self.ends().saturating_since(self.clock.now().wall)
    }

    /// Sends a request and responds with `response` at the upstream.
    fn open(&self, path: &str, headers: &str, response: &str) -> (Stream, HeldConnection) {
        let mut client = RawClient::connect(self.running.data());
        let sent_at = Instant::now();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
        let mut held = self.upstream.next();
        held.send(response);
        (Stream { client, sent_at }, held)
    }

    fn open_websocket(&self, path: &str, headers: &str) -> (Stream, HeldConnection) {
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let (mut stream, held) = self.open(path, &format!("{upgrade}{headers}"), WEBSOCKET);
        assert!(
            held.head.to_ascii_lowercase().contains("upgrade: websocket"),
            "{}",
            held.head
        );
        let response = stream.client.receive();
        assert_eq!(response.status, 101);
        assert_eq!(response.header("upgrade"), Some("websocket"));
        (stream, held)
    }
}

/// The client's side of a stream.
struct Stream {
    client: RawClient,
    /// The time at which the request for the stream was sent.
    sent_at: Instant,
}

impl Stream {
    /// Waits until both sides see the end of their connections, `life` after the request or later. The relay's
    /// unit tests check under a paused clock that the end comes on time.
    #[track_caller]
    fn check_cut(&mut self, held: &mut HeldConnection, life: Duration) {
        assert!(self.client.is_closed(), "bytes came, or nothing at all");
        let lived = self.sent_at.elapsed();
        assert!(lived >= life, "cut after {lived:?} of {life:?}");
        assert!(held.is_closed(), "the upstream's side is closed too");
    }

    /// Checks the same for a body in flight: reading the body must fail.
    #[track_caller]
    fn check_body_cut(&mut self, held: &mut HeldConnection, life: Duration) {
        assert!(self.client.try_receive().is_err(), "the body ended as if it were whole");
        self.check_cut(held, life);
    }
}

// A WebSocket needs a connection of HTTP/1.1 to itself.
lanes!(s038_a_websocket_carries_bytes_both_ways_and_is_cut_when_its_token_ends: own, own_tls, filter_http1);
fn s038_a_websocket_carries_bytes_both_ways_and_is_cut_when_its_token_ends() {
    let gate = gate("0s", LATE_SECS);
    let (mut stream, mut held) = gate.open_websocket("/stream", &gate.bearer());
    // After the upgrade, the gate does not parse bytes that look like a request (S102).
    let smuggled = "GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.client.send(smuggled);
    assert_eq!(held.receive(smuggled.len()), smuggled);
    held.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(stream.client.receive().status, 204, "the upstream's own bytes");
    stream.check_cut(&mut held, gate.life());
    let records = gate.running.wait_access_records(1);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        (&records[0]["status"], &records[0]["decision"]),
        (&json!(101), &json!("allow"))
    );
    assert_eq!(records[0]["subject"], "alice");
    assert_eq!(records[0]["reason"], "stream_ended_with_credential");
    for series in ["keygate_requests_in_flight", "keygate_connections_open"] {
        wait_until(series, || gate.running.metric(series) == 0.0);
    }
}

lanes!(s038_events_are_cut_when_their_token_ends_and_a_public_stream_and_a_download_are_not);
fn s038_events_are_cut_when_their_token_ends_and_a_public_stream_and_a_download_are_not() {
    let gate = gate("0s", LATE_SECS);
    let bearer = gate.bearer();
    let download = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\n12345";
    let (mut protected, mut protected_held) = gate.open("/stream", &bearer, SSE);
    let (mut public, mut public_held) = gate.open("/open", "", SSE);
    let (mut public_with_token, mut public_with_token_held) = gate.open("/open", &bearer, SSE);
    let (mut plain, mut plain_held) = gate.open("/stream", &bearer, download);
    protected.check_body_cut(&mut protected_held, gate.life());
    let records = gate.running.wait_access_records(1);
    assert_eq!(
        (&records[0]["status"], &records[0]["decision"]),
        (&json!(200), &json!("allow"))
    );

    public_held.send(SSE_END);
    assert_eq!(public.client.receive().text(), "data: 1\n\ndata: 2\n\n");
    public_with_token_held.send(SSE_END);
    assert_eq!(public_with_token.client.receive().text(), "data: 1\n\ndata: 2\n\n");
    plain_held.send("67890");
    assert_eq!(plain.client.receive().text(), "1234567890");
    gate.clock.advance(gate.life() + Duration::from_millis(1));
    let again = plain
        .client
        .exchange(format!("GET /stream HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\n"));
    assert_eq!(again.status, 401);
    assert_eq!(again.json()["type"], "urn:keygate:problem:token-expired");
}

// A WebSocket needs a connection of HTTP/1.1 to itself.
lanes!(a_websocket_client_that_only_listens_is_not_a_slow_body: own, own_tls, filter_http1);
/// `body_read_timeout` does not apply after an upgrade.
fn a_websocket_client_that_only_listens_is_not_a_slow_body() {
    let upstream = HeldUpstream::start();
    let yaml = GatewayBuilder::new()
        .top("requests: { body_read_timeout: 300ms }")
        .upstream("api", upstream.address)
        .route("open", "match: { path: /open }\npublic: true\nupstream: api")
        .yaml();
    let running = LocalGate::start(&yaml);
    running.wait_ready();
    let mut client = RawClient::connect(running.data());
    client.send("GET /open HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut held = upstream.next();
    held.send(WEBSOCKET);
    assert_eq!(client.receive().status, 101);
    // For more than three times `body_read_timeout`, no byte arrives and the connection stays open.
    let mut client = client.patience(Duration::from_millis(1_000));
    let silence = client.try_receive().map(|response| response.status);
    assert!(silence.is_err_and(|error| error.kind() != ErrorKind::UnexpectedEof));
    let mut client = client.patience(PATIENCE);
    held.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.receive().status, 204, "the upstream's own bytes");
    client.send("still here");
    assert_eq!(held.receive(10), "still here");
}

lanes!(s038_events_are_events_in_any_case);
/// Media types have no case (RFC 9110 section 8.3.1).
fn s038_events_are_events_in_any_case() {
    let gate = gate("0s", LATE_SECS);
    let events = SSE.replace("text/event-stream", "Text/Event-Stream");
    let (mut stream, mut held) = gate.open("/stream", &gate.bearer(), &events);
    stream.check_body_cut(&mut held, gate.life());
}

lanes!(s038_the_issuers_skew_is_granted_to_streams_too);
fn s038_the_issuers_skew_is_granted_to_streams_too() {
    let gate = gate("1s", LATE_SECS);
    let (mut stream, mut held) = gate.open("/stream", &gate.bearer(), SSE);
    stream.check_body_cut(&mut held, gate.life() + Duration::from_secs(1));
}

// A WebSocket needs a connection of HTTP/1.1 to itself.
lanes!(s038_an_api_key_that_expires_ends_its_streams: own, own_tls, filter_http1);
fn s038_an_api_key_that_expires_ends_its_streams() {
    let gate = gate("0s", SOON_SECS);
    let header = format!("x-api-key: {}\r\n", gate.api_key.expose());
    let (mut events, mut events_held) = gate.open("/stream", &header, SSE);
    let (mut socket, mut socket_held) = gate.open_websocket("/stream", &header);
    events.check_body_cut(&mut events_held, gate.life());
    socket.check_cut(&mut socket_held, gate.life());
    gate.running.wait_access_records(2);
}

lanes!(a_revoked_api_key_ends_the_streams_it_opened);
/// SPEC 2.8: a stream ends with its credential, also by revocation.
fn a_revoked_api_key_ends_the_streams_it_opened() {
    let gate = gate("0s", LATE_SECS);
    let header = format!("x-api-key: {}\r\n", gate.api_key.expose());
    let (mut events, mut events_held) = gate.open("/stream", &header, SSE);
    let (mut public, mut public_held) = gate.open("/open", "", SSE);
    let keys = std::fs::read_to_string(gate.running.folder().join("keys.yaml")).unwrap();
    let revoked = format!("{keys}    revoked_at: 2026-01-02T00:00:00Z\n");
    gate.running.replace_file("keys.yaml", &revoked);
    gate.running.check_files();
    events.check_body_cut(&mut events_held, Duration::ZERO);
    let records = gate.running.wait_access_records(1);
    assert_eq!(records[0]["reason"], "stream_ended_with_credential");
    public_held.send(SSE_END);
    assert_eq!(public.client.receive().text(), "data: 1\n\ndata: 2\n\n");
}

lanes!(s038_a_stream_that_ended_by_itself_leaves_no_end_behind_on_its_connection);
fn s038_a_stream_that_ended_by_itself_leaves_no_end_behind_on_its_connection() {
    let gate = gate("0s", LATE_SECS);
    let (mut stream, mut held) = gate.open("/stream", &gate.bearer(), SSE);
    held.send(SSE_END);
    assert_eq!(stream.client.receive().status, 200);
    // The next request on the connection opens a public stream.
    stream.client.send("GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = read_head(&mut held.stream).expect("the upstream connection is kept");
    assert!(head.starts_with("GET /open "), "{head}");
    held.send(SSE);
    // A second stream of the token opens later and so ends later than the first would have ended.
    let (mut witness, mut witness_held) = gate.open("/stream", &gate.bearer(), SSE);
    witness.check_body_cut(&mut witness_held, gate.life());
    held.send(SSE_END);
    assert_eq!(stream.client.receive().text(), "data: 1\n\ndata: 2\n\n");
}
