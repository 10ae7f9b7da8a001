//! Does a stream end with the credential that opened it (S038)?

use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::api_key;
use crate::support::issuer::claims_with;
use crate::support::issuer::identity_yaml;
use crate::support::issuer::token;
use keygate::jose::sign::SigningKey;
use keygate::model::api_key::ApiKeyText;
use keygate::model::clock::Clock;
use keygate::model::clock::SystemClock;
use serde_json::json;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

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

    /// Waits for the end of the connection. Returns `false` if a byte arrives first. A read that times out after
    /// [`PATIENCE`] counts as the end.
    fn is_closed(&mut self) -> bool {
        !matches!(self.stream.read(&mut [0]), Ok(1..))
    }
}

fn millis() -> u64 {
    SystemClock::new().now().wall.as_unix_millis()
}

/// Returns a time 4 to 5 s from now, in seconds since 1970. A gate starts before that time.
fn soon() -> u64 {
    (millis() + 4_000).div_ceil(1_000)
}

struct Gate {
    running: LocalGate,
    upstream: HeldUpstream,
    key: SigningKey,
    api_key: ApiKeyText,
}

/// Starts a gate with the issuer's skew `skew` and an API key that expires at `api_key_ends`.
fn gate(skew: &str, api_key_ends: u64) -> Gate {
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
    let running = LocalGate::start_with(&yaml, &[("key.pem", &key.public_pem()), ("keys.yaml", &keys)]);
    running.wait_ready();
    Gate {
        running,
        upstream,
        key,
        api_key,
    }
}

impl Gate {
    fn bearer(&self, expires: u64) -> String {
        let claims = claims_with(json!({ "iat": expires - 60, "exp": expires }));
        format!("Authorization: Bearer {}\r\n", token(&self.key, &claims))
    }

    /// Sends a request and responds with `response` at the upstream.
    fn open(&self, path: &str, headers: &str, response: &str) -> (RawClient, HeldConnection) {
        let mut client = RawClient::connect(self.running.data());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
        let mut held = self.upstream.next();
        held.send(response);
        (client, held)
    }

    fn open_websocket(&self, path: &str, headers: &str) -> (RawClient, HeldConnection) {
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let (mut client, held) = self.open(path, &format!("{upgrade}{headers}"), WEBSOCKET);
        assert!(
            held.head.to_ascii_lowercase().contains("upgrade: websocket"),
            "{}",
            held.head
        );
        let response = client.receive();
        assert_eq!(response.status, 101);
        assert_eq!(response.header("upgrade"), Some("websocket"));
        (client, held)
    }
}

/// Waits until `client` sees the end of its connection, not before second `at`. The relay's
/// unit tests check under a paused clock that the end comes on time.
#[track_caller]
fn cut_at(client: &mut RawClient, held: &mut HeldConnection, at: u64) {
    assert!(client.is_closed(), "bytes came, or nothing at all");
    let now = millis();
    assert!(now >= at * 1_000, "{} ms early", at * 1_000 - now);
    assert!(held.is_closed(), "the upstream's side is closed too");
}

/// Checks the same for a body in flight: reading the body must fail.
#[track_caller]
fn body_cut_at(client: &mut RawClient, held: &mut HeldConnection, at: u64) {
    assert!(client.try_receive().is_err(), "the body ended as if it were whole");
    cut_at(client, held, at);
}

#[test]
fn s038_a_websocket_carries_bytes_both_ways_and_is_cut_when_its_token_ends() {
    let ends = soon();
    let gate = gate("0s", ends + 3_600);
    let (mut client, mut held) = gate.open_websocket("/stream", &gate.bearer(ends));
    // After the upgrade, the gate does not parse bytes that look like a request (S102).
    let smuggled = "GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.send(smuggled);
    assert_eq!(held.receive(smuggled.len()), smuggled);
    held.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.receive().status, 204, "the upstream's own bytes");
    cut_at(&mut client, &mut held, ends);
    let records = gate.running.wait_access_records(1);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        (&records[0]["status"], &records[0]["decision"]),
        (&json!(101), &json!("allow"))
    );
    assert_eq!(records[0]["subject"], "alice");
    assert_eq!(records[0]["reason"], "stream_ended_with_credential");
    assert_eq!(gate.running.metric("keygate_requests_in_flight"), 0.0);
    assert_eq!(gate.running.metric("keygate_connections_open"), 0.0);
}

