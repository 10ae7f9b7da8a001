//! When does a client that asks all the time see the last failure?

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

/// The pause between two requests.
const EVERY: Duration = Duration::from_millis(10);

/// A client that sends a request every ten milliseconds, each over a connection of its own.
pub struct Witness {
    is_over: Arc<AtomicBool>,
    /// Returns when the last request that failed ended.
    thread: JoinHandle<Option<Instant>>,
}

impl Witness {
    pub fn start(address: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut last = None;
            while !told.load(Ordering::SeqCst) {
                if !is_served(address) {
                    last = Some(Instant::now());
                }
                crate::endpoint::pause(EVERY);
            }
            last
        });
        Self { is_over, thread }
    }

    pub fn finish(self) -> Option<Instant> {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().expect("it does not panic")
    }
}

/// Returns whether a request gets a whole response with status 200.
pub fn is_served(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
        stream
            .write_all(b"GET /orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).ok()?;
        Some(response.starts_with(b"HTTP/1.1 200") && response.len() > crate::endpoint::BODY_BYTES)
    };
    ask().unwrap_or_default()
}
