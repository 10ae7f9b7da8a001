//! Does a client get a token only while its record, its proof and its subscription are valid at the instant of signing?

use super::fixture::*;
use keygate::config::token_endpoint::AssertionAudience;
use keygate::jose::jwks::Jwks;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::clock::Clock;
use keygate::model::plan::CredentialKinds;
use keygate::model::plan::Payment;
use keygate::model::plan::Plan;
use keygate::model::subscription::SubscriptionState;
use keygate::store::Store;
use keygate::store::StoreError;
use keygate::store::Versioned;
use keygate::store::record::ClientRecord;
use keygate::store::record::IssuedTokens;
use keygate::store::record::NewAuditEvent;
use keygate::store::record::client::ClientAuthentication;
use keygate::store::record::client::ClientState;
use keygate::store::record::client::TokenFormat;
use keygate::store::revocations::Revocation;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[test]
fn a_disabled_client_is_told_so_once_it_has_proved_itself() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    gate.change("a", |record| record.state = ClientState::Disabled);
    assert_eq!(
        gate.with_secret("a", &secret).error(),
        (400, "unauthorized_client", "this client is disabled")
    );
    assert_eq!(
        gate.with_secret("a", "wrong").error(),
        (400, "invalid_client", "invalid client")
    );
    gate.change("a", |record| record.state = ClientState::Active);
    gate.with_secret("a", &secret).token();
    gate.change("a", |record| record.state = ClientState::Deleted);
    assert_eq!(
        gate.with_secret("a", &secret).error(),
        (400, "invalid_client", "invalid client")
    );
}

#[test]
fn s073_each_standing_of_a_subscription_is_told_apart_to_a_proved_client() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    for (state, reason) in [
        (SubscriptionState::Pending, Some("subscription_pending")),
        (
            SubscriptionState::ProvisioningFailed,
            Some("subscription_provisioning_failed"),
        ),
        (SubscriptionState::Active, None),
        (SubscriptionState::Cancelled, Some("subscription_cancelled")),
    ] {
        gate.subscription("acme", |record| record.state = state);
        let response = gate.with_secret("a", &secret);
        assert_eq!(response.outcome.reason, reason, "{}", response.text);
        assert_eq!(gate.with_secret("a", "wrong").outcome.reason, Some("wrong_secret"));
    }
}

#[test]
fn unpaid_unreleased_and_vanished_plans_give_live_clients_nothing() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    let plan = |payment, released| Plan {
        payment,
        released,
        ..Plan::open("default".parse().unwrap(), CredentialKinds::ANY)
    };
    let ask = |plan: Option<Plan>| {
        gate.reconfigure(|settings| {
            settings.plans.remove("default");
            settings.plans.extend(plan.map(|plan| (plan.name.clone(), plan)));
        });
        gate.with_secret("a", &secret).outcome.reason
    };
    assert_eq!(ask(Some(plan(Payment::None, true))), None);
    assert_eq!(ask(Some(plan(Payment::Required, true))), Some("payment_due"));
    assert_eq!(ask(Some(plan(Payment::None, false))), Some("plan_not_released"));
    assert_eq!(ask(None), Some("plan_gone"));
    gate.change("a", |record| record.environment = ApiKeyEnvironment::Test);
    assert_eq!(ask(Some(plan(Payment::Required, false))), None);
}

#[test]
fn s074_a_plan_that_does_not_allow_the_kind_any_more_gives_no_token() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    let key = gate.key_client("k", Algorithm::Es256);
    let only = |client_secret: bool| {
        gate.reconfigure(|settings| {
            let credentials = CredentialKinds {
                api_key: true,
                client_secret,
                private_key_jwt: !client_secret,
            };
            let plan = Plan::open("default".parse().unwrap(), credentials);
            settings.plans.insert(plan.name.clone(), plan);
        });
        let assertion = signed(&key, &claims_with("k", &json!({ "jti": null })));
        (
            gate.with_secret("a", &secret).outcome.reason,
            gate.assert(&assertion).outcome.reason,
        )
    };
    assert_eq!(only(true), (None, Some("credential_not_in_plan")));
    assert_eq!(only(false), (Some("credential_not_in_plan"), None));
}

