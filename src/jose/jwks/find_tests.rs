//! Which keys of a set may have signed a token?

use super::*;
use crate::jose::jwks::tests::ED25519_PEM;
use crate::jose::jwks::tests::P256_PEM;
use crate::jose::jwks::tests::P384_PEM;
use crate::jose::jwks::tests::RSA_PEM;
use crate::jose::jwks::tests::check_find;
use crate::jose::jwks::tests::jwk_with;
use crate::jose::jwks::tests::parse;
use crate::jose::jwks::tests::thumbprint;
use crate::jose::jws::Jws;
use crate::jose::sign::SigningKey;
use serde_json::json;

#[test]
fn s015_a_key_serves_its_own_algorithms_only() {
    let open = parse(&[jwk_with(RSA_PEM, json!({"kid": "r"}))]).unwrap();
    let pinned = parse(&[jwk_with(RSA_PEM, json!({"kid": "r", "alg": "RS256"}))]).unwrap();
    let rsa = thumbprint(RSA_PEM);
    for algorithm in Algorithm::ALL {
        let family = algorithm.as_str().starts_with(['R', 'P']);
        let open_expected = if family {
            Ok(&*rsa)
        } else {
            Err(KeyLookupError::NoneFits)
        };
        check_find(&open, Some("r"), algorithm, open_expected);
        assert_eq!(
            open.keys[0].algorithms().any(|one| one == algorithm),
            family,
            "{algorithm}"
        );
        let is_pinned = algorithm == Algorithm::Rs256;
        let pinned_expected = if is_pinned {
            Ok(&*rsa)
        } else {
            Err(KeyLookupError::NoneFits)
        };
        check_find(&pinned, Some("r"), algorithm, pinned_expected);
    }
}

#[test]
fn ed25519_has_two_names() {
    for alg in ["EdDSA", "Ed25519"] {
        let set = parse(&[jwk_with(ED25519_PEM, json!({ "alg": alg }))]).unwrap();
        check_find(&set, None, "EdDSA".parse().unwrap(), Ok(&thumbprint(ED25519_PEM)));
        check_find(&set, None, "Ed25519".parse().unwrap(), Ok(&thumbprint(ED25519_PEM)));
    }
}

#[test]
fn s052_a_kid_is_compared_byte_by_byte() {
    let long = "k".repeat(4096);
    for kid in ["a", "../../etc/passwd", "\"'`;--", "a\0b", "é", &long] {
        let set = parse(&[jwk_with(P256_PEM, json!({ "kid": kid }))]).unwrap();
        check_find(&set, Some(kid), Algorithm::Es256, Ok(&thumbprint(P256_PEM)));
        for other in [
            format!("{kid} "),
            format!("{kid}\0"),
            format!("x{kid}"),
            "A".to_owned(),
            "e\u{301}".to_owned(),
        ] {
            check_find(&set, Some(&other), Algorithm::Es256, Err(KeyLookupError::UnknownKid));
        }
    }
}

#[test]
fn s053_without_kid_exactly_one_key_must_fit() {
    let one_each = parse(&[
        jwk_with(RSA_PEM, json!({"kid": "r"})),
        jwk_with(P256_PEM, json!({"kid": "e"})),
        jwk_with(P384_PEM, json!({})),
    ])
    .unwrap();
    check_find(&one_each, None, Algorithm::Rs256, Ok(&thumbprint(RSA_PEM)));
    check_find(&one_each, None, Algorithm::Es256, Ok(&thumbprint(P256_PEM)));
    check_find(&one_each, None, Algorithm::Es384, Ok(&thumbprint(P384_PEM)));
    check_find(&one_each, None, Algorithm::EdDsa, Err(KeyLookupError::NoneFits));
    let fresh = SigningKey::generate_es256().unwrap();
    let two = parse(&[jwk_with(P256_PEM, json!({"kid": "e"})), fresh.public_jwk()]).unwrap();
    check_find(&two, None, Algorithm::Es256, Err(KeyLookupError::Ambiguous));
    check_find(&two, Some("e"), Algorithm::Es256, Ok(&thumbprint(P256_PEM)));
    check_find(&two, Some(fresh.kid()), Algorithm::Es256, Ok(fresh.kid()));
    // An unknown `kid` never selects a key without a `kid`: a newer set may have the `kid`.
    check_find(
        &one_each,
        Some("new"),
        Algorithm::Es384,
        Err(KeyLookupError::UnknownKid),
    );
}

