//! API portal: do a subscription's plan and state decide which credentials its developers get?

use super::Customer;
use super::ExampleGate;
use super::access_token;
use super::oauth_error;
use super::problem;
use super::rsa_key;
use super::text;
use crate::support::AdminResponse;
use crate::support::clients;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;

const CATALOGUE: &str = "/catalogue/items";

/// Requests a live subscription of the organization `acme`. Returns its id and state.
#[track_caller]
fn subscribe(system: &ExampleGate, plan: &str) -> (String, String) {
    subscribe_in(system, plan, "live")
}

#[track_caller]
fn subscribe_in(system: &ExampleGate, plan: &str, environment: &str) -> (String, String) {
    // The organization exists from the second call on, so a refusal is expected then.
    let _ = system.admin.call(
        "POST",
        "/organizations",
        Some(json!({ "id": "acme", "name": "Acme Ltd" })),
    );
    let created = system.admin.create(
        "/subscriptions",
        json!({ "organization": "acme", "plan": plan, "environment": environment }),
    );
    (text(&created["id"]), text(&created["state"]))
}

#[track_caller]
fn active(system: &ExampleGate, plan: &str) -> String {
    let (id, state) = subscribe(system, plan);
    if state == "pending" {
        step(system, &id, "approve", json!({}));
    }
    id
}

#[track_caller]
fn step(system: &ExampleGate, subscription: &str, word: &str, body: Value) -> Value {
    system
        .admin
        .post(&format!("/subscriptions/{subscription}/{word}"), body)
}

fn key_for(subscription: &str) -> Value {
    json!({ "name": "authorization", "expires": "90d", "subscription": subscription })
}

fn secret_for(subscription: &str) -> Value {
    json!({ "name": "authorization", "authentication": "client_secret", "subscription": subscription })
}

fn url_for(subscription: &str, url: &str) -> Value {
    json!({
        "name": "authorization", "authentication": "private_key_jwt", "jwks_url": url, "subscription": subscription,
    })
}

/// Returns the problem type of a 409 without `urn:keygate:problem:`.
#[track_caller]
fn conflict(reply: &AdminResponse) -> String {
    assert_eq!(reply.status, 409, "{reply:?}");
    let detail = reply.json["detail"].as_str().unwrap_or_default();
    assert!(!detail.is_empty(), "the reason is told: {reply:?}");
    text(&reply.json["type"]).replace("urn:keygate:problem:", "")
}

#[test]
fn the_plan_decides_which_type_of_credential_there_is() {
    let customer = Customer::start();
    let system = ExampleGate::start_for("api-portal", &customer);
    let [keys, secrets, url_keys] = ["starter", "standard", "partner"].map(|plan| active(&system, plan));
    let kinds = |subscription: &str| {
        [
            ("/keys", key_for(subscription)),
            ("/clients", secret_for(subscription)),
            ("/clients", url_for(subscription, &customer.url())),
        ]
        .map(|(path, body)| system.admin.call("POST", path, Some(body)).status)
    };
    for (subscription, allowed) in [(&keys, 0), (&secrets, 1), (&url_keys, 2)] {
        let responses = kinds(subscription);
        for (place, status) in responses.iter().enumerate() {
            if place == allowed {
                assert_eq!(*status, 201, "{responses:?}")
            } else {
                assert_eq!(*status, 409, "{responses:?}")
            }
        }
    }
}

#[test]
fn a_pending_subscription_has_no_credentials_until_it_is_approved() {
    let system = ExampleGate::start("api-portal");
    let (subscription, state) = subscribe(&system, "standard");
    assert_eq!(state, "pending");
    let reply = system.admin.call("POST", "/clients", Some(secret_for(&subscription)));
    let reason = conflict(&reply);
    assert!(reason.contains("pending"), "{reply:?}");
    step(&system, &subscription, "approve", json!({}));
    let client = system.admin.create("/clients", secret_for(&subscription));
    let (id, secret) = (text(&client["id"]), text(&client["client_secret"]));
    let token = access_token(&system.token_by_secret("/oauth/token", &id, &secret, ""));
    assert_eq!(system.with_token(CATALOGUE, &token).status, 200);
    // A second approval is a conflict.
    conflict(&system.admin.call(
        "POST",
        &format!("/subscriptions/{subscription}/approve"),
        Some(json!({})),
    ));
}

