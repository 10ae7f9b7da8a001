//! What does the admin API answer while the store cannot be written? A revocation is in force at once and written later.

use super::fixture::ADMIN_TOKEN;
use super::fixture::Gate;
use keygate::jose::sign::SigningKey;
use keygate::model::clock::Timestamp;
use keygate::model::subscription::SubscriptionState;
use keygate::store::revocations::Durability;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;

/// Moves the database away, so that no write succeeds, and returns its two paths.
fn unplug(gate: &Gate) -> [PathBuf; 2] {
    let paths = ["keygate.db", "away.db"].map(|name| gate.folder.path().join(name));
    std::fs::rename(&paths[0], &paths[1]).unwrap();
    paths
}

/// Puts the database back, and writes the revocations that wait for it.
fn plug(gate: &Gate, [database, away]: &[PathBuf; 2]) {
    std::fs::rename(away, database).unwrap();
    gate.runtime.block_on(gate.control.write_pending_revocations()).unwrap();
    assert_eq!(gate.control.revocations.pending(), []);
}

/// Asserts that `method` at `path` is answered with 202 for `id`.
#[track_caller]
fn accepted(gate: &Gate, method: &str, path: &str, id: &str) {
    let response = gate.call(method, path, None);
    assert_eq!(response.status, 202, "{}", response.text);
    // The fixture has no file for the log of revocations.
    assert_eq!(
        (&response.json["id"], &response.json["durable"]),
        (&json!(id), &json!(false))
    );
    assert!(response.json["detail"].as_str().unwrap().contains("memory alone"));
}

fn key(gate: &Gate, subscription: Option<&str>) -> String {
    let body = json!({ "name": "ci", "expires": "never", "subscription": subscription });
    gate.create("/keys", body).id()
}

/// Returns the events with this action, as target and actor.
fn events(gate: &Gate, action: &str) -> Vec<(String, String)> {
    let found = gate.get(&format!("/audit?action={action}")).json;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = found["items"].as_array().unwrap();
    items
        .iter()
        .map(|event| (text(&event["target"]), text(&event["actor"])))
        .collect()
}

/// Returns the member `changes` of the newest event with this action.
fn changes(gate: &Gate, action: &str) -> Value {
    gate.get(&format!("/audit?action={action}")).json["items"][0]["details"]["changes"].clone()
}

fn is_revoked(gate: &Gate, key: &str, now: Timestamp) -> bool {
    gate.control
        .directory
        .get(&key.parse().unwrap())
        .unwrap()
        .is_revoked(now)
}

#[test]
fn a_key_is_revoked_at_once_once_and_by_its_owner() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "default");
    let owner = gate.token_of(&subscription, &["admin:write", "admin:read"], "1h");
    let other = gate.subscribe("other", "default");
    let stranger = gate.token_of(&other, &["admin:write"], "1h");
    let [first, second] = [key(&gate, Some(&subscription)), key(&gate, Some(&subscription))];
    let paths = unplug(&gate);
    let path = format!("/keys/{first}/revoke");
    gate.call_as(Some(&stranger), "POST", &path, None, &[])
        .expect_refusal(404, "unknown-key");
    let stale = [("if-match", "\"7\"")];
    gate.call_as(Some(ADMIN_TOKEN), "POST", &path, None, &stale)
        .expect_refusal(412, "precondition-failed");
    assert!(!is_revoked(&gate, &first, gate.now()));
    let response = gate.call_as(Some(&owner), "POST", &path, None, &[("if-match", "\"1\"")]);
    assert_eq!(response.status, 202, "{}", response.text);
    assert!(is_revoked(&gate, &first, gate.now()));
    gate.call("POST", &path, None).expect_refusal(409, "already-revoked");
    assert_eq!(gate.get(&format!("/keys/{first}")).json["state"], "revoked");
    let list = gate.get("/keys").json;
    let states: Vec<&Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states.iter().filter(|state| **state == "revoked").count(), 1, "{list}");
    // A condition is on the records as they are in force.
    let revoked = gate.get("/keys?state=revoked").json;
    assert_eq!(revoked["items"].as_array().unwrap().len(), 1, "{revoked}");
    assert_eq!(revoked["items"][0]["id"], first);
    gate.call("POST", "/keys/0123456789abcdef/revoke", None)
        .expect_refusal(404, "unknown-key");
    plug(&gate, &paths);
    let found = events(&gate, "api_key.revoke");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, first);
    assert_ne!(found[0].1, "admin.token", "the owner has revoked it");
    let changed = changes(&gate, "api_key.revoke");
    assert!(
        changed["revoked_at"]["old"].is_null() && changed["revoked_at"]["new"].is_string(),
        "{changed}"
    );
    assert_eq!(gate.get(&format!("/keys/{first}")).json["state"], "revoked");
    // The store works as before.
    gate.perform("POST", &format!("/keys/{second}/revoke"), None);
    assert_eq!(gate.get("/audit/verify").json["state"], "whole");
}

