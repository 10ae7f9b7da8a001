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
