//! Which head would the upstream receive? For `keygate explain`, which sends nothing.

use crate::gate::accept::Inbound;
use crate::gate::accept::client;
use crate::gate::decide::Permit;
use crate::gate::snapshot::Snapshot;
use crate::proxy::forward::certificate_fields::CertificateFields;
use crate::proxy::forward::request_fields::Origin;
use crate::proxy::forward::request_fields::RequestFields;
use crate::proxy::forward::request_fields::ReservedNames;
use crate::proxy::forward::target;
use http::HeaderMap;
use http::HeaderValue;
use http::header;
use http::request::Parts;

/// The head of a forwarded request.
pub struct Preview {
    pub target: String,
    pub headers: HeaderMap,
}

/// Returns the head that `parts` would be forwarded with. Keygate's fields that differ for each request or connection
/// are left out: the request id, the trace, the identity token, and the `Host` of an HTTP/1.0 request without one.
pub fn preview(parts: &Parts, permit: &Permit, inbound: &Inbound<'_>, snapshot: &Snapshot) -> Preview {
    let peer = HeaderValue::try_from(inbound.peer().to_string()).expect("an address is visible ASCII");
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let certificate = inbound.client_certificate().map(CertificateFields::of);
    let fields = RequestFields {
        permit,
        reserved: ReservedNames {
            api_key_header: &snapshot.api_key_header,
            claim_headers: &snapshot.claim_headers,
            token_headers: &snapshot.token_headers,
            websocket_token: snapshot.websocket_token,
        },
        origin: Origin {
            peer: &peer,
            is_tls: false,
            client: inbound.client().known(),
            trusted: client::is_trusted(inbound.peer(), &snapshot.trusted_proxies),
            host: host.unwrap_or_default(),
            request_id: None,
            trace: None,
        },
        certificate: certificate.as_ref(),
        identity_token: None,
        websocket: inbound.is_websocket_upgrade(),
        endpoint: None,
    };
    let mut headers = HeaderMap::new();
    fields.write(&parts.headers, |name, value| {
        headers.append(name.clone(), value.into_header_value());
    });
    let target = target::rewritten(permit, inbound, false).unwrap_or_else(|| inbound.path().to_owned());
    Preview { target, headers }
}
