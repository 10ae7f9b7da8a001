//! What does a signature cost? Verifying a token that was never seen, and signing one, per algorithm.

use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use keygate::jose::jwks::Jwks;
use keygate::jose::jws::Jws;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::json;
use std::hint::black_box;

const RSA: &str = include_str!("../tests/data/jose/rsa2048.private.pem");
const P256: &str = include_str!("../tests/data/jose/p256.private.pem");
const P384: &str = include_str!("../tests/data/jose/p384.private.pem");
const ED25519: &str = include_str!("../tests/data/jose/ed25519.private.pem");

fn signatures(criterion: &mut Criterion) {
    let claims = json!({
        "iss": "https://issuer.example",
        "aud": "https://api.example",
        "sub": "alice",
        "scope": "orders:read orders:write",
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
    });
    for (algorithm, pem) in [
        (Algorithm::Rs256, RSA),
        (Algorithm::Ps256, RSA),
        (Algorithm::Es256, P256),
        (Algorithm::Es384, P384),
        (Algorithm::EdDsa, ED25519),
    ] {
        let key = SigningKey::from_pkcs8_pem(algorithm, pem).expect("a test key");
        let set = json!({ "keys": [key.public_jwk()] }).to_string();
        let jwks = Jwks::parse(set.as_bytes()).expect("our own key set");
        let token = key.sign("at+jwt", &claims).expect("a key signs");
        let verify = || {
            let jws = Jws::parse(black_box(&token)).expect("our own token");
            let found = jwks.find(jws.header().kid.as_deref(), algorithm).expect("its key");
            jws.verify(found).is_ok()
        };
        assert!(verify(), "{}", algorithm.as_str());
        criterion.bench_function(&format!("verify {}", algorithm.as_str()), |bencher| {
            bencher.iter(verify)
        });
        criterion.bench_function(&format!("sign {}", algorithm.as_str()), |bencher| {
            bencher.iter(|| key.sign("at+jwt", black_box(&claims)).is_ok());
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = signatures
}
criterion_main!(benches);
