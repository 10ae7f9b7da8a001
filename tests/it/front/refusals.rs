//! How does a client cause each row of the refusal table over a connection?

use crate::front::Gate;
use crate::front::ISSUER;
use crate::front::claims;
use crate::front::closed_port;
use crate::front::get_with;
use crate::front::protected;
use crate::front::request_id;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::api_key;
use crate::support::api_key_entry;
use crate::support::lane::Lane;
use keygate::jose::sign::SigningKey;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::ApiKeyText;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc;

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// Rows that no request over HTTP/1.1 can cause here, and why. `tests/data/refusal-rows.txt` holds their texts.
pub const NOT_OVER_THE_WIRE: [(&str, &str); 40] = [
    (
        "no_resources",
        "it takes a machine without descriptors; caused in memory",
    ),
    (
        "endpoints_busy",
        "it takes an upstream with another request; caused in `upstreams`",
    ),
    ("token_unknown", "it takes a store; caused in `issuing`"),
    ("client_unknown", "it takes a store; caused in `issuing`"),
    ("token_revoked", "it takes a store; caused in `issuing`"),
    ("client_tokens_revoked", "it takes a store; caused in `issuing`"),
    ("api_key_disabled", "it takes a store; caused in `issuing`"),
    ("subscription_pending", "it takes a store; caused in `issuing`"),
    (
        "subscription_provisioning_failed",
        "it takes a store; caused in `issuing`",
    ),
    ("subscription_cancelled", "it takes a store; caused in `issuing`"),
    ("payment_due", "it takes a store; caused in `issuing`"),
    ("plan_not_released", "it takes a store; caused in `issuing`"),
    ("sandbox_only", "it takes a store; caused in `issuing`"),
    ("plan_gone", "it takes a store; caused in `issuing`"),
    ("credential_not_in_plan", "it takes a store; caused in `issuing`"),
    ("subscription_required", "it takes a store; caused in `issuing`"),
    (
        "subscription_unknown",
        "a key of the store always has its subscription there; see `in_force`",
    ),
    (
        "clear_text",
        "it takes a client that is not on loopback; caused in `issuing`",
    ),
    (
        "control_unavailable",
        "it takes a control side that is gone; caused in `issuing`",
    ),
    (
        "framing",
        "what it refuses, the check of the head has refused before; it is for callers without that check",
    ),
    ("path_no_leading_slash", "the head is refused for its target before"),
    ("path_fragment", "the head is refused for its target before"),
    (
        "query_byte",
        "the head is refused for its target before; it is for callers without that check",
    ),
    (
        "token_issuer",
        "a token finds its issuer by exactly what is compared again here",
    ),
    (
        "token_too_long",
        "`head_bytes` would have to be over 64 KiB for it; see `s022`",
    ),
    (
        "connect_timeout",
        "loopback connects or refuses; it takes a network that swallows packets",
    ),
    ("misdirected", "it takes a TLS listener; caused in `tls`"),
    (
        "peer_not_allowed",
        "the connection is closed without an answer; caused in `addresses`",
    ),
    ("plain_http", "it takes a TLS listener; caused in `tls`"),
    (
        "client_certificate_missing",
        "it takes a TLS listener with client certificates; caused in `tls`",
    ),
    (
        "client_certificate_not_allowed",
        "it takes a TLS listener with client certificates; caused in `tls`",
    ),
    (
        "client_gone",
        "there is nobody to read it; the record is tested in `bounds`",
    ),
    (
        "identity_token_unsigned",
        "it takes a cryptographic library that cannot sign; see `answers`",
    ),
    (
        "no_upstream_credential",
        "it takes an upstream with an OAuth client; caused in `upstream_credential`",
    ),
    ("internal_error", "it takes a mistake of ours"),
    ("token_inactive", "it takes an issuer that is asked; caused in `opaque`"),
    (
        "token_not_bearer",
        "it takes an issuer that is asked; caused in `opaque`",
    ),
    (
        "introspection_unavailable",
        "it takes an issuer that is asked; caused in `opaque`",
    ),
    (
        "introspection_suspended",
        "it takes an issuer that is asked; caused in `opaque`",
    ),
    (
        "introspection_busy",
        "it takes an issuer that is asked; caused in `opaque`",
    ),
];

