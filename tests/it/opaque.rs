//! Opaque tokens: how does the gate respond to each introspection response, to a late one and to none?
//! The last tests use a real authorization server.

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::Provider;
use crate::support::RawClient;
use crate::support::ReceivedRequest;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::StartGate;
use crate::support::TestIssuer;
use crate::support::issuer;
use crate::support::issuer::base64url;
use crate::support::provider::GATEWAY_ID;
use crate::support::provider::GATEWAY_WITH_KEY;
use crate::support::wait_until;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keygate::jose::sign::SigningKey;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

const ASKED: &str = "https://asked.example.test";
const TOP: &str = "failed_authentication: off\nlog: { level: debug }";
const ROUTE: &str = "match: { path: \"/{*rest}\" }\naccept: [jwt]\nupstream: api";

/// An introspection endpoint under the test's control.
struct Endpoint {
    server: FakeUpstream,
    /// Locked by the test while the endpoint hangs.
    gate: Arc<Mutex<()>>,
}

impl Endpoint {
    /// Starts an endpoint that reports every token as active, with subject `alice`.
    fn start() -> Self {
        let endpoint = Self {
            server: FakeUpstream::start(),
            gate: Arc::default(),
        };
        endpoint.respond_active(json!({}));
        endpoint
    }

    /// Reports every token as active from now on, with `changes` in the response; `null` removes a member.
    fn respond_active(&self, changes: Value) {
        self.respond_active_by_token(move |_| changes.clone());
    }

    /// Reports every token as active from now on, with `changes` that depend on the token.
    fn respond_active_by_token(&self, changes: impl Fn(&str) -> Value + Send + Sync + 'static) {
        self.respond_with(move |request| ok(&active(changes(&token_of(request))).to_string()));
    }

    /// Responds from now on with the bytes that `response` returns.
    fn respond_with(&self, response: impl Fn(&ReceivedRequest) -> Vec<u8> + Send + Sync + 'static) {
        let gate = Arc::clone(&self.gate);
        self.server.respond_with(move |request| {
            drop(gate.lock());
            response(request)
        });
    }

    /// Delays every response until the returned guard is dropped.
    fn hang(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap()
    }

    fn calls(&self) -> usize {
        self.server.received().len()
    }

    /// Returns the issuer's section; `more` is the rest of `introspection`.
    fn yaml(&self, more: &str) -> String {
        format!(
            "issuer: {ASKED}\naudiences: [api]\nclock_skew: 0s\nintrospection:\n  url: http://{}/introspect\n  allow_http: true\n  allow_private_addresses: true\n  client_id: kg\n  client_secret: s3cret\n  {more}",
            self.server.address()
        )
    }
}

fn active(changes: Value) -> Value {
    let mut response = json!({
        "active": true, "sub": "alice", "client_id": "app-1", "scope": "orders:read", "aud": "api",
        "jti": "t-1", "exp": issuer::now() + 600,
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(response.as_object_mut().unwrap().remove(name)),
            value => response[name] = value.clone(),
        }
    }
    response
}

fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn token_of(request: &ReceivedRequest) -> String {
    let form = url::form_urlencoded::parse(&request.body);
    let token = form.into_iter().find(|(name, _)| name == "token");
    token.expect("a token is sent").1.into_owned()
}

/// Starts a gate in front of one upstream; `endpoint` is its only issuer.
fn gate(endpoint: &Endpoint, more: &str) -> (LocalGate, FakeUpstream) {
    gate_with(|gateway| gateway.issuer("asked", &endpoint.yaml(more)).route("api", ROUTE))
}

