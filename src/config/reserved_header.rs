//! Which header fields does Keygate set itself, so that no setting may?

use crate::model::identity_field;
use http::HeaderName;

/// Returns whether a header delimits messages or belongs to one connection (RFC 9110 section 7.6.1).
pub(in crate::config) fn is_framing_header(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "host"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Returns whether only Keygate may set a header: credentials, identity, forwarding, framing.
pub(in crate::config) fn is_reserved_header(name: &HeaderName) -> bool {
    let credential = matches!(
        name.as_str(),
        "authorization" | "proxy-authorization" | "proxy-authenticate" | "www-authenticate" | "cookie"
    );
    let forwarded = name.as_str() == "forwarded" || name.as_str().starts_with("x-forwarded-");
    credential || forwarded || is_framing_header(name) || name.as_str().starts_with(identity_field::PREFIX)
}

/// Returns whether a header claims that the request has another path or another method. Route and policy never read it.
pub(in crate::config) fn is_override_header(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
            | "x-original-host"
            | "x-original-method"
            | "x-original-uri"
            | "x-original-url"
            | "x-rewrite-url"
    )
}
