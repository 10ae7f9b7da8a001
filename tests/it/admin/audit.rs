//! Does each change leave one audit event that filters find, in a hash chain that verifies?

use super::fixture::ADMIN_TOKEN;
use super::fixture::Gate;
use serde_json::Value;
use serde_json::json;
use sqlx::Connection;

fn items(list: &Value) -> Vec<(&str, &str)> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| (item["action"].as_str().unwrap(), item["target"].as_str().unwrap()))
        .collect()
}

#[test]
fn every_change_is_one_event_and_a_refusal_is_none() {
    let gate = Gate::new();
    let count = || gate.get("/audit?limit=200").json["items"].as_array().unwrap().len();
    let before = count();
    let key = gate.create("/keys", json!({ "name": "k", "expires": "1d" })).id();
    let client = gate
        .create("/clients", json!({ "name": "c", "authentication": "private_key_jwt" }))
        .id();
    let kid = gate.create(&format!("/clients/{client}/keys"), json!({ "generate": "ES256" }));
    let kid = kid.json["kid"].as_str().unwrap().to_owned();
    gate.perform("PATCH", &format!("/clients/{client}"), Some(json!({ "name": "d" })));
    gate.perform("DELETE", &format!("/clients/{client}/keys/{kid}"), None);
    gate.perform("POST", &format!("/clients/{client}/revoke-tokens"), None);
    gate.perform("DELETE", &format!("/clients/{client}"), None);
    gate.perform("POST", &format!("/keys/{key}/revoke"), None);
    gate.perform("POST", "/signing-keys/rotate", None);
    assert_eq!(count(), before + 9);
    gate.post("/keys", json!({ "name": "k", "expires": "0d" }));
    gate.call("POST", &format!("/keys/{key}/revoke"), None)
        .expect_refusal(409, "already-revoked");
    gate.call_as(None, "POST", "/keys", None, &[]);
    gate.get("/keys");
    assert_eq!(count(), before + 9);
    let list = gate.get("/audit").json;
    let found: Vec<&str> = items(&list).into_iter().map(|(action, _)| action).take(9).collect();
    assert_eq!(
        found,
        [
            "signing_key.rotate",
            "api_key.revoke",
            "client.delete",
            "client.revoke_tokens",
            "client_key.revoke",
            "client.change",
            "client_key.add",
            "client.create",
            "api_key.create",
        ]
    );
    let event = &list["items"][1];
    assert_eq!(
        (&event["actor"], &event["target"]),
        (&"admin.token".into(), &key.as_str().into())
    );
    assert!(event["from"].as_str().unwrap().starts_with("10."), "{event}");
    assert_eq!(event["at"], "2027-01-15T08:00:00.000Z");
}

/// Asserts that the newest event is `action`, and that its `changes` have each member of the record at `path` that
/// differs from `before`, with both values. Returns the event's details.
#[track_caller]
fn check_changes(gate: &Gate, action: &str, path: &str, before: &Value) -> Value {
    let after = gate.get(path).json;
    let event = gate.get("/audit?limit=1").json["items"][0].clone();
    assert_eq!(event["action"], action);
    let changes = &event["details"]["changes"];
    // Lists of scopes are one text there; secrets and keys have forms of their own.
    let plain = |member: &str, value: &Value| match value.as_array() {
        Some(items) if member == "scopes" => {
            let words: Vec<&str> = items.iter().map(|item| item.as_str().unwrap()).collect();
            json!(words.join(" "))
        }
        _ => value.clone(),
    };
    // Follow from other members: a key's state, what is offered for a credential, what a subscription allows.
    let state = if path.starts_with("/keys/") { "state" } else { "" };
    let follow = ["action", "credentials", "live", "sandbox", state];
    for (member, old) in before.as_object().unwrap() {
        let new = &after[member];
        let is_shown_otherwise = ["changed_at", "secrets", "keys"].contains(&member.as_str());
        if old != new && !is_shown_otherwise && !follow.contains(&member.as_str()) {
            let expected = json!({ "old": plain(member, old), "new": plain(member, new) });
            assert_eq!(changes[member], expected, "{action}: {member} in {event}");
        }
    }
    event["details"].clone()
}

