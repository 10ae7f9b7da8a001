//! The program itself, with keys and an issuer, in a folder of its own.

use crate::process;
use crate::process::Process;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::Digester;
use keygate::model::api_key::KeyEnvironment;
use keygate::model::api_key::system_random;
use keygate::model::clock::Clock;
use keygate::model::clock::SystemClock;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Stdio;

const RSA: &str = include_str!("../../tests/data/jose/rsa2048.private.pem");

pub struct Gate {
    pub process: Process,
    api_key: String,
    token: String,
    _folder: tempfile::TempDir,
}

impl Gate {
    /// With `keys` API keys, all good.
    pub fn start(upstream: SocketAddr, keys: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, content: &str| {
            std::fs::write(folder.path().join(name), content).expect("a file can be written");
        };
        let issuer = SigningKey::from_pkcs8_pem(Algorithm::Rs256, RSA).expect("a test key");
        let (file, api_key) = keys_file(keys);
        write("issuer.pem", &issuer.public_pem());
        write("keys.yaml", &file);
        write("keygate.yaml", &configuration(upstream));
        let mut command = process::on_core_0(env!("CARGO_BIN_EXE_keygate"));
        command
            .args(["run", "--threads", "1", "--config"])
            .arg(folder.path().join("keygate.yaml"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            // Records are written, to where it costs the reader nothing.
            .stdout(Stdio::null());
        Self {
            process: Process::start(&mut command, listening),
            api_key,
            token: token(&issuer),
            _folder: folder,
        }
    }

    pub fn api_key(&self) -> String {
        format!("x-api-key: {}", self.api_key)
    }

    pub fn token(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }
}

fn listening(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let data = line["message"] == "Listening" && line["listener"] == "data";
    data.then(|| line["address"].as_str()?.parse().ok()).flatten()
}

fn token(issuer: &SigningKey) -> String {
    let now = SystemClock::new().now().wall.as_unix_secs();
    let claims = json!({
        "iss": "https://issuer.example",
        "aud": "https://api.example",
        "sub": "alice",
        "client_id": "shop",
        "scope": "orders:read orders:write",
        "jti": "0123456789abcdef",
        "iat": now,
        "exp": now + 3600,
    });
    issuer.sign("at+jwt", &claims).expect("an RSA key signs")
}

/// The file, and the text of the last key in it.
fn keys_file(count: usize) -> (String, String) {
    let digester = Digester::new(None);
    let mut file = "keys:\n".to_owned();
    let mut last = String::new();
    for _ in 0..count {
        let key = ApiKeyText::generate("kg", KeyEnvironment::Live, &mut system_random);
        let digest = digester.digest(key.expose()).to_hex();
        writeln!(
            file,
            "  - {{ id: {}, digest: \"sha256:{digest}\", name: ci, env: live, scopes: [orders:read], client: billing, \
             expires_at: never }}",
            key.id()
        )
        .expect("text takes what is written to it");
        key.expose().clone_into(&mut last);
    }
    (file, last)
}

fn configuration(upstream: SocketAddr) -> String {
    format!(
        "
listeners:
  - address: 127.0.0.1:0
requests: {{ requests_per_connection: 1000000 }}
issuers:
  main:
    issuer: https://issuer.example
    audiences: [https://api.example]
    algorithms: [RS256]
    public_key_files: [issuer.pem]
api_keys: {{ file: keys.yaml }}
limits:
  wide: {{ by: credential, quota: 1000000/s }}
  spent: {{ by: credential, quota: 1/month }}
upstreams:
  orders: {{ endpoints: [\"{upstream}\"] }}
routes:
  - name: open
    match: {{ path: /v1/open }}
    public: true
    upstream: orders
  - name: orders
    match: {{ host: api.example, path: \"/v1/orders/{{*rest}}\", methods: [GET] }}
    accept: [jwt, api_key]
    scopes: {{ all: [\"orders:read\"] }}
    upstream: orders
  - name: limited
    match: {{ path: /v1/limited }}
    accept: [api_key]
    limits: [wide]
    upstream: orders
  - name: admin
    match: {{ path: /v1/admin }}
    accept: [api_key]
    scopes: {{ all: [admin] }}
    upstream: orders
  - name: spent
    match: {{ path: /v1/spent }}
    accept: [api_key]
    limits: [spent]
    upstream: orders
"
    )
}
