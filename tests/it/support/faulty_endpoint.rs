//! An endpoint of an upstream that fails each request in one way, until it is mended.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// The fault of an endpoint.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Closes the connection after the request.
    Closes,
    /// Closes it with the request unread, so that it is reset.
    Resets,
    /// Never responds.
    Stalls,
    /// Responds with bytes that are no HTTP.
    SpeaksOtherwise,
}

/// A server on a free port of 127.0.0.1 with one thread per connection.
pub struct FaultyEndpoint {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    fault: Fault,
    is_mended: AtomicBool,
    requests: AtomicUsize,
    probes: AtomicUsize,
}

impl FaultyEndpoint {
    pub fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            fault,
            is_mended: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            probes: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.serve(stream.unwrap()));
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Responds with 200 from now on.
    pub fn mend(&self) {
        self.state.is_mended.store(true, Ordering::SeqCst);
    }

    /// Returns the number of requests so far, without probes.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Returns the number of requests of `OPTIONS *` so far.
    pub fn probes(&self) -> usize {
        self.state.probes.load(Ordering::SeqCst)
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream) {
        let mut bytes = [0; 4096];
        if stream.peek(&mut bytes).is_err() {
            return;
        }
        if self.is_mended.load(Ordering::SeqCst) {
            self.respond(stream);
            return;
        }
        let of_request = if bytes.starts_with(b"OPTIONS *") {
            &self.probes
        } else {
            &self.requests
        };
        of_request.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::Closes => {
                // Reads the whole request: an unread byte would reset the connection.
                let mut request = Vec::new();
                while !is_whole(&request) {
                    match stream.read(&mut bytes) {
                        Ok(count @ 1..) => request.extend_from_slice(&bytes[..count]),
                        _ => break,
                    }
                }
            }
            Fault::Resets => {}
            Fault::Stalls => while stream.read(&mut bytes).is_ok_and(|count| count > 0) {},
            Fault::SpeaksOtherwise => {
                let _ = stream.read(&mut bytes);
                let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
                while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
            }
        }
    }

    /// Responds to each request of `stream`.
    fn respond(&self, mut stream: TcpStream) {
        let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
        loop {
            while !is_whole(&request) {
                match stream.read(&mut bytes) {
                    Ok(count @ 1..) => request.extend_from_slice(&bytes[..count]),
                    _ => return,
                }
            }
            if !request.starts_with(b"OPTIONS *") {
                self.requests.fetch_add(1, Ordering::SeqCst);
            }
            request.clear();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    }
}

/// Returns whether `request` has its head, and a body of two bytes if the head announces one.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains("content-length: 2") => body.len() == 2,
        Some((head, body)) if head.contains("chunked") => body.ends_with("0\r\n\r\n"),
        found => found.is_some(),
    }
}
