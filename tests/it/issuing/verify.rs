//! Does `POST /admin/v1/keys/verify` say of a key what a request with it would meet?

use super::Gate;
use super::gate;
use super::gate::text;
use crate::support::Admin;
use crate::support::LocalGate;
use crate::support::still_clock;
use crate::support::with_other_secret;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

#[track_caller]
fn verify(gate: &Gate, body: Value) -> Value {
    gate.admin.post("/keys/verify", body)
}

#[track_caller]
fn check(verdict: &Value, id: Option<&str>, reason: Option<&str>) {
    assert_eq!(verdict["valid"], json!(reason.is_none()), "{verdict}");
    assert_eq!(verdict["reason"], json!(reason), "{verdict}");
    assert_eq!(verdict["key"]["id"], json!(id), "{verdict}");
}

#[test]
fn a_key_is_as_valid_as_the_gate_finds_it() {
    let clock = still_clock();
    let gate = Gate::start_at(&clock);
    let subscription = gate.subscription("acme", "keys");
    let body = json!({
        "name": "ci", "expires": "1d", "scopes": ["orders:read"], "subscription": subscription,
        "addresses": ["192.0.2.0/24"],
    });
    let created = gate.admin.create("/keys", body);
    let (id, key) = (text(&created["id"]), text(&created["key"]));
    let ask = |more: Value| {
        let mut body = json!({ "key": key, "address": "192.0.2.7" });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        verify(&gate, body)
    };
    let good = ask(json!({ "scopes": ["orders:read"] }));
    check(&good, Some(&id), None);
    assert_eq!(
        (
            &good["key"]["name"],
            &good["key"]["organization"],
            &good["key"]["scopes"]
        ),
        (&json!("ci"), &json!("acme"), &json!(["orders:read"]))
    );
    assert_eq!(good["limit"], Value::Null, "the plan has no limit");
    assert!(!good.to_string().contains(&key[25..]), "{good}");
    check(
        &ask(json!({ "scopes": ["orders:read", "orders:write"] })),
        Some(&id),
        Some("insufficient_scope"),
    );
    check(
        &ask(json!({ "address": "198.51.100.1" })),
        Some(&id),
        Some("api_key_wrong_address"),
    );
    // An address that nobody told is none of the key's.
    check(
        &verify(&gate, json!({ "key": key })),
        Some(&id),
        Some("api_key_wrong_address"),
    );
    // Whose a wrong text is nobody learns.
    check(
        &ask(json!({ "key": with_other_secret(&key) })),
        None,
        Some("api_key_unknown"),
    );
    check(&ask(json!({ "key": "nonsense" })), None, Some("api_key_unknown"));
    clock.advance(Duration::from_secs(86_400));
    check(&ask(json!({})), Some(&id), Some("api_key_expired"));

    let (id, key) = gate.key(Some(&subscription));
    check(&verify(&gate, json!({ "key": key })), Some(&id), None);
    let path = format!("/keys/{id}");
    gate.admin.perform("PATCH", &path, Some(json!({ "state": "disabled" })));
    let verdict = verify(&gate, json!({ "key": key }));
    check(&verdict, Some(&id), Some("api_key_disabled"));
    assert_eq!(verdict["key"]["state"], "disabled");
    gate.admin.perform("PATCH", &path, Some(json!({ "state": "active" })));
    check(&verify(&gate, json!({ "key": key })), Some(&id), None);
    gate.admin.post(&format!("/keys/{id}/revoke"), json!({}));
    check(
        &verify(&gate, json!({ "key": key })),
        Some(&id),
        Some("api_key_revoked"),
    );

    let unpaid = gate.subscription("globex", "paid");
    let body = json!({ "name": "ci", "expires": "never", "subscription": unpaid });
    gate.admin
        .post(&format!("/subscriptions/{unpaid}/payment"), json!({ "paid": true }));
    let created = gate.admin.create("/keys", body);
    gate.admin
        .post(&format!("/subscriptions/{unpaid}/payment"), json!({ "paid": false }));
    let verdict = verify(&gate, json!({ "key": created["key"] }));
    check(&verdict, created["id"].as_str(), Some("payment_due"));
}

