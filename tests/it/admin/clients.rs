//! Clients: how do they authenticate, which members can change, and how do they end?

use super::fixture::AdminResponse;
use super::fixture::Gate;
use serde_json::Value;
use serde_json::json;

fn secret_client(gate: &Gate) -> (String, String) {
    let created = gate.create(
        "/clients",
        json!({ "name": "app", "authentication": "client_secret", "scopes": ["a"] }),
    );
    (created.id(), secret(&created))
}

fn secret(created: &AdminResponse) -> String {
    created.json["client_secret"]
        .as_str()
        .unwrap_or_else(|| panic!("{created:?}"))
        .to_owned()
}

#[test]
fn s064_a_client_secret_is_in_the_answer_that_made_it_and_nowhere_else() {
    let gate = Gate::new();
    let (id, secret) = secret_client(&gate);
    assert!(secret.starts_with("kgs_") && secret.len() == 47, "{secret}");
    for path in [format!("/clients/{id}"), "/clients".to_owned(), "/audit".to_owned()] {
        let response = gate.get(&path);
        assert!(
            response.text.contains(&id) && !response.text.contains(&secret[4..12]),
            "{path}: {}",
            response.text
        );
        assert!(
            !response.text.contains("digest") && !response.text.contains("client_secret\":\"kgs"),
            "{}",
            response.text
        );
    }
    assert_eq!(gate.with_secret(&id, &secret).status, 200);
}

#[test]
fn s071_rotating_a_secret_keeps_the_client_and_ends_the_old_one_at_once() {
    let gate = Gate::new();
    let (id, old) = secret_client(&gate);
    let rotated = gate.create(&format!("/clients/{id}/secret/rotate"), json!({}));
    assert_eq!(rotated.id(), id);
    assert_eq!(gate.with_secret(&id, &old).status, 400);
    let new = secret(&rotated);
    assert_eq!(gate.with_secret(&id, &new).status, 200);
    // With a grace period, both secrets are valid until the period ends.
    let rotated = gate.create(&format!("/clients/{id}/secret/rotate"), json!({ "grace": "1h" }));
    let newest = secret(&rotated);
    assert_eq!(rotated.json["secrets"].as_array().unwrap().len(), 2);
    gate.post(&format!("/clients/{id}/secret/rotate"), json!({ "grace": "1h" }))
        .expect_refusal(409, "grace-runs");
    gate.advance(3_599);
    assert_eq!(
        (
            gate.with_secret(&id, &new).status,
            gate.with_secret(&id, &newest).status
        ),
        (200, 200)
    );
    gate.advance(1);
    assert_eq!(
        (
            gate.with_secret(&id, &new).status,
            gate.with_secret(&id, &newest).status
        ),
        (400, 200)
    );
    assert_eq!(
        gate.post(&format!("/clients/{id}/secret/rotate"), json!({ "grace": "25h" }))
            .pointers(),
        ["/grace"]
    );
}

#[test]
fn regenerating_a_client_gives_it_a_new_id_and_deletes_the_old_one() {
    let gate = Gate::new();
    let (id, old) = secret_client(&gate);
    let created = gate.create(&format!("/clients/{id}/secret/regenerate"), json!({}));
    assert_ne!(created.id(), id);
    assert_eq!(gate.with_secret(&created.id(), &secret(&created)).status, 200);
    assert_ne!(gate.with_secret(&id, &old).status, 200);
    assert_eq!(gate.get(&format!("/clients/{id}")).json["state"], "deleted");
    gate.call("POST", &format!("/clients/{id}/secret/regenerate"), None)
        .expect_refusal(409, "client-deleted");
}

