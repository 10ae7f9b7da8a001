//! Which requests pass while issuers misbehave, move or are down, and what do operators see?

mod api;
mod bad_answers;
mod command;
mod disk;
mod find;

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RawIssuer;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::StartGate;
use crate::support::issuer::AUDIENCE;
use crate::support::issuer::claims_with;
use crate::support::issuer::jwk_set;
use keygate::jose::sign::SigningKey;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;

const TOKEN: &str = "the-admin-token-of-the-tests-0123456789";

fn new_key() -> SigningKey {
    SigningKey::generate_es256().unwrap()
}

fn set_of(keys: &[&SigningKey]) -> String {
    jwk_set(&keys.iter().map(|key| key.public_jwk()).collect::<Vec<_>>())
}

/// Starts a gate with an admin API and the issuer `main`, configured as `issuer`.
fn gate(top: &str, issuer: &str, files: &[(&str, &str)]) -> LocalGate {
    start_with(top, issuer, files)
}

/// Starts the same gate as a program, for tests that read its log.
fn program(top: &str, issuer: &str, files: &[(&str, &str)]) -> Binary {
    start_with(top, issuer, files)
}

fn start_with<G: StartGate>(top: &str, issuer: &str, files: &[(&str, &str)]) -> G {
    G::start_with(&yaml(top, issuer), files)
}

/// Returns the configuration of [`gate`].
fn yaml(top: &str, issuer: &str) -> String {
    let upstream = FakeUpstream::start();
    GatewayBuilder::new()
        .admin(&format!("token: {TOKEN}"))
        .top("failed_authentication: off")
        .top(top)
        .issuer("main", issuer)
        .upstream_with("api", "builtin: echo")
        .upstream("unused", upstream.address())
        .route("api", "match: { path: \"/{*rest}\" }\naccept: [jwt]\nupstream: api")
        .yaml()
}

/// Returns an issuer's section. `keys` is the setting that locates the issuer's keys, `more` the text at the end.
fn issuer_yaml(issuer: &str, keys: &str, more: &str) -> String {
    format!(
        "issuer: {issuer}\naudiences: [{AUDIENCE}]\n{keys}\nallow_http: true\nallow_private_addresses: true\n{more}"
    )
}

const ISSUER: &str = "https://issuer.example.test";

fn by_url(server: &RawIssuer, more: &str) -> String {
    issuer_yaml(ISSUER, &format!("jwks_url: {}", server.url("/jwks")), more)
}

/// Returns a valid token of `issuer`, a different one each time.
fn token_of(issuer: &str, key: &SigningKey) -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let claims = claims_with(json!({ "iss": issuer, "jti": number.to_string() }));
    crate::support::issuer::token(key, &claims)
}

fn token(key: &SigningKey) -> String {
    token_of(ISSUER, key)
}

fn ask(address: SocketAddr, token: &str) -> Response {
    RawClient::connect(address).exchange(request(token))
}

fn request(token: &str) -> String {
    format!("GET /orders HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Sends `token` until the status is `status`. Panics on a status that is neither `status` nor in `meanwhile`.
#[track_caller]
fn ask_until(address: SocketAddr, token: &str, status: u16, meanwhile: &[u16]) -> Response {
    RawClient::connect(address).exchange_until(&request(token), status, meanwhile)
}

/// Calls the admin API with further header lines, each ending in CRLF.
fn admin_with(gate: &RunningGate, method: &str, path: &str, headers: &str) -> Response {
    RawClient::connect(gate.admin()).exchange(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{headers}\r\n"
    ))
}

fn admin(gate: &RunningGate, method: &str, path: &str) -> Response {
    admin_with(gate, method, path, &format!("Authorization: Bearer {TOKEN}\r\n"))
}

fn health(gate: &RunningGate) -> Value {
    let response = admin(gate, "GET", "/admin/v1/issuers/main");
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

/// Makes the gate fetch the keys of `main` now. Returns the status and the JSON of the admin API's response.
fn refresh(gate: &RunningGate) -> (u16, Value) {
    let response = admin(gate, "POST", "/admin/v1/issuers/main/refresh");
    (response.status, response.json())
}

fn fetches(gate: &RunningGate, result: &str) -> f64 {
    gate.metric(&format!(
        "keygate_issuer_key_fetches_total{{issuer=\"main\",result=\"{result}\"}}"
    ))
}