#[test]
fn a_verification_spends_the_limits_of_the_plan_as_a_request_does() {
    let clock = still_clock();
    let gate = Gate::start_at(&clock);
    let subscription = gate.subscription("acme", "limited");
    let (id, key) = gate.key(Some(&subscription));
    // The plan's limit is 60/min with a burst of 5.
    for left in [4, 3] {
        let verdict = verify(&gate, json!({ "key": key }));
        check(&verdict, Some(&id), None);
        let expected = json!({ "name": "of-plan", "limit": 5, "remaining": left, "reset_seconds": 1 });
        assert_eq!(verdict["limit"], expected);
    }
    assert_eq!(gate.with_key("/any/a", &key).status, 200);
    assert_eq!(verify(&gate, json!({ "key": key }))["limit"]["remaining"], 1);
    // A refused verification spends nothing.
    check(
        &verify(&gate, json!({ "key": key, "scopes": ["x"] })),
        Some(&id),
        Some("insufficient_scope"),
    );
    check(&verify(&gate, json!({ "key": key })), Some(&id), None);
    let spent = verify(&gate, json!({ "key": key }));
    check(&spent, Some(&id), Some("limit_spent"));
    assert_eq!(
        (&spent["limit"]["remaining"], &spent["limit"]["reset_seconds"]),
        (&json!(0), &json!(1))
    );
    clock.advance(Duration::from_secs(1));
    check(&verify(&gate, json!({ "key": key })), Some(&id), None);
}

#[test]
fn each_verification_is_one_event_and_wrong_keys_are_limited_by_address() {
    let clock = still_clock();
    let config = gate::with_endpoint("").replace("quota: 10000/min, burst: 10000", "quota: 2/min, burst: 2");
    let gate = Gate::of(LocalGate::start_at(&clock, &config, &[]));
    let (id, key) = gate.key(None);
    verify(&gate, json!({ "key": key }));
    let event = gate.admin.get("/audit?limit=1")["items"][0].clone();
    assert_eq!(
        (&event["action"], &event["target"]),
        (&json!("api_key.verify"), &json!(id))
    );
    assert_eq!(event["details"], json!({ "valid": true, "reason": null }));
    let wrong = |address: &str| {
        let body = json!({ "key": with_other_secret(&key), "address": address });
        gate.admin.call("POST", "/keys/verify", Some(body))
    };
    for _ in 0..2 {
        assert_eq!(wrong("192.0.2.1").status, 200);
    }
    let event = gate.admin.get("/audit?limit=1")["items"][0].clone();
    assert_eq!(
        (&event["target"], &event["details"]["reason"]),
        (&json!("unknown"), &json!("api_key_unknown"))
    );
    assert!(!event.to_string().contains(&key[25..]), "{event}");
    let refused = wrong("192.0.2.1");
    assert_eq!(
        (refused.status, refused.headers_named("retry-after")),
        (429, vec!["30"])
    );
    assert_eq!(wrong("192.0.2.2").status, 200);
    // The right key passes from there, too.
    check(
        &verify(&gate, json!({ "key": key, "address": "192.0.2.1" })),
        Some(&id),
        None,
    );
}

#[test]
fn an_organizations_program_verifies_its_own_keys_and_knows_no_others() {
    let gate = Gate::start();
    let (acme, other) = (
        gate.subscription("acme", "limited"),
        gate.subscription("other", "limited"),
    );
    let client = gate.secret_client(json!({ "subscription": acme, "scopes": ["admin:read"] }));
    let token = gate.token((&client.0, &client.1));
    let theirs = Admin::new(&gate.running, &token);
    let (id, key) = gate.key(Some(&acme));
    check(&theirs.post("/keys/verify", json!({ "key": key })), Some(&id), None);
    for subscription in [Some(other.as_str()), None] {
        let (_, key) = gate.key(subscription);
        let verdict = theirs.post("/keys/verify", json!({ "key": key }));
        check(&verdict, None, Some("api_key_unknown"));
        assert_eq!(verdict["limit"], Value::Null, "nothing was spent");
    }
}