/// Runs `change` right after an assertion is marked as used, and expects a refusal with `reason`.
#[track_caller]
fn check_while_marking(change: impl FnOnce(&Gate) -> Box<dyn FnOnce() + Send>, reason: &str) {
    let gate = Gate::new();
    let key = gate.key_client("a", Algorithm::Es256);
    *gate.store.after_mark.lock().unwrap() = Some(change(&gate));
    let response = gate.assert(&signed(&key, &claims("a")));
    assert_eq!(response.outcome.reason, Some(reason), "{}", response.text);
    assert!(response.json.get("access_token").is_none());
}

#[test]
fn s134_a_client_that_is_disabled_between_its_proof_and_the_token_gets_none() {
    let meddle = |change: fn(&mut keygate::store::record::ClientRecord)| {
        move |gate: &Gate| -> Box<dyn FnOnce() + Send> {
            let control = Arc::clone(&gate.control);
            Box::new(move || change_client(&control, "a", change))
        }
    };
    check_while_marking(meddle(|record| record.state = ClientState::Disabled), "client_disabled");
    check_while_marking(meddle(|record| record.state = ClientState::Deleted), "unknown_client");
    // All keys of the client are removed, and the assertion's key with them.
    check_while_marking(
        meddle(|record| record.authentication = ClientAuthentication::Keys { keys: Vec::new() }),
        "proof_ended",
    );
    // A scope that the client loses meanwhile is refused.
    let gate = Gate::new();
    let key = gate.key_client("a", Algorithm::Es256);
    let control = Arc::clone(&gate.control);
    *gate.store.after_mark.lock().unwrap() = Some(Box::new(move || {
        change_client(&control, "a", |record| record.scopes = scopes("orders:read"));
    }));
    let assertion = signed(&key, &claims("a"));
    let form = [asserting(&assertion), vec![("scope", "orders:write")]].concat();
    assert_eq!(gate.post(TOKEN, &form).outcome.reason, Some("scope_beyond_client"));
}

/// Revokes one of a client's two keys while an assertion of the first key is marked.
#[test]
fn s134_a_key_that_is_revoked_between_its_proof_and_the_token_gives_none_and_the_other_key_does() {
    for (revoked, reason) in [(0, Some("proof_ended")), (1, None)] {
        let gate = Gate::new();
        let pair = [(); 2].map(|()| SigningKey::generate_es256().unwrap());
        gate.client("a", keys(&pair.each_ref()));
        let (control, now) = (Arc::clone(&gate.control), gate.clock_now());
        *gate.store.after_mark.lock().unwrap() = Some(Box::new(move || {
            change_client(&control, "a", |record| {
                let ClientAuthentication::Keys { keys } = &mut record.authentication else {
                    panic!("the client has keys");
                };
                keys[revoked].revoked_at = Some(now);
            });
        }));
        let response = gate.assert(&signed(&pair[0], &claims("a")));
        assert_eq!(response.outcome.reason, reason, "key {revoked}: {}", response.text);
        assert_eq!(response.json.get("access_token").is_some(), reason.is_none());
        let second = gate.assert(&signed(&pair[1], &claims_with("a", &json!({ "jti": "2" }))));
        let refused = (revoked == 1).then_some("bad_assertion_signature");
        assert_eq!(second.outcome.reason, refused, "key {revoked}: {}", second.text);
    }
}

#[test]
fn s134_a_subscription_that_is_cancelled_in_between_ends_it_as_well() {
    check_while_marking(
        |gate| {
            let control = Arc::clone(&gate.control);
            Box::new(move || {
                change_subscription(&control, "acme", |record| record.state = SubscriptionState::Cancelled)
            })
        },
        "subscription_cancelled",
    );
}

/// The client's keys are behind a URL.
#[test]
fn s134_a_client_that_is_disabled_while_its_keys_are_fetched_gets_no_token() {
    let gate = Gate::new();
    let key = SigningKey::generate_es256().unwrap();
    let url = "https://client.example/keys".to_owned();
    gate.client("a", ClientAuthentication::JwksUrl { url: url.clone() });
    let set = json!({ "keys": [key.public_jwk()] }).to_string();
    gate.jwks
        .sets
        .lock()
        .unwrap()
        .insert(url, Arc::new(Jwks::parse(set.as_bytes()).unwrap()));
    let control = Arc::clone(&gate.control);
    *gate.jwks.meanwhile.lock().unwrap() = Some(Box::new(move || {
        change_client(&control, "a", |record| record.state = ClientState::Disabled);
    }));
    assert_eq!(
        gate.assert(&signed(&key, &claims("a"))).outcome.reason,
        Some("client_disabled")
    );
}

