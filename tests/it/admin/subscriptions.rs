//! Subscriptions: which credentials does each state allow, and does cancelling end all keys and tokens?

use super::fixture::Gate;
use crate::support::wait_until;
use serde_json::Value;
use serde_json::json;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

fn pending(gate: &Gate, plan: &str) -> String {
    if gate.get("/organizations/acme").status == 404 {
        gate.create("/organizations", json!({ "id": "acme", "name": "Acme" }));
    }
    gate.create("/subscriptions", json!({ "organization": "acme", "plan": plan }))
        .id()
}

fn key(subscription: &str, environment: Option<&str>) -> Value {
    json!({ "name": "k", "expires": "1d", "subscription": subscription, "environment": environment })
}

#[test]
fn a_subscription_that_is_not_in_force_gets_no_credentials_and_the_answer_says_why() {
    let gate = Gate::new();
    let id = pending(&gate, "gold");
    let path = format!("/subscriptions/{id}");
    let refused = |slug: &str| {
        for environment in [None, Some("live"), Some("sandbox")] {
            gate.post("/keys", key(&id, environment)).expect_refusal(409, slug);
        }
        let mut import = key(&id, None);
        import["digest"] = "a".repeat(64).into();
        gate.post("/keys/import", import).expect_refusal(409, slug);
        let client = json!({ "name": "c", "authentication": "client_secret", "subscription": id });
        gate.post("/clients", client).expect_refusal(409, slug);
    };
    refused("subscription-pending");
    gate.perform("POST", &format!("{path}/fail"), None);
    refused("subscription-provisioning-failed");
    gate.perform("POST", &format!("{path}/approve"), None);
    gate.create("/keys", key(&id, None));
    gate.call("POST", &format!("{path}/approve"), None)
        .expect_refusal(409, "already-active");
    gate.call("POST", &format!("{path}/fail"), None)
        .expect_refusal(409, "already-provisioned");
    gate.perform("POST", &format!("{path}/cancel"), None);
    refused("subscription-cancelled");
    for verb in ["approve", "fail", "cancel"] {
        gate.call("POST", &format!("{path}/{verb}"), None)
            .expect_refusal(409, "already-cancelled");
    }
}

#[test]
fn what_is_not_paid_for_or_not_released_gives_sandbox_credentials_only() {
    let gate = Gate::new();
    for (plan, slug) in [("paid", "payment-due"), ("beta", "plan-not-released")] {
        let id = pending(&gate, plan);
        gate.post("/keys", key(&id, None)).expect_refusal(409, slug);
        gate.post("/keys", key(&id, Some("live"))).expect_refusal(409, slug);
        let created = gate.create("/keys", key(&id, Some("sandbox")));
        assert!(created.json["key"].as_str().unwrap().starts_with("kg_test_"));
        assert_eq!(created.json["environment"], "sandbox");
        if plan == "paid" {
            gate.perform(
                "POST",
                &format!("/subscriptions/{id}/payment"),
                Some(json!({ "paid": true })),
            );
            gate.create("/keys", key(&id, Some("live")));
            gate.perform(
                "POST",
                &format!("/subscriptions/{id}/payment"),
                Some(json!({ "paid": false })),
            );
            gate.post("/keys", key(&id, Some("live"))).expect_refusal(409, slug);
        }
    }
    let sandbox = json!({ "organization": "acme", "plan": "default", "environment": "sandbox" });
    let id = gate.create("/subscriptions", sandbox).id();
    gate.post("/keys", key(&id, Some("live")))
        .expect_refusal(409, "sandbox-only");
    assert_eq!(gate.create("/keys", key(&id, None)).json["environment"], "sandbox");
}

