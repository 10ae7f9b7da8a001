//! How does the gate reach its control side, for the token endpoint and its siblings? The data side reads the request,
//! bounded, and writes the response; it interprets neither.

use crate::config::built_in::ControlEndpoint;
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

/// A whole request to a path of the control side.
#[derive(Debug)]
pub struct ControlRequest {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The address of the client, by the rules for trusted proxies.
    pub client_ip: IpAddr,
    pub request_id: String,
}

/// A response of the control side.
#[derive(Debug)]
pub struct ControlResponse {
    pub answer: Answer,
    /// The reason of a failure, of a closed set; for metrics and the access record.
    pub reason: Option<&'static str>,
    /// The authenticated client; for the access record.
    pub client_id: Option<String>,
}

/// The control side, as the data side calls it. Do not call it on a thread that serves requests:
/// it signs and writes to disk.
pub trait ControlPlane: Send + Sync {
    /// # Errors
    /// There is no response; see [`ControlError`].
    fn answer(
        &self,
        request: ControlRequest,
    ) -> Pin<Box<dyn Future<Output = Result<ControlResponse, ControlError>> + Send>>;
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("what answers panicked")]
    Panicked,
    #[error("nothing answers any more")]
    Unavailable,
}

/// The longest body. A form with one assertion has a few KiB.
pub const BODY_BYTES_MAX: u64 = 64 * 1024;

/// A request to the control side, as decided before its body is read.
#[derive(Debug)]
pub struct ControlCall {
    pub endpoint: EndpointKind,
    /// The URI in the terms of the control side.
    pub uri: Uri,
    pub client_ip: IpAddr,
    /// `true` if nobody in between could read the request: TLS, or loopback from end to end.
    pub confidential: bool,
}

impl ControlCall {
    /// Returns the call for `inbound`; `None` where the path is not one of the control side's.
    pub fn of(endpoint: &ControlEndpoint, inbound: &Inbound<'_>, trusted_proxies: &[IpNet]) -> Option<Self> {
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