#[test]
fn s134_a_client_that_is_disabled_while_its_opaque_token_is_stored_gets_no_token() {
    let gate = Gate::new();
    let secret = gate.secret_client("a");
    gate.change("a", |record| record.token_format = TokenFormat::Opaque);
    let control = Arc::clone(&gate.control);
    *gate.store.after_commit.lock().unwrap() = Some(Box::new(move || {
        change_client(&control, "a", |record| record.state = ClientState::Disabled);
    }));
    let response = gate.with_secret("a", &secret);
    assert_eq!(response.outcome.reason, Some("client_disabled"));
    assert!(response.json.get("access_token").is_none());
    assert_eq!(
        gate.runtime
            .block_on(gate.store.contents())
            .unwrap()
            .opaque_tokens
            .len(),
        1
    );
}

#[test]
fn a_reload_changes_the_rules_of_the_next_request() {
    let gate = Gate::new();
    let key = gate.key_client("a", Algorithm::Es256);
    let ask = || {
        let assertion = signed(&key, &claims_with("a", &json!({ "jti": null, "aud": TOKEN_URL })));
        gate.assert(&assertion).outcome.reason
    };
    assert_eq!(ask(), None);
    gate.reconfigure(|settings| {
        settings.token_endpoint.as_mut().unwrap().assertion_audience = AssertionAudience::Issuer;
    });
    assert_eq!(ask(), Some("assertion_audience"));
}

/// Revokes `change` of the client `id` while the store is not available.
#[track_caller]
fn revoke_without_store(gate: &Gate, id: &str, change: impl FnOnce(ClientRecord) -> ClientRecord) {
    let known = gate.control.clients.get(&id.parse().unwrap()).unwrap();
    let revocation = Revocation::Client(Box::new(Versioned {
        record: change(known.record.clone()),
        revision: known.revision,
    }));
    let event = NewAuditEvent {
        at: gate.clock.now().wall,
        actor: "test".to_owned(),
        from: None,
        action: "client.revoke_tokens",
        target: id.to_owned(),
        organization: None,
        details: json!({}),
    };
    let problem = StoreError::Unavailable("the disk is full".to_owned());
    let made = gate.control.revoke_without_store(&revocation, event, &problem);
    assert!(gate.runtime.block_on(made).unwrap().is_some());
}

#[test]
fn of_two_revocations_of_a_client_the_second_holds_while_only_the_first_is_written() {
    let gate = Gate::new();
    gate.key_client("k", Algorithm::Es256);
    let id = "k".parse().unwrap();
    let now = gate.clock.now().wall;
    revoke_without_store(&gate, "k", |record| record.revoke_tokens(now));
    revoke_without_store(&gate, "k", |record| {
        let ClientAuthentication::Keys { keys } = &record.authentication else {
            panic!("another authentication");
        };
        let kid = keys[0].kid.clone();
        record.revoke_key(&kid, IssuedTokens::Stay, now).unwrap()
    });
    let valid_keys = || gate.control.clients.get(&id).unwrap().keys().count();
    assert_eq!(valid_keys(), 0);
    // The disk takes one write and is full again.
    let store = Arc::clone(&gate.store);
    *gate.store.after_commit.lock().unwrap() = Some(Box::new(move || {
        store.is_unavailable.store(true, Ordering::Relaxed);
    }));
    let write_pending = || gate.runtime.block_on(gate.control.write_pending_revocations());
    write_pending().unwrap_err();
    assert_eq!(gate.control.revocations.pending().len(), 1);
    assert_eq!(valid_keys(), 0);
    gate.store.is_unavailable.store(false, Ordering::Relaxed);
    write_pending().unwrap();
    assert_eq!(valid_keys(), 0);
    let stored = gate.runtime.block_on(gate.store.client(&id)).unwrap().unwrap();
    assert_eq!(stored.record.tokens_not_before, Some(now));
}