#[test]
fn a_subscription_says_what_it_gives_and_why_it_is_locked() {
    let gate = Gate::new();
    let shown = |id: &str| {
        let shown = gate.get(&format!("/subscriptions/{id}")).json;
        // What is not `good` is explained, and nothing else is.
        for environment in ["live", "sandbox"] {
            let view = &shown[environment];
            assert_eq!(view["standing"] == "good", view["locked"].is_null(), "{shown}");
        }
        let word = |environment: &str| shown[environment]["standing"].as_str().unwrap().to_owned();
        (shown["credentials"].clone(), word("live"), word("sandbox"))
    };
    let expected = |kind: &str, live: &str, sandbox: &str| (json!([kind]), live.to_owned(), sandbox.to_owned());
    let id = pending(&gate, "gold");
    let waits = "subscription_pending";
    assert_eq!(shown(&id), expected("api_key", waits, waits));
    // The texts are those of the refusals.
    let refused = gate.post("/keys", key(&id, None));
    let locked = gate.get(&format!("/subscriptions/{id}")).json["live"]["locked"].clone();
    assert_eq!(locked, refused.json["detail"]);
    let path = format!("/subscriptions/{id}");
    for (verb, word) in [
        ("fail", "subscription_provisioning_failed"),
        ("approve", "good"),
        ("cancel", "subscription_cancelled"),
    ] {
        gate.perform("POST", &format!("{path}/{verb}"), None);
        assert_eq!(shown(&id), expected("api_key", word, word));
    }
    for (plan, kind, live) in [
        ("paid", None, "payment_due"),
        ("beta", None, "plan_not_released"),
        ("secrets", Some("client_secret"), "good"),
        ("pairs", Some("private_key_jwt"), "good"),
    ] {
        let id = gate.subscribe("acme", plan);
        let (kinds, live_word, sandbox) = shown(&id);
        assert_eq!((&*live_word, &*sandbox), (live, "good"), "{plan}");
        assert!(kind.is_none_or(|kind| kinds == json!([kind])), "{plan}: {kinds}");
    }
    let sandbox = json!({ "organization": "acme", "plan": "default", "environment": "sandbox" });
    let id = gate.create("/subscriptions", sandbox).id();
    let (_, live, sandbox) = shown(&id);
    assert_eq!((&*live, &*sandbox), ("sandbox_only", "good"));
}

#[test]
fn the_plan_says_which_kind_of_credential_there_is_and_with_which_scopes() {
    let gate = Gate::new();
    let client = |subscription: &str, authentication: &str| json!({ "name": "c", "authentication": authentication, "subscription": subscription });
    for (plan, allowed) in [
        ("gold", "api_key"),
        ("secrets", "client_secret"),
        ("pairs", "private_key_jwt"),
    ] {
        let id = gate.subscribe("acme", plan);
        for kind in ["api_key", "client_secret", "private_key_jwt"] {
            let response = match kind {
                "api_key" => gate.post("/keys", key(&id, None)),
                kind => gate.post("/clients", client(&id, kind)),
            };
            if kind == allowed {
                assert_eq!(response.status, 201, "{plan} {kind}: {}", response.text)
            } else {
                response.expect_refusal(409, "credential-not-in-plan");
                assert_eq!(response.json["allowed"], json!([allowed]));
            }
        }
    }
    let id = gate.subscribe("acme", "gold");
    let mut body = key(&id, None);
    assert_eq!(
        gate.create("/keys", body.clone()).json["scopes"],
        json!(["orders:read", "orders:write"])
    );
    body["scopes"] = json!(["orders:read", "orders:delete", "ORDERS:READ"]);
    let response = gate.post("/keys", body.clone());
    assert_eq!(response.pointers_of(409, "beyond-plan"), ["/scopes"]);
    assert!(
        response.text.contains("orders:delete") && response.text.contains("ORDERS:READ"),
        "{}",
        response.text
    );
    body["scopes"] = json!([]);
    assert_eq!(gate.create("/keys", body).json["scopes"], json!([]));
}

#[test]
fn s072_cancelling_a_subscription_ends_its_keys_and_tokens_with_it() {
    let gate = Gate::new();
    let id = gate.subscribe("acme", "default");
    let keys: Vec<String> = (0..2).map(|_| gate.create("/keys", key(&id, None)).id()).collect();
    let grace = gate
        .create(&format!("/keys/{}/regenerate", keys[0]), json!({ "grace": "24h" }))
        .id();
    let token = gate.token_of(&id, &["admin:read"], "24h");
    let deleted = {
        let body = json!({ "name": "d", "authentication": "client_secret", "subscription": id });
        let client = gate.create("/clients", body).id();
        gate.perform("DELETE", &format!("/clients/{client}"), None);
        client
    };
    let untouched = gate.create("/keys", json!({ "name": "k", "expires": "1d" })).id();
    let ask = || gate.call_as(Some(&token), "GET", "/plans", None, &[]);
    assert_eq!(ask().status, 200);
    gate.advance(1);
    let events = gate.get("/audit").json["items"].as_array().unwrap().len();
    gate.perform("POST", &format!("/subscriptions/{id}/cancel"), None);
    ask().expect_refusal(401, "invalid-token");
    for key in keys.iter().chain([&grace]) {
        assert_eq!(gate.get(&format!("/keys/{key}")).json["state"], "revoked");
        let entry = gate.control.directory.get(&key.parse().unwrap()).unwrap();
        assert!(entry.is_revoked(gate.now()), "{key}");
    }
    assert_eq!(gate.get(&format!("/keys/{untouched}")).json["state"], "active");
    // Cancelling also revokes the tokens of a client deleted before: they may still be in use.
    assert!(gate.get(&format!("/clients/{deleted}")).json["tokens_not_before"].is_string());
    let audit = gate.get("/audit").json;
    assert_eq!(audit["items"].as_array().unwrap().len(), events + 1, "one event");
    let details = &audit["items"][0]["details"];
    assert_eq!(
        (&details["keys_revoked"], &details["clients_ended"]),
        (&json!(3), &json!(2)),
        "{details}"
    );
    let ended = details["keys"].as_array().unwrap();
    assert!(
        keys.iter().chain([&grace]).all(|key| ended.contains(&json!(key))),
        "{details}"
    );
    assert!(
        details["clients"].as_array().unwrap().contains(&json!(deleted)),
        "{details}"
    );
    assert_eq!(
        details["changes"],
        json!({ "state": { "old": "active", "new": "cancelled" } })
    );
}

