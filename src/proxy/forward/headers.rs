//! What reaches the upstream in the head: credential out, identity in, where it came from.
//!
//! Hop-by-hop fields are already gone when this runs (pingora takes them out, and what `Connection` names with them),
//! so nothing a client writes there can remove what is added here.

use crate::observe::trace;
use crate::observe::trace::RequestId;
use crate::observe::trace::TraceContext;
use crate::observe::trace::TraceOrigin;
use crate::proxy::answer::Cors;
use crate::proxy::answer::cors;
use crate::proxy::authenticate::Identity;
use crate::proxy::authenticate::identity::header_value;
use crate::proxy::decide::Permit;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use pingora::http::RequestHeader;
use pingora::http::ResponseHeader;
use std::borrow::Cow;
use std::net::IpAddr;
use std::net::SocketAddr;

/// Every field of this family is Keygate's to set; a client's copies are dropped on every route.
pub const IDENTITY_PREFIX: &str = "x-keygate-";

pub const SUBJECT: HeaderName = HeaderName::from_static("x-keygate-subject");
pub const CLIENT_ID: HeaderName = HeaderName::from_static("x-keygate-client-id");
pub const ORGANIZATION: HeaderName = HeaderName::from_static("x-keygate-organization");
pub const SCOPE: HeaderName = HeaderName::from_static("x-keygate-scope");
pub const CREDENTIAL_TYPE: HeaderName = HeaderName::from_static("x-keygate-credential-type");
pub const CREDENTIAL_ID: HeaderName = HeaderName::from_static("x-keygate-credential-id");
/// All of these in one text that is signed; see [`crate::proxy::forward::vouch`].
pub const IDENTITY_TOKEN: HeaderName = HeaderName::from_static("x-keygate-identity-token");
pub const ISSUER: HeaderName = HeaderName::from_static("x-keygate-issuer");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: &str = "x-forwarded-";
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
    pub peer: IpAddr,
    /// Whether `peer` is in `trusted_proxies`; then what it says about origins is kept and added to.
    pub trusted: bool,
    pub host: &'r str,
    pub request_id: Option<&'r RequestId>,
    pub trace: Option<&'r TraceContext>,
}

/// Names that the configuration makes Keygate's own.
#[derive(Clone, Copy)]
pub struct Own<'r> {
    pub api_key_header: &'r HeaderName,
    /// A client's copies are dropped on every route, like those of [`IDENTITY_PREFIX`].
    pub claim_headers: &'r [HeaderName],
}

/// Rewrites `request`, the copy that goes to the upstream.
///
/// # Errors
/// None that input can cause: every value is made of bytes that a header may hold.
pub fn prepare(request: &mut RequestHeader, permit: &Permit, own: Own<'_>, origin: &Origin<'_>) -> pingora::Result<()> {
    let route = permit.route();
    if !permit.forwards_authorization() {
        request.remove_header(&header::AUTHORIZATION);
    }
    if !permit.forwards_api_key() {
        request.remove_header(own.api_key_header);
    }
    remove_unbelieved(request, own.claim_headers, origin.trusted);
    say_origin(request, origin)?;
    if let Some(principal) = permit.principal() {
        say_identity(request, principal.identity())?;
    }
    let settings = &route.upstream.settings;
    for name in &settings.remove_headers {
        request.remove_header(name);
    }
    for (name, value) in &settings.set_headers {
        request.insert_header(name.clone(), value.clone())?;
    }
    if let Some(host) = &settings.host {
        request.insert_header(header::HOST, host.clone())?;
    }
    Ok(())
}

/// Gives `request` a Host where the client, being HTTP/1.0, sent none: we speak HTTP/1.1, which needs one, and an upstream
/// has to refuse a request without it (RFC 9112 section 3.2).
///
/// # Errors
/// None: an address is made of bytes that a header may hold.
pub fn name_a_host(request: &mut RequestHeader, endpoint: SocketAddr) -> pingora::Result<()> {
    if !request.headers.contains_key(header::HOST) {
        request.insert_header(header::HOST, endpoint.to_string())?;
    }
    Ok(())
}