#[test]
fn live_credentials_of_a_paid_plan_are_locked_until_the_payment() {
    let system = ExampleGate::start("api-portal");
    let subscription = active(&system, "paid");
    let reply = system.admin.call("POST", "/keys", Some(key_for(&subscription)));
    let unpaid = conflict(&reply);
    assert!(unpaid.contains("paid") || unpaid.contains("payment"), "{reply:?}");
    let mut sandbox = key_for(&subscription);
    sandbox["environment"] = "sandbox".into();
    let sandbox = text(&system.admin.create("/keys", sandbox)["key"]);
    assert!(sandbox.starts_with("kg_test_"), "{sandbox}");
    assert_eq!(system.with_key(CATALOGUE, &sandbox).status, 200);

    step(&system, &subscription, "payment", json!({ "paid": true }));
    let live = text(&system.admin.create("/keys", key_for(&subscription))["key"]);
    assert_eq!(system.with_key(CATALOGUE, &live).status, 200);
    // The payment lapses: issued credentials are locked, and the refusal names the reason.
    step(&system, &subscription, "payment", json!({ "paid": false }));
    let locked = problem(&system.with_key(CATALOGUE, &live), 403);
    assert!(locked.contains("unpaid") || locked.contains("payment"), "{locked}");
    assert_eq!(system.with_key(CATALOGUE, &sandbox).status, 200);
    step(&system, &subscription, "payment", json!({ "paid": true }));
    assert_eq!(system.with_key(CATALOGUE, &live).status, 200);
}

#[test]
fn a_plan_that_is_not_released_gives_sandbox_credentials_only() {
    let system = ExampleGate::start("api-portal");
    let subscription = active(&system, "preview");
    let reply = system.admin.call("POST", "/keys", Some(key_for(&subscription)));
    let unreleased = conflict(&reply);
    assert!(unreleased.contains("release"), "{reply:?}");
    let mut sandbox = key_for(&subscription);
    sandbox["environment"] = "sandbox".into();
    let sandbox = text(&system.admin.create("/keys", sandbox)["key"]);
    assert_eq!(system.with_key(CATALOGUE, &sandbox).status, 200);
}

#[test]
fn failed_provisioning_is_told_and_tried_again() {
    let system = ExampleGate::start("api-portal");
    let (subscription, _) = subscribe(&system, "standard");
    step(&system, &subscription, "fail", json!({}));
    let reply = system.admin.call("POST", "/clients", Some(secret_for(&subscription)));
    let failed = conflict(&reply);
    assert!(failed.contains("provision") || failed.contains("fail"), "{reply:?}");
    step(&system, &subscription, "approve", json!({}));
    system.admin.create("/clients", secret_for(&subscription));
}

#[test]
fn cancelling_revokes_everything_in_the_same_instant() {
    let system = ExampleGate::start("api-portal");
    let (keys, secrets) = (active(&system, "starter"), active(&system, "standard"));
    let [first, second] = [(); 2].map(|()| text(&system.admin.create("/keys", key_for(&keys))["key"]));
    let client = system.admin.create("/clients", secret_for(&secrets));
    let (id, secret) = (text(&client["id"]), text(&client["client_secret"]));
    let token = access_token(&system.token_by_secret("/oauth/token", &id, &secret, ""));
    for key in [&first, &second] {
        assert_eq!(system.with_key(CATALOGUE, key).status, 200);
    }
    assert_eq!(system.with_token(CATALOGUE, &token).status, 200);

    step(&system, &keys, "cancel", json!({}));
    step(&system, &secrets, "cancel", json!({}));
    for key in [&first, &second] {
        assert_eq!(problem(&system.with_key(CATALOGUE, key), 401), "invalid-api-key");
    }
    assert_eq!(problem(&system.with_token(CATALOGUE, &token), 401), "invalid-token");
    let reply = system.token_by_secret("/oauth/token", &id, &secret, "");
    assert_eq!(oauth_error(&reply, 400).0, "unauthorized_client", "{reply:?}");
    for (path, body) in [("/keys", key_for(&keys)), ("/clients", secret_for(&secrets))] {
        let reply = system.admin.call("POST", path, Some(body));
        assert!(conflict(&reply).contains("cancel"), "{reply:?}");
    }
    conflict(
        &system
            .admin
            .call("POST", &format!("/subscriptions/{keys}/approve"), Some(json!({}))),
    );
}

