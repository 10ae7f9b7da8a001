//! How long do verifying a token that is seen first and signing a token take, per algorithm? `-- libraries` compares
//! the two libraries that can verify.

mod fixture;

use aws_lc_rs::signature;
use aws_lc_rs::signature::ParsedPublicKey;
use aws_lc_rs::signature::VerificationAlgorithm;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::Criterion;
use criterion::criterion_group;
use fixture::BenchRequest;
use fixture::Fixture;
use fixture::request;
use http::request::Parts;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use keygate::jose::json::Members;
use keygate::jose::jwks::Jwks;
use keygate::jose::jws::Jws;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::json;
use std::hint::black_box;
use std::time::Instant;

/// The allocator of the binary: `jsonwebtoken` copies the key for each token.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RSA: &str = include_str!("../tests/data/jose/rsa2048.private.pem");
const P256: &str = include_str!("../tests/data/jose/p256.private.pem");
const P384: &str = include_str!("../tests/data/jose/p384.private.pem");
const ED25519: &str = include_str!("../tests/data/jose/ed25519.private.pem");

/// One key per curve, and an RSA key of the smallest size with both paddings.
const KEYS: [(Algorithm, &str); 5] = [
    (Algorithm::Rs256, RSA),
    (Algorithm::Ps256, RSA),
    (Algorithm::Es256, P256),
    (Algorithm::Es384, P384),
    (Algorithm::EdDsa, ED25519),
];

fn signing_key(algorithm: Algorithm, pem: &str) -> SigningKey {
    SigningKey::from_pkcs8_pem(algorithm, pem).expect("a test key")
}

fn key_set(key: &SigningKey) -> Jwks {
    let set = json!({ "keys": [key.public_jwk()] }).to_string();
    Jwks::parse(set.as_bytes()).expect("our own key set")
}

fn signatures(criterion: &mut Criterion) {
    let claims = json!({
        "iss": "https://issuer.example",
        "aud": "https://api.example",
        "sub": "alice",
        "scope": "orders:read orders:write",
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
    });
    for (algorithm, pem) in KEYS {
        let key = signing_key(algorithm, pem);
        let jwks = key_set(&key);
        let token = key.sign("at+jwt", &claims).expect("a key signs");
        let verify = || {
            let jws = Jws::parse(black_box(&token)).expect("our own token");
            let found = jwks.find(jws.header().kid.as_deref(), algorithm).expect("its key");
            jws.signer(found.iter()).is_ok()
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

/// The number of tokens in a batch. A batch verifies each token once.
const TOKENS: usize = 32;
const ROUNDS: usize = 300;

/// A token, its decoded parts for a call of either library, and a request with the token.
struct SignedToken {
    text: String,
    message: Vec<u8>,
    signature: Vec<u8>,
    request: Parts,
}

/// The key of one algorithm in the form of each library, and tokens that the key signed.
struct LibraryComparison {
    algorithm: Algorithm,
    fixture: Fixture,
    jwks: Jwks,
    parsed: ParsedPublicKey,
    decoding: DecodingKey,
    jwt_algorithm: jsonwebtoken::Algorithm,
    tokens: Vec<SignedToken>,
}

/// The number of timed cases. The constants below are their indexes.
const CASES: usize = 6;
const AWS_LC: usize = 0;
const JSONWEBTOKEN: usize = 1;
const JOSE: usize = 2;
const WAY_AWS_LC: usize = 3;
const WAY_JSONWEBTOKEN: usize = 4;
const DECISION: usize = 5;

impl LibraryComparison {
    fn new(algorithm: Algorithm, pem: &str) -> Self {
        let key = signing_key(algorithm, pem);
        let jwks = key_set(&key);
        let jwk = serde_json::from_value(key.public_jwk()).expect("a JWK");
        let spki = pem::parse(key.public_pem()).expect("a PEM block").into_contents();
        let fixture = Fixture::signed_by(key);
        let tokens = (0..TOKENS).map(|index| {
            let text = fixture.token_with(&json!({ "jti": format!("{index:016}") }));
            let (message, signature) = text.rsplit_once('.').expect("a token has dots");
            let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
            let request = request(BenchRequest {
                path: "/v1/plain",
                api_key: None,
                token: Some(&text),
            });
            SignedToken {
                message: message.as_bytes().to_vec(),
                signature,
                request,
                text,
            }
        });
        Self {
            algorithm,
            tokens: tokens.collect(),
            parsed: ParsedPublicKey::new(verification_algorithm(algorithm), &spki).expect("a public key"),
            // From a JWK: `jsonwebtoken` is slower with an RSA key from DER.
            decoding: DecodingKey::from_jwk(&jwk).expect("a public key"),
            jwt_algorithm: algorithm.as_str().parse().expect("an algorithm"),
            jwks,
            fixture,
        }
    }

    fn verified_by_aws_lc(&self, token: &SignedToken) -> bool {
        self.parsed.verify_sig(&token.message, &token.signature).is_ok()
    }

    fn verified_by_jsonwebtoken(&self, token: &SignedToken) -> bool {
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&self.jwt_algorithm, &self.decoding);
        let verifier = verifier.expect("a key of this family");
        verifier.verify(&token.message, &token.signature).is_ok()
    }

    fn verified_by_jose(&self, token: &SignedToken) -> bool {
        let key = self.jwks.find(None, self.algorithm).expect("the key").first();
        key.verify(self.algorithm, &token.message, &token.signature).is_ok()
    }

    /// Does the work of `jose` for a token that is seen first: parses the token, finds the key, reads the claims, and
    /// verifies the signature with `verify`. Returns whether all of that succeeds.
    fn way(&self, token: &SignedToken, verify: impl FnOnce(&SignedToken) -> bool) -> bool {
        let jws = Jws::parse(black_box(&token.text)).expect("our own token");
        let claims = Members::parse(jws.payload()).expect("claims");
        let header = jws.header();
        let key = self.jwks.find(header.kid.as_deref(), header.algorithm);
        key.is_ok() && verify(token) && claims.get("iss").is_some()
    }

    /// Returns the nanoseconds per token of each case in one round. Odd rounds run the cases in reverse order, so that
    /// no case always runs after the same other case.
    fn round(&self, number: usize) -> [f64; CASES] {
        let mut nanos = [0.0; CASES];
        for place in 0..CASES {
            let case = if number.is_multiple_of(2) {
                place
            } else {
                CASES - 1 - place
            };
            nanos[case] = match case {
                AWS_LC => self.batch(|token| self.verified_by_aws_lc(token)),
                JSONWEBTOKEN => self.batch(|token| self.verified_by_jsonwebtoken(token)),
                JOSE => self.batch(|token| self.verified_by_jose(token)),
                WAY_AWS_LC => self.batch(|token| self.way(token, |token| self.verified_by_aws_lc(token))),
                WAY_JSONWEBTOKEN => self.batch(|token| self.way(token, |token| self.verified_by_jsonwebtoken(token))),
                DECISION => {
                    self.tokens
                        .iter()
                        .for_each(|token| self.fixture.forget_token(&token.text));
                    self.batch(|token| self.fixture.decide(black_box(&token.request)).is_ok())
                }
                _ => unreachable!("no other case"),
            };
        }
        nanos
    }

    fn batch(&self, accepts: impl Fn(&SignedToken) -> bool) -> f64 {
        let before = Instant::now();
        let all = self.tokens.iter().all(|token| accepts(black_box(token)));
        let nanos = before.elapsed().as_nanos() as f64;
        assert!(all, "{}: a token does not verify", self.algorithm);
        nanos / TOKENS as f64
    }
}

fn verification_algorithm(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDsa => &signature::ED25519,
    }
}

/// The minimum and the median of some rounds.
#[derive(Clone, Copy)]
struct Summary {
    least: f64,
    median: f64,
}

impl Summary {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self {
            least: values[0],
            median: values[values.len() / 2],
        }
    }

    fn zip(self, other: Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            least: combine(self.least, other.least),
            median: combine(self.median, other.median),
        }
    }

    fn print(self, digits: usize) -> String {
        format!("{:.digits$} / {:.digits$}", self.least, self.median)
    }
}

