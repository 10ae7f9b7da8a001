//! Which fields of an upstream's response does the client receive, and which does Keygate add?

use crate::gate::answer::Cors;
use crate::gate::answer::cors;
use crate::model::clock::Timestamp;
use crate::model::identity_field;
use crate::observe::trace;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

/// The rules for the fields of one response.
pub struct ResponseRules<'r> {
    pub request_id: &'r HeaderValue,
    /// The fields about the limits; empty where no limit applies or the configuration turns them off.
    pub limits: Vec<(HeaderName, HeaderValue)>,
    /// The time for the `Date` of a response that the upstream sent without one.
    pub now: Timestamp,
    /// The CORS rules of the route, and the fields of the request; `None` for a route without CORS.
    pub cors: Option<(&'r Cors, &'r HeaderMap)>,
}

impl ResponseRules<'_> {
    /// Returns whether a field of the upstream with `name` (in any case) is forwarded to the client. Drops hop-by-hop
    /// fields (see [`is_hop_by_hop`]) and the fields that Keygate adds itself: browsers reject a repeated
    /// `Access-Control-Allow-Origin`, and of two request ids none is certain.
    pub fn keeps(&self, name: &str) -> bool {
        let is_added = is(name, trace::REQUEST_ID.as_str())
            || self.limits.iter().any(|(own, _)| is(name, own.as_str()))
            || (self.cors.is_some() && cors::is_cors_name(name));
        !is_added && !is_hop_by_hop(name)
    }

    /// Returns whether a trailer of the upstream with `name` (in lower case) is forwarded to the client: a name that Keygate keeps for the
    /// identity is not.
    pub fn keeps_trailer(&self, name: &str) -> bool {
        self.keeps(name) && !name.starts_with(identity_field::PREFIX)
    }

    /// Calls `put` with each field that Keygate adds, except for `Date`. `varies` is `true` if the upstream's `Vary`
    /// lists `Origin` already.
    pub fn put_added(&self, varies: bool, mut put: impl FnMut(&HeaderName, &HeaderValue)) {
        if let Some((cors, request)) = self.cors {
            for (name, value) in cors.response_fields(request) {
                put(&name, &value);
            }
            if cors.varies() && !varies {
                put(&header::VARY, &cors::VARY_ORIGIN);
            }
        }
        for (name, value) in &self.limits {
            put(name, value);
        }
        put(&trace::REQUEST_ID, self.request_id);
    }
}

/// Returns whether a response field with `name` (in any case) is for one hop alone (RFC 9110 section 7.6.1). `false`
/// for `Transfer-Encoding`, because the framing of the response decides about that field.
pub fn is_hop_by_hop(name: &str) -> bool {
    match name.len() {
        7 => is(name, "upgrade") || is(name, "trailer"),
        10 => is(name, "connection") || is(name, "keep-alive"),
        16 => is(name, "proxy-connection"),
        _ => false,
    }
}

fn is(name: &str, other: &str) -> bool {
    name.len() == other.len() && name.eq_ignore_ascii_case(other)
}
