//! Which fields of an upstream's response reach the client, and which does Keygate add?

use crate::gate::answer::Cors;
use crate::gate::answer::cors;
use crate::model::clock::Timestamp;
use crate::observe::trace;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

/// The rules for the response to one request.
pub struct ResponseRules<'r> {
    pub request_id: &'r HeaderValue,
    /// The fields about the limits; empty where no limit applies.
    pub limits: Vec<(HeaderName, HeaderValue)>,
    /// The time, for a response without a `Date` of the upstream.
    pub now: Timestamp,
    /// The rules for pages of other origins, and the fields of the request.
    pub cors: Option<(&'r Cors, &'r HeaderMap)>,
}

impl ResponseRules<'_> {
    /// Returns whether a field of the upstream with `name` (in any case) reaches the client. Hop-by-hop fields do not
    /// (RFC 9110 section 7.6.1). The fields that Keygate adds do not either: browsers reject a repeated
    /// `Access-Control-Allow-Origin`, and two request ids identify nothing.
    pub fn keeps(&self, name: &str) -> bool {
        let is_added = is(name, trace::REQUEST_ID.as_str())
            || self.limits.iter().any(|(own, _)| is(name, own.as_str()))
            || (self.cors.is_some() && cors::is_cors_name(name));
        !is_added && !is_hop_by_hop(name)
    }

    /// Calls `put` with each field that Keygate adds, except for
    /// `Date`. `varies`: the upstream's `Vary` contains `Origin`.
    pub fn put_added(&self, varies: bool, mut put: impl FnMut(&HeaderName, &HeaderValue)) {
        if let Some((cors, request)) = self.cors {
            for (name, value) in cors.of_response(request) {
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

/// Returns whether a field with `name` (in any case) is for one hop alone.
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
