//! Token revocation (RFC 7009).

use super::fixture::*;
use http::StatusCode;
use keygate::control::token::own_tokens::OwnTokenError;
use keygate::control::token::own_tokens::verify;
use keygate::model::algorithm::Algorithm;
use keygate::store::AuditFilter;
use keygate::store::Store;
use keygate::store::record::client::ClientState;
use keygate::store::record::client::TokenFormat;

const REVOKE: &str = "/oauth/revoke";

fn gate() -> (Gate, String) {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    gate.secret_client("b");
    (gate, secret)
}

fn revoke(gate: &Gate, id: &str, token: &str) -> TokenResponse {
    let secret = format!("kgs_secret-of-{id}");
    gate.post(
        REVOKE,
        &[("client_id", id), ("client_secret", &secret), ("token", token)],
    )
}

#[test]
fn section_2_a_client_ends_its_own_token_at_once() {
    let (gate, secret) = gate();
    for format in [TokenFormat::Jwt, TokenFormat::Opaque] {
        gate.change("a", |record| record.token_format = format);
        let token = gate.with_secret("a", &secret).token().to_owned();
        let other = gate.with_secret("a", &secret).token().to_owned();
        assert!(verify(&gate.control, &token, gate.clock_now()).is_ok());
        let response = revoke(&gate, "a", &token);
        assert_eq!((response.status, response.text.as_str()), (StatusCode::OK, ""));
        assert_eq!(
            verify(&gate.control, &token, gate.clock_now()),
            Err(OwnTokenError::Revoked)
        );
        assert!(verify(&gate.control, &other, gate.clock_now()).is_ok());
        // A second revocation succeeds too (section 2.2).
        assert_eq!(revoke(&gate, "a", &token).status, StatusCode::OK);
    }
    let events = gate
        .runtime
        .block_on(gate.store.audit(&AuditFilter::default(), 10))
        .unwrap();
    let event = events.iter().find(|event| event.action == "token.revoke").unwrap();
    assert_eq!((event.actor.as_str(), event.from), ("a", Some(HERE)));
}

#[test]
fn section_2_1_another_clients_token_is_not_touched() {
    let (gate, secret) = gate();
    for format in [TokenFormat::Jwt, TokenFormat::Opaque] {
        gate.change("a", |record| record.token_format = format);
        let token = gate.with_secret("a", &secret).token().to_owned();
        let response = revoke(&gate, "b", &token);
        let described = "the token was issued to another client";
        assert_eq!(response.error(), (400, "unauthorized_client", described));
        assert!(verify(&gate.control, &token, gate.clock_now()).is_ok());
    }
}

#[test]
fn section_2_1_who_asks_must_prove_itself() {
    let (gate, secret) = gate();
    let token = gate.with_secret("a", &secret).token().to_owned();
    for form in [
        vec![("token", token.as_str())],
        vec![("token", &token), ("client_id", "a")],
        vec![("token", &token), ("client_id", "a"), ("client_secret", "wrong")],
    ] {
        assert_eq!(gate.post(REVOKE, &form).error().1, "invalid_client");
    }
    let form = [("client_id", "a"), ("client_secret", secret.as_str())];
    assert_eq!(
        gate.post(REVOKE, &form).error(),
        (400, "invalid_request", "token is missing")
    );
    assert!(verify(&gate.control, &token, gate.clock_now()).is_ok());
}

#[test]
fn section_2_2_what_is_no_token_is_as_good_as_revoked() {
    let (gate, secret) = gate();
    let token = gate.with_secret("a", &secret).token().to_owned();
    let tampered = format!("{}x", &token[..token.len() - 1]);
    for text in ["x", "kgt_x", "a.b.c", &tampered, "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(revoke(&gate, "a", text).status, StatusCode::OK, "{text}");
    }
    // A token that expired days ago is not stored as revoked; a clock that is ahead by less may be wrong about it.
    gate.advance(3_630 + 3 * 86_400);
    assert_eq!(revoke(&gate, "a", &token).status, StatusCode::OK);
    let contents = gate.runtime.block_on(gate.store.contents()).unwrap();
    assert!(contents.revoked_tokens.is_empty());
}

#[test]
fn a_disabled_client_can_still_end_its_tokens() {
    let (gate, secret) = gate();
    let token = gate.with_secret("a", &secret).token().to_owned();
    gate.change("a", |record| record.state = ClientState::Disabled);
    assert_eq!(revoke(&gate, "a", &token).status, StatusCode::OK);
    assert_eq!(
        verify(&gate.control, &token, gate.clock_now()),
        Err(OwnTokenError::Revoked)
    );
}

#[test]
fn an_assertion_for_revocation_is_used_once_and_may_name_the_token_endpoint() {
    let (gate, secret) = gate();
    let key = gate.key_client("k", Algorithm::Es256);
    let _ = secret;
    for audience in [TOKEN_URL, ISSUER, "https://auth.example.com/oauth/revoke"] {
        let assertion = signed(
            &key,
            &claims_with("k", &serde_json::json!({ "aud": audience, "jti": audience })),
        );
        let form = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("token", "x"),
        ];
        assert_eq!(gate.post(REVOKE, &form).status, StatusCode::OK, "{audience}");
        assert_eq!(gate.post(REVOKE, &form).outcome.reason, Some("assertion_replayed"));
    }
    // An assertion whose audience is the revocation endpoint gets no token (S120).
    let path = "https://auth.example.com/oauth/revoke";
    let assertion = signed(
        &key,
        &claims_with("k", &serde_json::json!({ "aud": path, "jti": "other" })),
    );
    assert_eq!(gate.assert(&assertion).outcome.reason, Some("assertion_audience"));
}
