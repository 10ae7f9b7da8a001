//! Which responses does the gate generate without an upstream, and which identity token does it send to upstreams?

mod cors;
mod identity;
mod metadata;

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::StartGate;
use crate::support::api_key;
use crate::support::issuer;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;

/// A gate, its upstream, and credentials that the gate accepts.
struct Gate<G = LocalGate> {
    running: G,
    upstream: FakeUpstream,
    /// The signing key of the issuer `main`.
    signer: SigningKey,
    /// An API key with the scope `orders:read`.
    key: String,
    key_id: String,
}

impl Gate {
    /// Starts a gate with the issuer `main`, one API key, the upstream `up`, and the additions of `more`.
    fn start(more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        Self::serve(&[], more)
    }

    /// Starts a gate. `files` are names and contents, written beside the configuration file.
    fn start_with(files: &[(&str, &str)], more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        Self::serve(files, more)
    }

    fn builder(upstream: &FakeUpstream) -> GatewayBuilder {
        GatewayBuilder::new()
            .top("api_keys: { file: keys.yaml }")
            .top("failed_authentication: off")
            .issuer(
                "main",
                &format!("{}\npublic_key_files: [issuer.pem]", issuer::identity_yaml()),
            )
            .upstream("up", upstream.address())
    }
}

impl<G: StartGate> Gate<G> {
    /// Starts a gate as a program or in this process, as `G` says, and waits until the gate is ready.
    fn serve(files: &[(&str, &str)], more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        let upstream = FakeUpstream::start();
        let (key, entry) = api_key("");
        let keys = format!(
            "keys:
{entry}"
        );
        let public = include_str!("../../data/jose/p256.public.pem");
        let files = [&[("issuer.pem", public), ("keys.yaml", &*keys)], files].concat();
        let gate = Self {
            running: G::start_with(&more(Gate::builder(&upstream)).yaml(), &files),
            upstream,
            signer: issuer::key(Algorithm::Es256),
            key: key.expose().to_owned(),
            key_id: key.id().to_string(),
        };
        gate.running.wait_ready();
        gate
    }

    /// Returns a valid token with `changes` to its claims.
    fn token_with(&self, changes: Value) -> String {
        issuer::token(&self.signer, &issuer::claims_with(changes))
    }

    fn token(&self) -> String {
        self.token_with(json!({}))
    }

    /// Sends a request on a new connection. `line` is method and target; `fields` are lines with their CRLF.
    #[track_caller]
    fn ask(&self, line: &str, fields: &str) -> Response {
        self.ask_at("gate.test", line, fields)
    }

    #[track_caller]
    fn ask_at(&self, host: &str, line: &str, fields: &str) -> Response {
        let mut client = RawClient::connect(self.running.data());
        client.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        if line.starts_with("HEAD ") {
            client.receive_to_head()
        } else {
            client.receive()
        }
    }

    /// Sends a request and returns its response and its access record.
    #[track_caller]
    fn ask_recorded(&self, line: &str, fields: &str) -> (Response, Value) {
        let response = self.ask(line, fields);
        let record = self.record(&response);
        (response, record)
    }

    /// Returns the access record of `response`.
    #[track_caller]
    fn record(&self, response: &Response) -> Value {
        self.running.record(response)
    }

    /// Returns the count of decisions with these labels.
    #[track_caller]
    fn decisions(&self, route: &str, outcome: &str, reason: &str) -> f64 {
        self.running.count_of_ended(&format!(
            "keygate_decisions_total{{credential_type=\"none\",outcome=\"{outcome}\",reason=\"{reason}\",route=\"{route}\"}}"
        ))
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
