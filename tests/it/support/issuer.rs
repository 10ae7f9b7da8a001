//! A token issuer that signs any claims, invalid ones too, and publishes its keys over loopback HTTP.

use super::FakeUpstream;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::clock::Clock;
use keygate::model::clock::SystemClock;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;

pub const ISSUER: &str = "https://issuer.example.test";
pub const AUDIENCE: &str = "https://api.example.test";

/// Returns the test key of `algorithm`; the RSA algorithms share one key.
pub fn key(algorithm: Algorithm) -> SigningKey {
    let pem = match algorithm {
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => include_str!("../../data/jose/rsa2048.private.pem"),
        Algorithm::Es256 => include_str!("../../data/jose/p256.private.pem"),
        Algorithm::Es384 => include_str!("../../data/jose/p384.private.pem"),
        Algorithm::EdDsa => include_str!("../../data/jose/ed25519.private.pem"),
    };
    SigningKey::from_pkcs8_pem(algorithm, pem).unwrap()
}

/// Returns seconds since 1970, by the clock that the program under test reads too.
pub fn now() -> u64 {
    SystemClock::new().now().wall.as_unix_secs()
}

/// Returns the claims of a valid access token with a lifetime of ten minutes.
pub fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "app-1",
        "scope": "orders:read", "iat": now(), "exp": now() + 600,
    })
}

/// Returns [`claims()`] with each member of `change` added or replaced; `null` removes a member.
pub fn claims_with(change: Value) -> Value {
    let mut claims = claims();
    let Value::Object(change) = change else {
        panic!("claims are an object");
    };
    for (name, value) in change {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(&name)),
            value => claims[name] = value,
        }
    }
    claims
}

/// Returns a token signed by `key`, with `typ` `at+jwt` and the key's own `alg` and `kid`.
pub fn token(key: &SigningKey, claims: &Value) -> String {
    key.sign("at+jwt", claims).unwrap()
}

/// Returns a compact JWS of three arbitrary parts, without a valid signature.
pub fn unsigned(header: &str, payload: &str, signature: &[u8]) -> String {
    [header.as_bytes(), payload.as_bytes(), signature]
        .map(base64url)
        .join(".")
}

pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[track_caller]
pub fn from_base64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

pub fn jwk_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A server that publishes one JWK set and counts the fetches.
pub struct TestIssuer {
    server: FakeUpstream,
    /// A test holds this lock to delay the responses.
    held: Arc<Mutex<()>>,
}

impl TestIssuer {
    /// Starts a server that publishes `keys`.
    pub fn start(keys: &[&SigningKey]) -> Self {
        let issuer = Self {
            server: FakeUpstream::start(),
            held: Arc::default(),
        };
        issuer.publish(keys);
        issuer
    }

    /// Publishes `keys` from now on.
    pub fn publish(&self, keys: &[&SigningKey]) {
        self.publish_set(&jwk_set(&keys.iter().map(|key| key.public_jwk()).collect::<Vec<_>>()));
    }

    /// Publishes `body` as the JWK set from now on.
    pub fn publish_set(&self, body: &str) {
        self.respond_with(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    /// Responds with `bytes` from now on.
    pub fn respond_with(&self, bytes: &str) {
        let (bytes, held) = (bytes.to_owned(), Arc::clone(&self.held));
        self.server.respond_with(move |_| {
            drop(held.lock());
            bytes.clone().into_bytes()
        });
    }

    /// Delays every response until the returned guard is dropped.
    pub fn hang(&self) -> std::sync::MutexGuard<'_, ()> {
        self.held.lock().unwrap()
    }

    pub fn fetches(&self) -> usize {
        self.server.received().len()
    }

    #[track_caller]
    pub fn wait_fetches(&self, count: usize) {
        self.server.wait_received(count);
    }

    /// Returns the issuer's section of a configuration, with the text `more` at the end.
    pub fn yaml(&self, more: &str) -> String {
        format!(
            "{}\njwks_url: http://{}/jwks\nallow_http: true\nallow_private_addresses: true\n{more}",
            identity_yaml(),
            self.server.address()
        )
    }
}

/// Returns the settings `issuer` and `audiences` of an issuer's section.
pub fn identity_yaml() -> String {
    format!("issuer: {ISSUER}\naudiences: [{AUDIENCE}]")
}

#[test]
fn a_hanging_issuer_has_seen_the_fetch_and_answers_later() {
    let issuer = TestIssuer::start(&[&key(Algorithm::Es256)]);
    let hanging = issuer.hang();
    let mut client = super::RawClient::connect(issuer.server.address());
    client.send("GET /jwks HTTP/1.1\r\nHost: a\r\n\r\n");
    issuer.wait_fetches(1);
    drop(hanging);
    assert_eq!(client.receive().json()["keys"][0]["kty"], "EC");
}