/// Returns why a row is not caused on a lane.
pub fn leaves_out(lane: Lane, reason: &str) -> Option<&'static str> {
    let of_http1_heads = [
        "line_ending",
        "request_line",
        "target",
        "target_control_byte",
        "target_fragment",
        "target_invalid_utf8",
        "target_host",
        "header_name",
        "header_folded",
        "header_value",
        "host_missing",
        "host_repeated",
        "host_invalid",
        "host_mismatch",
        "content_length",
        "content_length_repeated",
        "transfer_encoding",
        "transfer_encoding_repeated",
        "transfer_encoding_http10",
        "length_and_encoding",
        "upgrade",
        "upgrade_http10",
        "http_version",
        "expectation",
        "head_too_long",
        "head_timeout",
    ];
    match (lane, reason) {
        (Lane::FilterHttp2, reason) if of_http1_heads.contains(&reason) => {
            Some("frames carry no such head; what they carry is tested in `http2`")
        }
        (Lane::FilterHttp2, "refused_by_parser") => Some("it takes chunks"),
        (Lane::FilterHttp2, "websocket_token_malformed" | "websocket_token_alone") => Some("HTTP/2 has no `Upgrade`"),
        (Lane::FilterHttp2, "connection_nomination") => Some("`Connection` cannot be sent over HTTP/2"),
        (Lane::FilterHttp2 | Lane::FilterHttp1, "pipelined") => {
            Some("pingora closes the connection before the client has read the answer")
        }
        (Lane::OwnTls | Lane::FilterHttp2, "too_many_connections") => {
            Some("it would be answered before the handshake, so the connection is closed")
        }
        _ => None,
    }
}

/// A request that causes one row, with its response and its access record.
pub struct RefusalCase {
    pub reason: &'static str,
    pub request: Vec<u8>,
    pub response: Response,
    pub record: Value,
}

/// The gates that together cause every row except [`NOT_OVER_THE_WIRE`].
pub struct Gates {
    /// Causes nearly all rows.
    pub main: Gate<Binary>,
    /// Causes rows that need settings that would disturb the other rows: few connections, few failures, no keys.
    pub odd: Gate<Binary>,
    /// Releases the responses that the upstream of `main` holds back.
    release: mpsc::Sender<()>,
    /// API keys that are refused, by their defect: `wrong_secret`, `revoked`, `expired`, `elsewhere`.
    pub keys: BTreeMap<&'static str, String>,
    second: SigningKey,
    /// The page that sends the requests.
    page: Option<&'static str>,
}

/// Returns one rule for each of four methods; no principal satisfies any of them.
fn one_rule_a_method() -> String {
    let rule = |method, condition| format!("  - {{ methods: [{method}], {condition} }}\n");
    let rules = [
        rule("GET", "clients: [nobody]"),
        rule("PUT", "subjects: [nobody]"),
        rule("POST", "organizations: [nobody]"),
        rule("DELETE", "claims: { \"/department\": nothing }"),
    ];
    format!("rules:\n{}", rules.concat())
}

impl Gates {
    pub fn start() -> Self {
        Self::start_for(None)
    }