/// Takes out of `response` what the upstream said about its own connection (RFC 9110 section 7.6.1). What is left of
/// that is pingora's to say: framing, and `Connection` itself, which it writes for each connection of ours.
pub fn remove_hop_by_hop(response: &mut ResponseHeader) {
    // The switch of protocols is told by these very fields, and it is for both connections.
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let nominated: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|option| option.trim().parse().ok())
        // Without these the body would end elsewhere.
        .filter(|name| !matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING))
        .collect();
    for name in nominated {
        response.remove_header(&name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        response.remove_header(name);
    }
}

/// Replaces what `response`, the upstream's, says about pages of other origins by what the route says. Two answers in
/// one response would be none: browsers refuse a repeated `Access-Control-Allow-Origin`.
///
/// # Errors
/// None: the values are made of bytes that a header may hold.
pub fn say_cors(response: &mut ResponseHeader, cors: &Cors, request: &HeaderMap) -> pingora::Result<()> {
    let theirs: Vec<HeaderName> = response
        .headers
        .keys()
        .filter(|name| cors::is_cors_header(name))
        .cloned()
        .collect();
    for name in theirs {
        response.remove_header(&name);
    }
    for (name, value) in cors.of_response(request) {
        response.insert_header(name, value)?;
    }
    let varies = response.headers.get_all(header::VARY).iter().any(cors::names_origin);
    if cors.varies() && !varies {
        response.append_header(header::VARY, cors::VARY_ORIGIN)?;
    }
    Ok(())
}

fn remove_unbelieved(request: &mut RequestHeader, claim_headers: &[HeaderName], trusted: bool) {
    // CGI, WSGI and PHP read `_` and `-` in a name alike (S080).
    let unbelieved = |name: &str| {
        let name: &str = &if name.contains('_') {
            Cow::Owned(name.replace('_', "-"))
        } else {
            Cow::Borrowed(name)
        };
        name.starts_with(IDENTITY_PREFIX)
            || OVERRIDE_NAMES.contains(&name)
            || (!trusted
                && (name.starts_with(X_FORWARDED_PREFIX) || name == "forwarded" || ORIGIN_NAMES.contains(&name)))
    };
    // Nearly every request has none of them, and then nothing is allocated.
    let names: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| unbelieved(name.as_str()) || claim_headers.contains(name))
        .cloned()
        .collect();
    for name in names {
        request.remove_header(&name);
    }
}

fn say_origin(request: &mut RequestHeader, origin: &Origin<'_>) -> pingora::Result<()> {
    let peer = origin.peer.to_string();
    // All that a trusted proxy said, in one line, with the proxy itself at the end.
    let before: Vec<&str> = request
        .headers
        .get_all(&X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let chain = if before.is_empty() {
        peer
    } else {
        format!("{}, {peer}", before.join(", "))
    };
    request.insert_header(X_FORWARDED_FOR, chain)?;
    if !request.headers.contains_key(&X_FORWARDED_PROTO) {
        request.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static("http"))?;
    }
    if !request.headers.contains_key(&X_FORWARDED_HOST) && !origin.host.is_empty() {
        request.insert_header(X_FORWARDED_HOST, header_value(origin.host))?;
    }
    if let Some(request_id) = origin.request_id {
        request.insert_header(trace::REQUEST_ID, request_id.header_value().clone())?;
    }
    if let Some(context) = origin.trace {
        if context.origin() == TraceOrigin::Started {
            // It belonged to a trace that was not well-formed (W3C Trace Context section 3.3.1.5).
            request.remove_header(TRACESTATE);
        }
        request.insert_header(trace::TRACEPARENT, context.header_value().clone())?;
    }
    Ok(())
}

fn say_identity(request: &mut RequestHeader, identity: &Identity) -> pingora::Result<()> {
    let credential_type = HeaderValue::from_static(identity.credential_type.as_str());
    request.insert_header(CREDENTIAL_TYPE, credential_type)?;
    let headers = &identity.headers;
    let said = [
        (SUBJECT, &headers.subject),
        (CLIENT_ID, &headers.client_id),
        (ORGANIZATION, &headers.organization),
        (SCOPE, &headers.scope),
        (CREDENTIAL_ID, &headers.credential_id),
        (ISSUER, &headers.issuer),
    ];
    for (name, value) in said {
        if let Some(value) = value {
            request.insert_header(name, value.clone())?;
        }
    }
    for (name, value) in identity.claims.headers() {
        request.insert_header(name.clone(), value.clone())?;
    }
    Ok(())
}