#[test]
fn there_is_a_second_key_beside_the_first_and_no_third() {
    let system = ExampleGate::start("api-portal");
    let subscription = active(&system, "starter");
    let [first, second] = [(); 2].map(|()| system.admin.create("/keys", key_for(&subscription)));
    for key in [&first, &second] {
        assert_eq!(system.with_key(CATALOGUE, &text(&key["key"])).status, 200);
    }
    let reply = system.admin.call("POST", "/keys", Some(key_for(&subscription)));
    assert_eq!(conflict(&reply), "key-slots-full");
    system
        .admin
        .post(&format!("/keys/{}/revoke", text(&first["id"])), json!({}));
    assert_eq!(system.with_key(CATALOGUE, &text(&second["key"])).status, 200);
    system.admin.create("/keys", key_for(&subscription));
}

#[test]
fn regenerating_replaces_the_whole_credential_and_rotating_only_the_secret() {
    let system = ExampleGate::start("api-portal");
    // An API key: the old key is refused at once, and the new key works.
    let keys = active(&system, "starter");
    let old = system.admin.create("/keys", key_for(&keys));
    let new = system
        .admin
        .post(&format!("/keys/{}/regenerate", text(&old["id"])), json!({}));
    assert_ne!((&old["id"], &old["key"]), (&new["id"], &new["key"]));
    assert_eq!(
        problem(&system.with_key(CATALOGUE, &text(&old["key"])), 401),
        "invalid-api-key"
    );
    assert_eq!(system.with_key(CATALOGUE, &text(&new["key"])).status, 200);

    // A client: rotation keeps its id.
    let secrets = active(&system, "standard");
    let client = system.admin.create("/clients", secret_for(&secrets));
    let (id, secret) = (text(&client["id"]), text(&client["client_secret"]));
    let rotated = system.admin.post(&format!("/clients/{id}/secret/rotate"), json!({}));
    let rotated = text(&rotated["client_secret"]);
    let reply = system.token_by_secret("/oauth/token", &id, &secret, "");
    assert_eq!(oauth_error(&reply, 401).0, "invalid_client", "the old secret");
    let token = access_token(&system.token_by_secret("/oauth/token", &id, &rotated, ""));

    // Regeneration gives another id.
    let regenerated = system
        .admin
        .post(&format!("/clients/{id}/secret/regenerate"), json!({}));
    let (new_id, new_secret) = (text(&regenerated["id"]), text(&regenerated["client_secret"]));
    assert_ne!(id, new_id);
    for (id, secret) in [(&id, &rotated), (&id, &new_secret), (&new_id, &rotated)] {
        let reply = system.token_by_secret("/oauth/token", id, secret, "");
        assert_eq!(oauth_error(&reply, 401).0, "invalid_client");
    }
    access_token(&system.token_by_secret("/oauth/token", &new_id, &new_secret, ""));
    // An issued token stays valid until it expires, unless the regeneration revokes it too.
    let response = system.with_token(CATALOGUE, &token);
    assert_eq!(response.status, 200, "{}", response.text());
    let token = access_token(&system.token_by_secret("/oauth/token", &new_id, &new_secret, ""));
    system.admin.post(
        &format!("/clients/{new_id}/secret/regenerate"),
        json!({ "revoke_tokens": true }),
    );
    assert_eq!(problem(&system.with_token(CATALOGUE, &token), 401), "invalid-token");
}