#[test]
fn a_client_its_tokens_and_its_keys_end_at_once_and_stay_so() {
    let gate = Gate::new();
    let client = |name: &str| {
        let body = json!({ "name": name, "authentication": "client_secret" });
        let made = gate.create("/clients", body);
        (made.id(), made.json["client_secret"].as_str().unwrap().to_owned())
    };
    let (deleted, deleted_secret) = client("deleted");
    let (ended, ended_secret) = client("ended");
    let pair = gate
        .create(
            "/clients",
            json!({ "name": "pair", "authentication": "private_key_jwt" }),
        )
        .id();
    let pem = SigningKey::generate_es256().unwrap().public_pem();
    let kid = gate.create(&format!("/clients/{pair}/keys"), json!({ "public_key": pem }));
    let kid = kid.json["kid"].as_str().unwrap().to_owned();
    gate.advance(1);
    let paths = unplug(&gate);
    accepted(
        &gate,
        "DELETE",
        &format!("/clients/{deleted}?revoke_tokens=true"),
        &deleted,
    );
    accepted(&gate, "POST", &format!("/clients/{ended}/revoke-tokens"), &ended);
    accepted(&gate, "DELETE", &format!("/clients/{pair}/keys/{kid}"), &pair);
    assert_eq!(gate.with_secret(&deleted, &deleted_secret).status, 400);
    assert_eq!(gate.with_secret(&ended, &ended_secret).status, 200);
    let not_before = |id: &str| gate.control.directory.client(id).unwrap().tokens_not_before;
    assert_eq!(
        (not_before(&deleted), not_before(&ended)),
        (Some(gate.now()), Some(gate.now()))
    );
    assert_eq!(gate.get(&format!("/clients/{deleted}")).json["state"], "deleted");
    gate.call("DELETE", &format!("/clients/{deleted}"), None)
        .expect_refusal(409, "client-deleted");
    gate.call("DELETE", &format!("/clients/{pair}/keys/{kid}"), None)
        .expect_refusal(409, "key-revoked");
    let kept_in: Vec<Durability> = gate
        .control
        .revocations
        .pending()
        .into_iter()
        .map(|pending| pending.2)
        .collect();
    assert_eq!(kept_in, [Durability::Memory; 3]);
    // Only one of the two is back: a change of a client before its revocation is written does not undo it.
    std::fs::rename(&paths[1], &paths[0]).unwrap();
    gate.perform(
        "PATCH",
        &format!("/clients/{ended}"),
        Some(json!({ "name": "renamed" })),
    );
    assert_eq!(not_before(&ended), Some(gate.now()));
    std::fs::rename(&paths[0], &paths[1]).unwrap();
    plug(&gate, &paths);
    assert_eq!(gate.get(&format!("/clients/{ended}")).json["name"], "renamed");
    assert_eq!(not_before(&ended), Some(gate.now()));
    for (action, target) in [
        ("client.delete", &deleted),
        ("client.revoke_tokens", &ended),
        ("client_key.revoke", &pair),
    ] {
        assert_eq!(events(&gate, action), [(target.clone(), "admin.token".to_owned())]);
    }
    let changed = changes(&gate, "client.delete");
    assert_eq!(changed["state"], json!({ "old": "active", "new": "deleted" }));
    assert!(changed["tokens_not_before"]["new"].is_string(), "{changed}");
    assert!(changes(&gate, "client.revoke_tokens")["tokens_not_before"]["new"].is_string());
    let changed = changes(&gate, "client_key.revoke");
    assert!(
        changed[format!("keys/{kid}")]["new"]["revoked_at"].is_string(),
        "{changed}"
    );
    let stored = gate
        .runtime
        .block_on(gate.control.store.client(&ended.parse().unwrap()));
    assert_eq!(stored.unwrap().unwrap().record.tokens_not_before, Some(gate.now()));
    assert_eq!(gate.get(&format!("/clients/{deleted}")).json["state"], "deleted");
}