#[test]
fn regenerating_a_client_without_a_secret_keeps_its_url_and_none_of_its_keys() {
    let gate = Gate::new();
    let mut body = json!({ "name": "p", "authentication": "private_key_jwt" });
    let with_keys = gate.create("/clients", body.clone()).id();
    let pair = gate.create(&format!("/clients/{with_keys}/keys"), json!({ "generate": "ES256" }));
    body["jwks_url"] = "https://client.example/jwks".into();
    let with_url = gate.create("/clients", body).id();
    for id in [&with_keys, &with_url] {
        let before = gate.get(&format!("/clients/{id}")).json;
        let created = gate.create(&format!("/clients/{id}/secret/regenerate"), json!({}));
        assert_ne!(created.id(), *id);
        assert!(created.json.get("client_secret").is_none(), "{}", created.text);
        assert_eq!(created.json["jwks_url"], before["jwks_url"]);
        assert_eq!(
            (&created.json["keys"], &created.json["state"]),
            (&json!([]), &json!("active"))
        );
        assert_eq!(gate.get(&format!("/clients/{id}")).json["state"], "deleted");
        if id == &with_keys {
            let upload = json!({ "public_key": pair.json["public_key"] });
            gate.post(&format!("/clients/{}/keys", created.id()), upload)
                .expect_refusal(409, "key-revoked");
        }
    }
}

#[test]
fn a_client_whose_subscription_gives_nothing_is_shown_as_what_it_is() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "paid");
    let body = json!({
        "name": "app", "authentication": "client_secret", "subscription": subscription, "environment": "sandbox",
    });
    let created = gate.create("/clients", body.clone());
    assert_eq!(
        (&created.json["state"], &created.json["standing"]),
        (&json!("active"), &json!("good"))
    );
    gate.perform(
        "POST",
        &format!("/subscriptions/{subscription}/payment"),
        Some(json!({ "paid": true })),
    );
    let mut live = body;
    live["environment"] = "live".into();
    let live = gate.create("/clients", live);
    gate.perform(
        "POST",
        &format!("/subscriptions/{subscription}/payment"),
        Some(json!({ "paid": false })),
    );
    let shown = |id: &str| {
        let client = gate.get(&format!("/clients/{id}")).json;
        (client["state"].clone(), client["standing"].clone())
    };
    assert_eq!(shown(&live.id()), (json!("active"), json!("payment_due")));
    // The text is that of the refusal to make another.
    let refused = gate.post(
        "/keys",
        json!({ "name": "k", "expires": "1d", "subscription": subscription }),
    );
    let locked = gate.get(&format!("/clients/{}", live.id())).json;
    refused.expect_refusal(409, "payment-due");
    assert_eq!(
        (&locked["locked"], &locked["action"]),
        (&refused.json["detail"], &json!(null))
    );
    let deleted = gate.perform("DELETE", &format!("/clients/{}", live.id()), None);
    assert_eq!(deleted["state"], "deleted");
    gate.perform("POST", &format!("/subscriptions/{subscription}/cancel"), None);
    assert_eq!(
        shown(&created.id()),
        (json!("cancelled"), json!("subscription_cancelled"))
    );
    gate.post(&format!("/clients/{}/secret/rotate", created.id()), json!({}))
        .expect_refusal(409, "subscription-cancelled");
    assert_eq!(shown(&live.id()).0, json!("deleted"));
    let listed = gate.get("/clients?organization=acme").json;
    let states: Vec<&Value> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["state"])
        .collect();
    assert!(states.contains(&&json!("cancelled")), "{listed}");
}

#[test]
fn the_action_offered_for_a_credential_succeeds_and_none_is_offered_for_one_that_has_ended() {
    let gate = Gate::new();
    let (with_secret, _) = secret_client(&gate);
    let mut body = json!({ "name": "p", "authentication": "private_key_jwt" });
    let with_keys = gate.create("/clients", body.clone()).id();
    body["jwks_url"] = "https://client.example/jwks".into();
    let with_url = gate.create("/clients", body).id();
    let key = gate.create("/keys", json!({ "name": "k", "expires": "1d" })).id();
    for (path, expected) in [
        (format!("/clients/{with_secret}"), "rotate_secret"),
        (format!("/clients/{with_keys}"), "regenerate"),
        (format!("/clients/{with_url}"), "regenerate"),
        (format!("/keys/{key}"), "regenerate"),
    ] {
        let shown = gate.get(&path).json;
        assert_eq!((&shown["action"], &shown["locked"]), (&json!(expected), &json!(null)));
        let operation = match (expected, path.starts_with("/keys/")) {
            ("regenerate", true) => "regenerate",
            ("regenerate", false) => "secret/regenerate",
            (_, _) => "secret/rotate",
        };
        let made = gate.create(&format!("{path}/{operation}"), json!({}));
        assert_eq!(made.json["action"], expected, "{}", made.text);
        let after = gate.get(&path).json["action"].clone();
        if expected == "rotate_secret" {
            assert_eq!(after, expected);
        } else {
            assert_eq!(after, json!(null), "{path} has ended");
        }
    }
    // A secret cannot be rotated where there is none.
    let successor = gate.create("/clients", json!({ "name": "p", "authentication": "private_key_jwt" }));
    gate.post(&format!("/clients/{}/secret/rotate", successor.id()), json!({}))
        .expect_refusal(409, "no-secret");
    // A disabled client can be given another secret.
    let path = format!("/clients/{with_secret}");
    let disabled = gate.perform("PATCH", &path, Some(json!({ "state": "disabled" })));
    assert_eq!(disabled["action"], "rotate_secret");
    gate.create(&format!("{path}/secret/rotate"), json!({}));
}

