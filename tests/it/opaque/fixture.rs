//! An introspection endpoint under the control of the test, and gates that call it.

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::ReceivedRequest;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::StartGate;
use crate::support::issuer;
use keygate::model::clock::ManualClock;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

pub const ASKED: &str = "https://asked.example.test";

pub const TOP: &str = "failed_authentication: off\nlog: { level: debug }";

pub const ROUTE: &str = "match: { path: \"/{*rest}\" }\naccept: [jwt]\nupstream: api";

/// An introspection endpoint under the test's control.
pub struct Endpoint {
    pub server: FakeUpstream,
    /// Locked by the test while the endpoint hangs.
    hold: Arc<Mutex<()>>,
}

impl Endpoint {
    /// Starts an endpoint that reports every token as active, with subject `alice`.
    pub fn start() -> Self {
        let endpoint = Self {
            server: FakeUpstream::start(),
            hold: Arc::default(),
        };
        endpoint.respond_active(json!({}));
        endpoint
    }

    /// Reports every token as active from now on, with `changes` in the response; `null` removes a member.
    pub fn respond_active(&self, changes: Value) {
        self.respond_active_by_token(move |_| changes.clone());
    }

    /// Reports every token as active from now on, with `changes` that depend on the token.
    pub fn respond_active_by_token(&self, changes: impl Fn(&str) -> Value + Send + Sync + 'static) {
        self.respond_with(move |request| ok(&active(changes(&token_of(request))).to_string()));
    }

    /// Responds from now on with the bytes that `response` returns.
    pub fn respond_with(&self, response: impl Fn(&ReceivedRequest) -> Vec<u8> + Send + Sync + 'static) {
        let hold = Arc::clone(&self.hold);
        self.server.respond_with(move |request| {
            drop(hold.lock());
            response(request)
        });
    }

    /// Delays every response until the returned guard is dropped.
    pub fn hang(&self) -> MutexGuard<'_, ()> {
        self.hold.lock().unwrap()
    }

    pub fn calls(&self) -> usize {
        self.server.received().len()
    }

    /// Returns the issuer's section; `more` is the rest of `introspection`.
    pub fn yaml(&self, more: &str) -> String {
        format!(
            "issuer: {ASKED}\naudiences: [api]\nclock_skew: 0s\nintrospection:\n  url: http://{}/introspect\n  allow_http: true\n  allow_private_addresses: true\n  client_id: kg\n  client_secret: s3cret\n  {more}",
            self.server.address()
        )
    }
}

pub fn active(changes: Value) -> Value {
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

pub fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

pub fn token_of(request: &ReceivedRequest) -> String {
    let form = url::form_urlencoded::parse(&request.body);
    let token = form.into_iter().find(|(name, _)| name == "token");
    token.expect("a token is sent").1.into_owned()
}

/// Starts a gate in front of one upstream; `endpoint` is its only issuer.
pub fn gate(endpoint: &Endpoint, more: &str) -> (LocalGate, FakeUpstream) {
    start_with(|gateway| gateway.issuer("asked", &endpoint.yaml(more)).route("api", ROUTE))
}

/// Starts the gate of [`gate`] with a clock that only the test advances.
pub fn gate_at(clock: &Arc<ManualClock>, endpoint: &Endpoint, more: &str) -> (LocalGate, FakeUpstream) {
    let upstream = FakeUpstream::start();
    let gateway = GatewayBuilder::new().top(TOP).upstream("api", upstream.address());
    let yaml = gateway.issuer("asked", &endpoint.yaml(more)).route("api", ROUTE).yaml();
    (LocalGate::start_at(clock, &yaml, &[]), upstream)
}

/// Starts the program with the configuration of [`gate`], for tests that read its log.
pub fn program(endpoint: &Endpoint, more: &str) -> (Binary, FakeUpstream) {
    start_with(|gateway| gateway.issuer("asked", &endpoint.yaml(more)).route("api", ROUTE))
}

pub fn start_with<G: StartGate>(build: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> (G, FakeUpstream) {
    let upstream = FakeUpstream::start();
    let gateway = GatewayBuilder::new().top(TOP).upstream("api", upstream.address());
    let gate = G::start_with(&build(gateway).yaml(), &[]);
    (gate, upstream)
}

pub fn request(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
}

pub fn ask(address: SocketAddr, token: &str) -> Response {
    RawClient::connect(address).exchange(request("/orders", token))
}

/// Sends a request with `token`; checks the status, the reason in the access record, and the header fields of a 503.
#[track_caller]
pub fn check(gate: &RunningGate, token: &str, status: u16, reason: &str) {
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
pub fn allowed(gate: &RunningGate, token: &str) {
    let response = ask(gate.data(), token);
    assert_eq!(response.status, 200, "{}\n{}", response.text(), gate.record(&response));
}
