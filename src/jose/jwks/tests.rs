//! Which keys are in a set, and which are skipped?

use super::*;
use crate::jose::base64url;
use proptest::prelude::*;
use serde_json::json;

pub(in crate::jose::jwks) const RSA_PEM: &str = include_str!("../../../tests/data/jose/rsa2048.public.pem");
pub(in crate::jose::jwks) const P256_PEM: &str = include_str!("../../../tests/data/jose/p256.public.pem");
pub(in crate::jose::jwks) const P384_PEM: &str = include_str!("../../../tests/data/jose/p384.public.pem");
pub(in crate::jose::jwks) const ED25519_PEM: &str = include_str!("../../../tests/data/jose/ed25519.public.pem");

pub(in crate::jose::jwks) fn jwk_of(pem: &str) -> Map<String, Value> {
    let der = pem_file::public_key(pem.as_bytes()).unwrap();
    PublicKey::from_der(&der).unwrap().to_jwk()
}

pub(in crate::jose::jwks) fn jwk_with(pem: &str, members: Value) -> Value {
    let mut jwk = jwk_of(pem);
    jwk.extend(members.as_object().unwrap().clone());
    Value::Object(jwk)
}

pub(in crate::jose::jwks) fn parse(keys: &[Value]) -> Result<Jwks, JwksError> {
    Jwks::parse(json!({ "keys": keys }).to_string().as_bytes())
}

#[track_caller]
pub(in crate::jose::jwks) fn check_find(
    set: &Jwks,
    kid: Option<&str>,
    algorithm: Algorithm,
    expected: Result<&str, KeyLookupError>,
) {
    let found = set.find(kid, algorithm).map(|keys| keys.first().thumbprint());
    assert_eq!(found, expected, "{kid:?} {algorithm}");
}

pub(in crate::jose::jwks) fn thumbprint(pem: &str) -> String {
    Jwks::from_pems(&[pem.into()]).unwrap().keys[0].thumbprint().to_owned()
}

/// Checks that a set of one good key and `odd` uses only the good key, and skips `odd` with `reason`.
#[track_caller]
fn check_skipped(odd: Value, reason: &str) {
    let good = jwk_with(P256_PEM, json!({"kid": "good"}));
    let set = parse(&[odd.clone(), good]).unwrap();
    assert_eq!(set.len(), 1, "{odd}");
    assert_eq!(set.skipped().len(), 1, "{odd}");
    assert_eq!(set.skipped()[0].reason, reason, "{odd}");
    let error = parse(&[odd]).map(drop).unwrap_err();
    assert!(
        matches!(&error, JwksError::NoUsableKey { skipped } if skipped.len() == 1),
        "{error:?}"
    );
}

#[test]
fn s019_rsa_keys_that_are_no_good_are_skipped() {
    let rsa = |n: &[u8], e: &[u8]| json!({"kty": "RSA", "n": base64url::encode(n), "e": base64url::encode(e)});
    let good = base64url::decode(jwk_of(RSA_PEM)["n"].as_str().unwrap()).unwrap();
    let e = [1, 0, 1];
    assert!(parse(&[rsa(&good, &e)]).is_ok());
    assert!(parse(&[rsa(&good, &[3])]).is_ok());
    assert!(parse(&[rsa(&good, &[0xFF; 4])]).is_ok());
    assert!(parse(&[rsa(&[0xFF; 1024], &e)]).is_ok());
    let mut even = good.clone();
    even[255] &= 0xFE;
    check_skipped(rsa(&even, &e), "an RSA key with an even modulus");
    check_skipped(rsa(&good[1..], &e), "an RSA key below 2048 bits");
    let mut short_by_one_bit = good.clone();
    short_by_one_bit[0] = 0x7F;
    check_skipped(rsa(&short_by_one_bit, &e), "an RSA key below 2048 bits");
    check_skipped(rsa(&[], &e), "an RSA key below 2048 bits");
    check_skipped(rsa(&vec![0; 512], &e), "an RSA key below 2048 bits");
    check_skipped(rsa(&vec![0xFF; 1025], &e), "an RSA key above 8192 bits");
    let exponent = "an RSA key whose exponent is not an odd number from 3 to 2^32";
    for e in [
        &[][..],
        &[0],
        &[1],
        &[0, 1],
        &[2],
        &[1, 0, 0],
        &[1, 0, 0, 0, 1],
        &[0xFF; 256],
    ] {
        check_skipped(rsa(&good, e), exponent);
    }
    let small = include_str!("../../../tests/data/jose/rsa1024.public.pem");
    let refused = |pem: &str| Jwks::from_pems(&[pem.into()]).map(drop);
    let reason = "an RSA key below 2048 bits";
    assert_eq!(refused(small), Err(JwksError::Pem { index: 0, reason }));
}

