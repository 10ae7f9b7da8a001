//! What the gate answers with the help of its control side: the token endpoint and what belongs to it. The data side
//! reads the request, bounded, and writes the answer; it does not know what is in either.

use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http::StatusCode;
use http::Uri;
use std::net::IpAddr;
use std::pin::Pin;

/// A whole request to a path of the control side's.
#[derive(Debug)]
pub struct ControlRequest {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Who asks, as far as trusted proxies are believed.
    pub client_ip: IpAddr,
    /// Nobody in between could read it: TLS, or loopback from end to end.
    pub confidential: bool,
    pub request_id: String,
}

/// A whole answer.
#[derive(Debug)]
pub struct ControlAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Why it is no success, of a closed set; for metrics and the access record.
    pub reason: Option<&'static str>,
    /// The client that proved itself; for the access record.
    pub client_id: Option<String>,
}

/// The control side, as the data side calls it. Never on a thread that serves requests: it signs and writes to disk.
pub trait ControlPlane: Send + Sync {
    fn answer(&self, request: ControlRequest) -> Pin<Box<dyn Future<Output = ControlAnswer> + Send>>;
}