    /// Starts gates whose routes can be called by `page`, which then sends the requests.
    pub fn start_for(page: Option<&'static str>) -> Self {
        let second = SigningKey::generate_es256().unwrap();
        let (known, wrong_secret) = two_of_one_id();
        let mut entries = api_key_entry(&known, "scopes: []");
        let mut keys = BTreeMap::from([("wrong_secret", wrong_secret.expose().to_owned())]);
        for (name, more) in [
            ("revoked", "revoked_at: 2026-01-01T00:00:01Z"),
            ("expired", "expires_at: 2026-01-01T00:00:01Z"),
            ("elsewhere", "addresses: [10.0.0.0/8]"),
        ] {
            let (key, entry) = api_key(more);
            entries.push_str(&entry);
            keys.insert(name, key.expose().to_owned());
        }
        let (release, held) = mpsc::channel();
        let upstream = FakeUpstream::start();
        let held = Mutex::new(held);
        upstream.respond_with(move |request| {
            if request.target().starts_with("/broken") {
                return b"nonsense\r\n\r\n".to_vec();
            }
            let _ = held.lock().unwrap().recv_timeout(PATIENCE);
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
        });
        let address = upstream.address();
        let jwks = json!({ "keys": [SigningKey::generate_es256().unwrap().public_jwk()] }).to_string();
        let issuer = |name: &str, more: &str| format!("issuer: https://{name}.test\naudiences: [api]\n{more}");
        let open = |name: &str, upstream: &str| {
            format!("match: {{ path: \"/{name}/{{*rest}}\" }}\npublic: true\nupstream: {upstream}")
        };
        let main = Gate::start_files(
            upstream,
            &[("second.pem", &second.public_pem()), ("jwks.json", &jwks)],
            &entries,
            |gate| {
                gate.pages(page).top(
                    "requests: { head_timeout: 500ms, body_read_timeout: 500ms, head_count: 20, body_bytes: 1000 }",
                )
                .issuer(
                    "strict",
                    &issuer(
                        "strict",
                        "public_key_files: [issuer.pem]\nrequired_claims: { environment: [production] }",
                    ),
                )
                .issuer("two", &issuer("two", "public_key_files: [issuer.pem, second.pem]"))
                .issuer("jwks", &issuer("jwks", "jwks_file: jwks.json\ntoken_header: x-jwks-token"))
                .limit("once", "by: route\nquota: 1/hour\nburst: 1")
                .upstream_with("impatient", &format!("endpoints: [\"{address}\"]\nread_timeout: 500ms"))
                .upstream_with(
                    "closed",
                    &format!("endpoints: [\"{}\"]\nconnect_attempts: 1", closed_port()),
                )
                .upstream_with("nameless", "endpoints: [\"nobody.invalid:80\"]")
                .route(
                    "ruled",
                    &format!(
                        "{}\nwebsocket_token: true\n{}",
                        protected("ruled", "[jwt, api_key]"),
                        one_rule_a_method()
                    ),
                )
                .route("broken", &open("broken", "up"))
                .route("slow", &open("slow", "impatient"))
                .route("closed", &open("closed", "closed"))
                .route("nameless", &open("nameless", "nameless"))
                .route("limited", &format!("{}\nlimits: [once]", open("limited", "closed")))
                .route(
                    "gets",
                    "match: { path: \"/gets\", methods: [GET, PUT] }\npublic: true\nupstream: up",
                )
                .route(
                    "cors",
                    "match: { path: /cors }\npublic: true\nupstream: up\ncors: { origins: [https://app.test], methods: [GET] }",
                )
                .route(
                    "inside",
                    "match: { path: /inside }\npublic: true\naddresses: { allow: [10.0.0.0/8] }\nupstream: up",
                )
                .route(
                    "matched",
                    "match: { path: \"/matched/{*rest}\", headers: { x-version: \"2\" }, query: { v: { present: true } } }\n\
                     public: true\nupstream: up",
                )
                .route(
                    "near",
                    "match: { host: near.test, path: \"/{*rest}\" }\npublic: true\nupstream: up",
                )
                .route(
                    "admin",
                    "match: { host: near.test, path: /admin }\naccept: [jwt]\nupstream: up",
                )
            },
        );
        let odd = Gate::start_files(FakeUpstream::start(), &[], "", |gate| {
            let away = format!(
                "jwks_url: http://{}/jwks\nallow_http: true\nallow_private_addresses: true",
                closed_port()
            );
            GatewayBuilder::new()
                .pages(page)
                .top("requests: { connections: 2 }")
                .top("failed_authentication: { quota: 1/hour, burst: 1 }")
                .issuer("main", &format!("issuer: {ISSUER}\naudiences: [api]\n{away}"))
                .upstream_with(
                    "up",
                    gate.yaml().split("  up:\n    ").nth(1).unwrap().lines().next().unwrap(),
                )
                .route("jwt", &protected("jwt", "[jwt]"))
        });
        Self {
            main,
            odd,
            release,
            keys,
            second,
            page,
        }
    }

