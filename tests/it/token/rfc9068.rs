//! JWT access tokens (RFC 9068), and opaque access tokens.

use super::fixture::*;
use keygate::control::token::own_tokens::OwnTokenError;
use keygate::control::token::own_tokens::verify;
use keygate::jose::jwks::Jwks;
use keygate::jose::jws::Jws;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::store::Store;
use keygate::store::record::client::ClientState;
use keygate::store::record::client::TokenFormat;
use serde_json::json;
use std::time::Duration;

#[test]
fn section_2_2_a_token_says_what_it_must_and_its_signature_holds() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::Ps256, Algorithm::EdDsa] {
        let gate = Gate::with(|endpoint| endpoint.algorithm = algorithm);
        let secret = gate.secret_client("a");
        let response = gate.with_secret("a", &secret);
        let token = response.token();
        let header = part(token, 0);
        assert_eq!(
            (&header["typ"], &header["alg"]),
            (&json!("at+jwt"), &json!(algorithm.as_str()))
        );
        let mut claims = response.claims();
        assert!(claims["jti"].as_str().unwrap().len() >= 22);
        claims["jti"] = "1".into();
        let expected = json!({
            "iss": ISSUER, "sub": "a", "client_id": "a", "aud": AUDIENCE, "iat": START, "exp": START + 3_600,
            "jti": "1", "scope": "orders:read orders:write", "org": "acme",
        });
        assert_eq!(claims, expected);

        let published = Jwks::parse(&gate.control.signing_keys.public_set().load()).unwrap();
        let jws = Jws::parse(token).unwrap();
        let key = published.find(jws.header().kid.as_deref(), algorithm).unwrap().first();
        jws.verify(key).unwrap();
    }
}

#[test]
fn section_2_2_no_two_tokens_have_one_id() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    let ids: Vec<String> = (0..20)
        .map(|_| gate.with_secret("a", &secret).claims()["jti"].to_string())
        .collect();
    let mut different = ids.clone();
    different.sort();
    different.dedup();
    assert_eq!(ids.len(), different.len());
}

#[test]
fn section_3_several_audiences_are_a_list() {
    let both = || vec!["https://a.example".into(), "https://b.example".into()];
    let gate = Gate::with(|endpoint| (endpoint.audiences, endpoint.default_audiences) = (both(), both()));
    let secret = gate.secret_client("a");
    let response = gate.with_secret("a", &secret);
    assert_eq!(
        response.claims()["aud"],
        json!(["https://a.example", "https://b.example"])
    );
}

#[test]
fn an_opaque_token_says_nothing_and_is_kept_as_a_digest() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    gate.change("a", |record| record.token_format = TokenFormat::Opaque);
    let response = gate.with_secret("a", &secret);
    let token = response.token();
    assert!(
        token.starts_with("kgt_") && token.len() == 47 && !token.contains('.'),
        "{token}"
    );
    assert_eq!(response.json["expires_in"], 3_600);
    assert_eq!(response.json["token_type"], "Bearer");
    let contents = gate.runtime.block_on(gate.store.contents()).unwrap();
    let stored = &contents.opaque_tokens[0];
    assert_eq!(stored.digest, keygate::model::api_key::CredentialDigest::sha256(token));
    let text = serde_json::to_string(stored).unwrap();
    assert!(!text.contains(&token[4..]), "{text}");
}

#[test]
fn section_4_only_our_own_good_tokens_count() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    let good = gate.with_secret("a", &secret).token().to_owned();
    let now = gate.clock_now();
    let own = verify(&gate.control, &good, now).unwrap();
    assert_eq!((own.client_id.as_str(), own.organization.as_str()), ("a", "acme"));
    assert_eq!(own.scopes, scopes("orders:read orders:write"));
    let ours = gate.control.signing_keys.active().unwrap();
    let stranger = SigningKey::generate_es256().unwrap();
    let with = |change: serde_json::Value| {
        let mut claims = part(&good, 1);
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    for (token, why) in [
        (
            stranger.sign("at+jwt", &with(json!({}))).unwrap(),
            OwnTokenError::NotOurs,
        ),
        (ours.sign("JWT", &with(json!({}))).unwrap(), OwnTokenError::NotOurs),
        (
            ours.sign("at+jwt", &with(json!({ "iss": "https://evil.example" })))
                .unwrap(),
            OwnTokenError::NotOurs,
        ),
        (
            ours.sign("at+jwt", &with(json!({ "aud": "https://evil.example" })))
                .unwrap(),
            OwnTokenError::NotOurs,
        ),
        (
            ours.sign("at+jwt", &with(json!({ "aud": 1 }))).unwrap(),
            OwnTokenError::NotOurs,
        ),
        (
            ours.sign("at+jwt", &with(json!({ "sub": "b" }))).unwrap(),
            OwnTokenError::NotOurs,
        ),
        (
            ours.sign("at+jwt", &with(json!({ "org": "other" }))).unwrap(),
            OwnTokenError::NotOurs,
        ),
        (
            ours.sign("at+jwt", &with(json!({ "exp": "x" }))).unwrap(),
            OwnTokenError::NotOurs,
        ),
        (
            ours.sign("at+jwt", &with(json!({ "jti": null }))).unwrap(),
            OwnTokenError::NotOurs,
        ),
        (
            ours.sign("at+jwt", &with(json!({ "sub": "b", "client_id": "b" })))
                .unwrap(),
            OwnTokenError::ClientGone,
        ),
        (
            ours.sign("at+jwt", &with(json!({ "exp": START - 30 }))).unwrap(),
            OwnTokenError::Expired,
        ),
        (
            ours.sign("at+jwt", &with(json!({ "iat": START + 31 }))).unwrap(),
            OwnTokenError::NotYetValid,
        ),
        (format!("{good}."), OwnTokenError::NotOurs),
        (String::new(), OwnTokenError::NotOurs),
        ("kgt_".to_owned(), OwnTokenError::NotOurs),
    ] {
        assert_eq!(verify(&gate.control, &token, now), Err(why), "{token}");
    }
}

