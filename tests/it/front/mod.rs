//! Requests as clients send them: heads, framing, credentials, connections, and the response to each refusal.

mod credentials;
mod hygiene;
mod framing;
mod addresses;
mod bounds;
mod conditions;
mod refusals;
mod refusal_responses;
mod targets;

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RefusingAddress;
use crate::support::Response;
use crate::support::StartGate;
use crate::support::api_key;
use crate::support::get;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::time::SystemTime;

const ISSUER: &str = "https://issuer.test";

/// A gate, its upstream, and credentials that the gate accepts.
struct Gate<G = LocalGate> {
    running: G,
    upstream: FakeUpstream,
    signer: SigningKey,
    /// A token of `main` with the scope `orders:read`.
    token: String,
    /// An API key with the scope `orders:read`.
    key: String,
}

impl Gate {
    fn start() -> Self {
        Self::start_with(|builder| builder)
    }

    /// Starts a gate with the routes `open` (public), `both`, `jwt` and `key` (by the credentials they
    /// accept) and `scoped` (requires `orders:write`), each under `/{name}/`, and the additions of `more`.
    fn start_with(more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        Self::start_as("x-api-key", more)
    }

    /// Starts a gate that accepts API keys in the header field `header`.
    fn start_as(header: &str, more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        Self::serve(header, more)
    }

    fn builder(upstream: &FakeUpstream, header: &str) -> GatewayBuilder {
        GatewayBuilder::new()
            .top(&format!("api_keys: {{ file: keys.yaml, header: \"{header}\" }}"))
            .top("failed_authentication: off")
            .issuer(
                "main",
                &format!("issuer: {ISSUER}\naudiences: [api]\npublic_key_files: [issuer.pem]"),
            )
            .upstream("up", upstream.address())
            .route("open", "match: { path: \"/open/{*rest}\" }\npublic: true\nupstream: up")
            .route("both", &protected("both", "[jwt, api_key]"))
            .route("jwt", &protected("jwt", "[jwt]"))
            .route("key", &protected("key", "[api_key]"))
            .route(
                "scoped",
                &format!(
                    "{}\nscopes: {{ all: [\"orders:write\"] }}",
                    protected("scoped", "[jwt, api_key]")
                ),
            )
    }
}

impl<G: StartGate> Gate<G> {
    /// Starts a gate as a program or in this process, as `G` says, and waits until the gate is ready.
    fn serve(header: &str, more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        let upstream = FakeUpstream::start();
        let builder = Gate::builder(&upstream, header);
        let gate = Self::start_from(upstream, &more(builder).yaml(), &[], "");
        gate.running.wait_ready();
        gate
    }

    /// Starts a gate with further files beside the configuration and
    /// further entries in the keys file. Does not wait for readiness.
    fn start_files(
        upstream: FakeUpstream,
        files: &[(&str, &str)],
        keys: &str,
        more: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
    ) -> Self {
        let builder = Gate::builder(&upstream, "x-api-key");
        Self::start_from(upstream, &more(builder).yaml(), files, keys)
    }

    fn start_from(upstream: FakeUpstream, yaml: &str, more_files: &[(&str, &str)], more_keys: &str) -> Self {
        let pem = include_str!("../../data/jose/p256.private.pem");
        let signer = SigningKey::from_pkcs8_pem(Algorithm::Es256, pem).unwrap();
        let (key, entry) = api_key("");
        let keys = format!("keys:\n{entry}{more_keys}");
        let public = include_str!("../../data/jose/p256.public.pem");
        let files = [&[("issuer.pem", public), ("keys.yaml", &*keys)], more_files].concat();
        let mut gate = Self {
            running: G::start_with(yaml, &files),
            upstream,
            signer,
            token: String::new(),
            key: key.expose().to_owned(),
        };
        gate.token = gate.token_with(json!({}));
        gate
    }

    /// Returns a valid token with `changes` to its claims; `null` removes a claim.
    fn token_with(&self, changes: Value) -> String {
        self.signer.sign("at+jwt", &claims(changes)).unwrap()
    }

    fn connect(&self) -> RawClient {
        RawClient::connect(self.running.data())
    }

    /// Sends `request` alone on a connection and returns the response.
    #[track_caller]
    fn exchange(&self, request: impl AsRef<[u8]>) -> Response {
        self.connect().exchange(request)
    }

    /// Checks that `request`, alone on a connection, gets `status` for `reason`,
    /// also in metric and access record, and that the upstream receives nothing.
    #[track_caller]
    fn refuses(&self, request: impl AsRef<[u8]>, status: u16, reason: &str) -> Response {
        self.refuses_on(&mut self.connect(), request, status, reason)
    }

