//! An authorization server by others, the certified `oidc-provider`, as a child process: tests/clients/provider.mjs.

use super::PATIENCE;
use super::RawClient;
use super::clients;
use super::issuer::key;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

/// The secret of the client that gets tokens.
const APP_SECRET: &str = "app-secret";
/// Keygate's `client_id` at the provider. Id and secret contain characters that
/// `client_secret_basic` form-encodes (RFC 6749 section 2.3.1).
pub const GATEWAY_ID: &str = "key gate:1";
pub const GATEWAY_SECRET: &str = "p@ss:w%rd+ /&=";
/// Keygate's `client_id` for `private_key_jwt`; its private key is the ES256 test key.
pub const GATEWAY_WITH_KEY: &str = "keygate-with-key";

/// The running server. Killed when dropped.
pub struct Provider {
    child: Child,
    address: SocketAddr,
}

impl Provider {
    /// Starts the server.
    ///
    /// # Panics
    /// When the server does not report its address in time.
    #[track_caller]
    pub fn start() -> Self {
        let mut child = Command::new("node")
            .arg("provider.mjs")
            .args([APP_SECRET, GATEWAY_SECRET])
            .arg(key(Algorithm::Es256).public_jwk().to_string())
            .current_dir(clients())
            // The provider ends when its stdin closes, also when the test process is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node is installed");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = send.send(line);
        });
        // The provider generates RSA keys first, on a machine that may be busy.
        let line = line
            .recv_timeout(PATIENCE + Duration::from_secs(20))
            .unwrap_or_default();
        let Ok(metadata) = serde_json::from_str::<Value>(&line) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the provider did not say where it listens: {line:?}");
        };
        let address = metadata["issuer"].as_str().unwrap().strip_prefix("http://").unwrap();
        Self {
            address: address.parse().unwrap(),
            child,
        }
    }

    /// Returns the provider's issuer identifier.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests a token for `https://api.example.test/<resource>` with `client_credentials`.
    /// `resource` is `opaque`, `short` (opaque, two seconds), or the name of an algorithm for a JWT.
    #[track_caller]
    pub fn token(&self, resource: &str, scope: &str) -> String {
        let scope = scope.replace(' ', "+");
        let form = format!("grant_type=client_credentials&scope={scope}&resource=https://api.example.test/{resource}");
        let (status, response) = self.post("/token", &form);
        assert_eq!(status, 200, "{response}");
        let response: Value = serde_json::from_str(&response).unwrap();
        response["access_token"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn revoke(&self, token: &str) {
        let (status, response) = self.post("/token/revocation", &format!("token={token}"));
        assert_eq!(status, 200, "{response}");
    }

    /// Takes one step of a key rotation: `publish`, `sign` or `withdraw`.
    #[track_caller]
    pub fn step(&self, name: &str) {
        let (status, response) = self.post(&format!("/test/{name}"), "");
        assert_eq!(status, 204, "{response}");
    }

    fn post(&self, path: &str, form: &str) -> (u16, String) {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{form}",
            self.address,
            STANDARD.encode(format!("app:{APP_SECRET}")),
            form.len()
        );
        let response = RawClient::connect(self.address).exchange(request);
        (response.status, response.text())
    }

    /// Returns the section of an issuer that publishes keys. `from` is the
    /// setting that locates the keys, `more` the text at the end.
    pub fn with_keys_yaml(&self, from: &str, more: &str) -> String {
        let issuer = self.issuer();
        format!("issuer: {issuer}\naudiences: any\n{from}\nallow_http: true\nallow_private_addresses: true\n{more}")
    }

    /// Returns the section of an issuer with introspection. `client` holds
    /// Keygate's client id and its secret or key, `more` the rest of `introspection`.
    pub fn introspection_yaml(&self, client: &str, more: &str) -> String {
        let issuer = self.issuer();
        format!(
            "issuer: {issuer}\naudiences: [https://api.example.test/opaque, https://api.example.test/short]\nintrospection:\n  url: {issuer}/token/introspection\n  allow_http: true\n  allow_private_addresses: true\n  {client}\n  {more}"
        )
    }

    /// Returns the argument `client` of [`Self::introspection_yaml`] for `client_secret_basic`.
    pub fn by_secret() -> String {
        format!("client_id: \"{GATEWAY_ID}\"\n  client_secret: \"{GATEWAY_SECRET}\"")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
