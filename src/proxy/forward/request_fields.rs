//! Which fields does the upstream receive? First the client's fields, without hop-by-hop fields and without a
//! credential that the route does not forward; then Keygate's fields about the identity and the origin of the request.
//! The client's `Connection` removes only fields of the client.

use crate::gate::accept::rules::fold_name;
use crate::gate::accept::syntax;
use crate::gate::authenticate::Identity;
use crate::gate::authenticate::header_value::header_value;
use crate::gate::decide::Permit;
use crate::gate::intake;
use crate::model::endpoint_address::EndpointAddress;
use crate::model::identity_field;
use crate::observe::trace;
use crate::observe::trace::RequestId;
use crate::observe::trace::TraceContext;
use crate::observe::trace::TraceOrigin;
use crate::proxy::forward::certificate_fields::CertificateFields;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use std::net::IpAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The word for an address that a proxy does not know (RFC 7239 section 6.2).
const UNKNOWN: &str = "unknown";
const X_FORWARDED_PREFIX: &str = "x-forwarded-";
const KEEP_ALIVE: &str = "keep-alive";
const PROXY_CONNECTION: &str = "proxy-connection";
const HTTP2_SETTINGS: &str = "http2-settings";
/// Fields besides `Forwarded` and `X-Forwarded-*` in which proxies send the address of a client.
const ORIGIN_NAMES: [&str; 5] = [
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "x-original-forwarded-for",
];
/// Fields that some upstreams read instead of the target or the method that was checked (S087).
const OVERRIDE_NAMES: [&str; 6] = [
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

const TRACESTATE: &str = "tracestate";

/// The origin of a request, as seen by Keygate.
pub struct Origin<'r> {
    /// The address of the peer, as text.
    pub peer: &'r HeaderValue,
    /// `true` where the peer is in `trusted_proxies`: its fields about the origin are kept and extended.
    pub trusted: bool,
    /// The address of the client; `None` where a trusted proxy does not report it.
    pub client: Option<IpAddr>,
    /// `true` where the connection of the client is TLS.
    pub is_tls: bool,
    /// The `Host` that the client sent, in a preview in normal form; empty for a request without `Host`.
    pub host: &'r str,
    pub request_id: Option<&'r RequestId>,
    pub trace: Option<&'r TraceContext>,
}

/// Names that the configuration reserves for Keygate.
#[derive(Clone, Copy)]
pub struct ReservedNames<'r> {
    pub api_key_header: &'r HeaderName,
    /// A client's copies of these are dropped on every route, like the fields with [`identity_field::PREFIX`].
    pub claim_headers: &'r [HeaderName],
    /// The headers in which issuers send their tokens.
    pub token_headers: &'r [HeaderName],
    /// `true` where some route reads the token of a browser's WebSocket from its subprotocols. The upstreams of the other
    /// routes do not receive such a token either.
    pub websocket_token: bool,
}

/// The value of a field for the upstream.
pub enum FieldValue<'r> {
    /// The value of a field of the client, or one that was made earlier.
    Existing(&'r HeaderValue),
    /// A value made for this field.
    Made(HeaderValue),
    /// A text of Keygate.
    Fixed(&'static str),
}

impl FieldValue<'_> {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Existing(value) => value.as_bytes(),
            Self::Made(value) => value.as_bytes(),
            Self::Fixed(text) => text.as_bytes(),
        }
    }

    pub fn into_header_value(self) -> HeaderValue {
        match self {
            Self::Existing(value) => value.clone(),
            Self::Made(value) => value,
            Self::Fixed(text) => HeaderValue::from_static(text),
        }
    }
}

/// The inputs to the head of one forwarded request, besides the client's own fields.
pub struct RequestFields<'r> {
    pub permit: &'r Permit,
    pub reserved: ReservedNames<'r>,
    pub origin: Origin<'r>,
    /// The fields about the certificate that the client showed, if it showed one.
    pub certificate: Option<&'r CertificateFields>,
    /// The signed token that tells the upstream the principal.
    pub identity_token: Option<&'r HeaderValue>,
    /// `true` where the request asks to switch to WebSocket.
    pub websocket: bool,
    /// The address of the endpoint. It becomes `Host` if the client sent none: Keygate speaks HTTP/1.1, and an upstream
    /// has to reject a request without `Host` (RFC 9112 section 3.2). `None` omits the field.
    pub endpoint: Option<&'r EndpointAddress>,
}

