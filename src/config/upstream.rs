//! Where requests go: endpoints, timeouts, header rules.

use crate::model::names::Name;
use http::{HeaderName, HeaderValue};
use std::time::Duration;

/// `upstreams.<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub name: Name,
    pub kind: UpstreamKind,
    /// To connect. Default 2 s.
    pub connect_timeout: Duration,
    /// Between two reads of the response; also the wait for its head. Default 60 s.
    pub read_timeout: Duration,
    /// Between two writes of the request. Default 30 s.
    pub write_timeout: Duration,
    /// How long an idle connection is kept for the next request. Default 60 s.
    pub idle_timeout: Duration,
    /// `Host` that is sent. `None` sends the one that was asked for.
    pub host: Option<HeaderValue>,
    /// Set on every request, in place of what the client sent. Never a credential or identity header.
    pub set_headers: Vec<(HeaderName, HeaderValue)>,
    /// Removed from every request.
    pub remove_headers: Vec<HeaderName>,
    /// Connection attempts for one request, each on the next endpoint. Default 2.
    pub connect_attempts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// Asked in turn. Never empty.
    Endpoints(Vec<Endpoint>),
    /// Keygate answers itself with what would have reached an upstream.
    Echo,
}

/// `host:port`, plain HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}