/// Returns an ES256 key of its own, with `members` in addition.
fn fresh_es256(members: Value) -> Value {
    let mut jwk = SigningKey::generate_es256().unwrap().public_jwk();
    let jwk_members = jwk.as_object_mut().unwrap();
    jwk_members.remove("kid");
    jwk_members.extend(members.as_object().unwrap().clone());
    jwk
}

#[test]
fn s053_a_kid_selects_the_keys_that_a_rotating_issuer_publishes_under_it() {
    use KeyLookupError::*;
    let default = || json!({"kid": "default"});
    let rsa = || jwk_with(RSA_PEM, default());
    let p256 = || jwk_with(P256_PEM, default());
    let es256 = |count: usize| (0..count).map(|_| fresh_es256(default())).collect::<Vec<_>>();
    let nameless = || jwk_with(P256_PEM, json!({}));
    let p256_thumbprint = thumbprint(P256_PEM);
    let most = KeyCandidates::MAX;
    // The keys of the set, `kid` and `alg` of the token, and the number of keys that may have signed it.
    let rows = [
        (
            "one name, two types",
            vec![rsa(), p256()],
            Some("default"),
            Algorithm::Rs256,
            Ok(1),
        ),
        (
            "one name, two types",
            vec![rsa(), p256()],
            Some("default"),
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "one name, two types",
            vec![rsa(), p256()],
            Some("default"),
            Algorithm::Es384,
            Err(NoneFits),
        ),
        (
            "one name, two types, no `kid`",
            vec![rsa(), p256()],
            None,
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "old and new under one name",
            es256(2),
            Some("default"),
            Algorithm::Es256,
            Ok(2),
        ),
        (
            "as many as are tried",
            es256(most),
            Some("default"),
            Algorithm::Es256,
            Ok(most),
        ),
        (
            "more than are tried",
            es256(most + 1),
            Some("default"),
            Algorithm::Es256,
            Err(Ambiguous),
        ),
        (
            "old and new, no `kid`",
            es256(2),
            None,
            Algorithm::Es256,
            Err(Ambiguous),
        ),
        (
            "one key twice",
            vec![p256(), p256()],
            Some("default"),
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "one key twice, once with `alg`",
            vec![p256(), jwk_with(P256_PEM, json!({"kid": "default", "alg": "ES256"}))],
            Some("default"),
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "one key under two names, no `kid`",
            vec![p256(), jwk_with(P256_PEM, json!({"kid": "2"}))],
            None,
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "one key with and without a name",
            vec![p256(), nameless()],
            None,
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "a key with `alg` beside one without, which serves the same",
            vec![
                rsa(),
                jwk_with(
                    include_str!("../../../tests/data/jose/rsa2048.pkcs1.public.pem"),
                    json!({"kid": "r"}),
                ),
            ],
            None,
            Algorithm::Rs512,
            Ok(1),
        ),
        (
            "a key for another `alg` under the name",
            vec![jwk_with(RSA_PEM, json!({"kid": "default", "alg": "RS256"}))],
            Some("default"),
            Algorithm::Ps256,
            Err(NoneFits),
        ),
        (
            "a key for encryption under the name",
            vec![p256(), fresh_es256(json!({"kid": "default", "use": "enc"}))],
            Some("default"),
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "a key to sign with only, under the name",
            vec![p256(), fresh_es256(json!({"kid": "default", "key_ops": ["sign"]}))],
            Some("default"),
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "another name",
            vec![p256()],
            Some("new"),
            Algorithm::Es256,
            Err(UnknownKid),
        ),
        (
            "a nameless key beside",
            vec![rsa(), nameless()],
            Some("new"),
            Algorithm::Es256,
            Err(UnknownKid),
        ),
        (
            "a nameless key beside",
            vec![rsa(), nameless()],
            Some("default"),
            Algorithm::Es256,
            Err(NoneFits),
        ),
        (
            "a nameless key beside, no `kid`",
            vec![rsa(), nameless()],
            None,
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "a nameless key beside, by its thumbprint",
            vec![rsa(), fresh_es256(json!({})), nameless()],
            Some(p256_thumbprint.as_str()),
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "a key of another name, by its thumbprint",
            vec![p256()],
            Some(p256_thumbprint.as_str()),
            Algorithm::Es256,
            Err(UnknownKid),
        ),
        (
            "nameless keys only",
            vec![nameless()],
            Some("any"),
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "two nameless keys",
            vec![nameless(), fresh_es256(json!({}))],
            Some("any"),
            Algorithm::Es256,
            Err(Ambiguous),
        ),
        (
            "`x5t` only",
            vec![jwk_with(P256_PEM, json!({"x5t": "AA"}))],
            Some("AA"),
            Algorithm::Es256,
            Ok(1),
        ),
        (
            "two keys with `x5t` only",
            vec![
                jwk_with(P256_PEM, json!({"x5t": "AA"})),
                fresh_es256(json!({"x5t": "AB"})),
            ],
            Some("AA"),
            Algorithm::Es256,
            Err(Ambiguous),
        ),
    ];
    for (row, keys, kid, algorithm, expected) in rows {
        let set = parse(&keys).unwrap();
        let found = set.find(kid, algorithm);
        assert_eq!(
            found.map(|keys| keys.iter().count()),
            expected,
            "{row}: {kid:?} {algorithm}"
        );
        for key in found.iter().flat_map(|keys| keys.iter()) {
            assert!(key.fits(algorithm), "{row}");
        }
    }
}