/// The document's "authorization view": before there is a credential the subscription's, then the credential's own.
#[test]
fn the_authorization_view_is_one_answer_of_the_api_and_of_the_command_line() {
    let customer = Customer::start();
    let key = rsa_key(Algorithm::Ps256);
    customer.publish(&[&key]);
    let system = ExampleGate::start_for("api-portal", &customer);

    // Pending: what will be given, and why nothing is yet. Then approved.
    let (pending, _) = subscribe(&system, "standard");
    let view = system.shown("subscriptions", &pending);
    assert_eq!(view["credentials"], json!(["client_secret"]), "{view}");
    assert_eq!(view["live"]["standing"], "subscription_pending", "{view}");
    assert!(text(&view["live"]["locked"]).contains("approve"), "{view}");
    step(&system, &pending, "fail", json!({}));
    let view = system.shown("subscriptions", &pending);
    assert_eq!(view["live"]["standing"], "subscription_provisioning_failed", "{view}");
    step(&system, &pending, "approve", json!({}));
    let view = system.shown("subscriptions", &pending);
    assert_eq!(view["live"], json!({ "standing": "good", "locked": null }), "{view}");

    // A locked production card beside an open sandbox card.
    for (plan, reason) in [("paid", "payment_due"), ("preview", "plan_not_released")] {
        let subscription = active(&system, plan);
        let view = system.shown("subscriptions", &subscription);
        assert_eq!(view["live"]["standing"], reason, "{view}");
        assert_eq!(view["sandbox"]["standing"], "good", "{view}");
    }

    // Client ID and Client Secret: obfuscated, and Rotate Secret.
    let client = system.admin.create("/clients", secret_for(&pending));
    let (id, secret) = (text(&client["id"]), text(&client["client_secret"]));
    let view = system.shown("clients", &id);
    assert_eq!(view["token_endpoint"], format!("{}/oauth/token", system.url), "{view}");
    assert_eq!(
        view["secrets"][0]["hint"],
        format!("kgs_…{}", &secret[secret.len() - 4..])
    );
    assert!(!view.to_string().contains(&secret), "{view}");
    assert_eq!(
        (&view["action"], &view["jwks_url"]),
        (&json!("rotate_secret"), &json!(null))
    );

    // Private Key JWT: client id, token endpoint, JWKS URL with its health, algorithms, and Regenerate.
    let partner = active(&system, "partner");
    let client = system.admin.create("/clients", url_for(&partner, &customer.url()));
    let id = text(&client["id"]);
    system.keygate(&["clients", "validate-jwks", &id]);
    let view = system.shown("clients", &id);
    assert_eq!(view["jwks_url"], customer.url(), "{view}");
    assert_eq!(view["algorithms"], json!(["RS256", "PS256", "ES256"]), "{view}");
    assert_eq!(view["secrets"], json!([]), "{view}");
    assert_eq!(view["action"], "regenerate", "{view}");
    assert_eq!(view["jwks"]["state"], "ok", "{view}");
    assert!(view["jwks"]["last_good_at"].is_string(), "{view}");

    // An API key: obfuscated, and Regenerate.
    let starter = active(&system, "starter");
    let created = system.admin.create("/keys", key_for(&starter));
    let view = system.shown("keys", &text(&created["id"]));
    assert!(text(&view["key_hint"]).ends_with('…'), "{view}");
    assert_eq!(view["action"], "regenerate", "{view}");

    // Cancelled: everything is locked for good, and says so.
    step(&system, &partner, "cancel", json!({}));
    let view = system.shown("clients", &id);
    assert_eq!(
        (&view["state"], &view["action"]),
        (&json!("cancelled"), &json!(null)),
        "{view}"
    );
    assert!(text(&view["locked"]).contains("cancelled"), "{view}");
}