#[test]
fn a_sign_byte_before_a_modulus_changes_nothing() {
    let jwk = jwk_of(RSA_PEM);
    let n = base64url::decode(jwk["n"].as_str().unwrap()).unwrap();
    let padded = json!({"kty": "RSA", "e": "AQAB", "n": base64url::encode(&[&[0], &n[..]].concat())});
    let (plain, padded) = (parse(&[Value::Object(jwk)]).unwrap(), parse(&[padded]).unwrap());
    assert_eq!(plain.keys[0].thumbprint(), padded.keys[0].thumbprint());
}

#[test]
fn s020_keys_that_say_they_do_not_verify_are_never_used() {
    check_skipped(json!({"kty": "oct"}), "a symmetric key");
    let with = |members| jwk_with(P384_PEM, members);
    check_skipped(with(json!({"use": "enc"})), "`use` is not `sig`");
    let operations = "`key_ops` does not hold `verify`";
    for value in [json!([]), json!(["sign"]), json!("verify"), json!(["VERIFY"])] {
        check_skipped(with(json!({ "key_ops": value })), operations);
    }
    for good in [
        json!({"use": "sig"}),
        json!({"key_ops": ["sign", "verify"]}),
        json!({"x5c": 1, "alg": "ES384"}),
    ] {
        assert!(parse(&[with(good)]).is_ok());
    }
}

#[test]
fn s045_one_odd_key_does_not_poison_its_set() {
    check_skipped(
        json!({"kty": "AKP", "pub": "AA"}),
        "a key type other than RSA, EC and OKP",
    );
    check_skipped(json!(1), "not a JSON object");
    check_skipped(json!({}), "a member that its key type needs is missing or no string");
    check_skipped(
        json!({"kty": 1}),
        "a member that its key type needs is missing or no string",
    );
    check_skipped(
        json!({"kty": "RSA", "n": "AA"}),
        "a member that its key type needs is missing or no string",
    );
    let curve = "a curve other than P-256, P-384 and Ed25519";
    check_skipped(json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}), curve);
    check_skipped(json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}), curve);
    check_skipped(json!({"kty": "OKP", "crv": "X25519", "x": "AA"}), curve);
    check_skipped(jwk_with(P256_PEM, json!({"kid": 7})), "`kid` is no string");
    check_skipped(jwk_with(P256_PEM, json!({"alg": ["ES256"]})), "`alg` is no string");
    check_skipped(
        jwk_with(RSA_PEM, json!({"alg": "RSA-OAEP"})),
        "`alg` is none of the signature algorithms we accept",
    );
    check_skipped(
        jwk_with(RSA_PEM, json!({"alg": "HS256"})),
        "`alg` is none of the signature algorithms we accept",
    );
    check_skipped(
        jwk_with(RSA_PEM, json!({"alg": "ES256"})),
        "`alg` does not fit the type of the key",
    );
    check_skipped(
        jwk_with(P384_PEM, json!({"alg": "ES256"})),
        "`alg` does not fit the type of the key",
    );
    check_skipped(
        jwk_with(P384_PEM, json!({"x": "AA=="})),
        "a member that is not base64url without padding",
    );
    let length = "a coordinate of another length than its curve's";
    check_skipped(jwk_with(P384_PEM, json!({"x": "AA"})), length);
    check_skipped(jwk_with(ED25519_PEM, json!({"x": "AA"})), length);
    check_skipped(jwk_with(P384_PEM, json!({"crv": "P-256"})), length);
    let off_curve = base64url::encode(&[7; 32]);
    check_skipped(jwk_with(P256_PEM, json!({ "x": off_curve })), "not a point of P-256");
    let set = parse(&[jwk_with(P256_PEM, json!({})), json!({"kty": "oct", "kid": "s"})]).unwrap();
    assert_eq!(set.skipped()[0].kid.as_deref(), Some("s"));
}

