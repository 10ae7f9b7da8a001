//! Which fields of an upstream's response does the client receive, and which does Keygate add?

use crate::config::HeaderRules;
use crate::gate::answer::Cors;
use crate::gate::answer::cors;
use crate::gate::intake;
use crate::model::clock::Timestamp;
use crate::model::identity_field;
use crate::observe::trace;
use crate::proxy::forward::response_paths::ResponsePaths;
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
    /// The subprotocol of Keygate that the client of a WebSocket offered. It is added to a switch to WebSocket without a
    /// subprotocol, because a browser then closes the connection.
    pub websocket_protocol: Option<&'r HeaderValue>,
    /// `true` where the route reads a token from the subprotocols of a WebSocket.
    pub reads_websocket_token: bool,
    /// The rules of the upstream and the route; `None` where there are none.
    pub headers: Option<&'r HeaderRules>,
    /// The upstream's side; `None` where its URLs and paths stay.
    pub paths: Option<ResponsePaths<'r>>,
}

/// The facts of an upstream's response that decide about fields which Keygate adds.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpstreamFields {
    /// The `Vary` lists `Origin` already.
    pub varies: bool,
    /// The response switches to WebSocket and names no subprotocol that is forwarded.
    pub lacks_protocol: bool,
}

impl ResponseRules<'_> {
    /// Returns whether a field of the upstream with `name` (in any case) and `value` is forwarded to the client. Drops
    /// hop-by-hop fields (see [`is_hop_by_hop`]), those that a rule drops, and those that Keygate adds itself: browsers reject a repeated
    /// `Access-Control-Allow-Origin`, and of two request ids none is certain. Drops the subprotocol with a token too, which
    /// an upstream that knows the token could choose.
    pub fn keeps(&self, name: &str, value: &[u8]) -> bool {
        let echoes_token = || is(name, header::SEC_WEBSOCKET_PROTOCOL.as_str()) && intake::has_token_entry(value);
        self.keeps_name(name) && !(self.reads_websocket_token && echoes_token())
    }

    fn keeps_name(&self, name: &str) -> bool {
        let is_added = is(name, trace::REQUEST_ID.as_str())
            || self.limits.iter().any(|(own, _)| is(name, own.as_str()))
            || (self.cors.is_some() && cors::is_cors_name(name))
            || self.headers.is_some_and(|rules| rules.drops(name));
        !is_added && !is_hop_by_hop(name)
    }

    /// Returns the value for the client of a field that is forwarded; `None` for the value as it is.
    pub fn changed(&self, name: &str, value: &[u8]) -> Option<Vec<u8>> {
        self.paths?.for_client(name, value)
    }

    /// Returns whether a trailer of the upstream with `name` (in lower case) is forwarded to the client: a name that Keygate
    /// keeps for the identity is not.
    pub fn keeps_trailer(&self, name: &str) -> bool {
        self.keeps_name(name) && !name.starts_with(identity_field::PREFIX)
    }

    /// Calls `put` with each field that Keygate adds to a response with `upstream`, except for `Date`.
    pub fn put_added(&self, upstream: UpstreamFields, mut put: impl FnMut(&HeaderName, &HeaderValue)) {
        if let Some((cors, request)) = self.cors {
            for (name, value) in cors.responses.fields(request) {
                put(&name, &value);
            }
            if cors.responses.varies() && !upstream.varies {
                put(&header::VARY, &cors::VARY_ORIGIN);
            }
        }
        if let Some(protocol) = self.websocket_protocol.filter(|_| upstream.lacks_protocol) {
            put(&header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        for (name, value) in &self.limits {
            put(name, value);
        }
        for (name, value) in self.headers.into_iter().flat_map(HeaderRules::fields) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    static ID: HeaderValue = HeaderValue::from_static("id-1");
    const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

    /// Returns the rules of a route whose pages have one of `origins`.
    fn cors(origins: &str) -> Cors {
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             upstreams: {{ e: {{ builtin: echo }} }}\n\
             routes: [{{ name: a, match: {{ path: / }}, public: true, upstream: e, cors: {{ origins: {origins} }} }}]\n"
        );
        let config = config::parse(&yaml, Path::new("keygate.yaml"), &|_| None);
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let settings = config.routes[0].cors.as_ref().unwrap();
        Cors::compile(settings, &[], &config.api_keys)
    }

    fn rules<'r>(limits: &[&'static str], cors: Option<(&'r Cors, &'r HeaderMap)>) -> ResponseRules<'r> {
        let limits = limits
            .iter()
            .map(|value| (LIMIT, HeaderValue::from_static(value)))
            .collect();
        ResponseRules {
            request_id: &ID,
            limits,
            now: Timestamp::default(),
            cors,
            websocket_protocol: None,
            reads_websocket_token: false,
            headers: None,
            paths: None,
        }
    }

    fn added(rules: &ResponseRules<'_>, varies: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let upstream = UpstreamFields {
            varies,
            lacks_protocol: false,
        };
        rules.put_added(upstream, |name, value| {
            lines.push(format!("{name}: {}", value.to_str().unwrap()));
        });
        lines
    }

    #[test]
    fn hop_by_hop_fields_of_the_upstream_are_dropped() {
        let rules = rules(&[], None);
        for name in ["Upgrade", "trailer", "Connection", "KEEP-ALIVE", "proxy-connection"] {
            assert!(is_hop_by_hop(name) && !rules.keeps(name, b"a"), "{name}");
        }
        for name in [
            "transfer-encoding",
            "content-length",
            "expires",
            "set-cookie",
            "connectiom",
            "proxy-connectiom",
            "",
        ] {
            assert!(!is_hop_by_hop(name) && rules.keeps(name, b"a"), "{name}");
        }
    }

    #[test]
    fn fields_that_keygate_adds_replace_those_of_the_upstream() {
        let (plain, limited) = (rules(&[], None), rules(&["a"], None));
        assert!(
            !plain.keeps("X-Request-Id", b"a")
                && plain.keeps("x-request-ids", b"a")
                && plain.keeps("x-request-ie", b"a")
        );
        assert!(
            plain.keeps("RateLimit", b"a") && !limited.keeps("RateLimit", b"a") && limited.keeps("ratelimiu", b"a")
        );
        assert_eq!(added(&plain, false), ["x-request-id: id-1"]);
        assert_eq!(added(&limited, false), ["ratelimit: a", "x-request-id: id-1"]);
    }

    #[test]
    fn s143_no_response_names_the_subprotocol_with_a_token() {
        let (reading, plain) = (
            ResponseRules {
                reads_websocket_token: true,
                ..rules(&[], None)
            },
            rules(&[], None),
        );
        for (value, expected) in [
            ("chat", true),
            ("keygate.bearer", true),
            ("bearer.YQ", false),
            ("chat, bearer.YQ", false),
        ] {
            let keeps = |rules: &ResponseRules<'_>| rules.keeps("Sec-WebSocket-Protocol", value.as_bytes());
            assert_eq!((keeps(&reading), keeps(&plain)), (expected, true), "{value}");
        }
        assert!(reading.keeps("x-protocol", b"bearer.YQ"));
    }

    #[test]
    fn on_a_route_with_cors_its_rules_replace_the_fields_of_the_upstream() {
        let (cors, request) = (cors("\"*\""), HeaderMap::new());
        let with_cors = rules(&[], Some((&cors, &request)));
        let plain = rules(&[], None);
        for name in ["Access-Control-Allow-Origin", "access-control-max-age"] {
            assert!(!with_cors.keeps(name, b"a") && plain.keeps(name, b"a"), "{name}");
        }
        assert!(with_cors.keeps("vary", b"a"));
    }

    #[test]
    fn a_response_that_differs_by_origin_varies_by_origin_once() {
        let (listed, any) = (cors("https://a.example"), cors("\"*\""));
        let mut request = HeaderMap::new();
        assert_eq!(
            added(&rules(&[], Some((&listed, &request))), false),
            ["vary: Origin", "x-request-id: id-1"]
        );
        assert_eq!(
            added(&rules(&[], Some((&any, &request))), false),
            ["x-request-id: id-1"]
        );
        request.insert(header::ORIGIN, HeaderValue::from_static("https://a.example"));
        let fields = added(&rules(&[], Some((&listed, &request))), true);
        assert_eq!(fields[0], "access-control-allow-origin: https://a.example");
        assert!(!fields.contains(&"vary: Origin".to_owned()), "{fields:?}");
    }
}