#[test]
fn a_member_that_is_null_is_removed_or_refused_and_never_ignored() {
    let gate = Gate::new();
    let body = json!({
        "name": "p", "description": "text", "authentication": "private_key_jwt",
        "jwks_url": "https://client.example/jwks",
    });
    let path = format!("/clients/{}", gate.create("/clients", body).id());
    for member in ["name", "scopes", "token_ttl", "token_format", "state", "jwks_url"] {
        let response = gate.call("PATCH", &path, Some(&json!({ member: null })));
        assert_eq!(response.pointers(), [format!("/{member}")]);
        assert!(response.text.contains("cannot be removed"), "{}", response.text);
    }
    let changed = gate.perform("PATCH", &path, Some(json!({ "description": null })));
    assert_eq!(changed["description"], "");
}

#[test]
fn a_client_is_shown_with_where_and_with_what_it_gets_its_tokens() {
    let gate = Gate::new();
    let (id, _) = secret_client(&gate);
    let shown = gate.get(&format!("/clients/{id}")).json;
    assert_eq!(
        (&shown["token_endpoint"], &shown["algorithms"]),
        (&json!("https://auth.example.com/oauth/token"), &json!([]))
    );
    let narrow = gate.subscribe("acme", "narrow");
    let body = json!({ "name": "k", "authentication": "private_key_jwt", "subscription": narrow });
    let client = gate.create("/clients", body);
    assert_eq!(client.json["algorithms"], json!(["ES256"]));
    let keys = format!("/clients/{}/keys", client.id());
    assert_eq!(
        gate.post(&keys, json!({ "generate": "EdDSA" }))
            .pointers_of(409, "beyond-plan"),
        ["/generate"]
    );
    gate.create(&keys, json!({ "generate": "ES256" }));
    let plans = gate.get("/plans").json;
    let plan = |name: &str| {
        let items = plans["items"].as_array().unwrap().iter();
        items.clone().find(|plan| plan["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (&plan("narrow")["algorithms"], &plan("narrow")["jwks_url"]),
        (&json!(["ES256"]), &json!("optional"))
    );
    assert_eq!(plan("urls")["jwks_url"], "required");
}

#[test]
fn a_plan_can_want_the_keys_of_its_clients_behind_a_url() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "urls");
    let mut body = json!({ "name": "k", "authentication": "private_key_jwt", "subscription": subscription });
    let refused = gate.post("/clients", body.clone());
    assert_eq!(refused.pointers_of(409, "beyond-plan"), ["/jwks_url"]);
    // A client that was made before the plan wanted it gets no tokens, no key and no successor.
    let open = gate.subscribe("acme", "pairs");
    body["subscription"] = open.as_str().into();
    let before = gate.create("/clients", body.clone()).id();
    gate.perform(
        "POST",
        &format!("/subscriptions/{open}/plan"),
        Some(json!({ "plan": "urls" })),
    );
    let path = format!("/clients/{before}");
    assert_eq!(gate.get(&path).json["standing"], "credential_not_in_plan");
    let generate = json!({ "generate": "ES256" });
    gate.post(&format!("{path}/keys"), generate)
        .expect_refusal(409, "beyond-plan");
    gate.call("POST", &format!("{path}/secret/regenerate"), None)
        .expect_refusal(409, "beyond-plan");
    body["jwks_url"] = "https://client.example/jwks".into();
    body["subscription"] = subscription.into();
    assert_eq!(gate.create("/clients", body).json["standing"], "good");
}