    /// Checks as [`Self::refuses`], on a connection that may have carried requests before.
    #[track_caller]
    fn refuses_on(&self, client: &mut RawClient, request: impl AsRef<[u8]>, status: u16, reason: &str) -> Response {
        let counted = self.denied(reason);
        let response = self.refuses_late(client, &request, status, reason);
        let excerpt = excerpt(request.as_ref());
        let record = self.record(request_id(&response));
        assert_eq!(record["decision"], "deny", "{excerpt}");
        assert_eq!(self.denied(reason), counted + 1.0, "{excerpt}");
        response
    }

    /// Checks as [`Self::refuses_on`], also for a request that fails after it was allowed: its record
    /// has the decision `error`, and the decision metric counts `allow`, so neither is checked.
    #[track_caller]
    fn refuses_late(&self, client: &mut RawClient, request: impl AsRef<[u8]>, status: u16, reason: &str) -> Response {
        let excerpt = excerpt(request.as_ref());
        let received = self.upstream.received().len();
        let response = client.exchange(request);
        assert_eq!(response.status, status, "{excerpt}\n{}", response.text());
        assert_eq!(response.json()["status"], status, "{excerpt}");
        let record = self.record(request_id(&response));
        assert_eq!(
            (&record["reason"], &record["status"]),
            (&json!(reason), &json!(status)),
            "{excerpt}"
        );
        assert_eq!(self.upstream.received().len(), received, "{excerpt}");
        response
    }

    /// Checks as [`Self::refuses`], and that the gate read no credential:
    /// none is in the record, and no token was looked up.
    #[track_caller]
    fn refuses_unread(&self, request: impl AsRef<[u8]>, status: u16, reason: &str) -> Response {
        let looked_up = self.looked_up();
        let response = self.refuses(request, status, reason);
        let record = self.record(response.json()["request_id"].as_str().unwrap());
        assert_eq!(
            (record.get("credential_type"), record.get("subject")),
            (None, None),
            "{record}"
        );
        assert_eq!(self.looked_up(), looked_up, "{record}");
        response
    }

    /// Waits for the access record of a request and returns it.
    #[track_caller]
    fn record(&self, request_id: &str) -> Value {
        self.running.record_of(request_id)
    }

    /// Returns how many requests, heads and connections were refused for `reason` so far.
    fn denied(&self, reason: &str) -> f64 {
        let label = format!("reason=\"{reason}\"");
        self.sum_of(|series| {
            let refused = series.starts_with("keygate_heads_refused_total")
                || series.starts_with("keygate_connections_refused_total")
                || (series.starts_with("keygate_decisions_total") && series.contains("outcome=\"deny\""));
            refused && series.contains(&label)
        })
    }

    /// Returns how many tokens were looked up in the cache so far.
    fn looked_up(&self) -> f64 {
        self.sum_of(|series| {
            series.starts_with("keygate_token_cache_hits_total")
                || series.starts_with("keygate_token_cache_misses_total")
        })
    }

    fn sum_of(&self, counts: impl Fn(&str) -> bool) -> f64 {
        let metrics = get(self.running.admin(), "/metrics").text();
        let series = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        series
            .filter(|(series, _)| counts(series))
            .map(|(_, value)| value.parse::<f64>().unwrap())
            .sum()
    }
}

/// Returns the request id in the body of a problem, and checks that the response header has the same id.
#[track_caller]
fn request_id(response: &Response) -> &str {
    let text = std::str::from_utf8(&response.body).unwrap();
    let id = text
        .split("\"request_id\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let id = id.unwrap_or_else(|| panic!("no request id in {text}"));
    assert_eq!(response.header("x-request-id"), Some(id));
    id
}

/// Returns the beginning of a request, for messages.
fn excerpt(request: &[u8]) -> String {
    request[..request.len().min(300)].escape_ascii().to_string()
}

/// Returns a route under `/{name}/`.
fn protected(name: &str, accept: &str) -> String {
    format!("match: {{ path: \"/{name}/{{*rest}}\" }}\naccept: {accept}\nupstream: up")
}

fn claims(changes: Value) -> Value {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let mut claims = json!({
        "iss": ISSUER, "aud": "api", "sub": "alice", "client_id": "shop", "org": "acme", "scope": "orders:read",
        "jti": "token-1", "iat": now, "exp": now + 600,
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// Returns a GET with a Host and `fields`, each a line with its CRLF.
fn get_with(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: gate.test\r\n{fields}\r\n")
}

/// Returns a loopback address that refuses connections for as long as the test process runs.
fn closed_port() -> SocketAddr {
    let refusing = RefusingAddress::new();
    let address = refusing.address();
    // Another program would take a port that is free.
    std::mem::forget(refusing);
    address
}
