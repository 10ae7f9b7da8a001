//! How are the valid API keys and tokens of the rows created, before the measurement?

use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::system_random;
use keygate::model::clock::Clock;
use keygate::model::clock::SystemClock;
use serde_json::Value;
use serde_json::json;

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "https://api.example";

/// The signing keys of the issuer that every proxy trusts, and a key that no proxy trusts.
pub struct Issuer {
    pub rs256: SigningKey,
    pub es256: SigningKey,
    pub eddsa: SigningKey,
    /// An untrusted key for RS256.
    pub stranger: SigningKey,
}

impl Issuer {
    pub fn new() -> Self {
        let read = |algorithm, pem| SigningKey::from_pkcs8_pem(algorithm, pem).expect("a test key");
        Self {
            rs256: read(
                Algorithm::Rs256,
                include_str!("../../tests/data/jose/rsa2048.private.pem"),
            ),
            es256: read(Algorithm::Es256, include_str!("../../tests/data/jose/p256.private.pem")),
            eddsa: read(
                Algorithm::EdDsa,
                include_str!("../../tests/data/jose/ed25519.private.pem"),
            ),
            stranger: SigningKey::generate(Algorithm::Rs256).expect("randomness"),
        }
    }
}

/// Returns the claims of a token that is valid for three hours. `id` becomes the `jti`, so that tokens differ.
pub fn claims(id: usize) -> Value {
    let now = SystemClock::new().now().wall.as_unix_secs();
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "client_id": "shop",
        "scope": "orders:read orders:write",
        "jti": format!("{id:016x}"),
        "iat": now,
        "exp": now + 3 * 3600,
    })
}

pub fn sign(key: &SigningKey, claims: &Value) -> String {
    key.sign("at+jwt", claims).expect("a test key signs")
}

/// Returns one valid token per id. Signs on all cores, because thousands of signatures take seconds.
pub fn tokens(key: &SigningKey, ids: std::ops::Range<usize>) -> Vec<String> {
    let ids: Vec<usize> = ids.collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = ids.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let signing: Vec<_> = ids
            .chunks(share)
            .map(|ids| scope.spawn(move || ids.iter().map(|id| sign(key, &claims(*id))).collect::<Vec<_>>()))
            .collect();
        let signed = signing.into_iter().map(|thread| thread.join().expect("signing works"));
        signed.flatten().collect()
    })
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

pub fn api_keys(count: usize) -> Vec<String> {
    let generate = |_| {
        let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        key.expose().to_owned()
    };
    (0..count).map(generate).collect()
}

pub fn x_api_key(key: &str) -> String {
    format!("x-api-key: {key}")
}
