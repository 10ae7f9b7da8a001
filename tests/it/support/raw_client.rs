//! A client that sends the test's bytes unchanged, including those that no library would send.

use super::PATIENCE;
use super::http1;
use super::http1::Response;
use super::http2_bridge::Http2Bridge;
use super::lane::Lane;
use rustls::ClientConnection;
use rustls::StreamOwned;
use std::io;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

/// The bytes of a connection, plain or in a TLS session.
pub enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Http2(Box<Http2Bridge>),
}

impl Transport {
    /// Returns the socket; `None` for HTTP/2.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Tls(session) => Some(&session.sock),
            Self::Http2(_) => None,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(bytes),
            Self::Tls(session) => read_tls(session, bytes),
            Self::Http2(bridge) => bridge.read(bytes),
        }
    }
}

/// Reads from a session, also where the server no longer takes what was written: its answer may be there all the same.
fn read_tls(session: &mut StreamOwned<ClientConnection, TcpStream>, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match session.conn.reader().read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        if session.conn.read_tls(&mut session.sock)? == 0 {
            return session.conn.reader().read(bytes);
        }
        session.conn.process_new_packets().map_err(io::Error::other)?;
        // Best effort: alerts and key updates.
        let _ = session.conn.write_tls(&mut session.sock);
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(session) => session.write(bytes),
            Self::Http2(bridge) => bridge.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(session) => session.flush(),
            Self::Http2(bridge) => bridge.flush(),
        }
    }
}

/// One connection. Reading times out after [`PATIENCE`], so that a test fails instead of hanging.
pub struct RawClient {
    address: SocketAddr,
    stream: BufReader<Transport>,
    /// `true` after a response with `Connection: close`.
    closing: bool,
}

impl RawClient {
    /// Connects to `address`, in the protocol of the gate there.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        if let Some(transport) = Lane::of(address).connect(address) {
            return Self::over(address, transport);
        }
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the server accepts");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::over(address, Transport::Plain(stream))
    }

    /// Returns a client on a connection to `address` that exists already.
    pub fn over(address: SocketAddr, transport: Transport) -> Self {
        Self {
            address,
            stream: BufReader::new(transport),
            closing: false,
        }
    }

    /// Makes every later read time out after `patience`; for tests that expect no bytes.
    pub fn patience(mut self, patience: Duration) -> Self {
        match self.stream.get_mut() {
            Transport::Http2(bridge) => bridge.patience = patience,
            transport => {
                let tcp = transport.tcp().expect("every other transport has a socket");
                tcp.set_read_timeout(Some(patience)).unwrap();
            }
        }
        self
    }

    /// Sends `bytes` unchanged. Errors are ignored: a server that refused the
    /// request may have closed already, and its response is still readable.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
        let _ = self.stream.get_mut().flush();
        self
    }

    /// Closes the sending half; responses can still arrive.
    pub fn finish_sending(&mut self) -> &mut Self {
        if let Some(tcp) = self.stream.get_ref().tcp() {
            let _ = tcp.shutdown(Shutdown::Write);
        }
        self
    }

    /// Reads the next response, interim ones (1xx) included.
    ///
    /// # Errors
    /// When none arrives in time, the server closes first, or the bytes are no response.
    pub fn try_receive(&mut self) -> io::Result<Response> {
        self.read_response("GET")
    }

    #[track_caller]
    pub fn receive(&mut self) -> Response {
        self.try_receive().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Reads the next response to a HEAD: its Content-Length announces no body (RFC 9112 section 6.3).
    #[track_caller]
    pub fn receive_to_head(&mut self) -> Response {
        let response = self.read_response("HEAD");
        response.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Sends `request` and returns the response. Connects again if the response
    /// before announced the end of the connection (RFC 9112 section 9.6).
    #[track_caller]
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        if self.closing {
            let patience = match self.stream.get_ref() {
                Transport::Http2(bridge) => bridge.patience,
                transport => {
                    let patience = transport.tcp().and_then(|tcp| tcp.read_timeout().unwrap());
                    patience.expect("it is always set")
                }
            };
            *self = Self::connect(self.address).patience(patience);
        }
        self.send(request).receive()
    }

    /// Sends `request` until a response has `status`, and returns that response.
    ///
    /// # Panics
    /// When a response has a status that is neither `status` nor in `meanwhile`, or when [`PATIENCE`] ends first.
    #[track_caller]
    pub fn exchange_until(&mut self, request: &str, status: u16, meanwhile: &[u16]) -> Response {
        super::wait_for(&format!("status {status}"), || {
            let response = self.exchange(request);
            if response.status == status {
                return Some(response);
            }
            assert!(
                meanwhile.contains(&response.status),
                "{}: {}",
                response.status,
                response.text()
            );
            None
        })
    }

    /// Returns the bytes up to the end of the connection or, over HTTP/2, of the stream: also of a response that is cut.
    #[track_caller]
    pub fn receive_to_end(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        match self.stream.read_to_end(&mut received) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("no end after {:?}", received.escape_ascii().to_string())
            }
            Ok(_) | Err(_) => received,
        }
    }

    /// Returns whether the server closes the connection, cleanly
    /// or not, before reading times out and before it sends bytes.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    fn read_response(&mut self, method: &str) -> io::Result<Response> {
        let head = http1::read_head(&mut self.stream)?;
        let head = head.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let status = head
            .start
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5)?.parse().ok())
            .ok_or_else(|| http1::broken(format!("status line {:?}", head.start)))?;
        self.closing = http1::named(&head.headers, "connection")
            .iter()
            .flat_map(|value| value.split(','))
            .any(|option| option.trim().eq_ignore_ascii_case("close"));
        let has_no_body = method == "HEAD" || matches!(status, 100..=199 | 204 | 304);
        let body = if has_no_body {
            Vec::new()
        } else {
            http1::read_body(&mut self.stream, &head.headers, true)?.content
        };
        Ok(Response {
            status,
            headers: head.headers,
            body,
        })
    }
}