impl RequestFields<'_> {
    /// Calls `put` with each field of the head for the upstream, in order; `request` are the client's fields.
    /// `Content-Length` and `Transfer-Encoding` are kept, because the body is forwarded with the same framing. The rules of
    /// the upstream and the route override every other field except those of a WebSocket upgrade.
    pub fn write(&self, request: &HeaderMap, mut put: impl FnMut(&HeaderName, FieldValue<'_>)) {
        let destination = self.permit.destination();
        let (rules, own_host) = (&destination.request_headers, &destination.upstream.settings.host);
        let is_overridden =
            |name: &HeaderName| rules.drops(name.as_str()) || (own_host.is_some() && name == header::HOST);
        let nothing_overridden = rules.is_empty() && own_host.is_none();
        let mut put_unless_overridden = |name: &HeaderName, value: FieldValue<'_>| {
            if nothing_overridden || !is_overridden(name) {
                put(name, value);
            }
        };
        let connection = request.contains_key(header::CONNECTION).then_some(request);
        let takes_token = self.takes_websocket_token(request);
        for (name, value) in request {
            let is_dropped = self.drops(name) || (takes_token && *name == header::SEC_WEBSOCKET_PROTOCOL);
            if !is_dropped && !connection.is_some_and(|fields| is_connection_option(name, fields)) {
                put_unless_overridden(name, FieldValue::Existing(value));
            }
        }
        if takes_token && let Some(protocols) = intake::without_token_entries(request) {
            put_unless_overridden(&header::SEC_WEBSOCKET_PROTOCOL, FieldValue::Made(protocols));
        }
        if let Some(endpoint) = self.endpoint
            && !request.contains_key(header::HOST)
        {
            let host = HeaderValue::try_from(endpoint.host()).expect("an address is visible ASCII");
            put_unless_overridden(&header::HOST, FieldValue::Made(host));
        }
        put_origin(request, &self.origin, &mut put_unless_overridden);
        if let Some(principal) = self.permit.principal() {
            put_identity(principal.identity(), &mut put_unless_overridden);
        }
        if let Some(certificate) = self.certificate {
            if let Some(names) = &certificate.names {
                put_unless_overridden(&identity_field::CERTIFICATE_NAMES, FieldValue::Existing(names));
            }
            let fingerprint = FieldValue::Existing(&certificate.fingerprint);
            put_unless_overridden(&identity_field::CERTIFICATE_FINGERPRINT, fingerprint);
        }
        if let Some(token) = self.identity_token {
            put_unless_overridden(&identity_field::IDENTITY_TOKEN, FieldValue::Existing(token));
        }
        for (name, value) in rules.fields() {
            put(name, FieldValue::Existing(value));
        }
        let token = destination
            .credential
            .as_ref()
            .and_then(|credential| credential.token.as_ref());
        if let Some(token) = token.and_then(|token| token.value()) {
            put(&header::AUTHORIZATION, FieldValue::Made(token));
        }
        if let Some(host) = own_host {
            put(&header::HOST, FieldValue::Existing(host));
        }
        if self.websocket {
            put(&header::CONNECTION, FieldValue::Fixed("Upgrade"));
            put(&header::UPGRADE, FieldValue::Fixed("websocket"));
        }
    }

    /// Returns whether the token of a browser, and the subprotocol beside it, are taken out of the subprotocols of `request`.
    fn takes_websocket_token(&self, request: &HeaderMap) -> bool {
        // Where no route reads a token, `bearer.…` is a subprotocol like any other.
        self.reserved.websocket_token
            && (self.permit.route().intake.websocket_token || intake::offers_websocket_protocol(request))
    }

    /// Returns whether the client's field `name` is dropped: a credential that the route does not forward, a hop-by-hop
    /// field, a field that Keygate sets itself, or a field for spoofing.
    fn drops(&self, name: &HeaderName) -> bool {
        match *name {
            header::AUTHORIZATION => return !self.permit.forwards_authorization(),
            header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING => return false,
            // Hop-by-hop fields (RFC 9110 section 7.6.1). `Trailer` is dropped with the trailers that it announces.
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
        if self.reserved.token_headers.contains(name) {
            return !self.permit.forwards_token_header(name);
        }
        let replaced = |own: &HeaderName, is_set: bool| is_set && name == own;
        is_spoofable(name.as_str(), self.origin.trusted)
            || replaced(&X_FORWARDED_FOR, true)
            || replaced(&trace::REQUEST_ID, self.origin.request_id.is_some())
            || replaced(&trace::TRACEPARENT, self.origin.trace.is_some())
            // Keygate started a new trace, and this field belongs to another one (W3C Trace Context section 3.3.1.5).
            || (name.as_str() == TRACESTATE
                && self.origin.trace.is_some_and(|trace| trace.origin() == TraceOrigin::Started))
            || [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS].contains(&name.as_str())
            || self.reserved.claim_headers.contains(name)
    }
}

