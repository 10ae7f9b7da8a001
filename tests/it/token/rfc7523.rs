//! JWT client authentication (RFC 7523 with RFC 7521), with the attacks of RFC 8725 and of published CVEs.

use super::fixture::*;
use base64::Engine;
use keygate::config::token_endpoint::AssertionAudience;
use keygate::jose::jwks::Jwks;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::store::record::client::ClientAuthentication;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const A: &str = "client_a";

fn gate() -> (Gate, SigningKey) {
    let gate = Gate::new();
    let key = gate.key_client(A, Algorithm::Es256);
    (gate, key)
}

#[track_caller]
fn check_refused(gate: &Gate, assertion: &str, reason: &str) {
    let response = gate.assert(assertion);
    assert_eq!(response.outcome.reason, Some(reason), "{}", response.text);
    assert_eq!(response.error().1, "invalid_client");
    assert_eq!(response.status.as_u16(), 400);
    assert!(response.json.get("access_token").is_none());
}

/// Checks an assertion with `change` to its claims: accepted, or refused for the reason `expected`.
#[track_caller]
fn check(gate: &Gate, key: &SigningKey, change: Value, expected: Option<&str>) {
    let assertion = signed(key, &claims_with(A, &change));
    let response = gate.assert(&assertion);
    assert_eq!(response.outcome.reason, expected, "{change}: {}", response.text);
    assert_eq!(response.json.get("access_token").is_some(), expected.is_none());
}

#[test]
fn section_2_2_each_algorithm_that_is_announced_proves_a_client() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::Ps256, Algorithm::EdDsa] {
        let gate = Gate::new();
        let key = gate.key_client(A, algorithm);
        gate.assert(&signed(&key, &claims(A))).token();
    }
}

#[test]
fn section_2_2_programs_that_send_neither_kid_nor_jti_are_understood() {
    let (gate, key) = gate();
    let claims = claims_with(A, &json!({ "jti": null, "aud": TOKEN_URL })).to_string();
    for header in [
        r#"{"alg":"ES256","typ":"JWT"}"#,
        r#"{"typ":"JWT","alg":"ES256"}"#,
        r#"{"alg":"ES256"}"#,
    ] {
        // The claims are the same each time: without a `jti`, an assertion is not single-use.
        gate.assert(&key.sign_text(header, &claims).unwrap()).token();
    }
}