/// Sends a GET of `path` on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    RawClient::connect(address).exchange(request)
}

#[test]
fn one_connection_carries_answer_after_answer() {
    let upstream = super::FakeUpstream::start();
    let mut client = RawClient::connect(upstream.address());
    upstream.respond_with(|request| match request.target() {
        "/chunked" => {
            "HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\nx-a: 2\r\n\r\n3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n".into()
        }
        "/none" => "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n".into(),
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno".into(),
    });
    let chunked = client.exchange("GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((chunked.status, chunked.text().as_str()), (200, "abcde"));
    assert_eq!(chunked.headers_named("X-a"), ["1", "2"]);
    let none = client.exchange("GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((none.status, none.body.len()), (204, 0));
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    // The fake sends the body also to a HEAD; those bytes would be the beginning of the next response.
    let head = client.receive_to_head();
    assert_eq!((head.status, head.header("content-length")), (404, Some("2")));
}

#[test]
fn an_answer_that_closes_is_followed_by_a_new_connection() {
    let upstream = super::FakeUpstream::start();
    upstream.respond_with(|request| match request.target() {
        "/last" => "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n".into(),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
    });
    let mut client = RawClient::connect(upstream.address());
    let mut ask = |target: &str| {
        client.exchange(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        upstream.connections()
    };
    assert_eq!([ask("/a"), ask("/last"), ask("/a"), ask("/a")], [1, 1, 2, 2]);
}

#[test]
fn what_is_not_an_answer_is_an_error() {
    let upstream = super::FakeUpstream::start();
    for (bytes, kind) in [
        ("", io::ErrorKind::UnexpectedEof),
        ("HTTP/1.1 200 OK\r\n", io::ErrorKind::InvalidData),
        ("SSH-2.0\r\n\r\n", io::ErrorKind::InvalidData),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            io::ErrorKind::UnexpectedEof,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            io::ErrorKind::InvalidData,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            io::ErrorKind::InvalidData,
        ),
    ] {
        upstream.respond_with(move |_| bytes.into());
        upstream.close_after_responses(true);
        let mut client = RawClient::connect(upstream.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.try_receive().unwrap_err().kind(), kind, "{bytes:?}");
    }
}

#[test]
fn a_closed_connection_is_told_from_an_open_one() {
    let upstream = super::FakeUpstream::start();
    let mut client = RawClient::connect(upstream.address());
    client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut client = client.patience(Duration::from_millis(20));
    assert!(!client.is_closed());
    let mut client = client.patience(PATIENCE);
    client.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(client.is_closed());
}