#[test]
fn a_token_outlives_its_client_unless_the_tokens_of_the_client_are_revoked() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    for format in [TokenFormat::Jwt, TokenFormat::Opaque] {
        gate.change("a", |record| {
            record.state = ClientState::Active;
            record.tokens_not_before = None;
            record.token_format = format;
        });
        let token = gate.with_secret("a", &secret).token().to_owned();
        let good = || verify(&gate.control, &token, gate.clock_now()).is_ok();
        for state in [ClientState::Disabled, ClientState::Deleted] {
            gate.change("a", |record| record.state = state);
            assert!(good(), "{format:?} {state:?}");
        }
        let later = gate.clock_now().saturating_add(Duration::from_millis(1));
        gate.change("a", |record| record.tokens_not_before = Some(later));
        assert!(!good());
        gate.advance(10);
    }
}

#[test]
fn a_token_made_right_after_all_were_revoked_is_good() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    let before = gate.with_secret("a", &secret).token().to_owned();
    gate.clock.advance(Duration::from_millis(400));
    let revoked_at = gate.clock_now();
    gate.change("a", |record| record.tokens_not_before = Some(revoked_at));
    gate.clock.advance(Duration::from_millis(1));
    let after = gate.with_secret("a", &secret).token().to_owned();
    assert_eq!(
        verify(&gate.control, &before, gate.clock_now()),
        Err(OwnTokenError::Revoked)
    );
    assert!(verify(&gate.control, &after, gate.clock_now()).is_ok());
}

#[test]
fn tokens_revoked_while_the_clock_was_ahead_stay_revoked_and_new_ones_are_good() {
    const TWO_DAYS: Duration = Duration::from_secs(2 * 86_400);
    for format in [TokenFormat::Jwt, TokenFormat::Opaque] {
        let gate = Gate::new();
        let secret = gate.secret_client("a");
        let token = || gate.with_secret("a", &secret).token().to_owned();
        let check = |token: &str| verify(&gate.control, token, gate.clock_now()).map(drop);
        let revoke = || {
            let now = gate.clock_now();
            gate.change("a", |record| *record = record.clone().revoke_tokens(now));
        };
        gate.change("a", |record| record.token_format = format);
        let start = gate.clock_now();
        let before = token();
        gate.clock.set_wall(start.saturating_add(TWO_DAYS));
        let ahead = token();
        assert_eq!(check(&ahead), Ok(()));
        gate.advance(1);
        revoke();
        assert_eq!(check(&ahead), Err(OwnTokenError::Revoked));
        // The clock is set right. The client's next token is good at once, and no earlier one is.
        gate.clock.set_wall(start.saturating_add(Duration::from_secs(10)));
        let new = token();
        assert_eq!(check(&new), Ok(()), "{format:?}");
        assert_eq!(check(&before), Err(OwnTokenError::Revoked));
        // Revoking again helps.
        gate.advance(10);
        revoke();
        assert_eq!(check(&new), Err(OwnTokenError::Revoked));
        gate.advance(1);
        let newest = token();
        assert_eq!(check(&newest), Ok(()));
        // Two days later, the token of when the clock was ahead would be in its hour.
        let later = start.saturating_add(TWO_DAYS + Duration::from_secs(60));
        gate.clock.set_wall(later);
        assert_eq!(check(&ahead), Err(OwnTokenError::Revoked), "{format:?}");
        assert_eq!(check(&token()), Ok(()));
    }
}
