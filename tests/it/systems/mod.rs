//! Do the documented flows of real systems work end to end, with real clients and the examples in conf/?

mod maverics;
mod sixtyfour;
mod sixtyfour_keys;
mod scaikey;
mod portal;
mod secrets;
mod commands;

use crate::support::Admin;
use crate::support::AdminResponse;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::Program;
use crate::support::RawClient;
use crate::support::RawIssuer;
use crate::support::Response;
use crate::support::free_address;
use crate::support::issuer::from_base64url;
use crate::support::issuer::now;
use crate::support::program;
use crate::support::raw_issuer::Reply;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keygate::jose::sign::SigningKey;
use keygate::jose::sign::token_id;
use keygate::model::algorithm::Algorithm;
use rcgen::KeyPair;
use rcgen::PKCS_RSA_SHA256;
use rcgen::RsaKeySize;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;

const ADMIN_TOKEN: &str = "an-admin-token-of-the-tests-0123456789abcdef";
const PEPPER: &str = "a pepper of the tests";
const WRAPPING_KEY: &str = "8f1d2c3b4a5968778695a4b3c2d1e0f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// A running gate with a configuration of conf/examples.
struct ExampleGate {
    gate: Binary,
    admin: Admin,
    upstream: FakeUpstream,
    /// The issuer URL, which has the address of the data listener.
    url: String,
}

impl ExampleGate {
    /// Starts conf/examples/`example`.yaml with addresses of this machine, otherwise unchanged.
    #[track_caller]
    fn start(example: &str) -> Self {
        Self::start_changed(example, |yaml| yaml)
    }

    /// Starts the example for clients with key sets at `customer`.
    #[track_caller]
    fn start_for(example: &str, customer: &Customer) -> Self {
        // A server on loopback has a private address, and no certificate of a public authority.
        let client_jwks = "  client_jwks: { allow_private_addresses: true, ca_file: customer-ca.pem }";
        let change = |yaml: String| yaml.replace("\ntoken_endpoint:", &format!("\ntoken_endpoint:\n{client_jwks}"));
        Self::start_with(example, change, &[("customer-ca.pem", &customer.authority)])
    }

    /// Starts the example with a change to its text.
    #[track_caller]
    fn start_changed(example: &str, change: impl FnOnce(String) -> String) -> Self {
        Self::start_with(example, change, &[])
    }

    #[track_caller]
    fn start_with(example: &str, change: impl FnOnce(String) -> String, files: &[(&str, &str)]) -> Self {
        let upstream = FakeUpstream::start();
        let listener = free_address();
        let url = format!("http://{listener}");
        let path = format!("{}/conf/examples/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
        let mut text = std::fs::read_to_string(path).unwrap();
        let issuer = ["https://api.example.com", "https://auth.example.com"]
            .map(|issuer| format!("\n  issuer: {issuer}"))
            .into_iter()
            .find(|line| text.contains(line))
            .expect("the example has a token endpoint");
        for (from, to) in [
            (&*issuer, &*format!("\n  issuer: {url}")),
            ("127.0.0.1:8080", &listener.to_string()),
            ("127.0.0.1:9090", "127.0.0.1:0"),
            ("127.0.0.1:3000", &upstream.address().to_string()),
        ] {
            assert_eq!(text.matches(from).count(), 1, "{example}: {from}");
            text = text.replace(from, to);
        }
        let text = change(text);
        let variables = [
            ("KEYGATE_ADMIN_TOKEN", ADMIN_TOKEN),
            ("KEYGATE_PEPPER", PEPPER),
            ("KEYGATE_WRAPPING_KEY", WRAPPING_KEY),
        ];
        let gate = Binary::start_with_env(&text, files, &variables);
        gate.wait_ready();
        Self {
            admin: Admin::new(&gate, ADMIN_TOKEN),
            gate,
            upstream,
            url,
        }
    }

    /// Sends a request to the gate on a connection of its own; `headers` are whole lines, each with its CRLF.
    #[track_caller]
    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let headers = format!("Connection: close\r\n{headers}");
        RawClient::connect(self.gate.data()).exchange(request_text(method, path, &headers, body))
    }