    /// Causes every row once, except [`NOT_OVER_THE_WIRE`] and those that this lane [leaves out](leaves_out).
    pub fn cause_all(&self) -> Vec<RefusalCase> {
        let mut all = Vec::new();
        let lane = Lane::current();
        let is_here = |reason: &str| leaves_out(lane, reason).is_none();
        let requests = self.heads().into_iter().chain(self.requests());
        for (reason, request) in requests.filter(|(reason, _)| is_here(reason)) {
            all.push(self.cause(&self.main, &mut self.main.connect(), reason, request));
        }
        for (reason, token) in self.tokens() {
            let request = get_with("/both/a", &format!("Authorization: Bearer {token}\r\n"));
            all.push(self.cause(&self.main, &mut self.main.connect(), reason, request.into_bytes()));
        }
        for (reason, key) in self.api_keys() {
            let request = get_with("/both/a", &format!("x-api-key: {key}\r\n"));
            all.push(self.cause(&self.main, &mut self.main.connect(), reason, request.into_bytes()));
        }
        self.main.exchange(get_with("/limited/a", ""));
        let request = get_with("/limited/a", "").into_bytes();
        all.push(self.cause(&self.main, &mut self.main.connect(), "limit_spent", request));

        if is_here("pipelined") {
            let mut client = self.main.connect();
            let arrived = self.main.upstream.received().len();
            let origin = self.page.map(|page| format!("Origin: {page}\r\n"));
            client.send(get_with("/open/a", &origin.unwrap_or_default()));
            self.main.upstream.wait_received(arrived + 1);
            let request = get_with("/open/second", "").into_bytes();
            all.push(self.cause(&self.main, &mut client, "pipelined", request));
        }
        let _ = self.release.send(());
        all.extend(self.cause_odd());
        all
    }

    fn cause_odd(&self) -> Vec<RefusalCase> {
        let token = self.odd.token_with(json!({}));
        let good = get_with("/jwt/a", &format!("Authorization: Bearer {token}\r\n")).into_bytes();
        let bad = get_with("/jwt/a", "Authorization: Bearer a.b.c\r\n").into_bytes();
        let mut client = self.odd.connect();
        let unavailable = self.cause(&self.odd, &mut client, "keys_unavailable", good);
        client.exchange(&bad);
        let failures = self.cause(&self.odd, &mut client, "too_many_failures", bad);
        let mut all = vec![unavailable, failures];
        if leaves_out(Lane::current(), "too_many_connections").is_none() {
            let mut other = self.odd.connect();
            other.exchange(get_with("/nowhere", ""));
            all.push(self.cause(&self.odd, &mut self.odd.connect(), "too_many_connections", Vec::new()));
        }
        all
    }

    #[track_caller]
    fn cause(
        &self,
        gate: &Gate<Binary>,
        client: &mut RawClient,
        reason: &'static str,
        mut request: Vec<u8>,
    ) -> RefusalCase {
        if let Some(page) = self.page
            && let Some(end) = request.windows(2).position(|bytes| bytes == b"\r\n")
            && !request.windows(8).any(|bytes| bytes == b"Origin: ")
        {
            request.splice(end..end, format!("\r\nOrigin: {page}").into_bytes());
        }
        let response = client.send(&request).try_receive();
        let response = response.unwrap_or_else(|error| panic!("{reason}: {error}"));
        let record = gate.record(request_id(&response));
        assert_eq!(record["reason"], reason, "{record}\n{}", request.escape_ascii());
        RefusalCase {
            reason,
            request,
            response,
            record,
        }
    }

