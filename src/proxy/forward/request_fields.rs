//! What reaches the upstream in the head: credential out, identity in, where it came from.
//!
//! One pass over the client's fields, each written or left out, and then ours: nothing a client writes can remove what is
//! added here, because `Connection` is read before and only drops fields of the client's own.

use crate::gate::accept::syntax;
use crate::gate::authenticate::Identity;
use crate::gate::authenticate::header_value::header_value;
use crate::gate::decide::Permit;
use crate::model::identity_field;
use crate::observe::trace;
use crate::observe::trace::RequestId;
use crate::observe::trace::TraceContext;
use crate::observe::trace::TraceOrigin;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Version;
use http::header;
use http::request::Parts;
use std::borrow::Cow;
use std::net::SocketAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: &str = "x-forwarded-";
const KEEP_ALIVE: &str = "keep-alive";
const PROXY_CONNECTION: &str = "proxy-connection";
const HTTP2_SETTINGS: &str = "http2-settings";
/// What else proxies write about where a request came from.
const ORIGIN_NAMES: [&str; 5] = [
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "x-original-forwarded-for",
];
/// What some upstreams take for the target or method of a request, in place of the ones that were checked (S087).
const OVERRIDE_NAMES: [&str; 6] = [
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

const TRACESTATE: &str = "tracestate";

/// Where a request came from, as Keygate saw it.
pub struct Origin<'r> {
    /// The address of the peer, as text.
    pub peer: &'r HeaderValue,
    /// Whether the peer is in `trusted_proxies`; then what it says about origins is kept and added to.
    pub trusted: bool,
    /// As the client wrote it; empty for an HTTP/1.0 request without one.
    pub host: &'r str,
    pub request_id: Option<&'r RequestId>,
    pub trace: Option<&'r TraceContext>,
}

/// Names that the configuration reserves for Keygate.
#[derive(Clone, Copy)]
pub struct ReservedNames<'r> {
    pub api_key_header: &'r HeaderName,
    /// A client's copies are dropped on every route, like those of [`identity_field::PREFIX`].
    pub claim_headers: &'r [HeaderName],
}

/// The fields that go to the upstream beside those that the client sent.
pub struct RequestFields<'r> {
    pub permit: &'r Permit,
    pub reserved: ReservedNames<'r>,
    pub origin: Origin<'r>,
    /// What the upstream is told, signed, about who called.
    pub identity_token: Option<&'r HeaderValue>,
    /// Whether the request asks to switch to WebSocket, see [`is_websocket_upgrade`].
    pub websocket: bool,
    /// Where the request goes; its Host where the client, being HTTP/1.0, sent none: we speak HTTP/1.1, which needs one, and
    /// an upstream has to refuse a request without it (RFC 9112 section 3.2). `None` leaves it out.
    pub endpoint: Option<SocketAddr>,
}

/// Whether `request` asks to switch to WebSocket, the one protocol that is switched to (RFC 6455 section 4.1).
pub fn is_websocket_upgrade(request: &Parts) -> bool {
    let names = |name: &HeaderName, wanted: &[u8]| {
        let mut values = request.headers.get_all(name).iter();
        values.any(|value| syntax::members(value.as_bytes()).any(|option| option.eq_ignore_ascii_case(wanted)))
    };
    let mut upgrades = request.headers.get_all(header::UPGRADE).iter();
    let Some(upgrade) = upgrades.next() else {
        return false;
    };
    upgrades.next().is_none()
        && upgrade.as_bytes().eq_ignore_ascii_case(b"websocket")
        && request.version == Version::HTTP_11
        && request.method == Method::GET
        && names(&header::CONNECTION, b"upgrade")
}