#[test]
fn s038_events_are_cut_when_their_token_ends_and_a_public_stream_and_a_download_are_not() {
    let ends = soon();
    let gate = gate("0s", ends + 3_600);
    let bearer = gate.bearer(ends);
    let download = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\n12345";
    let (mut protected, mut protected_held) = gate.open("/stream", &bearer, SSE);
    let (mut public, mut public_held) = gate.open("/open", "", SSE);
    let (mut public_with_token, mut public_with_token_held) = gate.open("/open", &bearer, SSE);
    let (mut plain, mut plain_held) = gate.open("/stream", &bearer, download);
    body_cut_at(&mut protected, &mut protected_held, ends);
    let records = gate.running.wait_access_records(1);
    assert_eq!(
        (&records[0]["status"], &records[0]["decision"]),
        (&json!(200), &json!("allow"))
    );

    public_held.send(SSE_END);
    assert_eq!(public.receive().text(), "data: 1\n\ndata: 2\n\n");
    public_with_token_held.send(SSE_END);
    assert_eq!(public_with_token.receive().text(), "data: 1\n\ndata: 2\n\n");
    plain_held.send("67890");
    assert_eq!(plain.receive().text(), "1234567890");
    let again = plain.exchange(format!("GET /stream HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\n"));
    assert_eq!(again.status, 401);
    assert_eq!(again.json()["type"], "urn:keygate:problem:token-expired");
}

/// `body_read_timeout` does not apply after an upgrade.
#[test]
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

/// Media types have no case (RFC 9110 section 8.3.1).
#[test]
fn s038_events_are_events_in_any_case() {
    let ends = soon();
    let gate = gate("0s", ends + 3_600);
    let events = SSE.replace("text/event-stream", "Text/Event-Stream");
    let (mut client, mut held) = gate.open("/stream", &gate.bearer(ends), &events);
    body_cut_at(&mut client, &mut held, ends);
}

#[test]
fn s038_the_issuers_skew_is_granted_to_streams_too() {
    let ends = soon();
    let gate = gate("1s", ends + 3_600);
    let (mut client, mut held) = gate.open("/stream", &gate.bearer(ends), SSE);
    body_cut_at(&mut client, &mut held, ends + 1);
}

#[test]
fn s038_an_api_key_that_expires_ends_its_streams() {
    let ends = soon();
    let gate = gate("0s", ends);
    let header = format!("x-api-key: {}\r\n", gate.api_key.expose());
    let (mut events, mut events_held) = gate.open("/stream", &header, SSE);
    let (mut socket, mut socket_held) = gate.open_websocket("/stream", &header);
    body_cut_at(&mut events, &mut events_held, ends);
    cut_at(&mut socket, &mut socket_held, ends);
    gate.running.wait_access_records(2);
}

/// SPEC 2.8: a stream ends with its credential, also by revocation.
#[test]
fn a_revoked_api_key_ends_the_streams_it_opened() {
    let gate = gate("0s", soon() + 3_600);
    let header = format!("x-api-key: {}\r\n", gate.api_key.expose());
    let (mut events, mut events_held) = gate.open("/stream", &header, SSE);
    let (mut public, mut public_held) = gate.open("/open", "", SSE);
    let keys = std::fs::read_to_string(gate.running.folder().join("keys.yaml")).unwrap();
    let revoked = format!("{keys}    revoked_at: 2026-01-02T00:00:00Z\n");
    gate.running.replace_file("keys.yaml", &revoked);
    gate.running.check_files();
    assert!(events.try_receive().is_err(), "the body ended as if it were whole");
    assert!(events.is_closed() && events_held.is_closed());
    let records = gate.running.wait_access_records(1);
    assert_eq!(records[0]["reason"], "stream_ended_with_credential");
    public_held.send(SSE_END);
    assert_eq!(public.receive().text(), "data: 1\n\ndata: 2\n\n");
}

#[test]
fn s038_a_stream_that_ended_by_itself_leaves_no_end_behind_on_its_connection() {
    let ends = soon();
    let gate = gate("0s", ends + 3_600);
    let (mut client, mut held) = gate.open("/stream", &gate.bearer(ends), SSE);
    held.send(SSE_END);
    assert_eq!(client.receive().status, 200);
    // The next request on the connection opens a public stream.
    client.send("GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = read_head(&mut held.stream).expect("the upstream connection is kept");
    assert!(head.starts_with("GET /open "), "{head}");
    held.send(SSE);
    let (mut witness, mut witness_held) = gate.open("/stream", &gate.bearer(ends), SSE);
    body_cut_at(&mut witness, &mut witness_held, ends);
    let mut client = client.patience(Duration::from_millis(300));
    assert!(
        client
            .try_receive()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    );
}