    pub fn heads(&self) -> Vec<(&'static str, Vec<u8>)> {
        let post = |fields: &str| format!("POST /open/a HTTP/1.1\r\nHost: gate.test\r\n{fields}\r\n");
        let texts = [
            ("line_ending", "GET /open/a HTTP/1.1\nHost: gate.test\n\n".to_owned()),
            (
                "request_line",
                "GET  /open/a HTTP/1.1\r\nHost: gate.test\r\n\r\n".to_owned(),
            ),
            ("target", get_with("open/a", "")),
            ("target_control_byte", get_with("/open/\x01", "")),
            ("target_fragment", get_with("/open/a#b", "")),
            ("target_host", get_with("http://user@gate.test/open/a", "")),
            ("header_name", get_with("/open/a", "X : 1\r\n")),
            ("header_folded", get_with("/open/a", "X: 1\r\n 2\r\n")),
            ("header_value", get_with("/open/a", "X: \x01\r\n")),
            ("host_missing", "GET /open/a HTTP/1.1\r\n\r\n".to_owned()),
            ("host_repeated", get_with("/open/a", "Host: gate.test\r\n")),
            (
                "host_invalid",
                get_with("/open/a", "").replace("gate.test", "gate test"),
            ),
            ("host_mismatch", get_with("http://other.test/open/a", "")),
            ("content_length", post("Content-Length: +1\r\n")),
            ("content_length_repeated", post(&"Content-Length: 1\r\n".repeat(2))),
            ("transfer_encoding", post("Transfer-Encoding: gzip, chunked\r\n")),
            (
                "transfer_encoding_repeated",
                post(&"Transfer-Encoding: chunked\r\n".repeat(2)),
            ),
            (
                "transfer_encoding_http10",
                post("Transfer-Encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0"),
            ),
            (
                "length_and_encoding",
                post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            ),
            (
                "upgrade",
                post("Content-Length: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"),
            ),
            (
                "upgrade_http10",
                get_with("/open/a", "Connection: Upgrade\r\nUpgrade: websocket\r\n").replace("HTTP/1.1", "HTTP/1.0"),
            ),
            ("http_version", get_with("/open/a", "").replace("HTTP/1.1", "HTTP/2.0")),
            ("expectation", post("Expect: more\r\n")),
            (
                "head_too_long",
                get_with("/open/a", &format!("X: {}\r\n", "a".repeat(32 << 10))),
            ),
            ("header_count", get_with("/open/a", &"X: 1\r\n".repeat(20))),
            (
                "target_too_long",
                get_with(&format!("/open/{}", "a".repeat(8 << 10)), ""),
            ),
            ("head_timeout", "GET /open/a HTTP/1.1\r\n".to_owned()),
        ];
        texts
            .into_iter()
            .map(|(reason, text)| (reason, text.into_bytes()))
            .chain([(
                "target_invalid_utf8",
                b"GET /open/\xE9 HTTP/1.1\r\nHost: gate.test\r\n\r\n".to_vec(),
            )])
            .collect()
    }

