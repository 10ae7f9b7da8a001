//! Organizations: which names do they have, and when can one be deleted?

use super::fixture::Gate;
use serde_json::Value;
use serde_json::json;

#[test]
fn an_organization_gets_another_name_from_operators_and_from_its_own_administrators() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "default");
    let owner = gate.token_of(&subscription, &["admin:read", "admin:write"], "24h");
    let path = "/organizations/acme";
    let change = |body: Value| gate.call("PATCH", path, Some(&body));
    assert_eq!(change(json!({ "name": "Acme Ltd" })).json["name"], "Acme Ltd");
    assert_eq!(change(json!({})).json["name"], "Acme Ltd");
    let body = json!({ "name": "Acme & Co" });
    let changed = gate.call_as(Some(&owner), "PATCH", path, Some(&body), &[]);
    assert_eq!(changed.json["name"], "Acme & Co");
    assert_eq!(gate.get(path).json, changed.json);
    for (body, pointer) in [
        (json!({ "name": "" }), "/name"),
        (json!({ "name": null }), "/name"),
        (json!({ "id": "other" }), "/id"),
        (json!({ "state": "deleted" }), "/state"),
    ] {
        assert_eq!(change(body).pointers(), [pointer]);
    }
    let tag = changed.header("etag").unwrap();
    let with_tag = || {
        gate.call_as(
            Some(super::fixture::ADMIN_TOKEN),
            "PATCH",
            path,
            Some(&body),
            &[("if-match", tag)],
        )
    };
    assert_eq!(with_tag().status, 200);
    with_tag().expect_refusal(412, "precondition-failed");
}

#[test]
fn an_organization_is_deleted_once_nothing_of_it_is_in_use_and_its_id_stays_taken() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "default");
    let pending = gate
        .create("/subscriptions", json!({ "organization": "acme", "plan": "gold" }))
        .id();
    let key = gate.create_key(&subscription);
    let owner = gate.token_of(&subscription, &["admin:read", "admin:write"], "24h");
    let delete = || gate.call("DELETE", "/organizations/acme", None);
    gate.call_as(Some(&owner), "DELETE", "/organizations/acme", None, &[])
        .expect_refusal(403, "operators-only");
    let refused = delete();
    refused.expect_refusal(409, "organization-in-use");
    for id in [&subscription, &pending] {
        assert!(refused.text.contains(id.as_str()), "{}", refused.text);
        gate.perform("POST", &format!("/subscriptions/{id}/cancel"), None);
    }
    let deleted = delete();
    assert_eq!((deleted.status, &deleted.json["state"]), (200, &json!("deleted")));
    delete().expect_refusal(409, "organization-deleted");
    gate.call("PATCH", "/organizations/acme", Some(&json!({ "name": "x" })))
        .expect_refusal(409, "organization-deleted");
    let body = json!({ "organization": "acme", "plan": "default" });
    let refused = gate.post("/subscriptions", body);
    assert_eq!(refused.pointers_of(409, "unresolved-reference"), ["/organization"]);
    gate.post("/organizations", json!({ "id": "acme", "name": "x" }))
        .expect_refusal(409, "organization-exists");
    // Its records are there for those who look for where a credential came from.
    assert_eq!(gate.get(&format!("/keys/{key}")).json["state"], "revoked");
    let listed = gate.get("/organizations").json;
    let listed = listed["items"].as_array().unwrap();
    assert!(
        listed
            .iter()
            .any(|found| found["id"] == "acme" && found["state"] == "deleted")
    );
    for built_in in ["default", "operators"] {
        gate.call("DELETE", &format!("/organizations/{built_in}"), None)
            .expect_refusal(409, "built-in");
    }
    gate.call("DELETE", "/organizations/none", None)
        .expect_refusal(404, "unknown-organization");
}

#[test]
fn no_subscription_is_made_in_an_organization_that_is_deleted_at_the_same_time() {
    for round in 0..8 {
        let gate = Gate::new();
        let id = format!("org-{round}");
        gate.create("/organizations", json!({ "id": id, "name": "x" }));
        let body = json!({ "organization": id, "plan": "default" });
        let path = format!("/organizations/{id}");
        let (made, deleted) = std::thread::scope(|scope| {
            let made: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| gate.post("/subscriptions", body.clone()).status))
                .collect();
            let deleted = scope.spawn(|| gate.call("DELETE", &path, None).status);
            let made: Vec<u16> = made.into_iter().map(|made| made.join().unwrap()).collect();
            (made, deleted.join().unwrap())
        });
        let is_expected = match deleted {
            200 => made.iter().all(|status| *status == 409),
            409 => made.contains(&201),
            _ => false,
        };
        assert!(is_expected, "{deleted} {made:?}");
    }
}