fn gate_with(build: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> (LocalGate, FakeUpstream) {
    start_with(build)
}

/// Starts the program with the configuration of [`gate`], for tests that read its log.
fn program(endpoint: &Endpoint, more: &str) -> (Binary, FakeUpstream) {
    start_with(|gateway| gateway.issuer("asked", &endpoint.yaml(more)).route("api", ROUTE))
}

fn start_with<G: StartGate>(build: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> (G, FakeUpstream) {
    let upstream = FakeUpstream::start();
    let gateway = GatewayBuilder::new().top(TOP).upstream("api", upstream.address());
    let gate = G::start_with(&build(gateway).yaml(), &[]);
    (gate, upstream)
}

fn request(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
}

fn ask(address: SocketAddr, token: &str) -> Response {
    RawClient::connect(address).exchange(request("/orders", token))
}

/// Sends a request with `token`; checks the status, the reason in the access record, and the header fields of a 503.
#[track_caller]
fn check(gate: &RunningGate, token: &str, status: u16, reason: &str) {
    let response = ask(gate.data(), token);
    assert_eq!(
        response.status,
        status,
        "{}\n{}",
        response.text(),
        gate.record(&response)
    );
    let record = gate.record(&response);
    assert_eq!(record["reason"], reason, "{record}");
    if status == 503 {
        assert!(response.header("retry-after").is_some(), "{response:?}");
        assert!(response.header("www-authenticate").is_none(), "{response:?}");
    }
}

#[track_caller]
fn allowed(gate: &RunningGate, token: &str) {
    let response = ask(gate.data(), token);
    assert_eq!(response.status, 200, "{}\n{}", response.text(), gate.record(&response));
}

#[test]
fn an_active_token_passes_as_whose_its_issuer_says_and_is_remembered() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = program(&endpoint, "");
    for _ in 0..3 {
        allowed(&gate, "opaque-1");
    }
    let seen = upstream.received();
    let of = |name: &str| seen[0].headers_named(name).join("|");
    assert_eq!(of("x-keygate-credential-type"), "opaque");
    assert_eq!(of("x-keygate-subject"), "alice");
    assert_eq!(of("x-keygate-client-id"), "app-1");
    assert_eq!(of("x-keygate-scope"), "orders:read");
    assert_eq!(of("x-keygate-credential-id"), "t-1");
    assert_eq!(of("x-keygate-issuer"), "asked");
    assert_eq!(of("authorization"), "");
    let call = endpoint.server.only_received();
    assert_eq!(call.line, "POST /introspect HTTP/1.1");
    assert_eq!(
        call.headers_named("content-type"),
        ["application/x-www-form-urlencoded"]
    );
    assert_eq!(call.headers_named("accept"), ["application/json"]);
    let basic = format!("Basic {}", STANDARD.encode("kg:s3cret"));
    assert_eq!(call.headers_named("authorization"), [basic.as_str()]);
    let record = gate.wait_access_records(3).remove(0);
    assert_eq!(record["credential_type"], "opaque");
    assert_eq!(record["subject"], "alice");
    let issuer = "issuer=\"asked\"";
    let metric = |name: &str, more: &str| gate.metric(&format!("keygate_introspection_{name}{{{issuer}{more}}}"));
    assert_eq!(metric("calls_total", ",result=\"active\""), 1.0);
    assert_eq!(metric("cache_total", ",result=\"hit\""), 2.0);
    assert_eq!(metric("cache_total", ",result=\"miss\""), 1.0);
    assert_eq!(metric("duration_seconds_count", ""), 1.0);
    assert_eq!(metric("cache_entries", ",kind=\"active\""), 1.0);
    let decisions = "credential_type=\"opaque\",outcome=\"allow\",reason=\"none\",route=\"api\"";
    assert_eq!(gate.metric(&format!("keygate_decisions_total{{{decisions}}}")), 3.0);
    // A metric with the value 0 would report that this issuer lost its keys; it never had keys.
    assert!(
        !crate::support::get(gate.admin(), "/metrics")
            .text()
            .contains("keygate_issuer_keys{issuer=\"asked\"}")
    );
    assert_eq!(crate::support::get(gate.admin(), "/readyz").status, 200);
    assert!(!gate.output().contains("opaque-1"), "the token is written nowhere");
}

#[test]
fn s056_what_is_no_introspection_response_is_503_and_never_passes() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "breaker: { failures: 1000 }");
    let bodies = [
        "",
        "{}",
        "{\"active\":\"true\"}",
        "{\"active\":1}",
        "{\"active\":null}",
        "[true]",
        "true",
        "<!doctype html><title>ok</title>",
        "{\"active\":true,\"active\":true}",
        "{\"active\":true",
    ];
    for (index, body) in bodies.into_iter().enumerate() {
        endpoint.respond_with(move |_| ok(body));
        check(&gate, &format!("odd-{index}"), 503, "introspection_unavailable");
    }
    for (index, head) in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 201 Created\r\nContent-Length: 15\r\n\r\n{\"active\":true}",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 15\r\n\r\n{\"active\":true}",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"active\":true}",
        "nonsense\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        endpoint.server.close_after_responses(true);
        endpoint.respond_with(move |_| head.as_bytes().to_vec());
        check(&gate, &format!("head-{index}"), 503, "introspection_unavailable");
    }
    endpoint.server.close_after_responses(false);
    let long = active(json!({ "padding": "x".repeat(64 * 1024) })).to_string();
    endpoint.respond_with(move |_| ok(&long));
    check(&gate, "long", 503, "introspection_unavailable");
    assert!(upstream.received().is_empty());
    // The cache holds none of these failures.
    endpoint.respond_active(json!({}));
    allowed(&gate, "odd-1");
    allowed(&gate, "long");
    endpoint.respond_with(|_| ok("{\"active\":false,\"sub\":\"alice\"}"));
    check(&gate, "inactive", 401, "token_inactive");
    assert_eq!(
        gate.metric("keygate_introspection_calls_total{issuer=\"asked\",result=\"rejected\"}"),
        14.0
    );
    assert_eq!(
        gate.metric("keygate_introspection_calls_total{issuer=\"asked\",result=\"inactive\"}"),
        1.0
    );
}

