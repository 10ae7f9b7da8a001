//! Token introspection (RFC 7662).

use super::fixture::*;
use http::StatusCode;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::clock::Timestamp;
use keygate::model::subscription::SubscriptionState;
use keygate::store::record::client::ClientState;
use keygate::store::record::client::TokenFormat;
use serde_json::json;

const INTROSPECT: &str = "/oauth/introspect";

fn gate() -> (Gate, String) {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    gate.secret_client("reader");
    for organization in ["other", "operators"] {
        gate.subscribe(
            organization,
            "default",
            SubscriptionState::Active,
            ApiKeyEnvironment::Live,
        );
        let secret = format!("kgs_secret-of-{organization}");
        gate.client_with(organization, gate.secrets(&[(&secret, None)]), |record| {
            record.organization = organization.parse().unwrap();
            record.subscription = format!("sub_{organization}").parse().unwrap();
        });
    }
    (gate, secret)
}

fn ask(gate: &Gate, id: &str, token: &str) -> TokenResponse {
    let secret = format!("kgs_secret-of-{id}");
    gate.post(
        INTROSPECT,
        &[("client_id", id), ("client_secret", &secret), ("token", token)],
    )
}

#[track_caller]
fn inactive(response: &TokenResponse) {
    assert_eq!(
        (response.status, response.text.as_str()),
        (StatusCode::OK, r#"{"active":false}"#)
    );
}

#[test]
fn section_2_2_a_good_token_is_told_of() {
    let (gate, secret) = gate();
    for format in [TokenFormat::Jwt, TokenFormat::Opaque] {
        gate.change("a", |record| record.token_format = format);
        let token = gate.with_secret("a", &secret).token().to_owned();
        let mut response = ask(&gate, "reader", &token);
        assert!(response.json["jti"].as_str().unwrap().len() >= 22);
        response.json["jti"] = "1".into();
        let expected = json!({
            "active": true, "client_id": "a", "sub": "a", "iss": ISSUER, "aud": AUDIENCE, "token_type": "Bearer",
            "iat": START, "exp": START + 3_600, "jti": "1", "org": "acme", "scope": "orders:read orders:write",
        });
        assert_eq!(response.json, expected, "{format:?}");
        assert_eq!(response.headers["cache-control"], "no-store");
    }
}

#[test]
fn section_2_2_all_that_is_not_good_looks_the_same() {
    let (gate, secret) = gate();
    for format in [TokenFormat::Jwt, TokenFormat::Opaque] {
        gate.change("a", |record| {
            record.token_format = format;
            record.tokens_not_before = None;
        });
        let token = gate.with_secret("a", &secret).token().to_owned();
        for text in [
            "x",
            "kgt_0000000000000000000000000000000000000000000",
            &token[1..],
            &format!("{token}x"),
        ] {
            inactive(&ask(&gate, "reader", text));
        }
        assert_eq!(ask(&gate, "reader", &token).json["active"], true);
        gate.change("a", |record| {
            record.tokens_not_before = Some(Timestamp::from_unix_secs(START + 1))
        });
        inactive(&ask(&gate, "reader", &token));
    }
}

#[test]
fn section_4_a_token_ends_at_its_expiry() {
    let (gate, secret) = gate();
    for format in [TokenFormat::Jwt, TokenFormat::Opaque] {
        gate.change("a", |record| record.token_format = format);
        let token = gate.with_secret("a", &secret).token().to_owned();
        gate.advance(3_600 + 29);
        assert_eq!(ask(&gate, "reader", &token).json["active"], true);
        gate.advance(1);
        inactive(&ask(&gate, "reader", &token));
    }
}

#[test]
fn section_4_a_stranger_is_told_nothing_and_an_operator_everything() {
    let (gate, secret) = gate();
    for format in [TokenFormat::Jwt, TokenFormat::Opaque] {
        gate.change("a", |record| record.token_format = format);
        let token = gate.with_secret("a", &secret).token().to_owned();
        inactive(&ask(&gate, "other", &token));
        assert_eq!(ask(&gate, "operators", &token).json["active"], true);
        assert_eq!(ask(&gate, "a", &token).json["active"], true);
    }
    // A client whose id is an audience of the token may introspect the token.
    gate.reconfigure(|settings| {
        let endpoint = settings.token_endpoint.as_mut().unwrap();
        endpoint.audiences.push("other".to_owned());
        endpoint.default_audiences.push("other".to_owned());
    });
    let token = gate.with_secret("a", &secret).token().to_owned();
    assert_eq!(ask(&gate, "other", &token).json["aud"], json!([AUDIENCE, "other"]));
}

#[test]
fn section_2_1_who_asks_must_prove_itself_and_be_in_force() {
    let (gate, secret) = gate();
    let token = gate.with_secret("a", &secret).token().to_owned();
    for form in [
        vec![("token", token.as_str())],
        vec![("token", &token), ("client_id", "reader")],
        vec![("token", &token), ("client_id", "reader"), ("client_secret", "wrong")],
    ] {
        let response = gate.post(INTROSPECT, &form);
        assert_eq!(response.error().1, "invalid_client");
        assert!(response.json.get("active").is_none());
    }
    let bearer = format!("Bearer {token}");
    let response = gate.send(post(INTROSPECT, &[("token", &token)], &[("authorization", &bearer)]));
    assert_eq!(response.error().0, 401);
    gate.change("reader", |record| record.state = ClientState::Disabled);
    assert_eq!(ask(&gate, "reader", &token).error().1, "unauthorized_client");
    let response = gate.post(INTROSPECT, &[("client_id", "a"), ("client_secret", &secret)]);
    assert_eq!(response.error(), (400, "invalid_request", "token is missing"));
}

#[test]
fn a_token_of_a_client_whose_subscription_ended_is_not_active() {
    let (gate, secret) = gate();
    let token = gate.with_secret("a", &secret).token().to_owned();
    gate.subscription("acme", |record| record.state = SubscriptionState::Cancelled);
    inactive(&ask(&gate, "operators", &token));
}
