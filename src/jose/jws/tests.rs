use super::*;
use crate::jose::jwks::Jwks;
use crate::jose::sign::SigningKey;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

fn b64(text: &str) -> String {
    base64url::encode(text.as_bytes())
}

#[track_caller]
fn check(token: &str, expected: Result<(), JwsError>) {
    assert_eq!(Jws::parse(token).map(drop), expected, "{token:.100}");
}

#[track_caller]
fn check_header(header: &str, expected: Result<(), JwsError>) {
    check(&format!("{}.e30.AA", b64(header)), expected);
}

fn jwks(jwk: &Value) -> Jwks {
    Jwks::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap()
}

#[test]
fn s026_the_examples_of_rfc7515_rfc7520_and_rfc8037_verify() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../tests/data/jose/rfc.json")).unwrap();
    assert_eq!(vectors.len(), 5);
    for vector in &vectors {
        let name = &vector["name"];
        let set = jwks(&vector["jwk"]);
        let jws = Jws::parse(vector["token"].as_str().unwrap()).unwrap();
        assert_eq!(jws.header().algorithm.as_str(), vector["alg"], "{name}");
        let key = set
            .find(jws.header().kid.as_deref(), jws.header().algorithm)
            .unwrap()
            .first();
        assert_eq!(jws.verify(key), Ok(()), "{name}");
        for other in vectors.iter().filter(|other| other["jwk"] != vector["jwk"]) {
            let other = jwks(&other["jwk"]);
            for algorithm in Algorithm::ALL {
                if let Ok(keys) = other.find(None, algorithm) {
                    assert_eq!(jws.verify(keys.first()), Err(BadSignature), "{name}");
                }
            }
        }
    }
}

