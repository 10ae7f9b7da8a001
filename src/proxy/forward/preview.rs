//! Which head would reach the upstream? Computed without an upstream, to explain a decision.

use crate::gate::accept::Inbound;
use crate::gate::accept::client;
use crate::gate::decide::Permit;
use crate::gate::snapshot::Snapshot;
use crate::proxy::forward::request_fields;
use crate::proxy::forward::request_fields::Origin;
use crate::proxy::forward::request_fields::RequestFields;
use crate::proxy::forward::request_fields::ReservedNames;
use crate::proxy::forward::target;
use http::HeaderMap;
use http::HeaderValue;
use http::request::Parts;

/// The head of a forwarded request.
pub struct Preview {
    pub target: String,
    pub headers: HeaderMap,
}

/// Returns the head that `parts` would be forwarded with, except for the fields that
/// differ for each request or connection (request id, trace, Host of HTTP/1.0).
/// Returns `None` where a value has bytes that a field may not contain; none has.
pub fn preview(parts: &Parts, permit: &Permit, inbound: &Inbound<'_>, snapshot: &Snapshot) -> Option<Preview> {
    let peer = HeaderValue::try_from(inbound.peer().to_string()).ok()?;
    let fields = RequestFields {
        permit,
        reserved: ReservedNames {
            api_key_header: &snapshot.api_key_header,
            claim_headers: &snapshot.claim_headers,
        },
        origin: Origin {
            peer: &peer,
            trusted: client::is_trusted(inbound.peer(), &snapshot.trusted_proxies),
            host: inbound.host(),
            request_id: None,
            trace: None,
        },
        identity_token: None,
        websocket: request_fields::is_websocket_upgrade(parts),
        endpoint: None,
    };
    let mut headers = HeaderMap::new();
    let mut is_whole = true;
    fields.write(&parts.headers, |name, value| match HeaderValue::from_bytes(value) {
        Ok(value) => {
            headers.append(name.clone(), value);
        }
        Err(_) => is_whole = false,
    });
    let target = target::rewritten(permit, inbound, false).unwrap_or_else(|| inbound.path().to_owned());
    is_whole.then_some(Preview { target, headers })
}
