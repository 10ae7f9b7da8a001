//! Which responses does the gate give itself, and which identity does it pass to upstreams?

mod cors;
mod identity;
mod metadata;

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::issuer;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::Digester;
use keygate::model::api_key::KeyEnvironment;
use keygate::model::api_key::system_random;
use serde_json::Value;
use serde_json::json;

/// A gate before an upstream, and credentials that are valid there.
struct Gate {
    binary: Binary,
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
        Self::start_with(&[], more)
    }

    /// Starts a gate. `files` are names and contents, written beside the configuration file.
    fn start_with(files: &[(&str, &str)], more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        let upstream = FakeUpstream::start();
        let key = ApiKeyText::generate("kg", KeyEnvironment::Live, &mut system_random);
        let digest = Digester::new(None).digest(key.expose()).to_hex();
        let keys = format!(
            "keys:\n  - id: {}\n    digest: sha256:{digest}\n    name: test\n    env: live\n    scopes: [orders:read]\n    \
             created_at: 2026-01-01T00:00:00Z\n    expires_at: never\n",
            key.id()
        );
        let public = include_str!("../../data/jose/p256.public.pem");
        let files = [&[("issuer.pem", public), ("keys.yaml", &*keys)], files].concat();
        let gate = Self {
            binary: Binary::start_with(&more(Self::builder(&upstream)).yaml(), &files),
            upstream,
            signer: issuer::key(Algorithm::Es256),
            key: key.expose().to_owned(),
            key_id: key.id().to_string(),
        };
        gate.binary.wait_ready();
        gate
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

    /// Returns a valid token with `changes` to its claims.
    fn token_with(&self, changes: Value) -> String {
        issuer::token(&self.signer, &issuer::claims_with(changes))
    }

    fn token(&self) -> String {
        self.token_with(json!({}))
    }

    /// Sends a request. `line` is method and target; `fields` are lines with their CRLF.
    #[track_caller]
    fn ask(&self, line: &str, fields: &str) -> Response {
        self.ask_at("gate.test", line, fields)
    }

    #[track_caller]
    fn ask_at(&self, host: &str, line: &str, fields: &str) -> Response {
        let mut client = RawClient::connect(self.binary.data());
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
        self.binary.record(response)
    }

    /// Returns the count of decisions with these labels.
    #[track_caller]
    fn decisions(&self, route: &str, outcome: &str, reason: &str) -> f64 {
        self.binary.metric(&format!(
            "keygate_decisions_total{{credential_type=\"none\",outcome=\"{outcome}\",reason=\"{reason}\",route=\"{route}\"}}"
        ))
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
