//! Which requests does the client send, and which status must the responses have?

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// Requests that the connections send in turn, and the status that every response must have. Clones share the turn.
#[derive(Clone)]
pub struct Exchange {
    requests: Arc<[Vec<u8>]>,
    next: Arc<AtomicUsize>,
    repeat: Repeat,
    status: u16,
}

/// The rule on sending a request again.
#[derive(Clone, Copy)]
enum Repeat {
    Always,
    /// Each request has a token that the proxy must see for the first time. The bench panics when no request is left.
    Never,
}

impl Exchange {
    /// Returns an exchange that repeats one request.
    pub fn new(path: &str, headers: &[String], status: u16) -> Self {
        Self::of(vec![request(path, headers)], Repeat::Always, status)
    }

    /// Returns an exchange that repeats `requests`, each a path and a header line, in turn.
    pub fn in_turn(requests: impl IntoIterator<Item = (impl AsRef<str>, String)>, status: u16) -> Self {
        Self::of(with_header(requests), Repeat::Always, status)
    }

    /// Returns an exchange that sends each of `requests` once.
    pub fn once(requests: impl IntoIterator<Item = (impl AsRef<str>, String)>, status: u16) -> Self {
        Self::of(with_header(requests), Repeat::Never, status)
    }

    fn of(requests: Vec<Vec<u8>>, repeat: Repeat, status: u16) -> Self {
        Self {
            requests: requests.into(),
            next: Arc::default(),
            repeat,
            status,
        }
    }

    /// Returns the size of a warm-up: at least `least`, and enough to send each request once. With [`Repeat::Never`],
    /// returns `least`, because the measurement needs the other requests.
    pub fn warm_up_size(&self, least: usize) -> usize {
        match self.repeat {
            Repeat::Always => self.requests.len().max(least),
            Repeat::Never => least,
        }
    }

    pub fn next(&self) -> &[u8] {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        match self.repeat {
            Repeat::Always => &self.requests[turn % self.requests.len()],
            Repeat::Never => self.requests.get(turn).expect("enough requests were made"),
        }
    }

    pub fn check(&self, status: u16) {
        assert!(status == self.status, "answered {status}, not {}", self.status);
    }
}

fn request(path: &str, headers: &[String]) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nHost: api.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n{headers}\r\n")
        .into_bytes()
}

fn with_header(requests: impl IntoIterator<Item = (impl AsRef<str>, String)>) -> Vec<Vec<u8>> {
    let requests = requests.into_iter();
    requests
        .map(|(path, header)| request(path.as_ref(), &[header]))
        .collect()
}