#[test]
fn a_store_that_cannot_even_be_read_keeps_nothing_in_force() {
    let gate = Gate::new();
    let [subscription, id] = [gate.subscribe("acme", "default"), key(&gate, None)];
    let client = gate
        .create(
            "/clients",
            json!({ "name": "job", "authentication": "client_secret", "subscription": subscription }),
        )
        .id();
    gate.runtime.block_on(gate.control.store.close());
    gate.get(&format!("/keys/{id}"))
        .expect_refusal(503, "store-unavailable");
    accepted(&gate, "POST", &format!("/keys/{id}/revoke"), &id);
    assert!(is_revoked(&gate, &id, gate.now()));
    accepted(&gate, "DELETE", &format!("/clients/{client}"), &client);
    // A key that memory does not have cannot be revoked: the store would know.
    gate.call("POST", "/keys/0123456789abcdef/revoke", None)
        .expect_refusal(503, "store-unavailable");
    // A process that ends takes nothing that would end with it.
    gate.control.revocations.require_log();
    let other = gate.call("POST", &format!("/clients/{client}/revoke-tokens"), None);
    other.expect_refusal(503, "store-unavailable");
}

#[test]
fn a_subscription_ends_with_all_its_credentials_at_once() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "default");
    let [first, second] = [key(&gate, Some(&subscription)), key(&gate, Some(&subscription))];
    let kept = key(&gate, None);
    let token = gate.token_of(&subscription, &["admin:read"], "1h");
    gate.advance(1);
    assert_eq!(gate.call_as(Some(&token), "GET", "/keys", None, &[]).status, 200);
    let paths = unplug(&gate);
    accepted(
        &gate,
        "POST",
        &format!("/subscriptions/{subscription}/cancel"),
        &subscription,
    );
    gate.call("POST", &format!("/subscriptions/{subscription}/cancel"), None)
        .expect_refusal(409, "already-cancelled");
    assert_eq!(
        gate.get(&format!("/subscriptions/{subscription}")).json["state"],
        "cancelled"
    );
    for id in [&first, &second] {
        assert!(is_revoked(&gate, id, gate.now()));
    }
    assert!(!is_revoked(&gate, &kept, gate.now()));
    assert_eq!(gate.call_as(Some(&token), "GET", "/keys", None, &[]).status, 401);
    let entry = gate
        .control
        .directory
        .subscription(&subscription.parse().unwrap())
        .unwrap();
    assert_eq!(entry.state, SubscriptionState::Cancelled);
    gate.call("POST", "/subscriptions/sub_default/cancel", None)
        .expect_refusal(409, "built-in");
    plug(&gate, &paths);
    let found = gate
        .runtime
        .block_on(gate.control.store.subscription(&subscription.parse().unwrap()));
    assert_eq!(found.unwrap().unwrap().record.state, SubscriptionState::Cancelled);
    for id in [&first, &second] {
        let found = gate.runtime.block_on(gate.control.store.api_key(&id.parse().unwrap()));
        assert_eq!(found.unwrap().unwrap().record.revoked_at, Some(gate.now()));
    }
    assert_eq!(events(&gate, "subscription.cancel").len(), 1);
    let changed = changes(&gate, "subscription.cancel");
    assert_eq!(changed["state"], json!({ "old": "active", "new": "cancelled" }));
    assert_eq!(gate.get("/audit/verify").json["state"], "whole");
}
