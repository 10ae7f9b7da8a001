//! Where connections come in, and what one connection and one request may cost.

use std::net::SocketAddr;
use std::time::Duration;

/// One address that accepts connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
}

/// Bounds that hold on every listener. A request over one of them is refused with the status in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Bytes of the whole head: request line and header fields (431). Default 32 KiB.
    pub head_bytes_max: usize,
    /// Header fields (431). Default 100.
    pub header_count_max: usize,
    /// Bytes of the request target (414). Default 8 KiB.
    pub target_bytes_max: usize,
    /// Bytes of a request body, counted as it streams (413). Default 10 MiB.
    pub body_bytes_max: u64,
    /// Bytes of a bearer token or an API key (400). Default 8 KiB.
    pub credential_bytes_max: usize,
    /// From the first byte of a head to its last (408). Default 10 s.
    pub head_timeout: Duration,
    /// How long a connection may be idle between requests. Default 60 s.
    pub idle_timeout: Duration,
    /// Between two reads of a request body (408). Default 30 s.
    pub body_read_timeout: Duration,
    /// Connections at once, over all listeners (503, then closed). Default 10 000.
    pub connections_max: usize,
    /// Requests on one connection before it is closed. Default 10 000.
    pub requests_per_connection_max: u32,
}
