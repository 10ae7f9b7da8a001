//! Does each field of each record stand in the events about it?

use super::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Fields that no event shows: secrets, members of the event itself, and what the documentation of [`AuditFields`] omits.
const OMITTED: &[&str] = &[
    "/id",
    "/organization",
    "/digest",
    "/created_at",
    "/changed_at",
    "/last_used_at",
    "/was_shortened",
    "/authentication/secrets/0/digest",
    "/authentication/secrets/0/hint",
    "/authentication/keys/0/public_pem",
];

/// Returns the place of each value of `record` that is no object and no list of objects.
fn places(record: &Value, at: &str, places: &mut Vec<String>) {
    match record {
        Value::Object(members) => {
            for (name, value) in members {
                self::places(value, &format!("{at}/{name}"), places);
            }
        }
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                self::places(item, &format!("{at}/{index}"), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            places.push(at.to_owned());
        }
    }
}

/// Puts each value of `other` into `record`, one at a time, and checks that an event shows the difference. The two
/// samples must differ in every field, so that a new field is tested as soon as it is there.
#[track_caller]
fn check<R: AuditFields + Serialize + DeserializeOwned>(record: &Value, other: &Value, same: &[&str]) {
    let read = |value: &Value| serde_json::from_value::<R>(value.clone()).unwrap();
    assert_eq!(
        serde_json::to_value(read(record)).unwrap(),
        *record,
        "the sample has every field"
    );
    let mut all = Vec::new();
    places(record, "", &mut all);
    let before = read(record).audit_fields();
    for place in all {
        let new = other.pointer(&place).unwrap_or_else(|| panic!("no {place} in {other}"));
        if same.contains(&place.as_str()) {
            continue;
        }
        let mut changed = record.clone();
        let old = changed.pointer_mut(&place).unwrap();
        assert_ne!(old, new, "the samples do not differ in {place}");
        *old = new.clone();
        let shown = changes(&before, &read(&changed).audit_fields());
        let is_omitted = OMITTED.contains(&place.as_str());
        assert_eq!(shown == json!({}), is_omitted, "{place}: {shown}");
    }
}

const DIGEST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OTHER_DIGEST: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

#[test]
fn every_field_of_an_organization_and_a_subscription_is_shown() {
    check::<OrganizationRecord>(
        &json!({ "id": "acme", "name": "Acme", "created_at": 1, "state": "deleted" }),
        &json!({ "id": "other", "name": "Other", "created_at": 2, "state": "active" }),
        &[],
    );
    check::<SubscriptionRecord>(
        &json!({
            "id": "sub_1", "organization": "acme", "plan": "gold", "environment": "live", "state": "active",
            "paid": false, "created_at": 1, "changed_at": 1,
        }),
        &json!({
            "id": "sub_2", "organization": "other", "plan": "silver", "environment": "test", "state": "pending",
            "paid": true, "created_at": 2, "changed_at": 2,
        }),
        &[],
    );
}

#[test]
fn every_field_of_an_api_key_is_shown() {
    let record = json!({
        "id": "aaaaaaaaaaaaaaaa", "digest": DIGEST, "origin": "own", "environment": "live", "name": "ci",
        "organization": "acme", "subscription": "sub_1", "scopes": "a", "addresses": ["192.0.2.0/24"],
        "created_at": 1, "expires_at": null, "revoked_at": null, "replaced_by": null, "last_used_at": null,
        "state": "disabled", "was_shortened": true,
    });
    let other = json!({
        "id": "bbbbbbbbbbbbbbbb", "digest": OTHER_DIGEST, "origin": "imported", "environment": "test", "name": "cd",
        "organization": "other", "subscription": "sub_2", "scopes": "a b", "addresses": [],
        "created_at": 2, "expires_at": 2, "revoked_at": 2, "replaced_by": "cccccccccccccccc", "last_used_at": 2,
        "state": "active", "was_shortened": false,
    });
    check::<ApiKeyRecord>(&record, &other, &[]);
}

fn client(authentication: &Value, other: bool) -> Value {
    let pick = |one: Value, two: Value| if other { two } else { one };
    json!({
        "id": pick(json!("client_1"), json!("client_2")),
        "organization": pick(json!("acme"), json!("other")),
        "subscription": pick(json!("sub_1"), json!("sub_2")),
        "environment": pick(json!("live"), json!("test")),
        "name": pick(json!("app"), json!("other")),
        "description": pick(json!(""), json!("text")),
        "authentication": authentication,
        "scopes": pick(json!("a"), json!("a b")),
        "token_ttl": pick(json!("1h"), json!("24h")),
        "token_format": pick(json!("jwt"), json!("opaque")),
        "state": pick(json!("active"), json!("disabled")),
        "tokens_not_before": pick(json!(null), json!(2)),
        "token_series": pick(json!(1), json!(2)),
        "created_at": pick(json!(1), json!(2)),
        "changed_at": pick(json!(1), json!(2)),
    })
}

#[test]
fn every_field_of_a_client_is_shown_whatever_it_proves_itself_with() {
    let check = |one: Value, two: Value| {
        // The method itself cannot change without its members.
        check::<ClientRecord>(&client(&one, false), &client(&two, true), &["/authentication/method"]);
    };
    check(
        json!({ "method": "client_secret", "secrets": [{ "digest": DIGEST, "created_at": 1, "ends_at": null, "hint": "a" }] }),
        json!({ "method": "client_secret", "secrets": [{ "digest": OTHER_DIGEST, "created_at": 2, "ends_at": 2, "hint": "b" }] }),
    );
    check(
        json!({ "method": "jwks_url", "url": "https://client.example/jwks" }),
        json!({ "method": "jwks_url", "url": "https://other.example/jwks" }),
    );
    check(
        json!({ "method": "keys", "keys": [{
            "kid": "k1", "public_pem": "one", "algorithms": ["ES256"], "generated": false,
            "created_at": 1, "revoked_at": null,
        }] }),
        json!({ "method": "keys", "keys": [{
            "kid": "k2", "public_pem": "two", "algorithms": ["RS256"], "generated": true,
            "created_at": 2, "revoked_at": 2,
        }] }),
    );
}

#[test]
fn a_change_has_the_old_and_the_new_value_and_nothing_that_stayed() {
    let old = fields([("name", json!("a")), ("state", json!("active")), ("keys/1", json!({}))]);
    let new = fields([("name", json!("b")), ("state", json!("active")), ("keys/2", json!({}))]);
    assert_eq!(
        changes(&old, &new),
        json!({
            "name": { "old": "a", "new": "b" },
            "keys/1": { "old": {}, "new": null },
            "keys/2": { "old": null, "new": {} },
        })
    );
}
