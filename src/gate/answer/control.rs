//! What the gate answers with the help of its control side: the token endpoint and what belongs to it. The data side
//! reads the request, bounded, and writes the answer; it does not know what is in either.

use crate::config::built_in::Endpoint;
use crate::config::built_in::EndpointKind;
use crate::gate::accept::Inbound;
use crate::gate::accept::client;
use crate::gate::answer::Answer;
use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http::Uri;
use ipnet::IpNet;
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
    pub request_id: String,
}

/// What the control side says.
#[derive(Debug)]
pub struct ControlResponse {
    pub answer: Answer,
    /// Why it is no success, of a closed set; for metrics and the access record.
    pub reason: Option<&'static str>,
    /// The client that proved itself; for the access record.
    pub client_id: Option<String>,
}

/// The control side, as the data side calls it. Never on a thread that serves requests: it signs and writes to disk.
pub trait ControlPlane: Send + Sync {
    /// # Errors
    /// There is no answer; see [`ControlError`].
    fn answer(
        &self,
        request: ControlRequest,
    ) -> Pin<Box<dyn Future<Output = Result<ControlResponse, ControlError>> + Send>>;
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("what answers panicked")]
    Panicked,
    #[error("nothing answers any more")]
    Unavailable,
}

/// A body of a form with one assertion in it is a few KiB.
pub const BODY_BYTES_MAX: u64 = 64 * 1024;

/// What is decided about a request to the control side before its body is read.
#[derive(Debug)]
pub struct ControlCall {
    pub endpoint: EndpointKind,
    /// As the control side knows it.
    pub uri: Uri,
    pub client_ip: IpAddr,
    /// Nobody in between could read it: TLS, or loopback from end to end.
    pub confidential: bool,
}

impl ControlCall {
    /// `None` where the path cannot be said in the control side's words; that is no path of its.
    pub fn of(endpoint: &Endpoint, inbound: &Inbound<'_>, trusted_proxies: &[IpNet]) -> Option<Self> {
        let path = match endpoint.canonical {
            Some(path) => path,
            None => inbound.path().strip_prefix(endpoint.prefix.as_str())?,
        };
        let uri = match inbound.query() {
            Some(query) => format!("{path}?{query}").parse(),
            None => path.parse(),
        };
        Some(Self {
            endpoint: endpoint.kind,
            uri: uri.ok()?,
            client_ip: inbound.client_ip(),
            confidential: client::is_confidential(inbound.headers(), inbound.peer(), trusted_proxies),
        })
    }
}
