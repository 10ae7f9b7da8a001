//! Which tokens are accepted, and why is every other token refused?

use super::*;
use crate::config::KeySource;
use crate::jose::json::JsonError;
use crate::jose::jws::JwsError;
use crate::jose::sign::SigningKey;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;
use std::sync::LazyLock;

const ISSUER: &str = "https://idp.example";
const NOW: u64 = 1_800_000_000;
const SKEW: u64 = 30;
/// The header of the tokens that [`SigningKey::sign_text`] makes of a payload in text form.
const HEADER: &str = r#"{"alg":"ES256"}"#;
const DAY: u64 = 86_400;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate_es256().unwrap());
static RSA: LazyLock<SigningKey> = LazyLock::new(|| {
    let pem = include_str!("../../../../tests/data/jose/rsa2048.private.pem");
    SigningKey::from_pkcs8_pem(Algorithm::Ps256, pem).unwrap()
});
static KEYS: LazyLock<Jwks> = LazyLock::new(|| set(&[KEY.public_jwk()]));

fn set(keys: &[Value]) -> Jwks {
    Jwks::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn config() -> config::Issuer {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    config::Issuer {
        token_header: None,
        name: "idp".parse().unwrap(),
        issuer: ISSUER.parse().unwrap(),
        keys: KeySource::File("keys.json".into()),
        audiences: Some(texts(&["api"])),
        algorithms: vec![Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa],
        types: texts(&["at+jwt", "application/at+jwt", "jwt", ""]),
        clock_skew: Duration::from_secs(SKEW),
        max_lifetime: Duration::from_secs(DAY),
        required_claims: Vec::new(),
        scope_claims: texts(&["scope", "scp", "permissions", "roles"]),
        client_id_claims: texts(&["client_id", "azp"]),
        organization_claim: "org".to_owned(),
        claim_headers: Vec::new(),
        mode: config::Mode::Enforce,
        claim_facts: Vec::new(),
    }
}

/// Returns the claims of a valid token with `changes`; `null` in `changes` removes a claim.
fn claims(changes: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": "api", "exp": NOW + 300, "iat": NOW, "sub": "alice"});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn verify_at(token: &str, config: &config::Issuer, jwks: &Jwks, now: u64) -> Result<TokenIdentity, TokenError> {
    let now = Timestamp::from_unix_secs(now);
    let jws = Jws::parse(token)?;
    ParsedToken::read(&jws)?.verify(&TokenRules::compile(config), jwks, now)
}

fn verify(token: &str) -> Result<TokenIdentity, TokenError> {
    verify_at(token, &config(), &KEYS, NOW)
}

fn accept(changes: Value) -> TokenIdentity {
    let token = KEY.sign("at+jwt", &claims(changes.clone())).unwrap();
    verify(&token).unwrap_or_else(|error| panic!("{changes}: {error:?}"))
}

#[track_caller]
fn check(changes: Value, expected: Result<(), TokenError>) {
    let token = KEY.sign("at+jwt", &claims(changes.clone())).unwrap();
    assert_eq!(verify(&token).map(drop), expected, "{changes}");
}

/// Checks that a token is refused for `reason`. Its payload is given as text, because serde would not write such JSON.
#[track_caller]
fn check_text(payload: &str, reason: &str) {
    let token = KEY.sign_text(HEADER, payload).unwrap();
    assert_eq!(
        verify(&token).map_err(|error| error.reason()).map(drop),
        Err(reason),
        "{payload:.100}"
    );
}

#[track_caller]
fn check_header(header: &Value, changes: Value, expected: Result<(), TokenError>) {
    let token = KEY
        .sign_text(&header.to_string(), &claims(changes).to_string())
        .unwrap();
    assert_eq!(verify(&token).map(drop), expected, "{header}");
}

fn invalid(name: &str) -> Result<(), TokenError> {
    Err(TokenError::ClaimInvalid(name.to_owned()))
}

#[test]
fn a_valid_token_has_the_identity_in_its_claims() {
    let identity = accept(json!({
        "client_id": "c1", "org": "o1", "jti": "t1", "scope": "b:read a:read", "aud": ["api", "other"], "nbf": NOW,
    }));
    assert_eq!(identity.subject.as_deref(), Some("alice"));
    assert_eq!(identity.client_id.as_deref(), Some("c1"));
    assert_eq!(identity.organization.as_deref(), Some("o1"));
    assert_eq!(identity.token_id.as_deref(), Some("t1"));
    assert_eq!(identity.scopes.to_string(), "a:read b:read");
    assert_eq!(identity.audiences, ["api", "other"]);
    assert_eq!(identity.expires_at, Timestamp::from_unix_secs(NOW + 300));
    let token = KEY.sign("at+jwt", &claims(json!({}))).unwrap();
    let jws = Jws::parse(&token).unwrap();
    let parsed = ParsedToken::read(&jws).unwrap();
    assert_eq!(parsed.issuer(), ISSUER);
    assert_eq!(parsed.kid(), Some(KEY.kid()));
    assert_eq!(parsed.algorithm(), Algorithm::Es256);
}

#[test]
fn s015_the_algorithm_must_be_the_issuers_and_the_keys() {
    let token = RSA.sign("at+jwt", &claims(json!({}))).unwrap();
    let mut jwk = RSA.public_jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    let open = set(&[jwk.clone()]);
    let mut issuer = config();
    assert!(verify_at(&token, &issuer, &open, NOW).is_ok());
    issuer.algorithms = vec![Algorithm::Es256];
    let refused = verify_at(&token, &issuer, &open, NOW).map(drop);
    assert_eq!(refused, Err(TokenError::Algorithm(Algorithm::Ps256)));
    jwk["alg"] = json!("RS256");
    let pinned = set(&[jwk]);
    assert_eq!(
        verify_at(&token, &config(), &pinned, NOW).map(drop),
        Err(TokenError::KeyMismatch)
    );
}

#[test]
fn a_key_that_is_missing_is_told_from_a_forgery() {
    let other = SigningKey::generate_es256().unwrap();
    let token = other.sign("at+jwt", &claims(json!({}))).unwrap();
    assert_eq!(verify(&token).map(drop), Err(TokenError::UnknownKey));
    // An error that no key set can cure takes precedence over the unknown key.
    let typ = other.sign("dpop+jwt", &claims(json!({}))).unwrap();
    assert_eq!(verify(&typ).map(drop), Err(TokenError::Type));
    let issuer = other
        .sign("at+jwt", &claims(json!({"iss": "https://other.example"})))
        .unwrap();
    assert_eq!(verify(&issuer).map(drop), Err(TokenError::Issuer));
    // A signature by another key under a known `kid`, or without `kid`, is a forgery.
    for kid in [json!({"kid": KEY.kid()}), json!({})] {
        let mut header = json!({"alg": "ES256"});
        header.as_object_mut().unwrap().extend(kid.as_object().unwrap().clone());
        let forged = other
            .sign_text(&header.to_string(), &claims(json!({})).to_string())
            .unwrap();
        assert_eq!(verify(&forged).map(drop), Err(TokenError::BadSignature));
    }
    let two = set(&[KEY.public_jwk(), other.public_jwk()]);
    let nameless = KEY.sign_text(HEADER, &claims(json!({})).to_string()).unwrap();
    assert!(verify(&nameless).is_ok());
    let refused = verify_at(&nameless, &config(), &two, NOW).map(drop);
    assert_eq!(refused, Err(TokenError::AmbiguousKey), "S053");
}

#[test]
fn the_signature_is_verified_before_the_claims() {
    let token = KEY.sign("at+jwt", &claims(json!({"exp": 1}))).unwrap();
    assert!(matches!(verify(&token), Err(TokenError::Expired { .. })));
    let (input, _) = token.rsplit_once('.').unwrap();
    let unsigned = format!("{input}.{}", "A".repeat(86));
    assert_eq!(verify(&unsigned).map(drop), Err(TokenError::BadSignature));
    assert_eq!(verify(&format!("{input}.")).map(drop), Err(TokenError::BadSignature));
}

#[test]
fn s016_extensions_are_refused_although_signed() {
    check_header(
        &json!({"alg": "ES256", "crit": ["exp"]}),
        json!({}),
        Err(TokenError::Jws(JwsError::Critical)),
    );
}

#[test]
fn s023_a_claim_stands_once() {
    let payload = claims(json!({})).to_string();
    let with = |members: &str| format!("{},{members}}}", payload.strip_suffix('}').unwrap());
    check_text(&with(r#""exp":1"#), "token_malformed");
    check_text(&with(r#""scope":"a","scope":"b""#), "token_malformed");
    check_text(&with(r#""cnf":{"jkt":"a","jkt":"b"}"#), "token_malformed");
}

#[test]
fn s024_a_token_in_a_token_is_no_claim_set() {
    let inner = KEY.sign("at+jwt", &claims(json!({}))).unwrap();
    check_text(&inner, "token_malformed");
    check_text(&json!([claims(json!({}))]).to_string(), "token_malformed");
    check_text("", "token_malformed");
}

#[test]
fn s025_claims_are_bounded_in_depth_and_size() {
    let payload = claims(json!({})).to_string();
    let with = |value: &str| format!("{},\"x\":{value}}}", payload.strip_suffix('}').unwrap());
    check_text(
        &with(&format!("{}{}", "[".repeat(2_000), "]".repeat(2_000))),
        "token_malformed",
    );
    check_text(
        &with(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))),
        "token_malformed",
    );
    check_text(&with(&format!("\"{}\"", "a".repeat(1_000_000))), "token_too_long");
}

#[test]
fn s027_times_are_numbers_from_0_to_2_to_the_53() {
    let payload = |name: &str, text: &str| {
        let rest = claims(json!({ name: null })).to_string();
        format!("{},\"{name}\":{text}}}", rest.strip_suffix('}').unwrap())
    };
    for name in ["exp", "nbf", "iat"] {
        for text in [
            "\"1800000300\"",
            "-1",
            "-0.5",
            "true",
            "[1800000000]",
            "{}",
            "9007199254740993",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551616",
            "1e300",
        ] {
            check_text(&payload(name, text), "token_claim_invalid");
        }
        for text in ["1e400", "01", "0x1", "NaN", "Infinity", "+1"] {
            check_text(&payload(name, text), "token_malformed");
        }
    }
    check_text(&payload("exp", "9007199254740992"), "token_lifetime");
    check_text(&payload("nbf", "9007199254740992"), "token_not_yet_valid");
    check_text(&payload("iat", "9.007199254740992e15"), "token_issued_in_future");
    check_text(&payload("exp", "0"), "token_expired");
    check_text(&payload("exp", "-0.0"), "token_expired");
    // `null` is an absent member.
    check_text(&payload("exp", "null"), "token_claim_missing");
    for name in ["nbf", "iat"] {
        let token = KEY.sign_text(HEADER, &payload(name, "null")).unwrap();
        assert_eq!(verify_at(&token, &config(), &KEYS, NOW).map(drop), Ok(()), "{name}");
    }
}

#[test]
fn s027_fractions_and_exponents_are_rounded_towards_less() {
    let verify = |name: &str, text: &str| {
        let rest = claims(json!({ name: null, "iat": null })).to_string();
        let payload = format!("{},\"{name}\":{text}}}", rest.strip_suffix('}').unwrap());
        let token = KEY.sign_text(HEADER, &payload).unwrap();
        verify_at(&token, &config(), &KEYS, NOW)
    };
    let at = Timestamp::from_unix_secs;
    // As `time.time() + 300` of Python writes it.
    assert_eq!(verify("exp", "1800000300.9").unwrap().expires_at, at(1_800_000_300));
    assert_eq!(verify("exp", "1.8000003e9").unwrap().expires_at, at(1_800_000_300));
    assert_eq!(verify("exp", "1800000300.0").unwrap().expires_at, at(1_800_000_300));
    let past = format!("{}.9", NOW - SKEW - 1);
    assert!(matches!(verify("exp", &past), Err(TokenError::Expired { .. })));
    for (name, error) in [("nbf", TokenError::NotYetValid), ("iat", TokenError::IssuedInFuture)] {
        assert!(verify(name, &format!("{}.0", NOW + SKEW)).is_ok(), "{name}");
        assert_eq!(
            verify(name, &format!("{}.1", NOW + SKEW)).map(drop),
            Err(error),
            "{name}"
        );
    }
    // A revocation compares the time of issue: half a second before it is before it.
    assert_eq!(
        verify("iat", "1799999999.5").unwrap().issued_at,
        Some(at(1_799_999_999))
    );
}

#[test]
fn s028_nbf_ahead_of_the_skew_is_refused() {
    check(json!({"nbf": NOW + SKEW}), Ok(()));
    check(json!({"nbf": NOW + SKEW + 1}), Err(TokenError::NotYetValid));
    check(json!({"nbf": 0}), Ok(()));
}

#[test]
fn s029_exp_is_needed_and_lifetime_bounded_and_iat_not_ahead() {
    check(json!({"exp": null}), Err(TokenError::ClaimMissing("exp")));
    check(json!({"exp": NOW + DAY}), Ok(()));
    check(json!({"exp": NOW + DAY + 1}), Err(TokenError::Lifetime));
    check(json!({"iat": NOW + 300 - DAY}), Ok(()));
    check(json!({"iat": NOW + 299 - DAY}), Err(TokenError::Lifetime));
    check(json!({"iat": 0}), Err(TokenError::Lifetime));
    check(json!({"iat": null, "exp": NOW + DAY + SKEW}), Ok(()));
    check(
        json!({"iat": null, "exp": NOW + DAY + SKEW + 1}),
        Err(TokenError::Lifetime),
    );
    check(json!({"iat": NOW + SKEW}), Ok(()));
    check(json!({"iat": NOW + SKEW + 1}), Err(TokenError::IssuedInFuture));
}

#[test]
fn s030_aud_is_a_string_or_an_array_of_strings() {
    assert_eq!(accept(json!({"aud": "api"})).audiences, ["api"]);
    assert_eq!(accept(json!({"aud": ["API", "api/"]})).audiences, ["API", "api/"]);
    check(json!({"aud": null}), Err(TokenError::ClaimMissing("aud")));
    check(json!({"aud": []}), Err(TokenError::ClaimMissing("aud")));
    for empty in [json!(""), json!([""])] {
        check(json!({ "aud": empty }), Err(TokenError::ClaimMissing("aud")));
    }
    assert_eq!(accept(json!({"aud": ["", "api"]})).audiences, ["api"]);
    for bad in [json!(1), json!(true), json!({}), json!(["api", 1]), json!([["api"]])] {
        check(json!({ "aud": bad }), invalid("aud"));
    }
    let mut waived = config();
    waived.audiences = None;
    let verify_waived = |aud: Value| {
        let token = KEY.sign("at+jwt", &claims(json!({ "aud": aud }))).unwrap();
        verify_at(&token, &waived, &KEYS, NOW).map(|identity| identity.audiences)
    };
    assert_eq!(verify_waived(Value::Null), Ok(vec![]));
    assert_eq!(verify_waived(json!([])), Ok(vec![]));
    assert_eq!(verify_waived(json!("x")), Ok(vec!["x".to_owned()]));
    assert_eq!(verify_waived(json!(1)).map(drop), invalid("aud"));
}

#[test]
fn s031_iss_is_one_exact_string() {
    for other in [
        "https://idp.example/",
        "https://IDP.example",
        "HTTPS://idp.example",
        "idp.example",
        " https://idp.example",
        "",
    ] {
        check(json!({ "iss": other }), Err(TokenError::Issuer));
    }
    for bad in [json!([ISSUER]), json!({}), json!(1)] {
        check(json!({ "iss": bad }), invalid("iss"));
    }
    check(json!({"iss": null}), Err(TokenError::ClaimMissing("iss")));
}

#[test]
fn s032_an_id_token_or_an_assertion_is_no_access_token() {
    let good = [
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "Application/AT+JWT",
        "JWT",
        "jwt",
    ];
    for typ in good {
        check_header(&json!({"alg": "ES256", "typ": typ}), json!({}), Ok(()));
    }
    check_header(&json!({"alg": "ES256"}), json!({}), Ok(()));
    for typ in [
        "",
        " ",
        "at",
        "jwt ",
        "application/jwt",
        "client-authentication+jwt",
        "dpop+jwt",
        "logout+jwt",
        "id+jwt",
        "JWE",
    ] {
        check_header(&json!({"alg": "ES256", "typ": typ}), json!({}), Err(TokenError::Type));
    }
    for mark in ["nonce", "at_hash", "c_hash"] {
        let marked = || json!({ mark: "x" });
        check_header(
            &json!({"alg": "ES256", "typ": "JWT"}),
            marked(),
            Err(TokenError::NotAccessToken(mark)),
        );
        check_header(
            &json!({"alg": "ES256"}),
            marked(),
            Err(TokenError::NotAccessToken(mark)),
        );
        check_header(&json!({"alg": "ES256", "typ": "at+jwt"}), marked(), Ok(()));
        check_header(&json!({"alg": "ES256", "typ": "application/AT+jwt"}), marked(), Ok(()));
    }
    let mut strict = config();
    strict.types = vec!["at+jwt".to_owned()];
    for (header, expected) in [
        (json!({"alg": "ES256", "typ": "at+jwt"}), Ok(())),
        (json!({"alg": "ES256", "typ": "JWT"}), Err(TokenError::Type)),
        (json!({"alg": "ES256"}), Err(TokenError::Type)),
    ] {
        let token = KEY
            .sign_text(&header.to_string(), &claims(json!({})).to_string())
            .unwrap();
        assert_eq!(verify_at(&token, &strict, &KEYS, NOW).map(drop), expected, "{header}");
    }
}

/// RFC 7800 section 3.1: without the proof of its holder, a thief could use such a token.
#[test]
fn a_token_that_is_bound_to_its_holder_is_no_bearer_token() {
    for cnf in [
        json!({"jkt": "a"}),
        json!({"x5t#S256": "a"}),
        json!({}),
        json!("a"),
        json!(1),
    ] {
        check(json!({ "cnf": cnf }), Err(TokenError::NotBearer("cnf")));
    }
    check(json!({"cnf": null}), Ok(()));
}

#[test]
fn marks_of_id_tokens_that_say_nothing_mark_nothing() {
    for nothing in [json!(""), json!([])] {
        check_header(
            &json!({"alg": "ES256", "typ": "JWT"}),
            json!({ "nonce": nothing }),
            Ok(()),
        );
    }
}

#[test]
fn s034_scopes_have_one_of_two_types() {
    let scopes = |changes| accept(changes).scopes.to_string();
    assert_eq!(scopes(json!({})), "");
    assert_eq!(scopes(json!({"scope": ""})), "");
    assert_eq!(scopes(json!({"scope": "b a"})), "a b");
    assert_eq!(scopes(json!({"scp": ["b", "a"]})), "a b");
    assert_eq!(scopes(json!({"scp": "b a"})), "a b");
    assert_eq!(scopes(json!({"roles": ["admin"]})), "admin");
    assert_eq!(scopes(json!({"permissions": []})), "");
    assert_eq!(scopes(json!({"scope": "a", "scp": ["b"], "roles": ["c"]})), "a");
    // Entra and Keycloak name roles with spaces: such a text can meet no requirement, and the token is good without it.
    assert_eq!(scopes(json!({"roles": ["Domain Users", "admin"]})), "admin");
    assert_eq!(scopes(json!({"scp": ["a b", "", "é"]})), "");
    assert_eq!(scopes(json!({"scope": " b  a\tc "})), "b");
    for bad in [
        json!(1),
        json!(true),
        json!({}),
        json!(["a", 1]),
        json!(["a", null]),
        json!([["a"]]),
    ] {
        for name in ["scope", "scp", "permissions", "roles"] {
            check(json!({ name: bad }), invalid(name));
        }
    }
    // What says nothing is absent, and the next claim counts.
    let payload = claims(json!({"scope": "SCOPE", "scp": ["b"]})).to_string();
    for nothing in ["null", "\"\"", "[]", "[\"\"]", "[null]"] {
        let token = KEY.sign_text(HEADER, &payload.replace("\"SCOPE\"", nothing)).unwrap();
        let scopes = verify_at(&token, &config(), &KEYS, NOW).unwrap().scopes;
        assert_eq!(scopes.to_string(), "b", "{nothing}");
    }
    // These say something, though no scope.
    for something in [json!(" "), json!(["a b"]), json!(["\u{e9}", ""])] {
        assert_eq!(scopes(json!({"scope": something, "scp": ["b"]})), "", "{something}");
    }
}

#[test]
fn names_are_bounded_strings() {
    for name in ["sub", "client_id", "azp", "org", "jti"] {
        for bad in [
            json!(1),
            json!(["a"]),
            json!([["a"]]),
            json!({}),
            json!(false),
            json!("a".repeat(513)),
        ] {
            check(json!({ name: bad }), invalid(name));
        }
        check(json!({ name: "a".repeat(512) }), Ok(()));
    }
    assert_eq!(accept(json!({"sub": null})).subject, None);
    // An empty text or array says nothing, and the next claim counts.
    for nothing in [json!(""), json!([]), json!([""])] {
        let token = accept(json!({"sub": nothing, "org": nothing, "jti": nothing, "client_id": nothing}));
        assert_eq!((token.subject, token.organization), (None, None), "{nothing}");
        assert_eq!((token.token_id, token.client_id), (None, None), "{nothing}");
        let next = accept(json!({"client_id": nothing, "azp": "a"}));
        assert_eq!(next.client_id.as_deref(), Some("a"), "{nothing}");
    }
    assert_eq!(accept(json!({"azp": "a"})).client_id.as_deref(), Some("a"));
    assert_eq!(
        accept(json!({"azp": "a", "client_id": "c"})).client_id.as_deref(),
        Some("c")
    );
    check(json!({"azp": "a", "client_id": 1}), invalid("client_id"));
}

#[test]
fn required_claims_hold_one_of_their_values() {
    let mut issuer = config();
    issuer.required_claims = vec![("tier".to_owned(), vec!["gold".to_owned(), "silver".to_owned()])];
    let check = |changes: Value, expected: Result<(), TokenError>| {
        let token = KEY.sign("at+jwt", &claims(changes.clone())).unwrap();
        assert_eq!(verify_at(&token, &issuer, &KEYS, NOW).map(drop), expected, "{changes}");
    };
    let refused = || Err(TokenError::RequiredClaim("tier".to_owned()));
    check(json!({"tier": "gold"}), Ok(()));
    check(json!({"tier": ["x", "silver"]}), Ok(()));
    for value in [
        Value::Null,
        json!("Gold"),
        json!("golden"),
        json!(""),
        json!([]),
        json!(["gol", "d"]),
    ] {
        check(json!({ "tier": value }), refused());
    }
    for value in [
        json!(1),
        json!(true),
        json!({"gold": 1}),
        json!(["gold", 1]),
        json!([["gold"]]),
    ] {
        check(json!({ "tier": value }), invalid("tier"));
    }
}

#[test]
fn s037_a_token_ends_at_exp_and_skew_exactly() {
    let token = KEY.sign("at+jwt", &claims(json!({}))).unwrap();
    let at = |now| verify_at(&token, &config(), &KEYS, now).map(drop);
    let exp = NOW + 300;
    assert_eq!(at(exp), Ok(()));
    assert_eq!(at(exp + SKEW), Ok(()));
    assert_eq!(at(exp + SKEW + 1), Err(TokenError::Expired { late_secs: SKEW + 1 }));
    let rules = TokenRules::compile(&config());
    let identity = accept(json!({}));
    let usable_until = rules.usable_until(identity.expires_at);
    assert_eq!(usable_until, Timestamp::from_unix_secs(exp + SKEW));
    assert_eq!(rules.usable_until(Timestamp::MAX), Timestamp::MAX);
}

#[test]
fn a_refusal_is_one_word_of_a_closed_set() {
    let text = || JsonError::NotAnObject;
    let every = [
        TokenError::Jws(JwsError::TooLong),
        TokenError::Jws(JwsError::Parts),
        TokenError::Jws(JwsError::Encrypted),
        TokenError::Jws(JwsError::Base64("payload")),
        TokenError::Jws(JwsError::Header(text())),
        TokenError::Jws(JwsError::HeaderMember("kid")),
        TokenError::Jws(JwsError::Algorithm),
        TokenError::Jws(JwsError::Critical),
        TokenError::Jws(JwsError::Nested),
        TokenError::Payload(text()),
        TokenError::Issuer,
        TokenError::Algorithm(Algorithm::Es256),
        TokenError::Type,
        TokenError::UnknownKey,
        TokenError::KeyMismatch,
        TokenError::AmbiguousKey,
        TokenError::BadSignature,
        TokenError::Expired { late_secs: 1 },
        TokenError::NotYetValid,
        TokenError::IssuedInFuture,
        TokenError::Lifetime,
        TokenError::NotAccessToken("nonce"),
        TokenError::NotBearer("cnf"),
        TokenError::ClaimMissing("exp"),
        TokenError::ClaimInvalid("exp".to_owned()),
        TokenError::RequiredClaim("tier".to_owned()),
    ];
    let mut words: Vec<_> = every.iter().map(TokenError::reason).collect();
    words.sort_unstable();
    words.dedup();
    let mut closed = TokenError::REASONS.to_vec();
    closed.sort_unstable();
    assert_eq!(words, closed);
}

proptest! {
    #[test]
    fn parsing_never_panics(text in ".{0,80}") {
        let _ = Jws::parse(&text).map(|jws| ParsedToken::read(&jws).is_ok());
    }

    #[test]
    fn any_payload_is_answered_without_panic(payload in r#"\{("(exp|iat|nbf|aud|scope|sub|iss)":("[ -!#-\[\]-~]{0,6}"|-?[0-9]{1,20}|null|\[("a"|1)?\]|1e[0-9]{1,3}),?){0,5}\}"#) {
        let token = KEY.sign_text(HEADER, &payload).unwrap();
        prop_assert!(verify(&token).is_err());
    }
}
