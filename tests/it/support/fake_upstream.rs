//! An upstream that records every byte it receives and responds with the bytes that the test sets.

use super::PATIENCE;
use super::http1;
use std::io;
use std::io::BufReader;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// One request as the upstream received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRequest {
    /// Head and body, chunk framing included.
    pub raw: Vec<u8>,
    /// `GET /path HTTP/1.1`.
    pub line: String,
    /// In order, duplicates included, names as the client wrote them.
    pub headers: Vec<(String, String)>,
    /// The content of the chunks, joined.
    pub body: Vec<u8>,
}

impl ReceivedRequest {
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// Returns every value of `name`, compared without regard to case.
    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        http1::named(&self.headers, name)
    }
}

type Respond = dyn Fn(&ReceivedRequest) -> Vec<u8> + Send + Sync;

/// A server on a free port of 127.0.0.1 with one thread per connection. Dropping it stops accepting.
pub struct FakeUpstream {
    address: SocketAddr,
    shared: Arc<UpstreamState>,
}

struct UpstreamState {
    response: Mutex<Arc<Respond>>,
    received: Mutex<Vec<ReceivedRequest>>,
    arrived: Condvar,
    connections: AtomicUsize,
    close_after_responses: AtomicBool,
    stopped: AtomicBool,
}

impl FakeUpstream {
    /// Starts a server that responds with 200 and `ok` until [`Self::respond_with`].
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(UpstreamState {
            response: Mutex::new(Arc::new(|_| {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok".to_vec()
            })),
            received: Mutex::default(),
            arrived: Condvar::new(),
            connections: AtomicUsize::new(0),
            close_after_responses: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    accepting.connections.fetch_add(1, Ordering::SeqCst);
                    let shared = accepting.clone();
                    std::thread::spawn(move || shared.serve(stream));
                }
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Responds from now on with the bytes that `response` returns, unchanged.
    pub fn respond_with(&self, response: impl Fn(&ReceivedRequest) -> Vec<u8> + Send + Sync + 'static) {
        *self.shared.response.lock().unwrap() = Arc::new(response);
    }

    /// Sets whether the upstream closes each connection after one response without announcing it.
    pub fn close_after_responses(&self, close: bool) {
        self.shared.close_after_responses.store(close, Ordering::SeqCst);
    }

    /// Returns all requests so far, in the order of arrival.
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Returns the only request so far.
    #[track_caller]
    pub fn only_received(&self) -> ReceivedRequest {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }

    /// Waits until at least `count` requests have arrived, and returns all requests.
    #[track_caller]
    pub fn wait_received(&self, count: usize) -> Vec<ReceivedRequest> {
        let received = self.shared.received.lock().unwrap();
        let fewer = |received: &mut Vec<ReceivedRequest>| received.len() < count;
        let (received, waited) = self
            .shared
            .arrived
            .wait_timeout_while(received, PATIENCE, fewer)
            .unwrap();
        assert!(!waited.timed_out(), "{} of {count} requests arrived", received.len());
        received.clone()
    }

    /// Returns how many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, so that it sees `stopped`.
        let _ = TcpStream::connect(self.address);
    }
}

impl UpstreamState {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        // A broken connection ends the loop: only requests that arrived whole are recorded.
        while let Ok(Some(request)) = read_request(&mut reader) {
            let asks_to_close = request
                .headers_named("connection")
                .iter()
                .any(|value| value.eq_ignore_ascii_case("close"));
            let response = self.response.lock().unwrap().clone();
            self.received.lock().unwrap().push(request.clone());
            self.arrived.notify_all();
            let sent = reader.get_mut().write_all(&response(&request));
            if sent.is_err() || asks_to_close || self.close_after_responses.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<ReceivedRequest>> {
    let Some(head) = http1::read_head(stream)? else {
        return Ok(None);
    };
    if !http1::named(&head.headers, "expect").is_empty() {
        stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = http1::read_body(stream, &head.headers, false)?;
    let mut raw = head.raw;
    raw.extend_from_slice(&body.raw);
    Ok(Some(ReceivedRequest {
        raw,
        line: head.start,
        headers: head.headers,
        body: body.content,
    }))
}

#[test]
fn every_byte_that_arrives_is_remembered() {
    let upstream = FakeUpstream::start();
    let mut client = super::RawClient::connect(upstream.address());
    let first =
        "POST /a?b HTTP/1.1\r\nHost:  x\r\nX-A: 1\r\nx-a: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let second = "PUT /c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz";
    assert_eq!(client.exchange(first).text(), "ok");
    assert_eq!(client.exchange(second).text(), "ok");
    let received = upstream.wait_received(2);
    assert_eq!(received[0].raw, first.as_bytes());
    assert_eq!((received[0].method(), received[0].target()), ("POST", "/a?b"));
    assert_eq!(received[0].headers_named("X-A"), ["1", "2"]);
    assert_eq!(received[0].body, b"ab");
    assert_eq!(received[1].raw, second.as_bytes());
    assert_eq!(upstream.connections(), 1);
}