#[test]
fn rfc7521_section_4_2_the_kind_of_assertion_is_named() {
    let (gate, key) = gate();
    let assertion = signed(&key, &claims(A));
    let grant = ("grant_type", "client_credentials");
    for (form, description) in [
        (
            vec![grant, ("client_assertion", assertion.as_str())],
            "client_assertion_type is missing",
        ),
        (
            vec![grant, ("client_assertion_type", ASSERTION_TYPE)],
            "client_assertion is missing",
        ),
        // A parameter without a value counts as omitted (RFC 6749 section 3.2).
        (
            vec![
                grant,
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", ""),
            ],
            "client_assertion is missing",
        ),
        (
            vec![
                grant,
                ("client_assertion", &assertion),
                (
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
                ),
            ],
            "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
    ] {
        assert_eq!(gate.post(TOKEN, &form).error(), (400, "invalid_request", description));
    }
}

#[test]
fn the_errors_that_client_authors_look_up_have_their_words() {
    let (gate, key) = gate();
    let stranger = SigningKey::generate_es256().unwrap();
    let ask = |assertion: &str| {
        let response = gate.assert(assertion);
        let (status, error, description) = response.error();
        (status, error.to_owned(), description.to_owned())
    };
    let invalid_client = |description: &str| (400, "invalid_client".to_owned(), description.to_owned());
    assert_eq!(
        ask(&signed(&key, &claims("client_b"))),
        invalid_client("invalid client")
    );
    assert_eq!(
        ask(&signed(&stranger, &claims(A))),
        invalid_client("invalid JWT signature")
    );
    for broken in ["x", "a.b", "a.b.c", "a.b.c.d.e", "eyJ.eyJ.x"] {
        assert_eq!(ask(broken), invalid_client("failed to parse JWT"), "{broken}");
    }
    let good = signed(&key, &claims(A));
    for broken in [
        &good[1..],
        &good[..good.len() - 1],
        &format!("{good}="),
        &format!("{good}."),
    ] {
        let (status, error, description) = ask(broken);
        assert_eq!((status, error.as_str()), (400, "invalid_client"));
        assert!(
            description == "failed to parse JWT" || description == "invalid JWT signature",
            "{description}"
        );
    }
}

#[test]
fn s119_section_3_aud_is_one_audience_as_a_string_or_an_array_of_one() {
    let (gate, key) = gate();
    let audience = Some("assertion_audience");
    for (number, good) in [json!(ISSUER), json!([ISSUER]), json!([TOKEN_URL])]
        .into_iter()
        .enumerate()
    {
        check(
            &gate,
            &key,
            json!({ "aud": good, "jti": format!("good-{number}") }),
            None,
        );
    }
    for bad in [
        json!([ISSUER, "https://evil.example"]),
        json!([ISSUER, ISSUER]),
        json!([ISSUER, null]),
        json!([["https://auth.example.com"]]),
        json!(["https://evil.example"]),
        json!([null]),
        json!([]),
        json!(1),
        json!({}),
        Value::Null,
        json!(""),
        json!("https://evil.example"),
        json!("https://auth.example.com/"),
        json!("https://AUTH.example.com"),
        json!("http://auth.example.com"),
        json!("https://auth.example.com/oauth/token/"),
        json!("https://auth.example.com/oauth/introspect"),
        json!("auth.example.com"),
        json!(AUDIENCE),
    ] {
        check(&gate, &key, json!({ "aud": bad, "jti": "2" }), audience);
    }
    // `aud` is present, with the value null.
    let text = claims(A).to_string().replace(&format!("\"{ISSUER}\""), "null");
    check_refused(
        &gate,
        &key.sign_text(r#"{"alg":"ES256"}"#, &text).unwrap(),
        "assertion_audience",
    );
}

#[test]
fn s120_section_3_the_endpoint_that_was_asked_is_an_audience_unless_the_issuer_alone_is() {
    let (gate, key) = gate();
    let tenant = "https://auth.example.com/t/acme/oauth/token";
    let ask = |gate: &Gate, key: &SigningKey, path: &str, audience: &str| {
        let assertion = signed(key, &claims_with(A, &json!({ "aud": audience, "jti": null })));
        gate.post(path, &asserting(&assertion)).outcome.reason
    };
    let wrong = Some("assertion_audience");
    assert_eq!(ask(&gate, &key, TOKEN, TOKEN_URL), None);
    assert_eq!(ask(&gate, &key, TOKEN, tenant), wrong);
    assert_eq!(ask(&gate, &key, "/t/acme/oauth/token", tenant), None);
    // The issuer of the organization's metadata, at the organization's endpoint alone.
    let tenant_issuer = "https://auth.example.com/t/acme";
    assert_eq!(ask(&gate, &key, "/t/acme/oauth/token", tenant_issuer), None);
    assert_eq!(ask(&gate, &key, TOKEN, tenant_issuer), wrong);
    assert_eq!(
        ask(&gate, &key, "/t/acme/oauth/token", "https://auth.example.com/t/other"),
        wrong
    );
    assert_eq!(ask(&gate, &key, "/t/acme/oauth/token", TOKEN_URL), wrong);
    assert_eq!(ask(&gate, &key, "/t/acme/oauth/token", ISSUER), None);

    let strict = Gate::with(|endpoint| endpoint.assertion_audience = AssertionAudience::Issuer);
    let key = strict.key_client(A, Algorithm::Es256);
    assert_eq!(ask(&strict, &key, TOKEN, ISSUER), None);
    assert_eq!(ask(&strict, &key, TOKEN, TOKEN_URL), wrong);
    assert_eq!(ask(&strict, &key, "/t/acme/oauth/token", tenant), wrong);
}

#[test]
fn s123_section_3_issuer_and_subject_are_the_client_and_so_is_client_id() {
    let (gate, key) = gate();
    gate.key_client("client_b", Algorithm::Es256);
    let subject = Some("assertion_subject");
    for change in [
        json!({ "iss": "client_b" }),
        json!({ "sub": "client_b" }),
        json!({ "iss": null }),
        json!({ "sub": null }),
        json!({ "iss": null, "sub": null }),
        json!({ "iss": 1, "sub": 1 }),
        json!({ "iss": [A], "sub": [A] }),
    ] {
        check(&gate, &key, change, subject);
    }
    check(&gate, &key, json!({ "iss": "", "sub": "" }), Some("unknown_client"));
    check(
        &gate,
        &key,
        json!({ "iss": "https://x", "sub": "https://x" }),
        Some("unknown_client"),
    );

    let assertion = signed(&key, &claims(A));
    let with_id = |id| [asserting(&assertion), vec![("client_id", id)]].concat();
    for other in ["client_b", "CLIENT_A", "client_a "] {
        let response = gate.post(TOKEN, &with_id(other));
        let described = "client_id is not that of the client authentication";
        assert_eq!(response.error(), (400, "invalid_client", described));
    }
    gate.post(TOKEN, &with_id(A)).token();
}

#[test]
fn s124_section_3_another_clients_key_proves_nothing_whatever_its_kid() {
    let (gate, key) = gate();
    let other = gate.key_client("client_b", Algorithm::Es256);
    check_refused(&gate, &signed(&other, &claims(A)), "bad_assertion_signature");
    check_refused(&gate, &signed(&key, &claims("client_b")), "bad_assertion_signature");
    // Both records have a key with this `kid`.
    let kid = key.kid().to_owned();
    gate.change("client_b", |record| {
        let mut record_of_key = key_record(&other, None);
        record_of_key.kid = kid.clone();
        record.authentication = ClientAuthentication::Keys {
            keys: vec![record_of_key],
        };
    });
    let header = json!({ "alg": "ES256", "kid": kid }).to_string();
    let forged = other.sign_text(&header, &claims(A).to_string()).unwrap();
    check_refused(&gate, &forged, "bad_assertion_signature");
    let own = other.sign_text(&header, &claims("client_b").to_string()).unwrap();
    gate.assert(&own).token();
}

#[test]
fn s125_rfc8725_section_3_12_an_access_token_is_no_assertion() {
    let (gate, key) = gate();
    let own = gate.assert(&signed(&key, &claims(A))).token().to_owned();
    check_refused(&gate, &own, "assertion_subject");
    for typ in [
        "at+jwt",
        "application/at+jwt",
        "AT+JWT",
        "secevent+jwt",
        "dpop+jwt",
        "x",
        "",
    ] {
        let assertion = key.sign(typ, &claims_with(A, &json!({ "jti": typ }))).unwrap();
        check_refused(&gate, &assertion, "assertion_kind");
    }
    for typ in ["JWT", "jwt", "application/jwt", "client-authentication+jwt"] {
        gate.assert(
            &key.sign(typ, &claims_with(A, &json!({ "jti": format!("good {typ}") })))
                .unwrap(),
        )
        .token();
    }
    // Signed by the gate's own key in a client's name.
    let ours = gate.control.signing_keys.active().unwrap();
    check_refused(&gate, &ours.sign("JWT", &claims(A)).unwrap(), "bad_assertion_signature");
}

#[test]
fn s126_rfc8725_section_3_1_only_the_announced_algorithms_count() {
    let gate = Gate::new();
    let secret = gate.secret_client("s");
    let key = gate.key_client(A, Algorithm::Rs256);
    let payload = BASE64URL.encode(claims(A).to_string().as_bytes());
    let hmac = |algorithm: &str, secret: &[u8]| {
        let header = BASE64URL.encode(json!({ "alg": algorithm }).to_string().as_bytes());
        let input = format!("{header}.{payload}");
        let hmac_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let signature = aws_lc_rs::hmac::sign(&hmac_key, input.as_bytes());
        format!("{input}.{}", BASE64URL.encode(signature.as_ref()))
    };
    for forged in [
        hmac("HS256", secret.as_bytes()),
        hmac("HS256", key.public_pem().as_bytes()),
        hmac("none", b""),
        hmac("None", b""),
        hmac("ES256K", b"x"),
        format!("{}.{payload}.", BASE64URL.encode(br#"{"alg":"none"}"#)),
    ] {
        check_refused(&gate, &forged, "assertion_algorithm");
    }
    // Algorithms that the gate supports elsewhere but does not announce for assertions.
    for algorithm in [Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps512, Algorithm::Es384] {
        let other = SigningKey::generate(algorithm).unwrap();
        check_refused(&gate, &signed(&other, &claims(A)), "assertion_algorithm");
    }
    // The client's record has this RSA key for RS256 only.
    let pem = key.to_pkcs8_pem().unwrap();
    let as_ps256 = SigningKey::from_pkcs8_pem(Algorithm::Ps256, pem.expose()).unwrap();
    check_refused(&gate, &signed(&as_ps256, &claims(A)), "bad_assertion_signature");
}

#[test]
fn rfc7515_section_4_a_header_that_brings_its_key_or_asks_for_more_is_not_believed() {
    let (gate, key) = gate();
    let evil = SigningKey::generate_es256().unwrap();
    let jwk = evil.public_jwk();
    for header in [
        json!({ "alg": "ES256", "jwk": jwk }),
        json!({ "alg": "ES256", "kid": key.kid(), "jwk": jwk }),
        json!({ "alg": "ES256", "jku": "https://evil.example/keys" }),
    ] {
        let forged = evil.sign_text(&header.to_string(), &claims(A).to_string()).unwrap();
        check_refused(&gate, &forged, "bad_assertion_signature");
    }
    for header in [
        r#"{"alg":"ES256","crit":["exp"]}"#,
        r#"{"alg":"ES256","b64":false}"#,
        r#"{"alg":"ES256","alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":1}"#,
        r#"{"alg":"ES256","cty":"JWT"}"#,
        "[]",
    ] {
        let assertion = key.sign_text(header, &claims(A).to_string()).unwrap();
        check_refused(&gate, &assertion, "malformed_assertion");
    }
    let twice = claims(A).to_string().replace('}', ",\"sub\":\"client_a\"}");
    check_refused(
        &gate,
        &key.sign_text(r#"{"alg":"ES256"}"#, &twice).unwrap(),
        "malformed_assertion",
    );
    check_refused(
        &gate,
        &key.sign_text(r#"{"alg":"ES256"}"#, "[]").unwrap(),
        "malformed_assertion",
    );
}

#[test]
fn s127_section_3_an_assertion_ends_and_soon() {
    let (gate, key) = gate();
    let mut next = 10;
    let mut at = |change: Value, expected: Option<&str>| {
        next += 1;
        let mut change = change;
        change["jti"] = next.to_string().into();
        check(&gate, &key, change, expected);
    };
    // Skew 30 s, lifetime 1 h; both sides of each boundary.
    at(json!({ "exp": null }), Some("assertion_claim"));
    for wrong in [
        json!("1"),
        json!(-1),
        json!(-0.5),
        json!(1e300),
        json!([]),
        json!(START.to_string()),
    ] {
        at(json!({ "exp": wrong }), Some("assertion_claim"));
        at(json!({ "iat": wrong }), Some("assertion_claim"));
        at(json!({ "nbf": wrong }), Some("assertion_claim"));
    }
    // Fractions are numbers too; each is rounded to where less is accepted.
    let start = START as f64;
    at(
        json!({ "exp": start + 300.5, "iat": start - 0.5, "nbf": start - 0.5 }),
        None,
    );
    at(json!({ "exp": start - 29.5 }), Some("assertion_expired"));
    at(json!({ "nbf": start + 30.5 }), Some("assertion_not_yet_valid"));
    at(json!({ "exp": START - 29 }), None);
    at(json!({ "exp": START - 30 }), Some("assertion_expired"));
    at(json!({ "exp": 0 }), Some("assertion_expired"));
    at(json!({ "exp": START + 3_630 }), None);
    at(json!({ "exp": START + 3_631 }), Some("assertion_lifetime"));
    // 2^53 is the last integer that every JSON parser reads exactly (S027).
    at(json!({ "exp": 9_007_199_254_740_992_u64 }), Some("assertion_lifetime"));
    at(json!({ "exp": u64::MAX }), Some("assertion_claim"));
    at(json!({ "iat": START + 30 }), None);
    at(json!({ "iat": START + 31 }), Some("assertion_not_yet_valid"));
    at(json!({ "iat": START - 3_630 }), None);
    at(json!({ "iat": START - 3_631 }), Some("assertion_too_old"));
    at(json!({ "iat": null }), None);
    at(json!({ "nbf": START + 30 }), None);
    at(json!({ "nbf": START + 31 }), Some("assertion_not_yet_valid"));
}

#[test]
fn s127_the_strict_profile_gives_five_minutes_and_wants_an_id() {
    let gate = Gate::with(|endpoint| {
        endpoint.assertion_audience = AssertionAudience::Issuer;
        endpoint.assertion_max_lifetime = Duration::from_secs(300);
        endpoint.require_jti = true;
    });
    let key = gate.key_client(A, Algorithm::Es256);
    check(&gate, &key, json!({ "exp": START + 330 }), None);
    let array = json!({ "aud": [ISSUER], "jti": "1" });
    check(&gate, &key, array, Some("assertion_audience"));
    check(
        &gate,
        &key,
        json!({ "exp": START + 331, "jti": "2" }),
        Some("assertion_lifetime"),
    );
    check(
        &gate,
        &key,
        json!({ "iat": START - 331, "jti": "3" }),
        Some("assertion_too_old"),
    );
    check(&gate, &key, json!({ "jti": null }), Some("assertion_id_missing"));
    for wrong in [json!(1), json!(""), json!(["1"]), json!("x".repeat(513))] {
        check(&gate, &key, json!({ "jti": wrong }), Some("assertion_claim"));
    }
    check(&gate, &key, json!({ "jti": "x".repeat(512) }), None);
}

#[test]
fn without_a_kid_the_clients_keys_that_fit_are_tried_and_with_one_exactly_that() {
    let gate = Gate::new();
    let all: Vec<SigningKey> = (0..10).map(|_| SigningKey::generate_es256().unwrap()).collect();
    let (rsa, eddsa) = (
        SigningKey::generate(Algorithm::Rs256).unwrap(),
        SigningKey::generate(Algorithm::EdDsa).unwrap(),
    );
    let mut list: Vec<&SigningKey> = all.iter().take(8).collect();
    list.extend([&rsa, &eddsa]);
    gate.client(A, keys(&list));
    let nameless = |key: &SigningKey| {
        let header = json!({ "alg": key.algorithm().as_str() }).to_string();
        key.sign_text(&header, &claims_with(A, &json!({ "jti": null })).to_string())
            .unwrap()
    };
    for key in [&all[0], &all[7], &rsa, &eddsa] {
        gate.assert(&nameless(key)).token();
    }
    check_refused(&gate, &nameless(&all[8]), "bad_assertion_signature");
    let with_kid = |kid: &str| {
        let header = json!({ "alg": "ES256", "kid": kid }).to_string();
        all[0].sign_text(&header, &claims(A).to_string()).unwrap()
    };
    // A valid signature with the `kid` of another key of the client, and with an unknown `kid`.
    for kid in [all[1].kid(), "unknown"] {
        check_refused(&gate, &with_kid(kid), "bad_assertion_signature");
    }
    // An empty `kid` names no key.
    gate.assert(&with_kid("")).token();
}

#[test]
fn s138_a_revoked_key_proves_nothing_from_its_instant_and_the_others_do() {
    let gate = Gate::new();
    let (old, new) = (
        SigningKey::generate_es256().unwrap(),
        SigningKey::generate_es256().unwrap(),
    );
    gate.client(A, keys(&[&old, &new]));
    let assertion = |key: &SigningKey| signed(key, &claims_with(A, &json!({ "jti": null, "exp": START + 900 })));
    let issued = gate.assert(&assertion(&old)).token().to_owned();
    gate.change(A, |record| {
        let at = keygate::model::clock::Timestamp::from_unix_secs(START);
        let keys = vec![key_record(&old, Some(at)), key_record(&new, None)];
        record.authentication = ClientAuthentication::Keys { keys };
    });
    check_refused(&gate, &assertion(&old), "bad_assertion_signature");
    gate.assert(&assertion(&new)).token();
    // Issued tokens stay valid until they expire, unless the change revokes them.
    let now = gate.clock_now();
    assert!(keygate::control::token::own_tokens::verify(&gate.control, &issued, now).is_ok());
    gate.change(A, |record| {
        record.tokens_not_before = Some(keygate::model::clock::Timestamp::from_unix_secs(START + 1))
    });
    assert!(keygate::control::token::own_tokens::verify(&gate.control, &issued, now).is_err());
}

#[test]
fn keys_behind_a_url_prove_and_a_set_that_is_not_to_be_had_is_no_refusal() {
    let gate = Gate::new();
    let (one, two) = (
        SigningKey::generate_es256().unwrap(),
        SigningKey::generate_es256().unwrap(),
    );
    let url = "https://client.example/keys".to_owned();
    gate.client(A, ClientAuthentication::JwksUrl { url: url.clone() });
    let set = |keys: &[&SigningKey]| {
        let keys: Vec<Value> = keys.iter().map(|key| key.public_jwk()).collect();
        Arc::new(Jwks::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap())
    };
    let nameless = |key: &SigningKey| {
        key.sign_text(
            r#"{"alg":"ES256"}"#,
            &claims_with(A, &json!({ "jti": null })).to_string(),
        )
        .unwrap()
    };
    let response = gate.assert(&signed(&one, &claims(A)));
    assert_eq!(
        (
            response.status.as_u16(),
            response.headers["retry-after"].to_str().unwrap()
        ),
        (503, "7")
    );
    assert_eq!(response.outcome.reason, Some("client_keys_unavailable"));

    gate.jwks.sets.lock().unwrap().insert(url.clone(), set(&[&one]));
    gate.assert(&signed(&one, &claims(A))).token();
    gate.assert(&nameless(&one)).token();
    let response = gate.assert(&nameless(&two));
    assert_eq!(
        (response.status.as_u16(), response.outcome.reason),
        (503, Some("client_keys_recent"))
    );
    assert_eq!(response.headers["retry-after"], "7");
    // An assertion without `kid` whose key was rotated makes the gate fetch a newer set.
    gate.jwks.newer.lock().unwrap().insert(url, set(&[&one, &two]));
    gate.assert(&nameless(&two)).token();
}