#[test]
fn an_event_shows_each_member_that_changed_with_its_old_and_its_new_value() {
    let gate = Gate::new();
    let url = |host: &str| format!("https://{host}.example/jwks");
    let client = json!({ "name": "c", "authentication": "private_key_jwt", "jwks_url": url("old"), "scopes": ["a"] });
    let id = gate.create("/clients", client).id();
    let made = &gate.get("/audit?limit=1").json["items"][0]["details"];
    assert_eq!(
        (&made["jwks_url"], &made["state"]),
        (&json!(url("old")), &json!("active"))
    );
    let path = format!("/clients/{id}");
    let before = gate.get(&path).json;
    let change = json!({
        "name": "d", "description": "text", "jwks_url": url("new"), "scopes": ["a", "b"],
        "token_ttl": "60s", "token_format": "opaque", "state": "disabled",
    });
    gate.perform("PATCH", &path, Some(change.clone()));
    let details = check_changes(&gate, "client.change", &path, &before);
    let changed: Vec<&String> = details["changes"].as_object().unwrap().keys().collect();
    assert_eq!(changed.len(), change.as_object().unwrap().len(), "{details}");
    assert_eq!(
        details["changes"]["jwks_url"],
        json!({ "old": url("old"), "new": url("new") })
    );
    let before = gate.get(&path).json;
    gate.perform("POST", &format!("{path}/revoke-tokens"), None);
    check_changes(&gate, "client.revoke_tokens", &path, &before);
    let before = gate.get(&path).json;
    gate.perform("DELETE", &path, None);
    check_changes(&gate, "client.delete", &path, &before);

    let with_keys = gate.create("/clients", json!({ "name": "k", "authentication": "private_key_jwt" }));
    let path = format!("/clients/{}", with_keys.id());
    let kid = gate
        .create(&format!("{path}/keys"), json!({ "generate": "ES256" }))
        .json["kid"]
        .clone();
    let kid = kid.as_str().unwrap();
    let changes = gate.get("/audit?limit=1").json["items"][0]["details"]["changes"].clone();
    assert_eq!(
        changes[format!("keys/{kid}")]["new"]["algorithms"],
        json!(["ES256"]),
        "{changes}"
    );
    gate.perform("DELETE", &format!("{path}/keys/{kid}"), None);
    let changes = gate.get("/audit?limit=1").json["items"][0]["details"]["changes"].clone();
    let key = &changes[format!("keys/{kid}")];
    assert_eq!(
        (key["old"]["revoked_at"].is_null(), key["new"]["revoked_at"].is_string()),
        (true, true)
    );

    let with_secret = gate.create("/clients", json!({ "name": "s", "authentication": "client_secret" }));
    gate.create(
        &format!("/clients/{}/secret/rotate", with_secret.id()),
        json!({ "grace": "1h" }),
    );
    let changes = gate.get("/audit?limit=1").json["items"][0]["details"]["changes"].clone();
    let secrets = &changes["secrets"];
    assert_eq!(
        (
            secrets["old"].as_array().unwrap().len(),
            secrets["new"].as_array().unwrap().len()
        ),
        (1, 2)
    );

    let key = gate.create("/keys", json!({ "name": "k", "expires": "1d" })).id();
    let before = gate.get(&format!("/keys/{key}")).json;
    let change = json!({
        "name": "l", "expires": "2d", "scopes": ["a", "b"], "addresses": ["192.0.2.0/24", "2001:db8::/32"],
    });
    gate.perform("PATCH", &format!("/keys/{key}"), Some(change));
    let details = check_changes(&gate, "api_key.change", &format!("/keys/{key}"), &before);
    assert_eq!(details["changes"].as_object().unwrap().len(), 4, "{details}");
    for (old, new) in [("active", "disabled"), ("disabled", "active")] {
        gate.perform("PATCH", &format!("/keys/{key}"), Some(json!({ "state": new })));
        let event = gate.get("/audit?limit=1").json["items"][0].clone();
        assert_eq!(
            (&event["action"], &event["details"]),
            (
                &json!("api_key.change"),
                &json!({ "name": "l", "changes": { "state": { "old": old, "new": new } } })
            )
        );
    }
    let before = gate.get(&format!("/keys/{key}")).json;
    let new = gate
        .create(&format!("/keys/{key}/regenerate"), json!({ "grace": "1h" }))
        .id();
    let details = check_changes(&gate, "api_key.regenerate", &format!("/keys/{key}"), &before);
    assert_eq!(
        (&details["replaced_by"], &details["grace_seconds"]),
        (&json!(new), &json!(3_600))
    );
    assert!(details["expires_at"].is_string(), "the new key's: {details}");

    gate.create("/organizations", json!({ "id": "old", "name": "Old" }));
    for (method, body, action) in [
        ("PATCH", Some(json!({ "name": "New" })), "organization.change"),
        ("DELETE", None, "organization.delete"),
    ] {
        let before = gate.get("/organizations/old").json;
        gate.perform(method, "/organizations/old", body);
        check_changes(&gate, action, "/organizations/old", &before);
    }

    let subscription = gate.subscribe("acme", "paid");
    let path = format!("/subscriptions/{subscription}");
    for (verb, body, action) in [
        ("payment", Some(json!({ "paid": true })), "subscription.payment"),
        ("plan", Some(json!({ "plan": "gold" })), "subscription.plan"),
        ("approve", None, "subscription.approve"),
        ("cancel", None, "subscription.cancel"),
    ] {
        let before = gate.get(&path).json;
        gate.perform("POST", &format!("{path}/{verb}"), body);
        check_changes(&gate, action, &path, &before);
    }
}