#[test]
fn s057_an_issuer_that_does_not_answer_is_503_and_the_operator_reads_why_once() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = program(&endpoint, "timeout: 300ms\n  breaker: { failures: 1000 }");
    for status in [
        "500 Oops",
        "401 Unauthorized",
        "403 Forbidden",
        "429 Slow Down",
        "404 Not Found",
        "400 Bad",
    ] {
        endpoint.respond_with(move |_| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes());
        check(&gate, &format!("t{status:.3}"), 503, "introspection_unavailable");
    }
    endpoint.respond_with(|_| {
        b"HTTP/1.1 307 Away\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    check(&gate, "redirected", 503, "introspection_unavailable");
    let hanging = endpoint.hang();
    let started = Instant::now();
    check(&gate, "late", 503, "introspection_unavailable");
    assert!(started.elapsed() >= Duration::from_millis(250), "it was waited for");
    drop(hanging);
    assert!(upstream.received().is_empty());
    gate.wait_for_output("Issuer cannot be asked about tokens");
    let warnings = gate.output().matches("Issuer cannot be asked about tokens").count();
    assert_eq!(warnings, 1, "{}", gate.output());
    assert!(gate.output().contains("status 500"), "{}", gate.output());
    endpoint.respond_active(json!({}));
    allowed(&gate, "t500");
}

#[test]
fn s057_an_endpoint_that_is_not_there_is_503() {
    let gone = Endpoint::start();
    let yaml = gone
        .yaml("")
        .replace(&gone.server.address().port().to_string(), &closed_port().to_string());
    let (gate, upstream) = gate_with(|gateway| gateway.issuer("asked", &yaml).route("api", ROUTE));
    check(&gate, "opaque", 503, "introspection_unavailable");
    assert!(upstream.received().is_empty());
    assert_eq!(
        gate.metric("keygate_introspection_calls_total{issuer=\"asked\",result=\"failure\"}"),
        1.0
    );
}

fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn s057_addresses_inside_are_not_asked_unless_the_file_says_so() {
    let endpoint = Endpoint::start();
    let yaml = endpoint
        .yaml("")
        .replace("allow_private_addresses: true", "allow_private_addresses: false");
    let (gate, _upstream) = start_with::<Binary>(|gateway| gateway.issuer("asked", &yaml).route("api", ROUTE));
    check(&gate, "opaque", 503, "introspection_unavailable");
    assert_eq!(endpoint.server.connections(), 0);
    gate.wait_for_output("is not a public address");
}

#[test]
fn s058_what_is_remembered_on_one_route_meets_the_rules_of_another() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate_with(|gateway| {
        let route = |path: &str, more: &str| {
            format!("match: {{ path: {path} }}\naccept: [jwt]\nissuers: [asked]\n{more}\nupstream: api")
        };
        gateway
            .issuer("asked", &endpoint.yaml(""))
            .route("read", &route("/read", "scopes: { all: [\"orders:read\"] }"))
            .route("write", &route("/write", "scopes: { all: [\"orders:write\"] }"))
            .route("other", &route("/other", "audiences: [other]"))
    });
    let on = |path: &str| RawClient::connect(gate.data()).exchange(request(path, "opaque"));
    assert_eq!(on("/read").status, 200);
    let refused = on("/write");
    assert_eq!(refused.status, 403);
    assert!(refused.header("www-authenticate").unwrap().contains("orders:write"));
    assert_eq!(on("/other").status, 401);
    assert_eq!(on("/read").status, 200);
    assert_eq!((endpoint.calls(), upstream.received().len()), (1, 2));
}

#[test]
fn s059_an_active_token_that_breaks_the_issuers_rules_is_refused() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "");
    let now = issuer::now();
    for (changes, reason) in [
        (json!({ "iss": "https://asked.example.test/" }), "token_issuer"),
        (json!({ "aud": "other" }), "wrong_audience"),
        (json!({ "aud": null }), "token_claim_missing"),
        (json!({ "exp": now - 60 }), "token_expired"),
        (json!({ "nbf": now + 60 }), "token_not_yet_valid"),
        (json!({ "exp": now + 90_000 }), "token_lifetime"),
        (json!({ "token_type": "DPoP" }), "token_not_bearer"),
        (json!({ "token_use": "refresh_token" }), "not_an_access_token"),
        (json!({ "scope": ["orders:read", 7] }), "token_claim_invalid"),
        (json!({ "active": false }), "token_inactive"),
    ] {
        let (token, given) = (format!("token-{reason}"), changes.clone());
        endpoint.respond_active(changes);
        check(&gate, &token, 401, reason);
        // The refusal comes from the cache, with the same reason.
        let calls = endpoint.calls();
        check(&gate, &token, 401, reason);
        assert_eq!(endpoint.calls(), calls, "{given}");
    }
    assert!(upstream.received().is_empty());
    endpoint.respond_active(json!({ "iss": ASKED, "token_type": "bearer", "nbf": now - 60 }));
    allowed(&gate, "good");
}

#[test]
fn s060_a_remembered_token_is_refused_once_it_has_expired() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "cache_ttl: 5m");
    let exp = issuer::now() + 2;
    endpoint.respond_active(json!({ "exp": exp }));
    allowed(&gate, "short");
    let mut client = RawClient::connect(gate.data());
    let response = client.exchange_until(&request("/orders", "short"), 401, &[200]);
    assert!(response.text().contains("token-expired"), "{}", response.text());
    assert!(issuer::now() >= exp);
    let passed = upstream.received().len();
    assert_eq!(client.exchange(request("/orders", "short")).status, 401);
    assert_eq!(upstream.received().len(), passed);
}