/// Returns whether the `Connection` in `fields` lists `name` as a field for this hop alone (RFC 9110 section 7.6.1). Never
/// for the framing fields and `Host`: without them, the upstream would see another end of the body, or no host.
pub fn is_connection_option(name: &HeaderName, fields: &HeaderMap) -> bool {
    let mut values = fields.get_all(header::CONNECTION).iter();
    !matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::HOST)
        && values.any(|value| {
            syntax::members(value.as_bytes()).any(|option| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
        })
}

/// Returns whether a client could use the field to forge its identity, its origin, or the request that was checked.
fn is_spoofable(name: &str, trusted: bool) -> bool {
    // A fast path: every name below begins with one of these letters, and few other fields do.
    if !matches!(name.as_bytes(), [b'x' | b'f' | b't', ..]) {
        return false;
    }
    let name: &str = &fold_name(name);
    name.starts_with(identity_field::PREFIX)
        || OVERRIDE_NAMES.contains(&name)
        || (!trusted && (name.starts_with(X_FORWARDED_PREFIX) || name == "forwarded" || ORIGIN_NAMES.contains(&name)))
}

fn put_origin(request: &HeaderMap, origin: &Origin<'_>, put: &mut impl FnMut(&HeaderName, FieldValue<'_>)) {
    // `drops` has dropped these fields of a peer that is not trusted.
    let is_kept = |name: &HeaderName| origin.trusted && request.contains_key(name);
    if is_kept(&X_FORWARDED_FOR) || is_kept(&header::FORWARDED) {
        put(&X_FORWARDED_FOR, FieldValue::Made(forwarded_for(request, origin)));
    } else {
        put(&X_FORWARDED_FOR, FieldValue::Existing(origin.peer));
    }
    if !is_kept(&X_FORWARDED_PROTO) {
        let scheme = if origin.is_tls { "https" } else { "http" };
        put(&X_FORWARDED_PROTO, FieldValue::Fixed(scheme));
    }
    if !is_kept(&X_FORWARDED_HOST) && !origin.host.is_empty() {
        put(&X_FORWARDED_HOST, FieldValue::Made(header_value(origin.host)));
    }
    if let Some(request_id) = origin.request_id {
        put(&trace::REQUEST_ID, FieldValue::Existing(request_id.header_value()));
    }
    if let Some(context) = origin.trace {
        put(&trace::TRACEPARENT, FieldValue::Existing(context.header_value()));
    }
}

/// Returns the whole chain that a trusted proxy reports as one field, with the address of the proxy at the end. The chain of a
/// proxy that sends `Forwarded` alone is the client. `unknown` stands for what is not reported: without it, the proxy would
/// look like the client.
fn forwarded_for(request: &HeaderMap, origin: &Origin<'_>) -> HeaderValue {
    fn text(value: &HeaderValue) -> &str {
        value.to_str().ok().filter(|text| !text.is_empty()).unwrap_or(UNKNOWN)
    }
    let mut chain: Vec<&str> = request.get_all(&X_FORWARDED_FOR).iter().map(text).collect();
    let client = chain.is_empty().then(|| match origin.client {
        Some(client) => client.to_string(),
        None => UNKNOWN.to_owned(),
    });
    chain.extend(client.as_deref());
    chain.extend(origin.peer.to_str().ok());
    HeaderValue::try_from(chain.join(", ")).expect("each part is visible ASCII")
}

fn put_identity(identity: &Identity, put: &mut impl FnMut(&HeaderName, FieldValue<'_>)) {
    let credential_type = FieldValue::Fixed(identity.credential_type.as_str());
    put(&identity_field::CREDENTIAL_TYPE, credential_type);
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
            put(name, FieldValue::Existing(value));
        }
    }
    for (name, value) in identity.claims.headers() {
        put(name, FieldValue::Existing(value));
    }
}