#[test]
fn every_key_of_a_name_verifies_and_no_other_does() {
    let pair = [
        SigningKey::generate_es256().unwrap(),
        SigningKey::generate_es256().unwrap(),
    ];
    let published = pair.each_ref().map(|key| {
        let mut jwk = key.public_jwk();
        jwk["kid"] = json!("default");
        jwk
    });
    let set = parse(&published).unwrap();
    let stranger = SigningKey::generate_es256().unwrap();
    for (signer, good) in [(&pair[0], true), (&pair[1], true), (&stranger, false)] {
        let token = signer.sign_text(r#"{"alg":"ES256","kid":"default"}"#, "{}").unwrap();
        let jws = Jws::parse(&token).unwrap();
        let candidates = set.find(Some("default"), Algorithm::Es256).unwrap();
        assert_eq!(jws.signer(candidates.iter()).is_ok(), good);
    }
}

#[test]
fn keys_from_pem_files_answer_to_any_kid_when_one_fits_and_to_their_thumbprints() {
    let one = Jwks::from_pems(&[RSA_PEM.into(), P256_PEM.into()]).unwrap();
    assert_eq!((one.len(), one.key_ids().count()), (2, 0));
    check_find(&one, Some("any"), Algorithm::Rs256, Ok(&thumbprint(RSA_PEM)));
    check_find(&one, None, Algorithm::Es256, Ok(&thumbprint(P256_PEM)));
    let fresh = SigningKey::generate_es256().unwrap();
    let two = Jwks::from_pems(&[P256_PEM.into(), fresh.public_pem().into_bytes()]).unwrap();
    check_find(&two, Some("any"), Algorithm::Es256, Err(KeyLookupError::Ambiguous));
    check_find(&two, None, Algorithm::Es256, Err(KeyLookupError::Ambiguous));
    check_find(&two, Some(fresh.kid()), Algorithm::Es256, Ok(fresh.kid()));
    check_find(&two, Some(fresh.kid()), Algorithm::Rs256, Err(KeyLookupError::NoneFits));
}