    fn requests(&self) -> Vec<(&'static str, Vec<u8>)> {
        let (token, key) = (&self.main.token, &self.main.key);
        let post = |fields: &str| format!("POST /open/a HTTP/1.1\r\nHost: gate.test\r\n{fields}\r\n");
        let preflight = |origin: &str, method: &str, more: &str| {
            let fields = format!("Origin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n{more}");
            get_with("/cors", &fields).replacen("GET", "OPTIONS", 1)
        };
        let chunked = get_with("/open/a", "Transfer-Encoding: chunked\r\n").replacen("GET", "POST", 1);
        let broken_chunks = format!("{chunked}zz\r\nabc\r\n0\r\n\r\n");
        let odd_bytes = "Authorization: Bearer x y\r\n";
        let ruled = |method| get_with("/ruled/a", &format!("x-api-key: {key}\r\n")).replacen("GET", method, 1);
        let texts = [
            ("refused_by_parser", broken_chunks),
            ("path_invalid_escape", get_with("/open/%zz", "")),
            ("path_control_byte", get_with("/open/%00", "")),
            ("path_non_ascii", get_with("/open/\u{e9}", "")),
            ("path_backslash", get_with("/open/%5c", "")),
            ("path_invalid_utf8", get_with("/open/%ff", "")),
            ("path_dot_segment", get_with("/open/../a", "")),
            ("path_double_encoding", get_with("/open/%252e", "")),
            ("path_encoded_slash", get_with("/open/%2f", "")),
            ("path_empty_segment", get_with("/open//a", "")),
            ("header_alias", get_with("/open/a", "X_Api_Key: 1\r\n")),
            (
                "connection_nomination",
                get_with("/open/a", "Connection: x-keygate-subject\r\n"),
            ),
            ("method_refused", get_with("/open/a", "").replacen("GET", "TRACE", 1)),
            ("method_unknown", get_with("/open/a", "").replacen("GET", "get", 1)),
            ("method_not_allowed", get_with("/gets", "").replacen("GET", "POST", 1)),
            ("no_route", get_with("/nowhere", "")),
            (
                "path_near_miss",
                get_with("/ADMIN", "").replace("gate.test", "near.test"),
            ),
            ("conditions_unmet", get_with("/matched/a", "x-version: 1\r\n")),
            (
                "matched_header_repeated",
                get_with("/matched/a", &"x-version: 2\r\n".repeat(2)),
            ),
            ("matched_parameter_repeated", get_with("/matched/a?v=1&v=1", "")),
            ("matched_parameter_encoding", get_with("/matched/a?v=%zz", "")),
            ("matched_parameter_separator", get_with("/matched/a?v=1;w=2", "")),
            (
                "address_not_allowed",
                get_with("/inside", "X-Forwarded-For: 10.0.0.1\r\n"),
            ),
            ("cors_origin", preflight("https://evil.test", "GET", "")),
            ("cors_method", preflight("https://app.test", "PUT", "")),
            (
                "cors_header",
                preflight("https://app.test", "GET", "Access-Control-Request-Headers: cookie\r\n"),
            ),
            ("body_too_large", post("Content-Length: 1001\r\n")),
            ("body_timeout", post("Content-Length: 10\r\n")),
            ("credential_missing", get_with("/both/a", "")),
            (
                "two_credentials",
                get_with(
                    "/both/a",
                    &format!("Authorization: Bearer {token}\r\nx-api-key: {key}\r\n"),
                ),
            ),
            (
                "authorization_repeated",
                get_with("/both/a", &format!("Authorization: Bearer {token}\r\n").repeat(2)),
            ),
            (
                "api_key_repeated",
                get_with("/both/a", &format!("x-api-key: {key}\r\n").repeat(2)),
            ),
            ("authorization_malformed", get_with("/both/a", odd_bytes)),
            ("api_key_header_malformed", get_with("/both/a", "x-api-key:\r\n")),
            (
                "credential_too_long",
                get_with("/both/a", &format!("x-api-key: {}\r\n", "a".repeat(9000))),
            ),
            ("query_credential", get_with(&format!("/both/a?api_key={key}"), "")),
            (
                "credentials_in_two_places",
                get_with("/ruled/a", "x-jwks-token: a\r\nx-api-key: b\r\n"),
            ),
            ("token_header_malformed", get_with("/ruled/a", "x-jwks-token: a b\r\n")),
            (
                "token_header_repeated",
                get_with("/ruled/a", &"x-jwks-token: a\r\n".repeat(2)),
            ),
            (
                "websocket_token_malformed",
                get_with(
                    "/ruled/a",
                    &format!("{UPGRADE}Sec-WebSocket-Protocol: keygate.bearer, bearer.!\r\n"),
                ),
            ),
            (
                "websocket_token_alone",
                get_with("/ruled/a", &format!("{UPGRADE}Sec-WebSocket-Protocol: bearer.YQ\r\n")),
            ),
            (
                "websocket_token_without_upgrade",
                get_with("/ruled/a", "Sec-WebSocket-Protocol: keygate.bearer, bearer.YQ\r\n"),
            ),
            (
                "authorization_scheme",
                get_with("/both/a", "Authorization: Basic dTpw\r\n"),
            ),
            ("credential_type", get_with("/jwt/a", &format!("x-api-key: {key}\r\n"))),
            (
                "insufficient_scope",
                get_with("/scoped/a", &format!("x-api-key: {key}\r\n")),
            ),
            ("client_not_allowed", ruled("GET")),
            ("subject_not_allowed", ruled("PUT")),
            ("organization_not_allowed", ruled("POST")),
            ("claim_not_allowed", ruled("DELETE")),
            ("no_endpoint", get_with("/nameless/a", "")),
            ("connect_failed", get_with("/closed/a", "")),
            ("upstream_timeout", get_with("/slow/a", "")),
            ("upstream_failed", get_with("/broken/a", "")),
        ];
        texts
            .into_iter()
            .map(|(reason, text)| (reason, text.into_bytes()))
            .collect()
    }

