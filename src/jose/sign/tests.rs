use super::*;
use crate::jose::jwks::Jwks;
use crate::jose::jws::Jws;
use aws_lc_rs::signature::RsaPublicKeyComponents;
use aws_lc_rs::signature::UnparsedPublicKey;
use aws_lc_rs::signature::VerificationAlgorithm;
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

const RSA: &str = include_str!("../../../tests/data/jose/rsa2048.private.pem");
const P256: &str = include_str!("../../../tests/data/jose/p256.private.pem");
const P384: &str = include_str!("../../../tests/data/jose/p384.private.pem");
const ED25519: &str = include_str!("../../../tests/data/jose/ed25519.private.pem");

fn pem_for(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => P256,
        Algorithm::Es384 => P384,
        Algorithm::EdDsa => ED25519,
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => RSA,
    }
}

fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_pkcs8_pem(algorithm, pem_for(algorithm)).unwrap()
}

fn set_of(key: &SigningKey) -> Jwks {
    Jwks::parse(json!({ "keys": [key.public_jwk()] }).to_string().as_bytes()).unwrap()
}

#[track_caller]
fn verifies(token: &str, set: &Jwks) -> bool {
    let Ok(jws) = Jws::parse(token) else { return false };
    let Ok(keys) = set.find(jws.header().kid.as_deref(), jws.header().algorithm) else {
        return false;
    };
    jws.signer(keys.iter()).is_ok()
}

#[test]
fn a_signed_token_verifies_with_the_published_key() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let token = key.sign("at+jwt", &json!({"sub": "a"})).unwrap();
        assert!(verifies(&token, &set_of(&key)), "{algorithm}");
        let pems = Jwks::from_pems(&[key.public_pem().into_bytes()]).unwrap();
        assert!(verifies(&token, &pems), "{algorithm} by PEM");
        let jws = Jws::parse(&token).unwrap();
        assert_eq!(jws.header().typ.as_deref(), Some("at+jwt"));
        assert_eq!(jws.header().kid.as_deref(), Some(key.kid()));
        assert_eq!(jws.payload(), br#"{"sub":"a"}"#);
    }
}

#[test]
fn a_token_id_is_128_bits_and_drawn_anew() {
    let ids = [token_id(), token_id()];
    assert_ne!(ids[0], ids[1]);
    for id in &ids {
        assert_eq!(base64url::decode(id).unwrap().len(), 16, "{id}");
    }
}

#[test]
fn a_written_key_reads_back_as_itself() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let text = key.to_pkcs8_pem().unwrap();
        let again = SigningKey::from_pkcs8_pem(algorithm, text.expose()).unwrap();
        assert_eq!(again.kid(), key.kid(), "{algorithm}");
        assert_eq!(again.public_jwk(), key.public_jwk());
        assert_eq!(again.public_pem(), key.public_pem());
    }
    let fresh = SigningKey::generate_es256().unwrap();
    let again = SigningKey::from_pkcs8_pem(Algorithm::Es256, fresh.to_pkcs8_pem().unwrap().expose()).unwrap();
    assert_eq!(again.kid(), fresh.kid());
    assert_ne!(SigningKey::generate_es256().unwrap().kid(), fresh.kid());
}

#[test]
fn public_pems_are_those_that_openssl_writes() {
    for (algorithm, expected) in [
        (
            Algorithm::Rs256,
            include_str!("../../../tests/data/jose/rsa2048.public.pem"),
        ),
        (
            Algorithm::Es256,
            include_str!("../../../tests/data/jose/p256.public.pem"),
        ),
        (
            Algorithm::Es384,
            include_str!("../../../tests/data/jose/p384.public.pem"),
        ),
        (
            Algorithm::EdDsa,
            include_str!("../../../tests/data/jose/ed25519.public.pem"),
        ),
    ] {
        assert_eq!(key(algorithm).public_pem(), expected, "{algorithm}");
    }
}

#[test]
fn a_private_key_must_fit_its_algorithm() {
    for algorithm in Algorithm::ALL {
        for other in Algorithm::ALL {
            let fits = pem_for(algorithm) == pem_for(other);
            let read = SigningKey::from_pkcs8_pem(algorithm, pem_for(other));
            assert_eq!(read.is_ok(), fits, "{algorithm} {other}");
        }
    }
    let check = |text: &str, reason| {
        let read = SigningKey::from_pkcs8_pem(Algorithm::Es256, text);
        assert_eq!(read.map(drop), Err(SignError::Pem(reason)), "{text:.40}");
    };
    check("", "no PEM block in it");
    check(
        include_str!("../../../tests/data/jose/p256.sec1.private.pem"),
        "not a `PRIVATE KEY` block (PKCS #8)",
    );
    check(
        include_str!("../../../tests/data/jose/p256.public.pem"),
        "not a `PRIVATE KEY` block (PKCS #8)",
    );
    check(
        &[P256, P384].concat(),
        "more than one PEM block in it: one key per file",
    );
    let small = include_str!("../../../tests/data/jose/rsa1024.private.pem");
    assert!(SigningKey::from_pkcs8_pem(Algorithm::Rs256, small).is_err());
}