#[test]
fn a_client_secret_is_shown_by_its_last_characters_alone() {
    let gate = Gate::new();
    let (id, secret) = secret_client(&gate);
    let hint = format!("kgs_…{}", &secret[secret.len() - 4..]);
    assert_eq!(gate.get(&format!("/clients/{id}")).json["secrets"][0]["hint"], hint);
}

#[test]
fn how_a_client_proves_itself_is_for_good() {
    let gate = Gate::new();
    let (with_secret, _) = secret_client(&gate);
    let pair = json!({ "name": "p", "authentication": "private_key_jwt" });
    let with_keys = gate.create("/clients", pair.clone()).id();
    let mut url = pair;
    url["jwks_url"] = "https://client.example/jwks".into();
    let with_url = gate.create("/clients", url).id();
    let change = |id: &str| {
        let body = json!({ "jwks_url": "https://other.example/jwks" });
        gate.call("PATCH", &format!("/clients/{id}"), Some(&body))
    };
    change(&with_secret).expect_refusal(409, "no-jwks-url");
    change(&with_keys).expect_refusal(409, "no-jwks-url");
    assert_eq!(change(&with_url).json["jwks_url"], "https://other.example/jwks");
    for (id, slug) in [(&with_secret, "no-keys"), (&with_url, "keys-from-url")] {
        gate.post(&format!("/clients/{id}/keys"), json!({ "generate": "ES256" }))
            .expect_refusal(409, slug);
        gate.get(&format!("/clients/{id}/keys")).expect_refusal(409, slug);
    }
    for id in [&with_keys, &with_url] {
        gate.call("POST", &format!("/clients/{id}/secret/rotate"), None)
            .expect_refusal(409, "no-secret");
    }
    gate.call("POST", &format!("/clients/{with_keys}/jwks/validate"), None)
        .expect_refusal(409, "no-jwks-url");
    let health = gate.perform("POST", &format!("/clients/{with_url}/jwks/validate"), None);
    assert_eq!(health["state"], "ok");
    assert_eq!(health["last_good_at"], "2027-01-15T08:00:00.000Z");
    assert_eq!(
        health["skipped"],
        json!([{ "kid": "old", "reason": "it is too short" }])
    );
    // The client's resource says the same, in every answer about it.
    assert_eq!(gate.get(&format!("/clients/{with_url}")).json["jwks"], health);
    let listed = gate.get("/clients").json;
    let listed = listed["items"].as_array().unwrap();
    let of = |id: &str| listed.iter().find(|client| client["id"] == id).unwrap()["jwks"].clone();
    assert_eq!(of(&with_url), health);
    for id in [&with_keys, &with_secret] {
        assert_eq!(of(id), json!(null));
    }
    // Members that cannot change are rejected.
    for member in [
        "authentication",
        "id",
        "organization",
        "subscription",
        "environment",
        "client_secret",
    ] {
        let response = gate.call(
            "PATCH",
            &format!("/clients/{with_secret}"),
            Some(&json!({ member: "x" })),
        );
        assert_eq!(response.pointers(), [format!("/{member}")]);
    }
}

#[test]
fn s137_a_jwks_url_is_https_and_stands_beside_private_key_jwt_alone() {
    let gate = Gate::new();
    let make = |authentication: &str, url: &str| {
        let body = json!({ "name": "p", "authentication": authentication, "jwks_url": url });
        gate.post("/clients", body)
    };
    for bad in [
        "http://client.example/jwks",
        "https://user:secret@client.example/jwks",
        "https://client.example/jwks#a",
        "file:///etc/passwd",
        "client.example",
        "",
    ] {
        assert_eq!(make("private_key_jwt", bad).pointers(), ["/jwks_url"], "{bad}");
    }
    assert_eq!(
        make("client_secret", "https://client.example/").pointers(),
        ["/jwks_url"]
    );
    assert_eq!(make("none", "https://client.example/").pointers(), ["/authentication"]);
    assert_eq!(make("private_key_jwt", "https://client.example/").status, 201);
}