    fn tokens(&self) -> Vec<(&'static str, String)> {
        let signer = &self.main.signer;
        let token = |changes: Value| signer.sign("at+jwt", &claims(changes)).unwrap();
        let headed = |header: Value| {
            signer
                .sign_text(&header.to_string(), &claims(json!({})).to_string())
                .unwrap()
        };
        let now = claims(json!({}))["iat"].as_u64().unwrap();
        let kid = signer.kid();
        let strict = json!({ "iss": "https://strict.test", "environment": "test" });
        let two = claims(json!({ "iss": "https://two.test" })).to_string();
        vec![
            ("token_malformed", "a.b.c".to_owned()),
            ("token_encrypted", "a.b.c.d.e".to_owned()),
            (
                "token_critical_header",
                headed(json!({ "alg": "ES256", "kid": kid, "crit": ["exp"] })),
            ),
            ("token_algorithm", headed(json!({ "alg": "HS256", "kid": kid }))),
            ("token_type", signer.sign("dpop+jwt", &claims(json!({}))).unwrap()),
            ("unknown_issuer", token(json!({ "iss": "https://evil.test" }))),
            ("wrong_audience", token(json!({ "aud": "other" }))),
            (
                "unknown_key",
                self.second
                    .sign("at+jwt", &claims(json!({ "iss": "https://jwks.test" })))
                    .unwrap(),
            ),
            ("key_mismatch", headed(json!({ "alg": "RS256", "kid": kid }))),
            ("ambiguous_key", signer.sign_text(r#"{"alg":"ES256"}"#, &two).unwrap()),
            (
                "bad_signature",
                format!("{}AAAA", &self.main.token[..self.main.token.len() - 4]),
            ),
            ("token_not_yet_valid", token(json!({ "nbf": now + 3600 }))),
            (
                "token_issued_in_future",
                token(json!({ "iat": now + 3600, "exp": now + 7200 })),
            ),
            ("token_lifetime", token(json!({ "exp": now + 25 * 3600 }))),
            (
                "not_an_access_token",
                signer.sign("JWT", &claims(json!({ "nonce": "n" }))).unwrap(),
            ),
            ("token_claim_missing", token(json!({ "exp": null }))),
            ("token_claim_invalid", token(json!({ "exp": "soon" }))),
            ("token_required_claim", token(strict)),
            ("token_expired", token(json!({ "iat": now - 7200, "exp": now - 3600 }))),
        ]
    }

    fn api_keys(&self) -> Vec<(&'static str, String)> {
        let (unknown, _) = api_key("");
        let known = &self.main.key;
        let other = if known.ends_with('0') { '1' } else { '0' };
        let typo = format!("{}{other}", &known[..known.len() - 1]);
        let key = |name: &str| self.keys[name].clone();
        vec![
            ("api_key_malformed", known[..40].to_owned()),
            ("api_key_checksum", typo),
            ("api_key_unknown", unknown.expose().to_owned()),
            ("api_key_wrong_secret", key("wrong_secret")),
            ("api_key_revoked", key("revoked")),
            ("api_key_expired", key("expired")),
            ("api_key_wrong_address", key("elsewhere")),
        ]
    }
}

/// Returns two keys with the same id and different secrets.
fn two_of_one_id() -> (ApiKeyText, ApiKeyText) {
    let make = |secret: u8| {
        let mut drawn = 0;
        let mut random = |bytes: &mut [u8]| {
            // The id is drawn first, a byte at a time.
            bytes.fill(if drawn < 16 { 1 } else { secret });
            drawn += bytes.len();
        };
        ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut random)
    };
    let (one, other) = (make(2), make(3));
    assert!(one.id() == other.id() && one.expose() != other.expose());
    (one, other)
}
