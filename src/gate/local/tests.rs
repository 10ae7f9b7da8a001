//! Which requests does the gate answer itself, and how?

use super::*;
use crate::config;
use crate::gate::live::LiveState;
use crate::model::clock::Clock;
use crate::model::clock::ManualClock;
use crate::model::clock::Timestamp;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Reasons;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const LOOPBACK: &str = "127.0.0.1";
/// The path of the configuration, for relative paths in it.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/keygate.yaml");

const YAML: &str = "
listeners: [{ address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
store: { path: x.db }
trusted_proxies: [10.0.0.0/8]
api_keys: { pepper: \"01234567890123456789012345678901\" }
token_endpoint: { issuer: https://auth.test/base, limit: { quota: 2/min, burst: 2 } }
resources:
  orders: { url: https://api.test/orders, documentation: https://docs.test/orders }
issuers:
  signs: { issuer: https://signs.test, audiences: any, jwks_url: https://signs.test/jwks }
upstreams: { e: { builtin: echo } }
routes:
  - name: read
    match: { path: /orders, methods: [GET] }
    accept: [jwt]
    issuers: [signs]
    resource: orders
    scopes: { all: [\"orders:read\"] }
    cors: { origins: [https://app.test] }
    upstream: e
  - name: write
    match: { path: /orders, methods: [POST] }
    accept: [api_key]
    cors: { origins: [https://writer.test] }
    upstream: e
  - { name: plain, match: { path: /plain }, accept: [api_key], upstream: e }
";

struct Fixture {
    snapshot: Snapshot,
    clock: ManualClock,
}

fn fixture_of(yaml: &str) -> Fixture {
    let config = config::parse(yaml, Path::new(FILE), &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let clock = ManualClock::at(Timestamp::from_unix_secs(1_700_000_000));
    let reasons = Reasons {
        denials: &[],
        heads: &[],
        connections: &[],
    };
    let metrics = Arc::new(Metrics::new(&reasons, clock.now().wall));
    let live = LiveState::new(metrics, "127.0.0.1:9".parse().unwrap());
    Fixture {
        snapshot: Snapshot::compile(&config, &live).unwrap(),
        clock,
    }
}

fn fixture() -> Fixture {
    fixture_of(YAML)
}

impl Fixture {
    /// Returns the outcome for `request`, a method and a target, at the host `api.test`, and the trace.
    fn stop(&self, peer: &str, request: &str, fields: &[(&str, &str)]) -> (Result<(), Stop>, DecisionTrace) {
        let (method, target) = request.split_once(' ').unwrap();
        let mut parts = http::Request::builder()
            .method(method)
            .uri(target)
            .body(())
            .unwrap()
            .into_parts()
            .0;
        parts.headers.insert("host", HeaderValue::from_static("api.test"));
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            parts.headers.insert(name, value.parse().unwrap());
        }
        let trusted = &self.snapshot.trusted_proxies;
        let inbound = Inbound::new(&parts, peer.parse().unwrap(), trusted, &self.snapshot.accept).unwrap();
        let mut trace = DecisionTrace::default();
        let two = intake::at_most_one(&inbound);
        let stop = stop_if_local(&self.snapshot, &inbound, two, self.clock.now(), &mut trace);
        (stop, trace)
    }

    #[track_caller]
    fn answer(&self, request: &str, fields: &[(&str, &str)]) -> Answer {
        match self.stop(LOOPBACK, request, fields).0 {
            Err(Stop::Answered(_, answer)) => answer,
            _ => panic!("no answer to {request}"),
        }
    }

    /// Checks for `none`, the reason of a denial, the label of an answer, or the path for the control side.
    #[track_caller]
    fn check(&self, peer: &str, request: &str, fields: &[(&str, &str)], expected: &str) {
        let found = match self.stop(peer, request, fields).0 {
            Ok(()) => "none".to_owned(),
            Err(Stop::Denied(denial)) => denial.reason().to_owned(),
            Err(Stop::Answered(label, _)) => label.as_str().to_owned(),
            Err(Stop::Control(call)) => call.uri.to_string(),
            Err(Stop::Needs(_)) => "needs".to_owned(),
        };
        assert_eq!(found, expected, "{peer} {request} {fields:?}");
    }
}

/// Returns the fields of `answer`, in which each name occurs once.
fn fields(answer: &Answer) -> HeaderMap {
    let fields: HeaderMap = answer.headers.iter().cloned().collect();
    assert_eq!(fields.len(), answer.headers.len());
    fields
}

const PREFLIGHT: [(&str, &str); 2] = [("origin", "https://app.test"), ("access-control-request-method", "GET")];

#[test]
fn a_document_is_served_whole_to_get_and_without_body_to_head() {
    let fixture = fixture();
    let get = fixture.answer("GET /oauth/jwks", &[]);
    let head = fixture.answer("HEAD /oauth/jwks", &[]);
    assert_eq!((get.status.as_u16(), &get.body[..]), (200, &br#"{"keys":[]}"#[..]));
    assert!(head.body.is_empty());
    for answer in [get, head] {
        let fields = fields(&answer);
        assert_eq!(fields["content-type"], "application/json");
        assert_eq!(fields["content-length"], "11");
        assert_eq!(fields["cache-control"], "public, max-age=300");
        assert_eq!(fields["access-control-allow-origin"], "*");
        assert!(!answer.close);
    }
    fixture.check(LOOPBACK, "GET /oauth/jwks", &[("host", "other.test")], "document");
    fixture.check(LOOPBACK, "POST /oauth/jwks", &[], "method_not_allowed");
    fixture.check(LOOPBACK, "GET /oauth/jwkss", &[], "none");
    let (_, trace) = fixture.stop(LOOPBACK, "GET /oauth/jwks", &[]);
    let built_in = trace.built_in.unwrap();
    assert_eq!(built_in.name.as_str(), "keygate.jwks");
    assert_eq!(
        format!("{built_in:?}"),
        "BuiltIn { name: Name(\"keygate.jwks\"), host: None, .. }"
    );
}

#[test]
fn s135_keys_are_cached_no_longer_than_they_are_published_before_use() {
    let fixture = fixture_of(&YAML.replace("base,", "base, publish_before: 1m,"));
    let answer = fixture.answer("GET /oauth/jwks", &[]);
    assert_eq!(fields(&answer)["cache-control"], "public, max-age=60");
}

#[test]
fn the_metadata_of_a_resource_is_served_at_its_host() {
    let fixture = fixture();
    let request = "GET /.well-known/oauth-protected-resource/orders";
    let document: Value = serde_json::from_slice(&fixture.answer(request, &[]).body).unwrap();
    assert_eq!(
        document,
        json!({
            "resource": "https://api.test/orders", "authorization_servers": ["https://signs.test"],
            "bearer_methods_supported": ["header"], "scopes_supported": ["orders:read"],
            "resource_documentation": "https://docs.test/orders",
        })
    );
    fixture.check(LOOPBACK, request, &[("host", "other.test")], "none");
}

#[test]
fn a_built_in_path_refuses_two_credentials_and_a_credential_in_the_query() {
    let fixture = fixture();
    let two = [("authorization", "Bearer a"), ("x-api-key", "k")];
    fixture.check(LOOPBACK, "GET /oauth/jwks", &two, "two_credentials");
    fixture.check(LOOPBACK, "GET /plain", &two, "none");
    fixture.check(LOOPBACK, "GET /oauth/jwks?access_token=a", &[], "query_credential");
    fixture.check(LOOPBACK, "POST /oauth/token?access_token=a", &[], "query_credential");
}

#[test]
fn pages_of_every_origin_may_read_documents_and_metadata_but_not_the_token_endpoint() {
    let fixture = fixture();
    for path in ["/oauth/jwks", "/.well-known/openid-configuration"] {
        let request = format!("OPTIONS {path}");
        let answer = fixture.answer(&request, &PREFLIGHT);
        let found = fields(&answer);
        assert_eq!(answer.status.as_u16(), 204, "{path}");
        assert_eq!(found["access-control-allow-origin"], "*");
        assert_eq!(found["access-control-allow-methods"], "GET, HEAD");
        assert!(!found.contains_key("access-control-allow-headers"));
        let with_headers = [&PREFLIGHT[..], &[("access-control-request-headers", "x-a")]].concat();
        let found = fields(&fixture.answer(&request, &with_headers));
        assert_eq!(found["access-control-allow-headers"], "*");
        fixture.check(LOOPBACK, &request, &[], "method_not_allowed");
    }
    for path in ["/oauth/token", "/oauth/introspect", "/oauth/revoke"] {
        fixture.check(LOOPBACK, &format!("OPTIONS {path}"), &PREFLIGHT, "method_not_allowed");
        fixture.check(LOOPBACK, &format!("GET {path}"), &[], "method_not_allowed");
    }
}

#[test]
fn the_control_side_receives_the_path_without_the_prefix_of_its_issuer_and_the_query() {
    let fixture = fixture();
    let check = |request: &str, expected: &str| fixture.check(LOOPBACK, request, &[], expected);
    check(
        "GET /.well-known/openid-configuration",
        "/.well-known/openid-configuration",
    );
    check(
        "HEAD /.well-known/oauth-authorization-server/base?a=b",
        "/.well-known/oauth-authorization-server?a=b",
    );
    check("POST /base/oauth/token?a=b", "/oauth/token?a=b");
    check("POST /base/t/acme/oauth/token", "/t/acme/oauth/token");
    fixture.clock.advance(Duration::from_secs(600));
    check("POST /oauth/introspect", "/oauth/introspect");
    check("POST /t/acme/oauth/token", "/t/acme/oauth/token");
    let document = "/t/acme/.well-known/oauth-authorization-server";
    check("GET /.well-known/oauth-authorization-server/base/t/acme", document);
    check("GET /.well-known/openid-configuration/t/acme", document);
    check("GET /base/t/acme/.well-known/openid-configuration", document);
    check("GET /.well-known/openid-configuration/t/acme/b", "none");
    check("POST /t/oauth/token", "none");
    check("POST /t/a/b/oauth/token", "none");
    check("POST /.well-known/openid-configuration", "method_not_allowed");
}

#[test]
fn the_control_side_knows_configured_paths_by_its_own_names() {
    let paths = "base, paths: { token: /api/token, tenant_token: \"/api/tenants/{organization}/token\" },";
    let fixture = fixture_of(&YAML.replace("base,", paths));
    let check = |request: &str, expected: &str| fixture.check(LOOPBACK, request, &[], expected);
    check("POST /base/api/token?a=b", "/oauth/token?a=b");
    check("POST /base/api/tenants/acme/token", "/t/acme/oauth/token");
    fixture.clock.advance(Duration::from_secs(600));
    check("POST /api/tenants/acme/token", "/t/acme/oauth/token");
    let document = "/t/acme/.well-known/oauth-authorization-server";
    check(
        "GET /.well-known/oauth-authorization-server/base/api/tenants/acme",
        document,
    );
    for none in [
        "/oauth/token",
        "/base/oauth/token",
        "/t/acme/oauth/token",
        "/api/tenants/token",
    ] {
        check(&format!("POST {none}"), "none");
    }
}

#[test]
fn secrets_are_taken_only_over_a_confidential_connection() {
    let fixture = fixture();
    let https = ("x-forwarded-proto", "https");
    fixture.check("192.0.2.1", "POST /oauth/token", &[], "clear_text");
    fixture.check("192.0.2.1", "POST /oauth/token", &[https], "clear_text");
    fixture.check("10.0.0.1", "POST /oauth/token", &[https], "/oauth/token");
    fixture.check(
        "192.0.2.1",
        "GET /.well-known/openid-configuration",
        &[],
        "/.well-known/openid-configuration",
    );
    let open = fixture_of(&YAML.replace("base,", "base, allow_clear_text: true,"));
    open.check("192.0.2.1", "POST /oauth/token", &[], "/oauth/token");

    let fields = [https, ("x-forwarded-for", "192.0.2.9")];
    let (stop, _) = fixture.stop("10.0.0.1", "POST /oauth/token", &fields);
    let Err(Stop::Control(call)) = stop else {
        panic!("no call");
    };
    assert_eq!((call.endpoint, call.confidential), (EndpointKind::Token, true));
    assert_eq!(call.client.known().unwrap().to_string(), "192.0.2.9");
}

#[test]
fn a_long_body_for_the_control_side_is_refused_before_it_is_read() {
    let fixture = fixture();
    for (length, expected) in [("65536", "/oauth/token"), ("65537", "body_too_large")] {
        fixture.check(LOOPBACK, "POST /oauth/token", &[("content-length", length)], expected);
    }
}

#[test]
fn requests_with_secrets_spend_the_limit_of_the_token_endpoint_per_address() {
    let fixture = fixture();
    let metadata = "GET /.well-known/openid-configuration";
    for _ in 0..3 {
        fixture.check(LOOPBACK, metadata, &[], "/.well-known/openid-configuration");
    }
    fixture.check(LOOPBACK, "POST /oauth/token", &[], "/oauth/token");
    fixture.check(LOOPBACK, "POST /oauth/introspect", &[], "/oauth/introspect");
    fixture.check(LOOPBACK, "POST /oauth/revoke", &[], "limit_spent");
    fixture.check("::1", "POST /oauth/revoke", &[], "/oauth/revoke");
    fixture.clock.advance(Duration::from_secs(30));
    fixture.check(LOOPBACK, "POST /oauth/revoke", &[], "/oauth/revoke");
}

#[test]
fn s097_only_a_preflight_on_a_route_with_cors_is_answered() {
    let fixture = fixture();
    let check = |request: &str, fields: &[(&str, &str)], expected: &str| {
        fixture.check(LOOPBACK, request, fields, expected);
    };
    let with = |field: (&'static str, &'static str)| [&PREFLIGHT[..], &[field]].concat();
    check("OPTIONS /orders", &PREFLIGHT, "preflight");
    check("OPTIONS /plain", &PREFLIGHT, "none");
    check("OPTIONS /unknown", &PREFLIGHT, "none");
    check("GET /orders", &PREFLIGHT, "none");
    check("OPTIONS /orders", &PREFLIGHT[..1], "none");
    check("OPTIONS /orders", &PREFLIGHT[1..], "none");
    check("OPTIONS /orders", &with(("authorization", "Bearer a")), "none");
    check("OPTIONS /orders", &with(("x-api-key", "k")), "none");
    let two = [&with(("x-api-key", "k"))[..], &[("authorization", "Bearer a")]].concat();
    check("OPTIONS /orders", &two, "none");
    check("OPTIONS /orders?access_token=a", &PREFLIGHT, "query_credential");
}

#[test]
fn a_preflight_is_answered_by_the_route_of_the_announced_method() {
    let fixture = fixture();
    let preflight = |origin: &'static str, method: &'static str, headers: &'static str| {
        let fields = [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", headers),
        ];
        let (stop, trace) = fixture.stop(LOOPBACK, "OPTIONS /orders", &fields);
        let outcome = match stop {
            Err(Stop::Answered(_, answer)) => answer.status.as_str().to_owned(),
            Err(Stop::Denied(denial)) => denial.reason().to_owned(),
            Err(Stop::Needs(_) | Stop::Control(_)) | Ok(()) => "none".to_owned(),
        };
        (outcome, trace.route.map(|route| route.name.to_string()))
    };
    let of = |outcome: &str, route: &str| (outcome.to_owned(), Some(route.to_owned()));
    assert_eq!(preflight("https://app.test", "GET", ""), of("204", "read"));
    assert_eq!(
        preflight("https://app.test", "HEAD", "Authorization"),
        of("204", "read")
    );
    assert_eq!(preflight("https://app.test", "POST", ""), of("cors_origin", "write"));
    assert_eq!(
        preflight("https://writer.test", "POST", "X-Api-Key, content-type"),
        of("204", "write")
    );
    assert_eq!(
        preflight("https://writer.test", "POST", "authorization"),
        of("cors_header", "write")
    );
    assert_eq!(preflight("https://app.test", "PUT", "").0, "none");
}