/// Compares `aws-lc` with keys parsed once to `jsonwebtoken`, which parses the key for each token: the signature alone,
/// all of `jose`, and a whole decision. All cases run in turn, because the machine's other load changes by the minute.
fn compare() {
    println!("Microseconds for one token, least / median of {ROUNDS} rounds.\n");
    println!("| algorithm | | aws-lc, key parsed once | jsonwebtoken | ratio |\n| --- | --- | ---: | ---: | ---: |");
    for (algorithm, pem) in KEYS {
        let comparison = LibraryComparison::new(algorithm, pem);
        // Warm up caches and branch predictors.
        for number in 0..10 {
            comparison.round(number);
        }
        let rounds: Vec<[f64; CASES]> = (0..ROUNDS).map(|number| comparison.round(number)).collect();
        let of = |case: usize| Summary::of(rounds.iter().map(|round| round[case] / 1e3));
        let row = |name: &str, aws_lc: Summary, jsonwebtoken: Summary| {
            println!(
                "| {algorithm} | {name} | {} | {} | {} |",
                aws_lc.print(2),
                jsonwebtoken.print(2),
                jsonwebtoken.zip(aws_lc, |theirs, ours| theirs / ours).print(3),
            );
        };
        row("signature alone", of(AWS_LC), of(JSONWEBTOKEN));
        row("all of `jose`", of(WAY_AWS_LC), of(WAY_JSONWEBTOKEN));
        // A decision verifies with the library that `jose` uses. The rest of the decision is the same with either
        // library.
        let rest = of(DECISION).zip(of(JOSE), |decision, verification| decision - verification);
        let with = |case| rest.zip(of(case), |rest, verification| rest + verification);
        row("whole decision", with(AWS_LC), with(JSONWEBTOKEN));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = signatures
}

fn main() {
    if std::env::args().any(|argument| argument == "libraries") {
        return compare();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
