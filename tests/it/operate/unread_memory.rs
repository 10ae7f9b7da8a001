//! How much memory does a client hold that never reads its response? An attacker opens thousands of connections, and
//! each asks for something large.

use crate::support::Binary;
use crate::support::GatewayBuilder;
use crate::support::RawClient;
use crate::support::raw_http2::RawHttp2;
use crate::support::raw_http2::get;
use crate::support::wait_until;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

const CLIENTS: u64 = 24;
/// Clients that come before the measurement, so that what all share is there.
const WARM_UP: u64 = 4;

/// An upstream whose responses have no end in sight, and that counts the bytes which its sockets take.
struct EndlessUpstream {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
}

impl EndlessUpstream {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        // Each thread ends with its connection, and the first with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || respond(stream.unwrap(), &counter));
            }
        });
        Self { address, sent }
    }
}

fn respond(mut stream: TcpStream, sent: &AtomicU64) {
    let mut head = [0; 4096];
    if !matches!(stream.read(&mut head), Ok(1..)) {
        return;
    }
    let mut piece = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u32::MAX).into_bytes();
    while let Ok(count) = stream.write(&piece) {
        sent.fetch_add(count as u64, Ordering::Relaxed);
        piece = vec![b'a'; 64 * 1024];
    }
}

/// Sends requests with `ask`, whose responses nobody reads, and checks that each takes at most `kib_max`. The resident
/// memory of a few clients varies, so `kib_max` leaves room; the tests of `http1::buffer` hold the exact bytes.
#[track_caller]
fn check<C>(protocol: &str, buffer_bytes: &str, kib_max: u64, ask: impl Fn(&Binary) -> C) {
    let upstream = EndlessUpstream::start();
    let yaml = GatewayBuilder::new()
        .top(&format!("requests: {{ buffer_bytes: {buffer_bytes} }}"))
        .upstream("up", upstream.address)
        .route("open", "match: { path: /open }\npublic: true\nupstream: up")
        .yaml()
        .replacen(
            "  - address: 127.0.0.1:0\n",
            &format!("  - {{ address: 127.0.0.1:0, protocol: {protocol} }}\n"),
            1,
        );
    let gate = Binary::start_with(&yaml, &[]);
    let resident_kib = |requests: u64| {
        wait_until("the requests are in flight", || {
            gate.metric("keygate_requests_in_flight") == requests as f64
        });
        // Then every buffer on the way is full.
        let (mut last, mut times) = (0, 0);
        wait_until("the upstream can send no more", || {
            let sent = upstream.sent.load(Ordering::Relaxed);
            times = if sent == last { times + 1 } else { 0 };
            last = sent;
            times >= 100 && sent > requests * 256 * 1024
        });
        gate.resident_kib()
    };
    let mut clients: Vec<C> = (0..WARM_UP).map(|_| ask(&gate)).collect();
    let before = resident_kib(WARM_UP);
    clients.extend((0..CLIENTS).map(|_| ask(&gate)));
    let each = resident_kib(WARM_UP + CLIENTS).saturating_sub(before) / CLIENTS;
    println!("{protocol}, {buffer_bytes}: {each} KiB each");
    assert!(each <= kib_max, "{each} KiB each");
}

fn ask_http1(gate: &Binary) -> RawClient {
    let mut client = RawClient::connect(gate.data());
    client.send("GET /open HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
    client
}

fn ask_http2(gate: &Binary) -> RawHttp2 {
    let mut client = RawHttp2::connect(gate.data());
    assert!(client.request(1, &get(b"/open", &[])));
    client
}

#[test]
fn an_unread_response_holds_two_buffers() {
    check("http1", "64KiB", 280, ask_http1);
}

#[test]
fn an_unread_response_holds_little_with_small_buffers() {
    check("http1", "8KiB", 160, ask_http1);
}

/// pingora holds up to nine pieces of a response, of 64 KiB each, between the upstream and the client.
#[test]
fn an_unread_response_over_http2_is_bounded() {
    check("h2c", "64KiB", 900, ask_http2);
}