#[test]
fn s013_alg_none_is_no_algorithm() {
    for alg in [
        "\"none\"",
        "\"None\"",
        "\"nOnE\"",
        "\"\"",
        "[\"ES256\"]",
        "null",
        "1",
        "{}",
        "\"es256\"",
        "\"ES256 \"",
    ] {
        check_header(&format!("{{\"alg\":{alg}}}"), Err(JwsError::Algorithm));
    }
    check_header("{}", Err(JwsError::Algorithm));
    check_header(r#"{"Alg":"ES256"}"#, Err(JwsError::Algorithm));
    check_header(r#"{"alg":"ES256"}"#, Ok(()));
}

#[test]
fn s014_symmetric_algorithms_cannot_be_expressed() {
    for alg in ["HS256", "HS384", "HS512", "ES256K", "ES512", "RS1", "ECDH-ES", "dir"] {
        check_header(&json!({ "alg": alg }).to_string(), Err(JwsError::Algorithm));
    }
}

#[test]
fn s016_crit_and_b64_are_refused_in_every_form() {
    for member in [
        r#""crit":["x"]"#,
        r#""crit":[]"#,
        r#""crit":["exp"]"#,
        r#""crit":null"#,
        r#""crit":"b64""#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""b64":false,"crit":["b64"]"#,
    ] {
        check_header(&format!(r#"{{"alg":"ES256",{member}}}"#), Err(JwsError::Critical));
    }
}

#[test]
fn s017_keys_that_a_token_brings_are_not_read() {
    let signer = SigningKey::generate_es256().unwrap();
    let honest = SigningKey::generate_es256().unwrap();
    let header = json!({
        "alg": "ES256", "jwk": signer.public_jwk(), "jku": "https://evil.example/", "x5u": 1, "x5c": ["AA=="], "x5t": {},
    });
    let token = signer.sign_text(&header.to_string(), "{}").unwrap();
    let jws = Jws::parse(&token).unwrap();
    let set = jwks(&honest.public_jwk());
    assert_eq!(
        jws.verify(set.find(None, Algorithm::Es256).unwrap().first()),
        Err(BadSignature)
    );
    let set = jwks(&signer.public_jwk());
    assert_eq!(jws.verify(set.find(None, Algorithm::Es256).unwrap().first()), Ok(()));
}

#[test]
fn s018_an_es256_signature_is_two_numbers_below_the_order() {
    let signer = SigningKey::generate_es256().unwrap();
    let set = jwks(&signer.public_jwk());
    let key = set.find(Some(signer.kid()), Algorithm::Es256).unwrap().first();
    let token = signer.sign("at+jwt", &json!({})).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let good = base64url::decode(signature).unwrap();
    let order = [
        0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC, 0xE6, 0xFA, 0xAD,
        0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
    ];
    let (r, s) = good.split_at(32);
    let mut one = [0; 32];
    one[31] = 1;
    let mut der = vec![0x30, 0x44, 0x02, 0x20];
    der.extend(r);
    der.extend([0x02, 0x20]);
    der.extend(s);
    let bad: [Vec<u8>; 14] = [
        vec![],
        vec![0; 64],
        [[0; 32], [0xFF; 32]].concat(),
        [&[0; 32][..], s].concat(),
        [r, &[0; 32][..]].concat(),
        [&order[..], s].concat(),
        [r, &order[..]].concat(),
        [order, order].concat(),
        [one, one].concat(),
        vec![0xFF; 64],
        good[..63].to_vec(),
        [&good[..], &[0]].concat(),
        [&[0][..], &good[..]].concat(),
        der,
    ];
    let verify = |signature: &[u8]| key.verify(Algorithm::Es256, input.as_bytes(), signature);
    assert_eq!(verify(&good), Ok(()));
    for signature in bad {
        assert_eq!(verify(&signature), Err(BadSignature), "{signature:?}");
    }
    assert_eq!(verify(&vec![1; 1_000_000]), Err(BadSignature));
}

#[test]
fn s021_each_part_is_strict_base64url() {
    let header = b64(r#"{"alg":"ES256"}"#);
    check(&format!("{header}.e30.AA"), Ok(()));
    for part in ["e30=", "e30 ", " e30", "e3\n0", "e31", "e", "e3+", "e3/", "e30\0", "é"] {
        check(&format!("{header}.{part}.AA"), Err(JwsError::Base64("payload")));
        check(&format!("{header}.e30.{part}"), Err(JwsError::Base64("signature")));
        check(&format!("{part}.e30.AA"), Err(JwsError::Base64("header")));
    }
    check(&format!("{header}.e30.AB"), Err(JwsError::Base64("signature")));
    check(&format!("{header}=.e30.AA"), Err(JwsError::Base64("header")));
}

#[test]
fn s022_length_and_dots_are_counted_first() {
    check(&".".repeat(Jws::BYTES_MAX), Err(JwsError::Parts));
    assert_eq!(Jws::BYTES_MAX, 65_536, "64 KiB, as the contract says");
    check(&".".repeat(Jws::BYTES_MAX + 1), Err(JwsError::TooLong));
    let header = b64(r#"{"alg":"ES256"}"#);
    let fill = |length: usize| format!("{header}.e30.{}", "A".repeat(length - header.len() - 5));
    assert_eq!(fill(Jws::BYTES_MAX).len(), Jws::BYTES_MAX);
    let exact = fill(Jws::BYTES_MAX);
    assert_ne!(Jws::parse(&exact).map(drop), Err(JwsError::TooLong));
    check(&fill(Jws::BYTES_MAX + 1), Err(JwsError::TooLong));
    check(&"A".repeat(Jws::BYTES_MAX + 1), Err(JwsError::TooLong));
}

#[test]
fn s023_a_header_member_stands_once() {
    let twice = format!("{}.e30.AA", b64(r#"{"alg":"ES256","alg":"ES256"}"#));
    assert!(matches!(Jws::parse(&twice), Err(JwsError::Header(JsonError::Text(_)))));
    let inside = format!("{}.e30.AA", b64(r#"{"alg":"ES256","jwk":{"x":1,"x":1}}"#));
    assert!(matches!(Jws::parse(&inside), Err(JwsError::Header(JsonError::Text(_)))));
    let array = format!("{}.e30.AA", b64("[]"));
    assert!(matches!(
        Jws::parse(&array),
        Err(JwsError::Header(JsonError::NotAnObject))
    ));
}

#[test]
fn s024_only_a_compact_jws_is_a_token() {
    let header = b64(r#"{"alg":"ES256"}"#);
    check("a.b.c.d.e", Err(JwsError::Encrypted));
    check(&format!("{header}.AA.AA.AA.AA"), Err(JwsError::Encrypted));
    for parts in ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e.f", "..."] {
        check(parts, Err(JwsError::Parts));
    }
    check(r#"{"payload":"e30","signatures":[]}"#, Err(JwsError::Parts));
    check_header(r#"{"alg":"ES256","cty":"JWT"}"#, Err(JwsError::Nested));
    check_header(r#"{"alg":"ES256","cty":"jwt"}"#, Err(JwsError::Nested));
}

#[test]
fn header_members_have_one_type() {
    check_header(r#"{"alg":"ES256","kid":1}"#, Err(JwsError::HeaderMember("kid")));
    for nothing in ["null", "\"\""] {
        let header = format!(r#"{{"alg":"ES256","kid":{nothing}}}"#);
        let token = format!("{}.e30.AA", b64(&header));
        assert_eq!(Jws::parse(&token).unwrap().header().kid, None, "{header}");
    }
    check_header(r#"{"alg":"ES256","typ":["JWT"]}"#, Err(JwsError::HeaderMember("typ")));
    check_header(r#"{"alg":"ES256","cty":[]}"#, Err(JwsError::HeaderMember("cty")));
}

proptest! {
    #[test]
    fn parsing_a_jws_never_panics(text in ".{0,64}") {
        let _ = Jws::parse(&text);
    }

    #[test]
    fn parsing_dotted_texts_never_panics(text in "[A-Za-z0-9_=. -]{0,64}") {
        let _ = Jws::parse(&text);
    }
}