#[test]
fn s061_junk_drives_no_good_token_out_of_memory() {
    let endpoint = Endpoint::start();
    endpoint.respond_active_by_token(|token| {
        if token.starts_with("good") {
            json!({})
        } else {
            json!({ "active": false })
        }
    });
    let (gate, _upstream) = gate(&endpoint, "cache_bytes: 64KiB\n  cache_ttl: 5m");
    for index in 0..5 {
        allowed(&gate, &format!("good-{index}"));
    }
    let mut client = RawClient::connect(gate.data());
    for index in 0..1_000 {
        let junk = format!("{index}{}", "x".repeat(500));
        assert_eq!(client.exchange(request("/orders", &junk)).status, 401);
    }
    let calls = endpoint.calls();
    for index in 0..5 {
        allowed(&gate, &format!("good-{index}"));
    }
    assert_eq!(endpoint.calls(), calls, "they are still remembered");
    let bytes = gate.metric("keygate_introspection_cache_bytes{issuer=\"asked\"}");
    assert!(bytes > 0.0 && bytes <= 65_536.0, "{bytes}");
}

#[test]
fn s062_a_token_is_one_parameter_whatever_is_in_it() {
    let endpoint = Endpoint::start();
    let (gate, _upstream) = gate(&endpoint, "");
    allowed(&gate, "a+b/c~d==");
    let call = endpoint.server.only_received();
    let body = String::from_utf8(call.body.clone()).unwrap();
    assert_eq!(body, "token=a%2Bb%2Fc%7Ed%3D%3D&token_type_hint=access_token");
    // Characters that no token may contain are refused before introspection.
    for odd in ["a&token=b", "a%26b", "a\tb", "a;b", "a\"b"] {
        assert_eq!(ask(gate.data(), odd).status, 400, "{odd:?}");
    }
    assert_eq!(endpoint.calls(), 1);
}

#[test]
fn s063_many_requests_with_one_token_are_one_call() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "timeout: 15s");
    let hanging = endpoint.hang();
    let mut clients: Vec<RawClient> = (0..30).map(|_| RawClient::connect(gate.data())).collect();
    for client in &mut clients {
        client.send(request("/orders", "popular"));
    }
    endpoint.server.wait_received(1);
    let misses = "keygate_introspection_cache_total{issuer=\"asked\",result=\"miss\"}";
    wait_until("all of them wait", || gate.metric(misses) == 30.0);
    assert!(upstream.received().is_empty());
    drop(hanging);
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    assert_eq!(endpoint.calls(), 1);
    assert_eq!(upstream.received().len(), 30);
}

#[test]
fn s108_a_client_that_goes_away_while_its_token_is_asked_about_reaches_nothing() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "timeout: 15s\n  concurrency: 1");
    let hanging = endpoint.hang();
    let mut first = RawClient::connect(gate.data());
    first.send(request("/orders", "first"));
    endpoint.server.wait_received(1);
    // The second request waits behind the first: its call has not begun.
    let mut second = RawClient::connect(gate.data());
    second.send(request("/orders", "second"));
    let misses = "keygate_introspection_cache_total{issuer=\"asked\",result=\"miss\"}";
    wait_until("both wait", || gate.metric(misses) == 2.0);
    drop((first, second));
    let records = gate.wait_access_records(2);
    for record in &records {
        assert_eq!(
            (&record["decision"], &record["reason"]),
            (&json!("deny"), &json!("client_gone")),
            "{record}"
        );
    }
    drop(hanging);
    let done = "keygate_introspection_calls_total{issuer=\"asked\",result=\"active\"}";
    wait_until("the call under way has ended", || gate.metric(done) == 1.0);
    allowed(&gate, "third");
    let tokens: Vec<String> = endpoint.server.received().iter().map(token_of).collect();
    assert_eq!(
        tokens,
        ["first", "third"],
        "nobody wanted to know about the second any more"
    );
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_failing_endpoint_is_left_alone_and_then_tried_once() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = program(&endpoint, "breaker: { failures: 3, open_for: 2s }");
    endpoint.respond_with(|_| b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec());
    for index in 0..2 {
        check(&gate, &format!("t{index}"), 503, "introspection_unavailable");
    }
    // The breaker opens after this instant, so it stays open for at least `open_for` from here.
    let failing = Instant::now();
    check(&gate, "t2", 503, "introspection_unavailable");
    endpoint.respond_active(json!({}));
    check(&gate, "t0", 503, "introspection_suspended");
    assert_eq!(endpoint.calls(), 3);
    let suspended = "keygate_introspection_suspended{issuer=\"asked\"}";
    assert_eq!(gate.metric(suspended), 1.0);
    let mut client = RawClient::connect(gate.data());
    client.exchange_until(&request("/orders", "t0"), 200, &[503]);
    assert!(
        failing.elapsed() >= Duration::from_millis(1_800),
        "{:?}",
        failing.elapsed()
    );
    assert_eq!((endpoint.calls(), upstream.received().len()), (4, 1));
    assert_eq!(gate.metric(suspended), 0.0);
    gate.wait_for_output("Issuer answers about tokens again");
}

#[test]
fn one_odd_token_does_not_keep_the_others_out() {
    let endpoint = Endpoint::start();
    endpoint.respond_with(|request| match token_of(request).as_str() {
        "odd" => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "long" => ok(&active(json!({ "groups": "x".repeat(70_000) })).to_string()),
        _ => ok(&active(json!({})).to_string()),
    });
    let (gate, _upstream) = gate(&endpoint, "breaker: { failures: 2, open_for: 1h }");
    for _ in 0..4 {
        check(&gate, "odd", 503, "introspection_unavailable");
        check(&gate, "long", 503, "introspection_unavailable");
    }
    allowed(&gate, "good");
}