#[test]
fn audit_events_are_filtered_by_actor_action_target_organization_and_time() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "default");
    let owner = gate.token_of(&subscription, &["admin:read", "admin:write"], "24h");
    gate.advance(60);
    let make = |token: &str| {
        let body = json!({ "name": "k", "expires": "1d" });
        gate.call_as(Some(token), "POST", "/keys", Some(&body), &[]).id()
    };
    let (theirs, ours) = (make(&owner), make(ADMIN_TOKEN));
    let ask = |query: &str| gate.get(&format!("/audit?{query}")).json;
    let actor = ask(&format!("target={theirs}"))["items"][0]["actor"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(actor.starts_with("client_"));
    assert_eq!(
        items(&ask(&format!("actor={actor}"))),
        [("api_key.create", theirs.as_str())]
    );
    assert_eq!(
        items(&ask("action=api_key.create")),
        [("api_key.create", ours.as_str()), ("api_key.create", &theirs)]
    );
    assert_eq!(
        items(&ask("action=api_key.create&organization=acme")),
        [("api_key.create", theirs.as_str())]
    );
    assert_eq!(items(&ask("since=2027-01-15T08:01:00Z")).len(), 2);
    assert!(items(&ask("since=2027-01-15T08:01:00Z&until=2027-01-15T08:01:00Z")).is_empty());
    // Pages list the newest event first and skip none.
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = ask(&format!("limit=2{after}"));
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["sequence"].as_u64().unwrap()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let all: Vec<u64> = (1..=seen[0]).rev().collect();
    assert_eq!(seen, all);
    // Without a filter, owners get only the events of their organization.
    let own = gate.call_as(Some(&owner), "GET", "/audit?limit=200", None, &[]).json;
    let own = own["items"].as_array().unwrap();
    assert!(!own.is_empty() && own.iter().all(|item| item["organization"] == "acme"));
    for bad in [
        "since=yesterday",
        "until=2027",
        "after=x",
        "organisation=acme",
        "sequence=1",
    ] {
        gate.get(&format!("/audit?{bad}")).expect_refusal(400, "invalid-query");
    }
}

#[test]
fn s154_verification_names_the_first_event_that_was_changed_behind_the_gate() {
    let gate = Gate::new();
    gate.create("/keys", json!({ "name": "k", "expires": "1d" }));
    let key = gate.get("/audit?limit=1").json["items"][0].clone();
    gate.perform("POST", "/signing-keys/rotate", None);
    let chain = gate.get("/audit/verify").json;
    assert_eq!(chain["state"], "whole");
    let newest = &gate.get("/audit?limit=1").json["items"][0];
    assert_eq!(
        (&chain["events"], &chain["head"]),
        (&newest["sequence"], &newest["hash"])
    );
    assert_eq!(newest["hash"].as_str().unwrap().len(), 64);

    execute_sql(
        &gate,
        &format!(
            "UPDATE audit_event SET actor = 'client_other' WHERE sequence = {}",
            key["sequence"]
        ),
    );
    let chain = gate.get("/audit/verify").json;
    assert_eq!(
        (&chain["state"], &chain["sequence"]),
        (&json!("broken"), &key["sequence"]),
        "{chain}"
    );
    assert!(chain["problem"].is_string(), "{chain}");
    assert_eq!((&chain["events"], &chain["head"]), (&Value::Null, &Value::Null));
}

/// Executes a statement in the file of the store, on a connection of its own.
fn execute_sql(gate: &Gate, statement: &str) {
    let url = format!("sqlite://{}", gate.folder.path().join("keygate.db").display());
    gate.runtime.block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()));
        let result = statement.execute(&mut connection).await.unwrap();
        assert_eq!(result.rows_affected(), 1);
        connection.close().await.unwrap();
    });
}