impl RequestFields<'_> {
    /// Gives `put` every field of the head that goes to the upstream, in order, for a request with the fields `request`.
    /// What the upstream's own settings say has the last word. The framing of the body goes along as it came.
    pub fn write(&self, request: &HeaderMap, mut put: impl FnMut(&HeaderName, &[u8])) {
        let settings = &self.permit.route().upstream.settings;
        let is_overridden = |name: &HeaderName| {
            settings.remove_headers.contains(name)
                || settings.set_headers.iter().any(|(set, _)| set == name)
                || (settings.host.is_some() && name == header::HOST)
        };
        let nothing_overridden =
            settings.remove_headers.is_empty() && settings.set_headers.is_empty() && settings.host.is_none();
        let mut put_unless_overridden = |name: &HeaderName, value: &[u8]| {
            if nothing_overridden || !is_overridden(name) {
                put(name, value);
            }
        };
        let connection = request.contains_key(header::CONNECTION).then_some(request);
        for (name, value) in request {
            if !self.drops(name) && !connection.is_some_and(|fields| is_connection_option(name, fields)) {
                put_unless_overridden(name, value.as_bytes());
            }
        }
        if let Some(endpoint) = self.endpoint
            && !request.contains_key(header::HOST)
        {
            put_unless_overridden(&header::HOST, endpoint.to_string().as_bytes());
        }
        put_origin(request, &self.origin, &mut put_unless_overridden);
        if let Some(principal) = self.permit.principal() {
            put_identity(principal.identity(), &mut put_unless_overridden);
        }
        if let Some(token) = self.identity_token {
            put_unless_overridden(&identity_field::IDENTITY_TOKEN, token.as_bytes());
        }
        for (name, value) in &settings.set_headers {
            put(name, value.as_bytes());
        }
        if let Some(host) = &settings.host {
            put(&header::HOST, host.as_bytes());
        }
        if self.websocket {
            put(&header::CONNECTION, b"Upgrade");
            put(&header::UPGRADE, b"websocket");
        }
    }

    /// Whether a client's field stays behind: the credential, what is ours to say, and what is about its connection.
    fn drops(&self, name: &HeaderName) -> bool {
        match *name {
            header::AUTHORIZATION => return !self.permit.forwards_authorization(),
            header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING => return false,
            // RFC 9110 section 7.6.1. Trailers are dropped, so nobody is told of any.
            header::CONNECTION
            | header::TE
            | header::TRAILER
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION => return true,
            _ => {}
        }
        if *name == *self.reserved.api_key_header {
            return !self.permit.forwards_api_key();
        }
        let replaced = |own: &HeaderName, is_set: bool| is_set && name == own;
        is_spoofable(name.as_str(), self.origin.trusted)
            || replaced(&X_FORWARDED_FOR, true)
            || replaced(&trace::REQUEST_ID, self.origin.request_id.is_some())
            || replaced(&trace::TRACEPARENT, self.origin.trace.is_some())
            // It belonged to a trace that was not well-formed (W3C Trace Context section 3.3.1.5).
            || (name.as_str() == TRACESTATE
                && self.origin.trace.is_some_and(|trace| trace.origin() == TraceOrigin::Started))
            || [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS].contains(&name.as_str())
            || self.reserved.claim_headers.contains(name)
    }
}

/// Whether `Connection` names it: it is for the connection it came on. Without the framing the body would end elsewhere.
fn is_connection_option(name: &HeaderName, request: &HeaderMap) -> bool {
    let mut values = request.get_all(header::CONNECTION).iter();
    !matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::HOST)
        && values.any(|value| {
            syntax::members(value.as_bytes()).any(|option| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
        })
}

/// Whether a client may not say it: who it is, where it comes from, and which other request this is.
fn is_spoofable(name: &str, trusted: bool) -> bool {
    // Every name below begins so, and nearly no field does.
    if !matches!(name.as_bytes(), [b'x' | b'f' | b't', ..]) {
        return false;
    }
    // CGI, WSGI and PHP read `_` and `-` in a name alike (S080).
    let name: &str = &if name.contains('_') {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    };
    name.starts_with(identity_field::PREFIX)
        || OVERRIDE_NAMES.contains(&name)
        || (!trusted && (name.starts_with(X_FORWARDED_PREFIX) || name == "forwarded" || ORIGIN_NAMES.contains(&name)))
}

fn put_origin(request: &HeaderMap, origin: &Origin<'_>, put: &mut impl FnMut(&HeaderName, &[u8])) {
    // A stranger's copies of these were dropped.
    let is_kept = |name: &HeaderName| origin.trusted && request.contains_key(name);
    if is_kept(&X_FORWARDED_FOR) {
        // All that a trusted proxy said, in one line, with the proxy itself at the end.
        let values = request.get_all(&X_FORWARDED_FOR).iter();
        let mut chain: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        chain.extend(origin.peer.to_str().ok());
        put(&X_FORWARDED_FOR, chain.join(", ").as_bytes());
    } else {
        put(&X_FORWARDED_FOR, origin.peer.as_bytes());
    }
    if !is_kept(&X_FORWARDED_PROTO) {
        put(&X_FORWARDED_PROTO, b"http");
    }
    if !is_kept(&X_FORWARDED_HOST) && !origin.host.is_empty() {
        put(&X_FORWARDED_HOST, header_value(origin.host).as_bytes());
    }
    if let Some(request_id) = origin.request_id {
        put(&trace::REQUEST_ID, request_id.header_value().as_bytes());
    }
    if let Some(context) = origin.trace {
        put(&trace::TRACEPARENT, context.header_value().as_bytes());
    }
}

fn put_identity(identity: &Identity, put: &mut impl FnMut(&HeaderName, &[u8])) {
    put(
        &identity_field::CREDENTIAL_TYPE,
        identity.credential_type.as_str().as_bytes(),
    );
    let headers = &identity.headers;
    let fields = [
        (&identity_field::SUBJECT, &headers.subject),
        (&identity_field::CLIENT_ID, &headers.client_id),
        (&identity_field::ORGANIZATION, &headers.organization),
        (&identity_field::SCOPE, &headers.scope),
        (&identity_field::CREDENTIAL_ID, &headers.credential_id),
        (&identity_field::ISSUER, &headers.issuer),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            put(name, value.as_bytes());
        }
    }
    for (name, value) in identity.claims.headers() {
        put(name, value.as_bytes());
    }
}