#[test]
fn s045_a_key_that_is_no_strict_json_does_not_poison_its_set() {
    let good = jwk_with(P256_PEM, json!({"kid": "good"})).to_string();
    let deep = format!("{{\"kty\":\"X\",\"a\":{}1{}}}", "[".repeat(20), "]".repeat(20));
    for odd in [
        "{\"kty\":\"AKP\",\"kid\":\"m\",\"kid\":\"m\"}",
        &deep,
        "{\"kty\":\"X\",\"n\":1e999}",
        "{\"kty\":\"X\",\"n\":\"\\ud83d\"}",
    ] {
        let set = Jwks::parse(format!("{{\"keys\":[{odd},{good}]}}").as_bytes()).unwrap();
        assert_eq!((set.len(), set.skipped().len()), (1, 1), "{odd}");
        assert_eq!(set.skipped()[0].reason, MALFORMED, "{odd}");
        assert!(!set.publishes_private_keys, "{odd}");
    }
    // The key may be the same in another form.
    let twice = "{\"kty\":\"EC\",\"kid\":\"p\",\"d\":\"AA\",\"d\":\"AQ\"}";
    let set = Jwks::parse(format!("{{\"keys\":[{twice},{good}]}}").as_bytes()).unwrap();
    assert!(set.publishes_private_keys);
    assert_eq!(
        (set.skipped()[0].kid.as_deref(), set.skipped()[0].reason),
        (Some("p"), PRIVATE)
    );
    for broken in [
        "{\"keys\":[{\"kty\":\"X\"]}",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[]} x",
        "[]",
    ] {
        assert!(
            matches!(Jwks::parse(broken.as_bytes()), Err(JwksError::Json(_))),
            "{broken}"
        );
    }
    for other in ["{\"keys\":{}}", "{\"keys\":1}", "{\"keys\":null}", "{}"] {
        assert!(
            matches!(Jwks::parse(other.as_bytes()), Err(JwksError::NoKeysMember)),
            "{other}"
        );
    }
}

#[test]
fn s049_a_published_private_key_is_never_used_and_the_others_are() {
    for member in PRIVATE_MEMBERS {
        let mut leaked = jwk_of(RSA_PEM);
        leaked.insert(member.to_owned(), json!("AA"));
        leaked.insert("kid".to_owned(), json!("leaked"));
        let leaked = Value::Object(leaked);
        // Its public half, before it and after it, under another name and for another use.
        let half = jwk_with(RSA_PEM, json!({"kid": "half"}));
        let good = jwk_with(P256_PEM, json!({"kid": "good"}));
        let set = parse(&[half.clone(), leaked.clone(), good, half]).unwrap();
        assert!(set.publishes_private_keys(), "{member}");
        let names: Vec<_> = set.key_ids().collect();
        assert_eq!(names, ["good"], "{member}");
        let reasons: Vec<_> = set.skipped().iter().map(|key| key.reason).collect();
        assert_eq!(reasons, [PRIVATE_BESIDE, PRIVATE, PRIVATE_BESIDE]);
        // A set of such keys alone changes nothing.
        assert_eq!(parse(&[leaked]).map(drop), Err(JwksError::PrivateParts), "{member}");
    }
    // A member that is `null` or empty is no private part.
    for nothing in [Value::Null, json!("")] {
        let parts = PRIVATE_MEMBERS.map(|member| (member.to_owned(), nothing.clone()));
        let public = jwk_with(RSA_PEM, Value::Object(parts.into_iter().collect()));
        assert!(!parse(&[public]).unwrap().publishes_private_keys(), "{nothing}");
    }
    let symmetric = json!({"kty": "oct", "k": "AA"});
    assert_eq!(
        parse(std::slice::from_ref(&symmetric)).map(drop),
        Err(JwksError::PrivateParts)
    );
    let beside = parse(&[symmetric, jwk_with(P256_PEM, json!({}))]).unwrap();
    assert!(beside.publishes_private_keys() && beside.len() == 1);
    assert!(
        !parse(&[jwk_with(P256_PEM, json!({}))])
            .unwrap()
            .publishes_private_keys()
    );
}