#[test]
fn private_key_jwt_takes_rs256_es256_and_ps256_from_a_url_and_has_no_secret_to_rotate() {
    let customer = Customer::start();
    let system = ExampleGate::start_for("api-portal", &customer);
    let subscription = active(&system, "partner");
    let keys = [
        rsa_key(Algorithm::Rs256),
        SigningKey::generate_es256().unwrap(),
        rsa_key(Algorithm::Ps256),
    ];
    let other = SigningKey::generate(Algorithm::EdDsa).unwrap();
    customer.publish(&[&keys[0], &keys[1], &keys[2], &other]);
    let mut without_url = url_for(&subscription, &customer.url());
    without_url.as_object_mut().unwrap().remove("jwks_url");
    let reply = system.admin.call("POST", "/clients", Some(without_url));
    assert_eq!(reply.status, 409, "the plan wants a URL: {reply:?}");
    let client = system.admin.create("/clients", url_for(&subscription, &customer.url()));
    assert_eq!(client.get("client_secret"), None, "{client}");
    // What the credential view shows.
    assert_eq!(client["jwks_url"], customer.url());
    assert_eq!(client["token_endpoint"], format!("{}/oauth/token", system.url));
    assert_eq!(client["algorithms"], json!(["RS256", "PS256", "ES256"]));
    let id = text(&client["id"]);
    let reply = system.token_by_key(&id, &other, Some(other.kid()));
    assert_eq!(oauth_error(&reply, 400).0, "invalid_client", "{reply:?}");
    for key in &keys {
        for kid in [Some(key.kid()), None] {
            let token = access_token(&system.token_by_key(&id, key, kid));
            assert_eq!(
                system.with_token("/partners/orders", &token).status,
                200,
                "{}",
                key.algorithm().as_str()
            );
        }
    }
    let rotate = format!("/clients/{id}/secret/rotate");
    let reply = system.admin.call("POST", &rotate, Some(json!({})));
    assert_eq!(reply.status, 409, "{reply:?}");
    // Regeneration gives another id, for the same URL.
    let regenerated = system
        .admin
        .create(&format!("/clients/{id}/secret/regenerate"), json!({}));
    let (new_id, key) = (text(&regenerated["id"]), &keys[1]);
    assert_ne!(id, new_id);
    assert_eq!(regenerated.get("client_secret"), None, "{regenerated}");
    assert_eq!(
        oauth_error(&system.token_by_key(&id, key, Some(key.kid())), 400).0,
        "invalid_client"
    );
    access_token(&system.token_by_key(&new_id, key, Some(key.kid())));
    for url in [
        "http://customer.example.com/jwks",
        "ftp://customer.example.com/jwks",
        "jwks",
    ] {
        let reply = system.admin.call("POST", "/clients", Some(url_for(&subscription, url)));
        assert_eq!(reply.status, 422, "{url}: {reply:?}");
    }
}

#[test]
fn a_route_for_one_plan_takes_credentials_of_no_other() {
    let system = ExampleGate::start("api-portal");
    let subscription = active(&system, "standard");
    let client = system.admin.create("/clients", secret_for(&subscription));
    let token = system.token_by_secret(
        "/oauth/token",
        &text(&client["id"]),
        &text(&client["client_secret"]),
        "",
    );
    let token = access_token(&token);
    assert_eq!(system.with_token(CATALOGUE, &token).status, 200);
    let refused = problem(&system.with_token("/partners/orders", &token), 403);
    assert!(refused.contains("subscription"), "{refused}");
}

#[test]
fn services_are_told_who_called_in_a_token_between_servers() {
    let system = ExampleGate::start("api-portal");
    let subscription = active(&system, "starter");
    let created = system.admin.create("/keys", key_for(&subscription));
    assert_eq!(system.with_key(CATALOGUE, &text(&created["key"])).status, 200);
    let seen = system.upstream.only_received();
    let [token] = seen.headers_named("x-keygate-identity-token")[..] else {
        panic!("{seen:?}");
    };
    // A third-party library verifies the token with the keys that the gate publishes beside those of its access tokens.
    let verifier = Command::new("node")
        .arg("verify_identity.mjs")
        .args([&format!("{}/oauth/jwks", system.url), "https://gate.example.com"])
        .current_dir(clients())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is installed");
    for audience in ["https://catalogue.internal", "https://other.internal"] {
        let line = json!({ "token": token, "audience": audience });
        writeln!(verifier.stdin.as_ref().unwrap(), "{line}").unwrap();
    }
    let output = verifier.wait_with_output().unwrap();
    let responses: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(responses.len(), 2, "{responses:?}");
    assert_eq!(responses[0]["iss"], "https://gate.example.com", "{responses:?}");
    assert!(responses[0].to_string().contains("acme"), "who called: {responses:?}");
    assert_eq!(responses[1]["claim"], "aud", "{responses:?}");
}
