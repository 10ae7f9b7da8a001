//! How does the data side call the control side, for the token endpoint and its siblings? The data side reads the whole
//! request, of a limited size, and writes the response; it interprets neither.

use crate::config::built_in::ControlEndpoint;
use crate::config::built_in::EndpointKind;
use crate::gate::accept::Inbound;
use crate::gate::accept::client;
use crate::gate::answer::Answer;
use crate::model::client_address::ClientAddress;
use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http::Uri;
use ipnet::IpNet;
use std::pin::Pin;

/// A complete request to the control side.
#[derive(Debug)]
pub struct ControlRequest {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The address of the client; behind a trusted proxy, the address that the proxy reports.
    pub client: ClientAddress,
    pub request_id: String,
}

/// A response of the control side.
#[derive(Debug)]
pub struct ControlResponse {
    pub answer: Answer,
    /// The reason of a failure, from a closed set, for the access record.
    pub reason: Option<&'static str>,
    /// The authenticated client; for the access record.
    pub client_id: Option<String>,
}

/// The control side, as the data side calls it.
pub trait ControlPlane: Send + Sync {
    /// Returns the response to `request`. The control side signs and writes to disk, so an implementation must not do
    /// its work on the thread that polls the future: that thread serves requests.
    ///
    /// # Errors
    /// The control side panicked, or has ended.
    fn answer(
        &self,
        request: ControlRequest,
    ) -> Pin<Box<dyn Future<Output = Result<ControlResponse, ControlError>> + Send>>;
}

/// Why the control side gave no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("what answers panicked")]
    Panicked,
    #[error("nothing answers any more")]
    Unavailable,
}

/// The maximum size of a request body, in bytes. A form with one client assertion has a few KiB.
pub const BODY_BYTES_MAX: u64 = 64 * 1024;

/// A request to the control side that may be called once the body is read.
#[derive(Debug)]
pub struct ControlCall {
    pub endpoint: EndpointKind,
    /// The path of the endpoint on the control side, and the query of the request.
    pub uri: Uri,
    pub client: ClientAddress,
    /// `true` if nobody between the client and Keygate could read the request; see [`client::is_confidential`].
    pub confidential: bool,
}

impl ControlCall {
    /// Returns the call for `inbound`; `None` where the path has no organization though `endpoint` is an organization's, or
    /// path and query are not a valid URI.
    pub fn of(endpoint: &ControlEndpoint, inbound: &Inbound<'_>, trusted_proxies: &[IpNet]) -> Option<Self> {
        let path = endpoint.path.of(inbound.path())?;
        let uri = match inbound.query() {
            Some(query) => format!("{path}?{query}").parse(),
            None => path.parse(),
        };
        Some(Self {
            endpoint: endpoint.kind,
            uri: uri.ok()?,
            client: inbound.client(),
            confidential: client::is_confidential(inbound.headers(), inbound.peer(), trusted_proxies),
        })
    }
}