#[test]
fn a_member_that_is_null_or_empty_says_nothing() {
    for nothing in [Value::Null, json!("")] {
        let said = json!({"kid": nothing, "use": nothing, "alg": nothing, "key_ops": null});
        let set = parse(&[jwk_with(P256_PEM, said)]).unwrap();
        assert_eq!(set.key_ids().next(), None);
        check_find(&set, None, Algorithm::Es256, Ok(&thumbprint(P256_PEM)));
    }
    // SPIFFE's word for the keys of JWTs; those of X.509 certificates verify none.
    parse(&[jwk_with(P256_PEM, json!({"use": "jwt-svid"}))]).unwrap();
    check_skipped(jwk_with(P256_PEM, json!({"use": "x509-svid"})), "`use` is not `sig`");
}

#[test]
fn a_set_is_bounded_and_has_one_form() {
    let check = |body: &str, expected| assert_eq!(Jwks::parse(body.as_bytes()).map(drop), Err(expected), "{body:.80}");
    check("{}", JwksError::NoKeysMember);
    check(r#"{"keys":{}}"#, JwksError::NoKeysMember);
    check(r#"{"keys":[]}"#, JwksError::NoUsableKey { skipped: Vec::new() });
    check("[]", JwksError::Json(JsonError::NotAnObject));
    for text in ["", "<html>", r#"{"keys":[{"kty":"RSA""#, r#"{"keys":[],"keys":[]}"#] {
        let refused = Jwks::parse(text.as_bytes());
        assert!(matches!(refused, Err(JwksError::Json(JsonError::Text(_)))), "{text}");
    }
    let key = jwk_with(P256_PEM, json!({})).to_string();
    let fill = |bytes: usize| {
        let start = format!(r#"{{"keys":[{key}],"x":""#);
        let text = format!(r#"{start}{}"}}"#, "a".repeat(bytes - start.len() - 2));
        assert_eq!(text.len(), bytes);
        Jwks::parse(text.as_bytes()).map(drop)
    };
    assert_eq!(fill(Jwks::BYTES_MAX), Ok(()));
    assert_eq!(fill(Jwks::BYTES_MAX + 1), Err(JwksError::TooLarge));
    let many = |count: usize| {
        let named = |index: usize| jwk_with(P256_PEM, json!({"kid": index.to_string()}));
        parse(&(0..count).map(named).collect::<Vec<_>>()).map(|set| set.keys().count())
    };
    assert_eq!(many(Jwks::KEYS_MAX), Ok(Jwks::KEYS_MAX));
    assert_eq!(many(Jwks::KEYS_MAX + 1), Err(JwksError::TooManyKeys));
}

#[test]
fn thumbprints_are_those_of_rfc7638_and_rfc8037() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj\
        hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5\
        hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let rsa = parse(&[json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"})]).unwrap();
    assert_eq!(rsa.keys[0].thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let okp = parse(&[json!({"kty": "OKP", "crv": "Ed25519", "x": x})]).unwrap();
    assert_eq!(okp.keys[0].thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

proptest! {
    #[test]
    fn reading_a_set_never_panics(body: Vec<u8>) {
        let _ = Jwks::parse(&body);
        let _ = Jwks::from_pems(&[body]);
    }

    #[test]
    fn reading_odd_numbers_never_panics(kty in "RSA|EC|OKP", crv in "P-256|P-384|Ed25519", n: Vec<u8>, e: Vec<u8>) {
        let (n, e) = (base64url::encode(&n), base64url::encode(&e));
        let _ = parse(&[json!({"kty": kty, "crv": crv, "n": n, "x": n, "e": e, "y": e})]);
    }
}

#[test]
fn a_set_without_a_usable_key_says_why() {
    let text = |keys: Value| {
        Jwks::parse(json!({ "keys": keys }).to_string().as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(text(json!([])), "no usable key in it");
    let octet = json!({ "kty": "oct2", "kid": "a\n" });
    let nameless = json!({ "kty": "oct2" });
    let one = text(json!([octet]));
    assert!(one.starts_with("no usable key in it: key \"a\\n\": "), "{one}");
    let many = text(json!([octet, nameless, nameless, nameless, nameless]));
    assert!(many.contains("; key 2: ") && many.ends_with("; and 2 more"), "{many}");
    let long = text(json!([{ "kty": "oct2", "kid": "k".repeat(1000) }]));
    assert!(long.len() < 200, "{long}");
}