    #[track_caller]
    fn get(&self, path: &str, headers: &str) -> Response {
        self.request("GET", path, headers, "")
    }

    #[track_caller]
    fn with_token(&self, path: &str, token: &str) -> Response {
        self.get(path, &format!("Authorization: Bearer {token}\r\n"))
    }

    #[track_caller]
    fn with_key(&self, path: &str, key: &str) -> Response {
        self.get(path, &format!("x-api-key: {key}\r\n"))
    }

    /// Sends a url-encoded form.
    #[track_caller]
    fn form(&self, path: &str, headers: &str, fields: &[(&str, &str)]) -> AdminResponse {
        let request = form_text(path, &format!("Connection: close\r\n{headers}"), fields);
        AdminResponse::of(RawClient::connect(self.gate.data()).exchange(request))
    }

    /// Requests a token by client_credentials with client_secret_basic; an empty `scope` is left out.
    #[track_caller]
    fn token_by_secret(&self, path: &str, id: &str, secret: &str, scope: &str) -> AdminResponse {
        let basic = format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{id}:{secret}")));
        let mut fields = vec![("grant_type", "client_credentials")];
        if !scope.is_empty() {
            fields.push(("scope", scope));
        }
        self.form(path, &basic, &fields)
    }

    /// Requests a token by client_credentials with private_key_jwt at the global endpoint.
    #[track_caller]
    fn token_by_key(&self, id: &str, key: &SigningKey, kid: Option<&str>) -> AdminResponse {
        self.token_by_assertion(&self.assertion(id, key, kid))
    }

    #[track_caller]
    fn token_by_assertion(&self, assertion: &str) -> AdminResponse {
        self.form("/oauth/token", "", &assertion_form(assertion))
    }

    /// Returns a client assertion (RFC 7523) with a lifetime of one minute.
    fn assertion(&self, id: &str, key: &SigningKey, kid: Option<&str>) -> String {
        let mut header = json!({ "alg": key.algorithm().as_str(), "typ": "JWT" });
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        let claims = json!({
            "iss": id, "sub": id, "aud": self.url, "iat": now(), "exp": now() + 60, "jti": token_id(),
        });
        key.sign_text(&header.to_string(), &claims.to_string()).unwrap()
    }

    /// Returns the oauth4webapi client for this system. tests/clients/oauth4webapi.mjs documents its variables.
    fn oauth4webapi(&self, id: &str) -> Program {
        Program::node("oauth4webapi.mjs")
            .env("ISSUER", &self.url)
            .env("CLIENT_ID", id)
    }

    /// Returns the Authlib client for this system. tests/clients/authlib_client.py documents its variables.
    fn authlib(&self, id: &str) -> Program {
        Program::python("authlib_client.py")
            .env("TOKEN_ENDPOINT", self.token_endpoint())
            .env("INTROSPECTION_ENDPOINT", format!("{}/oauth/introspect", self.url))
            .env("REVOCATION_ENDPOINT", format!("{}/oauth/revoke", self.url))
            .env("CLIENT_ID", id)
    }

    /// Returns the URL of the global token endpoint, as the metadata (RFC 8414) says it.
    #[track_caller]
    fn token_endpoint(&self) -> String {
        let response = self.get("/.well-known/oauth-authorization-server", "");
        let metadata: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        metadata["token_endpoint"].as_str().unwrap().to_owned()
    }

    /// Runs `keygate` with this gate's configuration. Returns what it prints.
    #[track_caller]
    fn keygate(&self, arguments: &[&str]) -> String {
        self.program(&[arguments, &["--config", "keygate.yaml"]].concat())
    }