#[test]
fn a_change_changes_what_it_names_and_a_disabled_client_gets_no_tokens() {
    let gate = Gate::new();
    let (id, secret) = secret_client(&gate);
    let path = format!("/clients/{id}");
    let change = |body: Value| gate.call("PATCH", &path, Some(&body));
    let changed =
        change(json!({ "name": "new", "description": "for exports", "token_ttl": "60s", "scopes": ["a", "b"] }));
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(changed.json["scopes"], json!(["a", "b"]));
    assert_eq!(gate.with_secret(&id, &secret).json["expires_in"], 60);
    for state in ["disabled", "disabled"] {
        assert_eq!(change(json!({ "state": state })).json["state"], state);
    }
    assert_ne!(gate.with_secret(&id, &secret).status, 200);
    assert_eq!(change(json!({ "state": "active" })).json["name"], "new");
    assert_eq!(gate.with_secret(&id, &secret).status, 200);
    for (body, pointer) in [
        (json!({ "state": "deleted" }), "/state"),
        (json!({ "token_ttl": "2h" }), "/token_ttl"),
        (json!({ "token_format": "JWT" }), "/token_format"),
        (json!({ "name": "" }), "/name"),
        (json!({ "scopes": ["a b"] }), "/scopes/0"),
    ] {
        assert_eq!(change(body).pointers(), [pointer]);
    }
}

#[test]
fn a_deleted_client_gets_no_tokens_and_its_issued_tokens_end_only_if_the_request_says_so() {
    let gate = Gate::new();
    for (query, ends) in [
        ("", false),
        ("?revoke_tokens=false", false),
        ("?revoke_tokens=true", true),
    ] {
        let created = gate.create(
            "/clients",
            json!({ "name": "x", "authentication": "client_secret", "scopes": ["admin:read"], "subscription": "sub_operators" }),
        );
        let (id, secret) = (created.id(), secret(&created));
        let issued = gate.with_secret(&id, &secret).json["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let present = || gate.call_as(Some(&issued), "GET", "/plans", None, &[]);
        assert_eq!(present().status, 200);
        gate.advance(1);
        let deleted = gate.perform("DELETE", &format!("/clients/{id}{query}"), None);
        assert_eq!(
            (&deleted["state"], deleted["tokens_not_before"].is_string()),
            (&"deleted".into(), ends)
        );
        if ends {
            present().expect_refusal(401, "invalid-token");
        } else {
            assert_eq!(present().status, 200, "{query:?}");
        }
        assert_ne!(gate.with_secret(&id, &secret).status, 200);
        gate.call("DELETE", &format!("/clients/{id}"), None)
            .expect_refusal(409, "client-deleted");
        gate.call("PATCH", &format!("/clients/{id}"), Some(&json!({ "name": "x" })))
            .expect_refusal(409, "client-deleted");
        gate.call("POST", &format!("/clients/{id}/secret/rotate"), None)
            .expect_refusal(409, "client-deleted");
    }
    let (id, _) = secret_client(&gate);
    for bad in [
        "?revoke_tokens=yes",
        "?revoke_tokens=true&revoke_tokens=false",
        "?revoke=true",
    ] {
        gate.call("DELETE", &format!("/clients/{id}{bad}"), None)
            .expect_refusal(400, "invalid-query");
    }
}

#[test]
fn an_administrator_whose_tokens_are_revoked_is_out_at_that_instant() {
    let gate = Gate::new();
    let created = gate.create(
        "/clients",
        json!({ "name": "x", "authentication": "client_secret", "scopes": ["admin:read"], "subscription": "sub_operators" }),
    );
    let token = || {
        gate.with_secret(&created.id(), &secret(&created)).json["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let ask = |token: &str| gate.call_as(Some(token), "GET", "/plans", None, &[]);
    let before = token();
    assert_eq!(ask(&before).status, 200);
    gate.advance(1);
    gate.perform("POST", &format!("/clients/{}/revoke-tokens", created.id()), None);
    ask(&before).expect_refusal(401, "invalid-token");
    gate.advance(2);
    assert_eq!(ask(&token()).status, 200);
}
