//! Does some request cause each row of the table of refusals?

use super::fixture::*;
use axum::body::Body;
use http::Request;
use keygate::config::token_endpoint::AssertionAudience;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::plan::CredentialKinds;
use keygate::model::plan::Payment;
use keygate::model::plan::Plan;
use keygate::model::subscription::SubscriptionState;
use keygate::store::record::client::ClientAuthentication;
use keygate::store::record::client::ClientState;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const GOLDEN: &str = include_str!("../../data/token/errors.txt");

/// The rows that occurred, each as `status error reason: description`.
#[derive(Default)]
struct OccurredRows(BTreeSet<String>);

impl OccurredRows {
    fn note(&mut self, response: &TokenResponse) {
        let (status, error, description) = response.error();
        let reason = response.outcome.reason.unwrap();
        self.0.insert(format!("{status} {error} {reason}: {description}"));
    }
}

#[test]
fn every_row_is_met_by_a_request() {
    let gate = Gate::with(|endpoint| endpoint.assertion_audience = AssertionAudience::IssuerOrEndpoint);
    let secret = gate.secret_client("s");
    let key = gate.key_client("k", Algorithm::Es256);
    let mut occurred = OccurredRows::default();

    // Errors of the request.
    let raw = |method: &str, uri: &str, kind: &str, body: String| {
        let request = Request::builder().method(method).uri(uri).header("content-type", kind);
        gate.send(request.body(Body::from(body)).unwrap())
    };
    occurred.note(&raw("GET", TOKEN, FORM, String::new()));
    occurred.note(&raw("POST", "/oauth/token?a=b", FORM, String::new()));
    occurred.note(&raw("POST", TOKEN, "application/json", "{}".to_owned()));
    occurred.note(&raw("POST", TOKEN, FORM, "x".repeat(65 * 1024)));
    occurred.note(&raw("POST", TOKEN, FORM, "a=%".to_owned()));
    occurred.note(&raw(
        "POST",
        TOKEN,
        FORM,
        (0..65).map(|index| format!("p{index}&")).collect(),
    ));
    occurred.note(&raw("POST", TOKEN, FORM, "a&a".to_owned()));
    let grant = ("grant_type", "client_credentials");
    occurred.note(&gate.post(TOKEN, &[]));
    occurred.note(&gate.post(TOKEN, &[grant, ("client_secret", "x")]));
    occurred.note(&gate.post(TOKEN, &[grant, ("client_assertion_type", ASSERTION_TYPE)]));
    occurred.note(&gate.post(TOKEN, &[grant, ("client_assertion", "x")]));
    occurred.note(&gate.post("/oauth/introspect", &[("client_id", "s"), ("client_secret", &secret)]));
    occurred.note(&gate.post(TOKEN, &[grant, ("client_assertion", "x"), ("client_secret", "x")]));
    occurred.note(&gate.post(
        TOKEN,
        &[grant, ("client_assertion", "x"), ("client_assertion_type", "x")],
    ));
    occurred.note(&gate.post(TOKEN, &[("grant_type", "password")]));

    // Errors of the client authentication.
    occurred.note(&gate.post(TOKEN, &[grant]));
    occurred.note(&gate.send(post(TOKEN, &[grant], &[("authorization", "Bearer x")])));
    occurred.note(&gate.send(post(TOKEN, &[grant], &[("authorization", "Basic x")])));
    occurred.note(&gate.assert("x"));
    let es384 = SigningKey::generate(Algorithm::Es384).unwrap();
    occurred.note(&gate.assert(&signed(&es384, &claims("k"))));
    let with = |change: serde_json::Value| signed(&key, &claims_with("k", &change));
    occurred.note(&gate.assert(&with(json!({ "sub": "s" }))));
    let assertion = with(json!({}));
    occurred.note(&gate.post(TOKEN, &[asserting(&assertion), vec![("client_id", "s")]].concat()));
    for (id, path) in [
        ("nobody", TOKEN),
        ("s", TOKEN),
        ("k", TOKEN),
        ("s", "/t/other/oauth/token"),
    ] {
        occurred.note(&gate.post(path, &with_secret(id, "wrong")));
    }
    occurred.note(&gate.assert(&signed(&SigningKey::generate_es256().unwrap(), &claims("k"))));

    // Errors of the assertion.
    occurred.note(&gate.assert(&key.sign("at+jwt", &claims("k")).unwrap()));
    for name in ["exp", "iat", "nbf", "jti"] {
        occurred.note(&gate.assert(&with(json!({ name: [] }))));
    }
    occurred.note(&gate.assert(&with(json!({ "aud": [ISSUER, "https://evil.example"] }))));
    occurred.note(&gate.assert(&with(json!({ "exp": 1 }))));
    occurred.note(&gate.assert(&with(json!({ "nbf": START + 99 }))));
    occurred.note(&gate.assert(&with(json!({ "exp": START + 9_999 }))));
    occurred.note(&gate.assert(&with(json!({ "iat": START - 9_999 }))));
    gate.reconfigure(|settings| {
        for plan in settings.plans.values_mut() {
            plan.assertion_algorithms = Some(vec![Algorithm::Rs256]);
        }
    });
    occurred.note(&gate.assert(&assertion));
    gate.reconfigure(|settings| {
        for plan in settings.plans.values_mut() {
            plan.assertion_algorithms = None;
        }
        settings.token_endpoint.as_mut().unwrap().require_jti = true;
    });
    occurred.note(&gate.assert(&with(json!({ "jti": null }))));
    gate.assert(&assertion).token();
    occurred.note(&gate.assert(&assertion));

    // Errors of the permissions.
    let ask = || gate.with_secret("s", &secret);
    gate.change("s", |record| record.state = ClientState::Disabled);
    occurred.note(&ask());
    gate.change("s", |record| record.state = ClientState::Active);
    for scope in ["a  b", "admin"] {
        occurred.note(&gate.post(TOKEN, &[with_secret("s", &secret), vec![("scope", scope)]].concat()));
    }
    for resource in ["orders", "https://other.example"] {
        occurred.note(&gate.post(
            TOKEN,
            &[with_secret("s", &secret), vec![("resource", resource)]].concat(),
        ));
    }
    let token = ask().token().to_owned();
    let revoke = asserting_for(&key, "revoke");
    occurred.note(&gate.post("/oauth/revoke", &[asserting(&revoke), vec![("token", &token)]].concat()));
    for state in [
        SubscriptionState::Pending,
        SubscriptionState::ProvisioningFailed,
        SubscriptionState::Cancelled,
    ] {
        gate.subscription("acme", |record| record.state = state);
        occurred.note(&ask());
    }
    gate.subscription("acme", |record| record.state = SubscriptionState::Active);
    let open = Plan::open("default".parse().unwrap(), CredentialKinds::ANY);
    let keys_only = CredentialKinds {
        client_secret: false,
        ..CredentialKinds::ANY
    };
    for plan in [
        None,
        Some(Plan {
            payment: Payment::Required,
            ..open.clone()
        }),
        Some(Plan {
            released: false,
            ..open.clone()
        }),
        Some(Plan {
            credentials: keys_only,
            ..open.clone()
        }),
    ] {
        gate.reconfigure(|settings| {
            settings.plans.remove("default");
            settings.plans.extend(plan.map(|plan| (plan.name.clone(), plan)));
        });
        occurred.note(&ask());
    }
    gate.reconfigure(|settings| {
        settings.plans.insert(open.name.clone(), open);
    });
    gate.subscription("acme", |record| {
        record.environment = keygate::model::api_key::ApiKeyEnvironment::Test
    });
    occurred.note(&ask());
    gate.subscription("acme", |record| {
        record.environment = keygate::model::api_key::ApiKeyEnvironment::Live
    });

    // Errors of the server's state.
    let control = Arc::clone(&gate.control);
    *gate.store.after_mark.lock().unwrap() = Some(Box::new(move || {
        let none = ClientAuthentication::Keys { keys: Vec::new() };
        change_client(&control, "k", |record| record.authentication = none);
    }));
    occurred.note(&gate.assert(&with(json!({ "jti": "later" }))));
    let url = "https://client.example/keys".to_owned();
    gate.client("u", ClientAuthentication::JwksUrl { url });
    occurred.note(&gate.assert(&signed(&key, &claims("u"))));
    let url = "https://client.example/recent".to_owned();
    let published = json!({ "keys": [SigningKey::generate_es256().unwrap().public_jwk()] }).to_string();
    let published = Arc::new(keygate::jose::jwks::Jwks::parse(published.as_bytes()).unwrap());
    gate.jwks.sets.lock().unwrap().insert(url.clone(), published);
    gate.client("r", ClientAuthentication::JwksUrl { url });
    let nameless = key.sign_text(r#"{"alg":"ES256"}"#, &claims("r").to_string()).unwrap();
    occurred.note(&gate.assert(&nameless));
    let other = gate.key_client("other", Algorithm::Es256);
    gate.store.is_unavailable.store(true, Ordering::Relaxed);
    occurred.note(&gate.assert(&signed(&other, &claims("other"))));
    gate.store.is_unavailable.store(false, Ordering::Relaxed);
    for _ in 0..21 {
        occurred.note(&gate.with_secret("guessed", "x"));
    }
    gate.reconfigure(|settings| settings.token_endpoint = None);
    occurred.note(&ask());

    let golden: BTreeSet<String> = GOLDEN
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut columns = line.splitn(4, ' ');
            let (plain, used) = (columns.next().unwrap(), columns.next().unwrap());
            let (error, rest) = (columns.next().unwrap(), columns.next().unwrap());
            let with_header = rest.starts_with("authorization_scheme") || rest.starts_with("malformed_basic");
            format!("{} {error} {rest}", if with_header { used } else { plain })
        })
        // No test can make a signing key fail.
        .filter(|line| !line.contains("signing_failed"))
        .collect();
    let missing: Vec<&String> = golden.difference(&occurred.0).collect();
    let unknown: Vec<&String> = occurred.0.difference(&golden).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not met: {missing:#?}\nnot in the table: {unknown:#?}"
    );
}

fn asserting_for(key: &SigningKey, jti: &str) -> String {
    signed(key, &claims_with("k", &json!({ "jti": jti })))
}