#[test]
fn no_more_calls_run_at_once_than_configured_and_all_are_answered() {
    let endpoint = Endpoint::start();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (Arc::clone(&running), Arc::clone(&most));
    endpoint.server.respond_with(move |_| {
        peak.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::yield_now();
        counted.fetch_sub(1, Ordering::SeqCst);
        ok(&active(json!({})).to_string())
    });
    let (gate, upstream) = gate(&endpoint, "concurrency: 3\n  timeout: 15s");
    let mut clients: Vec<RawClient> = (0..40).map(|_| RawClient::connect(gate.data())).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(request("/orders", &format!("token-{index}")));
    }
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    assert!(most.load(Ordering::SeqCst) <= 3, "{most:?}");
    assert!(
        endpoint.server.connections() < endpoint.calls() / 2,
        "connections are kept and used again"
    );
    assert_eq!(upstream.received().len(), 40);
}

#[test]
fn more_tokens_than_can_wait_are_503_at_once() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "concurrency: 1\n  timeout: 15s");
    let hanging = endpoint.hang();
    // One call is in flight, and for each permitted call sixteen requests may wait.
    let mut clients: Vec<RawClient> = (0..17).map(|_| RawClient::connect(gate.data())).collect();
    let misses = "keygate_introspection_cache_total{issuer=\"asked\",result=\"miss\"}";
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(request("/orders", &format!("token-{index}")));
        let sent = index as f64 + 1.0;
        wait_until("it waits", || gate.metric(misses) == sent);
    }
    check(&gate, "one-more", 503, "introspection_busy");
    drop(hanging);
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    assert_eq!(upstream.received().len(), 17);
}

