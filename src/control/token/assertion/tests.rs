use super::*;
use crate::control::fixture;
use crate::jose::sign::SigningKey;
use proptest::prelude::*;
use serde_json::json;

const NOW: u64 = 1_800_000_000;

fn rules(max_lifetime: u64, skew: u64) -> TokenEndpoint {
    TokenEndpoint {
        assertion_max_lifetime: Duration::from_secs(max_lifetime),
        clock_skew: Duration::from_secs(skew),
        ..fixture::token_endpoint()
    }
}

fn key() -> &'static SigningKey {
    static KEY: std::sync::OnceLock<SigningKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate_es256().unwrap())
}

fn check(rules: &TokenEndpoint, claims: &Value) -> Result<Option<AssertionMark>, TokenEndpointError> {
    let text = key().sign("JWT", claims).unwrap();
    let client = "a".parse().unwrap();
    let now = Timestamp::from_unix_secs(NOW);
    Assertion::parse(&text)?.check(rules, ReceivingEndpoint::Token, &client, &organization(), now)
}

fn organization() -> Name {
    "acme".parse().unwrap()
}

fn claims(audience: &Value, expires_at: u64, issued_at: u64) -> Value {
    json!({ "iss": "a", "sub": "a", "aud": audience, "exp": expires_at, "iat": issued_at, "jti": "1" })
}

proptest! {
    #[test]
    fn parsing_an_assertion_never_panics(text in ".{0,200}") {
        let _ = Assertion::parse(&text);
    }

    #[test]
    fn parsing_a_signed_assertion_never_panics(
        header in r#"\{("alg":"(ES256|RS256|none|HS256)"|"kid":("x"|1)|"typ":"[a-z+]{0,8}"|,){0,5}\}"#,
        payload in r#"\{("iss":("a"|1|null)|"sub":("a"|"b")|"exp":[0-9]{1,22}|"aud":(\[\]|"x")|,){0,6}\}"#,
    ) {
        let text = key().sign_text(&header, &payload).unwrap();
        if let Ok(assertion) = Assertion::parse(&text) {
            prop_assert!(!assertion.client().is_empty());
            let (client, now) = ("a".parse().unwrap(), Timestamp::from_unix_secs(NOW));
            let checked = assertion.check(&rules(3_600, 30), ReceivingEndpoint::Token, &client, &organization(), now);
            prop_assert!(checked.is_err(), "no audience of ours can be in it");
        }
    }

    /// An accepted assertion expires after now, and `exp` and `iat` are within the allowed times.
    #[test]
    fn s127_an_accepted_assertion_lies_within_the_allowed_times(
        exp in NOW - 8_000..NOW + 8_000,
        iat in NOW - 8_000..NOW + 8_000,
        max in 60_u64..4_000,
        skew in 0_u64..120,
    ) {
        let accepted = check(&rules(max, skew), &claims(&json!("https://auth.example.com"), exp, iat)).is_ok();
        let allowed = exp + skew > NOW && exp <= NOW + max + skew && iat <= NOW + skew && iat + max + skew >= NOW;
        prop_assert_eq!(accepted, allowed);
    }

    /// A mark is stored for as long as its assertion could be replayed.
    #[test]
    fn s121_a_mark_outlives_its_assertion(exp in NOW - 29..NOW + 3_600) {
        let rules = rules(3_600, 30);
        let mark = check(&rules, &claims(&json!("https://auth.example.com"), exp, NOW)).unwrap().unwrap();
        prop_assert!(mark.expires_at >= Timestamp::from_unix_secs(exp).saturating_add(rules.clock_skew));
    }

    #[test]
    fn s119_only_the_issuer_and_the_token_endpoint_are_audiences(audience in "(https://auth.example.com)?[/a-z.:]{0,14}") {
        let ours = ["https://auth.example.com", "https://auth.example.com/oauth/token"].contains(&audience.as_str());
        let rules = rules(3_600, 30);
        prop_assert_eq!(check(&rules, &claims(&json!(audience), NOW + 60, NOW)).is_ok(), ours);
        prop_assert_eq!(check(&rules, &claims(&json!([audience]), NOW + 60, NOW)).is_ok(), ours);
        prop_assert!(check(&rules, &claims(&json!([audience, audience]), NOW + 60, NOW)).is_err());
    }
}