#[test]
fn no_key_is_left_of_a_subscription_that_is_cancelled_while_keys_are_made() {
    let gate = Gate::new();
    let id = gate.subscribe("acme", "default");
    let created = AtomicUsize::new(0);
    // Creates keys until one is refused, and returns the refusal. Ends in any case, so that the test cannot hang.
    let create_keys = || {
        for _ in 0..10_000 {
            let response = gate.post("/keys", key(&id, None));
            if response.status != 201 {
                return response;
            }
            created.fetch_add(1, Ordering::Relaxed);
        }
        panic!("the subscription is never cancelled");
    };
    std::thread::scope(|scope| {
        let creators: Vec<_> = (0..4).map(|_| scope.spawn(create_keys)).collect();
        wait_until("keys are being created", || created.load(Ordering::Relaxed) >= 8);
        gate.perform("POST", &format!("/subscriptions/{id}/cancel"), None);
        for creator in creators {
            creator.join().unwrap().expect_refusal(409, "subscription-cancelled");
        }
    });
    let mut after = String::new();
    loop {
        let page = gate.get(&format!("/keys?subscription={id}&limit=200{after}")).json;
        for key in page["items"].as_array().unwrap() {
            assert_eq!(key["state"], "revoked", "{key}");
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
}

#[test]
fn built_in_subscriptions_cannot_be_cancelled() {
    let gate = Gate::new();
    for id in ["sub_default", "sub_operators"] {
        gate.call("POST", &format!("/subscriptions/{id}/cancel"), None)
            .expect_refusal(409, "built-in");
        assert_eq!(gate.get(&format!("/subscriptions/{id}")).json["state"], "active");
    }
}

#[test]
fn a_new_subscription_names_an_organization_a_plan_and_an_environment_that_exist() {
    let gate = Gate::new();
    for (body, pointers) in [
        (
            json!({ "organization": "none", "plan": "default" }),
            &["/organization"][..],
        ),
        (
            json!({ "organization": "none", "plan": "none" }),
            &["/organization", "/plan"],
        ),
        (json!({ "plan": "operators" }), &["/plan"]),
        (json!({ "organization": "operators", "plan": "default" }), &["/plan"]),
    ] {
        let response = gate.post("/subscriptions", body.clone());
        assert_eq!(response.pointers_of(409, "unresolved-reference"), pointers, "{body}");
    }
    for (body, pointers) in [
        (json!({ "plan": "default", "environment": "prod" }), ["/environment"]),
        (json!({ "plan": "Not a name" }), ["/plan"]),
    ] {
        assert_eq!(gate.post("/subscriptions", body.clone()).pointers(), pointers, "{body}");
    }
    gate.post("/organizations", json!({ "id": "default", "name": "x" }))
        .expect_refusal(409, "organization-exists");
}

#[test]
fn a_subscription_moves_only_to_another_plan_of_its_organization_that_exists() {
    let gate = Gate::new();
    let move_to = |plan: &str| gate.post("/subscriptions/sub_default/plan", json!({ "plan": plan }));
    for plan in ["none", "operators"] {
        assert_eq!(move_to(plan).pointers_of(409, "unresolved-reference"), ["/plan"]);
    }
    move_to("default").expect_refusal(409, "same-plan");
    // Moving to a plan that requires approval needs a new approval.
    assert_eq!(move_to("gold").json["state"], "pending");
}