#[test]
fn debug_prints_no_private_part() {
    let key = key(Algorithm::Es256);
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey {{ algorithm: Es256, kid: {:?}, .. }}", key.kid())
    );
}

/// Returns the bytes of a member of a JWK.
fn member(jwk: &Value, name: &str) -> Vec<u8> {
    base64url::decode(jwk[name].as_str().unwrap()).unwrap()
}

/// Returns whether `jsonwebtoken` accepts `token` under `jwk`. It signs with EC and EdDSA.
fn is_valid_for_jsonwebtoken(algorithm: Algorithm, token: &str, jwk: &Value) -> bool {
    let jwk = serde_json::from_value(jwk.clone()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let mut validation = jsonwebtoken::Validation::new(algorithm.as_str().parse().unwrap());
    validation.set_audience(&["x"]);
    jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
}

/// Returns whether `aws-lc` accepts the signature of `token` under `jwk`. It signs with RSA.
fn is_valid_for_aws_lc(algorithm: Algorithm, token: &str, jwk: &Value) -> bool {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (message, signature) = (message.as_bytes(), base64url::decode(signature).unwrap());
    let point = || [vec![0x04], member(jwk, "x"), member(jwk, "y")].concat();
    let verified = |scheme: &'static dyn VerificationAlgorithm, key: Vec<u8>| {
        UnparsedPublicKey::new(scheme, key).verify(message, &signature)
    };
    let rsa = |scheme| {
        let (n, e) = (member(jwk, "n"), member(jwk, "e"));
        RsaPublicKeyComponents { n, e }.verify(scheme, message, &signature)
    };
    let verified = match algorithm {
        Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => rsa(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => rsa(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 => verified(&signature::ECDSA_P256_SHA256_FIXED, point()),
        Algorithm::Es384 => verified(&signature::ECDSA_P384_SHA384_FIXED, point()),
        Algorithm::EdDsa => verified(&signature::ED25519, member(jwk, "x")),
    };
    verified.is_ok()
}

#[test]
fn the_library_that_did_not_sign_verifies_with_the_published_key_as_well() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let token = key.sign("JWT", &json!({"exp": 4_000_000_000_u64, "aud": "x"})).unwrap();
        let jwk = key.public_jwk();
        let changed = format!("{}.{}", token.rsplit_once('.').unwrap().0, base64url::encode(&[1; 64]));
        for is_valid in [is_valid_for_jsonwebtoken, is_valid_for_aws_lc] {
            assert!(is_valid(algorithm, &token, &jwk), "{algorithm}");
            assert!(!is_valid(algorithm, &changed, &jwk), "{algorithm}");
        }
    }
}

static SIGNED: LazyLock<(String, Jwks)> = LazyLock::new(|| {
    let key = SigningKey::generate_es256().unwrap();
    let token = key
        .sign("at+jwt", &json!({"iss": "https://a.example", "sub": "alice", "exp": 1}))
        .unwrap();
    (token, set_of(&key))
});

#[test]
fn a_flipped_bit_of_a_signed_token_is_detected() {
    let (token, set) = &*SIGNED;
    assert!(verifies(token, set));
    for index in 0..token.len() {
        for bit in 0..8 {
            let mut bytes = token.clone().into_bytes();
            bytes[index] ^= 1 << bit;
            // `Jws::parse` takes a `str`, so invalid UTF-8 cannot reach it.
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(!verifies(&changed, set), "bit {bit} of byte {index}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_signed_text_verifies(payload in ".{0,64}") {
        let key = SigningKey::generate_es256().unwrap();
        let token = key.sign_text(r#"{"alg":"ES256"}"#, &payload).unwrap();
        prop_assert!(verifies(&token, &set_of(&key)));
    }

    #[test]
    fn any_change_of_a_signed_token_is_refused(index in 0_usize..200, with in "[A-Za-z0-9_.-]") {
        let (token, set) = &*SIGNED;
        let index = index % token.len();
        let mut changed = token.clone();
        changed.replace_range(index..=index, &with);
        prop_assume!(changed != *token);
        prop_assert!(!verifies(&changed, set));
    }
}