    /// Runs `keygate` on the machine of this gate. Returns what it prints.
    #[track_caller]
    fn program(&self, arguments: &[&str]) -> String {
        let output = Command::new(program())
            .args(arguments)
            .current_dir(self.gate.folder())
            .env("KEYGATE_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("KEYGATE_PEPPER", PEPPER)
            .env("KEYGATE_WRAPPING_KEY", WRAPPING_KEY)
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the answer of the admin API for `noun` `id`, which is also that of `keygate … show`.
    #[track_caller]
    fn shown(&self, noun: &str, id: &str) -> Value {
        let answer = self.admin.get(&format!("/{noun}/{id}"));
        let printed = self.keygate(&[noun, "show", id, "--output", "json"]);
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), answer);
        // The page for people has every member of it, a view in an object as its members.
        let page = self.keygate(&[noun, "show", id]);
        for (name, value) in answer.as_object().unwrap() {
            let is_there = |line: &str| line.starts_with(&format!("{name} ")) || line.starts_with(&format!("{name}."));
            assert!(
                value == &json!([]) || value == &json!({}) || page.lines().any(is_there),
                "{name}: {page}"
            );
        }
        answer
    }

    /// Writes a file in the folder of the program under test.
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.gate.folder().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Waits until `path` with `key` gives 401; before that only 200, or 429 because of the polling.
    #[track_caller]
    fn wait_refused(&self, path: &str, key: &str) -> Response {
        let with_key = request_text("GET", path, &format!("x-api-key: {key}\r\n"), "");
        RawClient::connect(self.gate.data()).exchange_until(&with_key, 401, &[200, 429])
    }
}

/// Returns a request; `headers` are whole lines, each with its CRLF.
fn request_text(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}")
}

/// Returns a POST of a url-encoded form.
fn form_text(path: &str, headers: &str, fields: &[(&str, &str)]) -> String {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let headers = format!("{headers}Content-Type: application/x-www-form-urlencoded\r\n");
    request_text("POST", path, &headers, &body)
}

/// Returns the form of a token request with private_key_jwt.
fn assertion_form(assertion: &str) -> [(&str, &str); 3] {
    [
        ("grant_type", "client_credentials"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", assertion),
    ]
}

/// A customer's server with a key set at /jwks, over HTTPS.
struct Customer {
    server: RawIssuer,
    /// The certificate authority of the server, PEM.
    authority: String,
}

impl Customer {
    fn start() -> Self {
        let (server, authority) = RawIssuer::start_tls("localhost", 2100);
        Self { server, authority }
    }

    /// Publishes these keys from now on; the `kid` of each is its thumbprint.
    fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public_jwk()).collect();
        let set = json!({ "keys": keys }).to_string();
        self.server.reply("/jwks", Reply::ok(&set));
    }

    fn url(&self) -> String {
        self.server.url("/jwks")
    }
}

/// Returns a new RSA key pair, PKCS #8 PEM.
fn rsa_pem() -> String {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
        .unwrap()
        .serialize_pem()
}

fn rsa_key(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_pkcs8_pem(algorithm, &rsa_pem()).unwrap()
}

/// Returns the claims of a JWT, unverified.
#[track_caller]
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&from_base64url(payload)).unwrap()
}

/// Returns the access token of a response that must have one.
#[track_caller]
fn access_token(response: &AdminResponse) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.headers_named("cache-control"), ["no-store"]);
    assert_eq!(response.json["token_type"], "Bearer", "{response:?}");
    assert_eq!(response.json.get("refresh_token"), None);
    response.json["access_token"].as_str().expect("a token").to_owned()
}

/// Returns `error` and `error_description` of a response that must be a refusal with `status`.
#[track_caller]
fn oauth_error(response: &AdminResponse, status: u16) -> (String, String) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.headers_named("cache-control"), ["no-store"]);
    let text = |name: &str| response.json[name].as_str().unwrap_or_default().to_owned();
    (text("error"), text("error_description"))
}

/// Returns the type of a problem without `urn:keygate:problem:`.
#[track_caller]
fn problem(response: &Response, status: u16) -> String {
    assert_eq!(response.status, status, "{}", response.text());
    let problem: Value = serde_json::from_slice(&response.body).unwrap();
    let kind = problem["type"].as_str().unwrap();
    kind.strip_prefix("urn:keygate:problem:").unwrap().to_owned()
}

#[track_caller]
fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
        .to_owned()
}