#[test]
fn a_jwt_goes_to_the_issuer_it_names_and_to_no_other() {
    let endpoint = Endpoint::start();
    let key = SigningKey::generate_es256().unwrap();
    let signed = TestIssuer::start(&[&key]);
    let (gate, upstream) = gate_with(|gateway| {
        gateway
            .issuer("asked", &endpoint.yaml(""))
            .issuer("signed", &signed.yaml("cooldown: 1h"))
            .route("api", ROUTE)
    });
    gate.wait_ready();
    // Tokens of the issuer with keys, valid or not, never reach the endpoint.
    allowed(&gate, &issuer::token(&key, &issuer::claims()));
    let stranger = SigningKey::generate_es256().unwrap();
    check(&gate, &issuer::token(&stranger, &issuer::claims()), 401, "unknown_key");
    let unknown = issuer::claims_with(json!({ "iss": "https://nobody.example.test" }));
    check(&gate, &issuer::token(&key, &unknown), 401, "unknown_issuer");
    assert_eq!(endpoint.calls(), 0);
    // A token that names the issuer with the endpoint is introspected, whatever its signature.
    let foreign = issuer::token(&stranger, &issuer::claims_with(json!({ "iss": ASKED })));
    allowed(&gate, &foreign);
    assert_eq!(endpoint.calls(), 1);
    let seen = upstream.received();
    assert_eq!(seen[0].headers_named("x-keygate-credential-type"), ["jwt"]);
    assert_eq!(seen[1].headers_named("x-keygate-credential-type"), ["opaque"]);
    // A token that is no JWT is introspected. `alg: none` with the other issuer's name makes no JWT of that issuer.
    endpoint.respond_active(json!({ "active": false }));
    let none = issuer::unsigned(r#"{"alg":"none"}"#, &issuer::claims().to_string(), b"");
    check(&gate, &none, 401, "token_inactive");
}

/// One server issues both JWTs and opaque tokens.
#[test]
fn a_jwt_of_an_issuer_with_keys_and_an_endpoint_is_checked_by_the_keys() {
    let endpoint = Endpoint::start();
    let key = SigningKey::generate_es256().unwrap();
    let upstream = FakeUpstream::start();
    let on = |path: &str, issuers: &str| {
        format!("match: {{ path: {path} }}\naccept: [jwt]\nissuers: [{issuers}]\nupstream: api")
    };
    let yaml = GatewayBuilder::new()
        .top(TOP)
        .issuer("asked", &endpoint.yaml("cache_ttl: 5m"))
        .issuer(
            "signed",
            &format!("issuer: {ASKED}\naudiences: [api]\npublic_key_files: [key.pem]"),
        )
        .upstream("api", upstream.address())
        .route("asked", &on("/asked", "asked"))
        .route("both", &on("/both", "asked, signed"))
        .yaml();
    let gate = LocalGate::start_with(&yaml, &[("key.pem", &key.public_pem())]);
    let ask = |path: &str, token: &str| RawClient::connect(gate.data()).exchange(request(path, token)).status;
    assert_eq!(ask("/both", "opaque"), 200);
    assert_eq!(endpoint.calls(), 1);
    let claims = issuer::claims_with(json!({ "iss": ASKED, "aud": "api" }));
    assert_eq!(ask("/both", &issuer::token(&key, &claims)), 200);
    assert_eq!(endpoint.calls(), 1, "its signature says enough");
    // The endpoint decides about a JWT only where it is the sole authority; where there are keys, the keys decide.
    let stranger = issuer::token(&SigningKey::generate_es256().unwrap(), &claims);
    assert_eq!(ask("/asked", &stranger), 200);
    assert_eq!(ask("/both", &stranger), 401);
    assert_eq!(ask("/asked", &stranger), 200);
    assert_eq!(endpoint.calls(), 2);
}

#[test]
fn s038_a_stream_that_an_opaque_token_opened_ends_when_the_token_does() {
    let endpoint = Endpoint::start();
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let held = std::thread::spawn(move || {
        use std::io::Read;
        use std::io::Write;
        let (mut stream, _) = upstream.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 5\r\n\r\nab")
            .unwrap();
        // Reads until the gate closes.
        while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
    });
    let gateway = GatewayBuilder::new().top(TOP).upstream("api", address);
    let gate = LocalGate::start(&gateway.issuer("asked", &endpoint.yaml("")).route("api", ROUTE).yaml());
    let exp = issuer::now() + 2;
    endpoint.respond_active(json!({ "exp": exp }));
    let mut client = RawClient::connect(gate.data());
    client.send(request("/events", "opaque"));
    assert!(client.try_receive().is_err(), "it is cut before its end");
    assert!(issuer::now() >= exp);
    let record = gate.wait_access_records(1).remove(0);
    assert_eq!(
        (&record["status"], &record["reason"]),
        (&json!(200), &json!("stream_ended_with_credential")),
        "{record}"
    );
    held.join().unwrap();
}

#[test]
fn without_an_issuer_to_ask_an_opaque_token_is_401_as_ever() {
    let endpoint = Endpoint::start();
    let key = SigningKey::generate_es256().unwrap();
    let (gate, upstream) = {
        let upstream = FakeUpstream::start();
        let yaml = GatewayBuilder::new()
            .top(TOP)
            .issuer("asked", &endpoint.yaml(""))
            .issuer(
                "signed",
                &format!("{}\npublic_key_files: [key.pem]", issuer::identity_yaml()),
            )
            .upstream("api", upstream.address())
            .route("api", &format!("{ROUTE}\nissuers: [signed]"))
            .yaml();
        (
            LocalGate::start_with(&yaml, &[("key.pem", &key.public_pem())]),
            upstream,
        )
    };
    check(&gate, "opaque", 401, "token_malformed");
    check(
        &gate,
        &issuer::token(&key, &issuer::claims_with(json!({ "iss": ASKED }))),
        401,
        "unknown_issuer",
    );
    assert_eq!((endpoint.calls(), upstream.received().len()), (0, 0));
}

#[test]
fn a_changed_issuer_forgets_what_it_was_told_and_requests_under_way_end_as_they_began() {
    let endpoint = Endpoint::start();
    let (gate, upstream) = gate(&endpoint, "timeout: 15s\n  cache_ttl: 5m");
    allowed(&gate, "token");
    let hanging = endpoint.hang();
    let mut waiting = RawClient::connect(gate.data());
    waiting.send(request("/orders", "waiting"));
    endpoint.server.wait_received(2);
    let changed = |endpoint: &Endpoint| {
        GatewayBuilder::new()
            .top(TOP)
            .upstream("api", upstream.address())
            .issuer(
                "asked",
                &endpoint
                    .yaml("cache_ttl: 4m")
                    .replace("audiences: [api]", "audiences: [other]"),
            )
            .route("api", ROUTE)
            .yaml()
    };
    gate.reload(&changed(&endpoint));
    drop(hanging);
    assert_eq!(
        waiting.receive().status,
        200,
        "decided by the configuration it came under"
    );
    check(&gate, "token", 401, "wrong_audience");
    assert_eq!(endpoint.calls(), 3, "asked again");
}

#[test]
fn limits_count_an_opaque_token_as_its_client() {
    let endpoint = Endpoint::start();
    endpoint.respond_active_by_token(|token| json!({ "client_id": token.split('-').next().unwrap() }));
    let (gate, _upstream) = gate_with(|gateway| {
        gateway
            .issuer("asked", &endpoint.yaml(""))
            .limit("per-client", "by: client\nquota: 2/hour")
            .route("api", &format!("{ROUTE}\nlimits: [per-client]"))
    });
    allowed(&gate, "a-1");
    allowed(&gate, "a-2");
    check(&gate, "a-3", 429, "limit_spent");
    allowed(&gate, "b-1");
}

#[test]
fn rules_and_headers_read_what_the_issuer_says_of_a_token() {
    let endpoint = Endpoint::start();
    endpoint.respond_active_by_token(|token| match token {
        "gold" => json!({ "tier": "gold", "email": "a,b@example.test" }),
        "silver" => json!({ "tier": "silver" }),
        _ => json!({}),
    });
    let (gate, upstream) = gate_with(|gateway| {
        let issuer = format!("{}\nclaim_headers: {{ \"/email\": x-user-email }}", endpoint.yaml(""));
        gateway
            .issuer("asked", &issuer)
            .route("api", &format!("{ROUTE}\nclaims: {{ \"/tier\": [gold] }}"))
    });
    allowed(&gate, "gold");
    allowed(&gate, "gold");
    for seen in upstream.received() {
        assert_eq!(seen.headers_named("x-user-email"), ["a%2Cb@example.test"]);
    }
    check(&gate, "silver", 403, "claim_not_allowed");
    check(&gate, "none", 403, "claim_not_allowed");
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn an_issuer_that_is_asked_can_be_tried_out() {
    let endpoint = Endpoint::start();
    endpoint.respond_active_by_token(|token| json!({ "active": token == "good" }));
    let (gate, upstream) = gate_with(|gateway| {
        let issuer = format!("{}\nmode: shadow", endpoint.yaml("breaker: { failures: 1000 }"));
        gateway.issuer("asked", &issuer).route("api", ROUTE)
    });
    allowed(&gate, "good");
    allowed(&gate, "bad");
    endpoint.respond_with(|_| ok("{}"));
    allowed(&gate, "unknown");
    let subjects: Vec<usize> = upstream
        .received()
        .iter()
        .map(|seen| seen.headers_named("x-keygate-subject").len())
        .collect();
    assert_eq!(subjects, [1, 0, 0], "nobody was proved by a token that is not good");
    for reason in ["token_inactive", "introspection_unavailable"] {
        let labels = format!("credential_type=\"opaque\",outcome=\"would_deny\",reason=\"{reason}\",route=\"api\"");
        let counted = || gate.metric(&format!("keygate_decisions_total{{{labels}}}")) == 1.0;
        wait_until("it is counted", counted);
    }
}

#[test]
fn a_private_key_that_cannot_be_used_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let check = |pem: &str, more: &str| {
        std::fs::write(folder.path().join("client.pem"), pem).unwrap();
        let yaml = GatewayBuilder::new()
            .issuer(
                "asked",
                &format!("issuer: {ASKED}\naudiences: any\nintrospection:\n  url: https://asked.example.test/i\n  client_id: kg\n  private_key_jwt: {{ key_file: client.pem{more} }}"),
            )
            .upstream("api", "127.0.0.1:9".parse().unwrap())
            .route("api", ROUTE)
            .yaml();
        let file = folder.path().join("keygate.yaml");
        std::fs::write(&file, yaml).unwrap();
        let checked = Command::new(crate::support::program())
            .arg("check")
            .arg(&file)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        (checked.status.success(), output)
    };
    let key = SigningKey::generate_es256().unwrap();
    let private = key.to_pkcs8_pem().unwrap();
    assert!(check(private.expose(), "").0);
    assert!(check(private.expose(), ", algorithm: ES256").0);
    for (pem, more, why) in [
        (
            private.expose().as_str(),
            ", algorithm: RS256",
            "not a PKCS #8 private key for RS256",
        ),
        (key.public_pem().as_str(), "", "not a `PRIVATE KEY` block"),
        ("nothing", "", "no PEM block in it"),
        (&format!("{0}{0}", private.expose()), "", "more than one PEM block"),
    ] {
        let (good, output) = check(pem, more);
        assert!(
            !good && output.contains(why) && output.contains("issuers.asked"),
            "{output}"
        );
    }
}

/// Checks the parameters that authenticate Keygate. Does not verify the signature of the assertion.
#[test]
fn private_key_jwt_says_who_keygate_is_by_a_fresh_assertion() {
    let endpoint = Endpoint::start();
    let key = SigningKey::generate_es256().unwrap();
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .top(TOP)
        .issuer(
            "asked",
            &endpoint.yaml("").replace(
                "client_secret: s3cret",
                "private_key_jwt: { key_file: client.pem, kid: key-7, audience: \"https://asked.example.test/token\" }",
            ),
        )
        .upstream("api", upstream.address())
        .route("api", ROUTE)
        .yaml();
    let gate = Binary::start_with(&yaml, &[("client.pem", key.to_pkcs8_pem().unwrap().expose())]);
    allowed(&gate, "one");
    allowed(&gate, "two");
    let mut ids = Vec::new();
    for call in endpoint.server.received() {
        assert!(call.headers_named("authorization").is_empty());
        let form: Vec<(String, String)> = url::form_urlencoded::parse(&call.body).into_owned().collect();
        let of = |name: &str| form.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!(
            of("client_assertion_type"),
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        assert_eq!(of("client_id"), "kg");
        let assertion = of("client_assertion");
        let parts: Vec<Value> = assertion
            .split('.')
            .take(2)
            .map(|part| serde_json::from_slice(&issuer::from_base64url(part)).unwrap())
            .collect();
        assert_eq!(parts[0], json!({ "alg": "ES256", "kid": "key-7", "typ": "JWT" }));
        let claims = &parts[1];
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("kg"), &json!("kg")));
        assert_eq!(claims["aud"], "https://asked.example.test/token");
        let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert!(exp - iat == 60 && iat <= issuer::now() && iat + 60 > issuer::now());
        ids.push(claims["jti"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1], "an assertion is used once");
    assert!(!gate.output().contains("client_assertion="));
}

// The tests below use a real authorization server.

#[test]
fn a_real_issuers_opaque_token_passes_until_it_is_revoked() {
    let provider = Provider::start();
    let key = issuer::key(keygate::model::algorithm::Algorithm::Es256);
    let by_key = format!("client_id: {GATEWAY_WITH_KEY}\n  private_key_jwt: {{ key_file: client.pem }}");
    for client in [Provider::by_secret(), by_key] {
        let upstream = FakeUpstream::start();
        let yaml = GatewayBuilder::new()
            .top(TOP)
            .issuer(
                "provider",
                &provider.introspection_yaml(&client, "cache_ttl: 500ms\n  negative_ttl: 500ms"),
            )
            .upstream("api", upstream.address())
            .route("api", &format!("{ROUTE}\nscopes: {{ all: [\"orders:read\"] }}"))
            .yaml();
        let gate = LocalGate::start_with(&yaml, &[("client.pem", key.to_pkcs8_pem().unwrap().expose())]);
        let token = provider.token("opaque", "orders:read orders:write");
        allowed(&gate, &token);
        let seen = upstream.only_received();
        assert_eq!(seen.headers_named("x-keygate-client-id"), ["app"]);
        assert_eq!(seen.headers_named("x-keygate-scope"), ["orders:read orders:write"]);
        assert_eq!(seen.headers_named("x-keygate-issuer"), ["provider"]);
        check(
            &gate,
            &provider.token("opaque", "orders:write"),
            403,
            "insufficient_scope",
        );
        check(&gate, "made-up", 401, "token_inactive");

        provider.revoke(&token);
        RawClient::connect(gate.data()).exchange_until(&request("/orders", &token), 401, &[200]);
        check(&gate, &token, 401, "token_inactive");
    }
}

#[test]
fn a_real_issuers_token_is_refused_when_it_has_expired() {
    let provider = Provider::start();
    let (gate, _upstream) = gate_with(|gateway| {
        let yaml = provider.introspection_yaml(&Provider::by_secret(), "cache_ttl: 5m");
        gateway
            .issuer("provider", &format!("{yaml}\nclock_skew: 0s"))
            .route("api", ROUTE)
    });
    let token = provider.token("short", "orders:read");
    allowed(&gate, &token);
    RawClient::connect(gate.data()).exchange_until(&request("/orders", &token), 401, &[200]);
    check(&gate, &token, 401, "token_inactive");
}

#[test]
fn a_real_issuer_that_does_not_know_keygate_is_503() {
    let provider = Provider::start();
    let (gate, upstream) = start_with::<Binary>(|gateway| {
        let client = format!("client_id: \"{GATEWAY_ID}\"\n  client_secret: wrong");
        gateway
            .issuer("provider", &provider.introspection_yaml(&client, ""))
            .route("api", ROUTE)
    });
    let token = provider.token("opaque", "orders:read");
    check(&gate, &token, 503, "introspection_unavailable");
    assert!(upstream.received().is_empty());
    gate.wait_for_output("does not accept who Keygate says it is");
}

#[test]
fn a_real_issuer_rotates_its_keys_while_requests_flow_and_no_good_token_is_refused() {
    let provider = Provider::start();
    let keys = format!("jwks_url: {}/jwks", provider.issuer());
    rotate_while_requests_flow(&provider, &keys);
}

#[test]
fn a_real_issuer_whose_keys_are_discovered_rotates_them_while_requests_flow() {
    rotate_while_requests_flow(&Provider::start(), "discovery: true");
}

/// Publishes new keys, signs with them, then withdraws the old keys, while four threads send tokens of the keys in use.
/// Tokens of the old keys are rejected after the withdrawal, although they have not expired.
fn rotate_while_requests_flow(provider: &Provider, keys: &str) {
    const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];
    let (gate, upstream) = gate_with(|gateway| {
        let fast = "min_refresh: 200ms\nmax_refresh: 400ms\ncooldown: 100ms\nwait: 5s";
        gateway
            .issuer("provider", &provider.with_keys_yaml(keys, fast))
            .route("api", ROUTE)
    });
    gate.wait_ready();
    let fetches = "keygate_issuer_key_fetches_total{issuer=\"provider\",result=\"success\"}";
    // Waits for the end of two fetches: the second one began after this call.
    let refreshed = || {
        let before = gate.metric(fetches);
        wait_until("the keys are fetched again", || gate.metric(fetches) >= before + 2.0);
    };
    let tokens = || ALGORITHMS.map(|algorithm| provider.token(algorithm, "orders:read"));
    let first = tokens();
    let current = Arc::new(Mutex::new(first.clone()));
    let stopped = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let senders: Vec<_> = (0..ALGORITHMS.len())
        .map(|index| {
            let (current, stopped, address) = (Arc::clone(&current), Arc::clone(&stopped), gate.data());
            std::thread::spawn(move || {
                let mut client = RawClient::connect(address);
                let mut sent = 0;
                while !stopped.load(Ordering::SeqCst) {
                    let token = current.lock().unwrap()[index].clone();
                    let response = client.exchange(request("/orders", &token));
                    assert_eq!(response.status, 200, "{}", response.text());
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    provider.step("publish");
    refreshed();
    provider.step("sign");
    let second = tokens();
    *current.lock().unwrap() = second.clone();
    for (old, new) in first.iter().zip(&second) {
        assert_ne!(kid(old), kid(new));
        allowed(&gate, old);
    }
    provider.step("withdraw");
    refreshed();
    for (old, new) in first.iter().zip(&second) {
        check(&gate, old, 401, "unknown_key");
        allowed(&gate, new);
    }
    stopped.store(true, Ordering::SeqCst);
    let sent: usize = senders
        .into_iter()
        .map(|sender| sender.join().expect("no good token is refused"))
        .sum();
    assert!(sent > 20, "{sent}");
    assert!(upstream.received().len() > sent);
}

fn kid(token: &str) -> String {
    let header: Value = serde_json::from_slice(&issuer::from_base64url(token.split('.').next().unwrap())).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

#[test]
fn tokens_of_the_fake_are_no_jwts() {
    assert_eq!(base64url(b"{"), "ew");
}
