use super::*;
use crate::jose::base64url;
use crate::jose::jws::Jws;
use crate::jose::sign::SigningKey;
use proptest::prelude::*;
use serde_json::json;

const RSA_PEM: &str = include_str!("../../../tests/data/jose/rsa2048.public.pem");
const P256_PEM: &str = include_str!("../../../tests/data/jose/p256.public.pem");
const P384_PEM: &str = include_str!("../../../tests/data/jose/p384.public.pem");
const ED25519_PEM: &str = include_str!("../../../tests/data/jose/ed25519.public.pem");

fn jwk_of(pem: &str) -> Map<String, Value> {
    let der = pem_file::public_key(pem.as_bytes()).unwrap();
    PublicKey::from_der(&der).unwrap().to_jwk()
}

fn jwk_with(pem: &str, members: Value) -> Value {
    let mut jwk = jwk_of(pem);
    jwk.extend(members.as_object().unwrap().clone());
    Value::Object(jwk)
}

fn parse(keys: &[Value]) -> Result<Jwks, JwksError> {
    Jwks::parse(json!({ "keys": keys }).to_string().as_bytes())
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

#[track_caller]
fn check_find(set: &Jwks, kid: Option<&str>, algorithm: Algorithm, expected: Result<&str, KeyLookupError>) {
    let found = set.find(kid, algorithm).map(|keys| keys.first().thumbprint());
    assert_eq!(found, expected, "{kid:?} {algorithm}");
}

fn thumbprint(pem: &str) -> String {
    Jwks::from_pems(&[pem.into()]).unwrap().keys[0].thumbprint().to_owned()
}

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

#[test]
fn s055_a_private_key_a_chain_and_two_keys_have_their_own_errors() {
    let private = include_str!("../../../tests/data/jose/p256.private.pem");
    let sec1 = include_str!("../../../tests/data/jose/p256.sec1.private.pem");
    let certificate = include_str!("../../../tests/data/jose/p256.certificate.pem");
    let check = |pem: String, expected: &str| {
        let error = Jwks::from_pems(&[pem.clone().into()]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}: {pem}");
    };
    check(private.to_owned(), ": a private key");
    check(sec1.to_owned(), ": a private key");
    // A private key is reported at any position in the file.
    check(format!("{P256_PEM}{private}"), ": a private key");
    check(format!("{private}{P256_PEM}"), ": a private key");
    check(format!("{certificate}{private}"), ": a private key");
    check(certificate.to_owned(), ": a certificate,");
    check(format!("{P256_PEM}{certificate}"), ": a certificate,");
    check(format!("{certificate}{certificate}"), ": a chain of certificates");
    check(format!("{P256_PEM}{RSA_PEM}"), ": more than one PEM block");
    check(format!("{P256_PEM}{P256_PEM}"), ": more than one PEM block");
}

#[test]
fn as_many_pem_files_are_read_as_a_set_has_keys() {
    let pems = |count: usize| vec![P256_PEM.as_bytes().to_vec(); count];
    assert_eq!(
        Jwks::from_pems(&pems(Jwks::KEYS_MAX)).map(|set| set.len()),
        Ok(1),
        "one key, once"
    );
    assert_eq!(
        Jwks::from_pems(&pems(Jwks::KEYS_MAX + 1)).map(|set| set.len()),
        Err(JwksError::TooManyKeys)
    );
}

#[test]
fn a_pem_file_holds_one_public_key() {
    for good in [RSA_PEM, P256_PEM, P384_PEM, ED25519_PEM] {
        assert!(Jwks::from_pems(&[good.into()]).is_ok());
        let beside = format!("Bag Attributes\r\n{}\n", good.replace('\n', "\r\n"));
        assert!(Jwks::from_pems(&[beside.into()]).is_ok());
    }
    let pkcs1 = include_str!("../../../tests/data/jose/rsa2048.pkcs1.public.pem");
    assert_eq!(thumbprint(pkcs1), thumbprint(RSA_PEM));
    let check = |pem: &str, start: &str| {
        let error = Jwks::from_pems(&[P256_PEM.into(), pem.into()]).unwrap_err();
        let JwksError::Pem { index: 1, reason } = error else {
            panic!("{error:?}")
        };
        assert!(reason.starts_with(start), "{reason}");
    };
    check("", "no PEM block");
    check("hello", "no PEM block");
    check(&P256_PEM.replace('M', "!"), "not PEM");
    check(&[P256_PEM, P384_PEM].concat(), "more than one PEM block");
    check(
        &[P256_PEM, "-----BEGIN PUBLIC KEY-----\n"].concat(),
        "more than one PEM block",
    );
    check(
        include_str!("../../../tests/data/jose/p256.certificate.pem"),
        "a certificate",
    );
    check(
        include_str!("../../../tests/data/jose/p256.private.pem"),
        "a private key",
    );
    check(
        include_str!("../../../tests/data/jose/p256.sec1.private.pem"),
        "a private key",
    );
    check(
        include_str!("../../../tests/data/jose/p521.public.pem"),
        "a key other than",
    );
    check(&pem_file::write("PUBLIC KEY", &[4; 65]), "a key other than");
    check(&pem_file::write("PUBLIC KEY", &[4; 32]), "a key other than");
    check(&pem_file::write("CERTIFICATE REQUEST", &[4; 32]), "not a `PUBLIC KEY`");
    let der = pem::parse(P256_PEM).unwrap().into_contents();
    check(&pem_file::write("PUBLIC KEY", &der[..der.len() - 1]), "a coordinate");
    check(
        &pem_file::write("PUBLIC KEY", &[&der[..], &[0]].concat()),
        "a coordinate",
    );
    assert_eq!(
        Jwks::from_pems(&[]).map(drop),
        Err(JwksError::NoUsableKey { skipped: Vec::new() })
    );
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

/// Checks each vector, and returns the number of signatures that verified.
#[track_caller]
fn wycheproof(
    pem: &str,
    algorithm: Algorithm,
    tests: impl Iterator<Item = (usize, Vec<u8>, Vec<u8>, bool, bool)>,
) -> usize {
    let set = Jwks::from_pems(&[pem.into()]).unwrap();
    let key = set.find(None, algorithm).unwrap().first();
    let mut valid = 0;
    for (id, message, signature, may, must) in tests {
        let verified = key.verify(algorithm, &message, &signature).is_ok();
        assert!(may || !verified, "{algorithm} {id} must not verify");
        assert!(verified || !must, "{algorithm} {id} must verify");
        valid += usize::from(verified);
    }
    valid
}

macro_rules! run_wycheproof {
    ($module:ident, $name:ident, $algorithm:expr) => {{
        use wycheproof::TestResult;
        let set = wycheproof::$module::TestSet::load(wycheproof::$module::TestName::$name).unwrap();
        let mut valid = 0;
        for group in &set.test_groups {
            let tests = group.tests.iter().map(|test| {
                let must = test.result == TestResult::Valid;
                let may = test.result != TestResult::Invalid;
                (test.tc_id, test.msg.to_vec(), test.sig.to_vec(), may, must)
            });
            valid += wycheproof(&group.pem, $algorithm, tests);
        }
        assert!(valid > 0);
    }};
}

#[test]
fn s026_wycheproof_ecdsa() {
    run_wycheproof!(ecdsa, EcdsaSecp256r1Sha256P1363, Algorithm::Es256);
    run_wycheproof!(ecdsa, EcdsaSecp384r1Sha384P1363, Algorithm::Es384);
}

#[test]
fn s026_wycheproof_eddsa() {
    run_wycheproof!(eddsa, Ed25519, Algorithm::EdDsa);
}

#[test]
fn s026_wycheproof_rsa() {
    run_wycheproof!(rsa_pkcs1_verify, Rsa2048Sha256, Algorithm::Rs256);
    run_wycheproof!(rsa_pkcs1_verify, Rsa2048Sha384, Algorithm::Rs384);
    run_wycheproof!(rsa_pkcs1_verify, Rsa2048Sha512, Algorithm::Rs512);
    run_wycheproof!(rsa_pkcs1_verify, Rsa4096Sha256, Algorithm::Rs256);
    run_wycheproof!(rsa_pss_verify, RsaPss2048Sha256Mgf1SaltLen32, Algorithm::Ps256);
    run_wycheproof!(rsa_pss_verify, RsaPss2048Sha384Mgf1SaltLen48, Algorithm::Ps384);
    run_wycheproof!(rsa_pss_verify, RsaPss4096Sha512Mgf1SaltLen64, Algorithm::Ps512);
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
