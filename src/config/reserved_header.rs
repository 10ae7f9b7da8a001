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

/// Returns whether a header carries the credentials of clients, from end to end.
pub(in crate::config) fn carries_credentials(name: &HeaderName) -> bool {
    matches!(name.as_str(), "authorization" | "cookie")
}

/// Returns whether only Keygate may set a header: credentials, identity, forwarding, framing.
pub(in crate::config) fn is_reserved_header(name: &HeaderName) -> bool {
    let of_proxy = matches!(
        name.as_str(),
        "proxy-authorization" | "proxy-authenticate" | "www-authenticate"
    );
    let forwarded = name.as_str() == "forwarded" || name.as_str().starts_with("x-forwarded-");
    carries_credentials(name)
        || of_proxy
        || forwarded
        || is_framing_header(name)
        || name.as_str().starts_with(identity_field::PREFIX)
}

/// Returns whether no rule may remove a field of responses: Keygate writes it, or it belongs to one connection.
pub(in crate::config) fn is_kept_in_responses(name: &HeaderName) -> bool {
    let text = name.as_str();
    matches!(text, "date" | "x-request-id")
        || text.starts_with("sec-websocket-")
        || text.starts_with(identity_field::PREFIX)
        || is_framing_header(name)
}

/// Returns why no rule may write a field of responses; `None` if one may. Clients take these fields for Keygate's own (S086).
pub(in crate::config) fn response_reservation(name: &HeaderName) -> Option<&'static str> {
    let text = name.as_str();
    if text.starts_with("access-control-") {
        Some("`cors` of the route writes it")
    } else if text.starts_with("ratelimit") || text.starts_with("x-ratelimit-") {
        Some("`limits` write it")
    } else if matches!(text, "www-authenticate" | "proxy-authenticate") {
        Some("a challenge is the upstream's, or stands in a refusal of Keygate")
    } else if is_kept_in_responses(name) {
        Some("Keygate itself decides about ids, identity and framing")
    } else {
        None
    }
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
