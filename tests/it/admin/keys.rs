//! API keys: which members do they take at creation, which can change, and how do they end?

use super::fixture::Gate;
use serde_json::Value;
use serde_json::json;

fn expires(gate: &Gate, expires: &str) -> (u16, Option<String>) {
    let response = gate.post("/keys", json!({ "name": "k", "expires": expires }));
    (response.status, response.json["expires_at"].as_str().map(str::to_owned))
}

#[test]
fn s068_an_expiry_is_explicit_in_the_future_and_at_most_730_days_away() {
    let gate = Gate::new();
    let missing = gate.post("/keys", json!({ "name": "k" }));
    assert_eq!(missing.pointers(), ["/expires"]);
    for bad in [
        "731d",
        "0d",
        "0mo",
        "25mo",
        "-1d",
        "",
        "90",
        "1y",
        "2027-01-15",
        "2020-01-01T00:00:00Z",
        // Now, and one second beyond the longest lifetime.
        "2027-01-15T08:00:00Z",
        "2029-01-14T08:00:01Z",
    ] {
        let response = gate.post("/keys", json!({ "name": "k", "expires": bad }));
        assert_eq!(response.pointers(), ["/expires"], "{bad}: {}", response.text);
    }
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(expires(&gate, "never"), (201, None));
    assert_eq!(expires(&gate, "1d"), (201, text("2027-01-16T08:00:00.000Z")));
    assert_eq!(expires(&gate, "730d"), (201, text("2029-01-14T08:00:00.000Z")));
    assert_eq!(expires(&gate, "6mo"), (201, text("2027-07-15T08:00:00.000Z")));
    assert_eq!(
        expires(&gate, "2027-01-15T08:00:01Z"),
        (201, text("2027-01-15T08:00:01.000Z"))
    );
}

#[test]
fn s064_a_keys_text_is_in_the_answer_that_made_it_and_nowhere_else() {
    let gate = Gate::new();
    let created = gate.create("/keys", json!({ "name": "ci", "expires": "90d", "scopes": ["b", "a"] }));
    let key = created.json["key"].as_str().unwrap().to_owned();
    let id = created.id();
    assert!(key.starts_with(&format!("kg_live_{id}_")), "{key}");
    assert_eq!(created.json["key_hint"], format!("kg_live_{id}_…"));
    assert_eq!(created.json["scopes"], json!(["a", "b"]));
    let secret = &key[25..];
    for path in [
        format!("/keys/{id}"),
        "/keys".to_owned(),
        "/audit".to_owned(),
        format!("/audit?target={id}"),
    ] {
        let response = gate.get(&path);
        assert_eq!(response.status, 200);
        assert!(
            response.text.contains(&id) && !response.text.contains(&secret[..8]),
            "{path}: {}",
            response.text
        );
        assert!(!response.text.contains("digest"), "{}", response.text);
    }
    // The data side accepts the key as soon as the response has been sent.
    let entry = gate.control.directory.get(&id.parse().unwrap()).unwrap();
    assert_eq!(entry.scopes().to_string(), "a b");
}

#[test]
fn s070_a_regenerated_key_is_refused_at_once_or_when_its_grace_ends() {
    let gate = Gate::new();
    let regenerate = |grace: Option<&str>| {
        let old = gate.create("/keys", json!({ "name": "k", "expires": "90d", "scopes": ["a"] }));
        let body = grace.map_or_else(|| json!({}), |grace| json!({ "grace": grace }));
        let new = gate.create(&format!("/keys/{}/regenerate", old.id()), body);
        assert_eq!(new.json["replaces"]["id"], old.json["id"]);
        assert_eq!(
            (&new.json["scopes"], &new.json["name"]),
            (&old.json["scopes"], &old.json["name"])
        );
        assert_ne!(new.json["key"], old.json["key"]);
        (old.id(), new.id())
    };
    let state = |id: &str| {
        gate.get(&format!("/keys/{id}")).json["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (old, new) = regenerate(None);
    assert_eq!((state(&old).as_str(), state(&new).as_str()), ("revoked", "active"));
    let entry = gate.control.directory.get(&old.parse().unwrap()).unwrap();
    assert!(
        entry.is_revoked(gate.now()),
        "on the data side at the instant of the answer"
    );
    gate.call("POST", &format!("/keys/{old}/regenerate"), None)
        .expect_refusal(409, "already-revoked");

    let (old, new) = regenerate(Some("2h"));
    assert_eq!((state(&old).as_str(), state(&new).as_str()), ("ending", "active"));
    gate.call("POST", &format!("/keys/{old}/regenerate"), None)
        .expect_refusal(409, "already-replaced");
    gate.advance(2 * 3_600 - 1);
    assert_eq!(state(&old), "ending");
    let entry = gate.control.directory.get(&old.parse().unwrap()).unwrap();
    assert!(!entry.is_revoked(gate.now()));
    gate.advance(1);
    assert_eq!(state(&old), "revoked");
    assert!(entry.is_revoked(gate.now()));
    for bad in ["24h1s", "25h", "x", ""] {
        let response = gate.post(&format!("/keys/{new}/regenerate"), json!({ "grace": bad }));
        assert_eq!(response.pointers(), ["/grace"], "{bad}");
    }
    // Revoking the old key ends the grace period.
    let (old, _) = regenerate(Some("24h"));
    gate.perform("POST", &format!("/keys/{old}/revoke"), None);
    assert_eq!(state(&old), "revoked");
    gate.call("POST", &format!("/keys/{old}/revoke"), None)
        .expect_refusal(409, "already-revoked");
}

#[test]
fn a_plan_says_how_many_keys_there_are_and_a_second_is_for_changing_over() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "gold");
    let body = json!({ "name": "k", "expires": "90d", "subscription": subscription });
    let first = gate.create("/keys", body.clone()).id();
    gate.create("/keys", body.clone());
    gate.post("/keys", body.clone()).expect_refusal(409, "key-slots-full");
    let mut import = body.clone();
    import["digest"] = "a".repeat(64).into();
    gate.post("/keys/import", import).expect_refusal(409, "key-slots-full");
    // A key in its grace period takes no slot; its successor does.
    gate.create(&format!("/keys/{first}/regenerate"), json!({ "grace": "24h" }));
    gate.post("/keys", body.clone()).expect_refusal(409, "key-slots-full");
    gate.perform("POST", &format!("/keys/{first}/revoke"), None);
    gate.post("/keys", body.clone()).expect_refusal(409, "key-slots-full");
    let listed = gate.get(&format!("/keys?subscription={subscription}")).json;
    let active = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["state"] == "active")
        .unwrap();
    gate.perform(
        "POST",
        &format!("/keys/{}/revoke", active["id"].as_str().unwrap()),
        None,
    );
    gate.create("/keys", body);
}

#[test]
fn the_last_place_is_taken_by_one_of_many_who_want_it() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "gold");
    let body = json!({ "name": "k", "expires": "90d", "subscription": subscription });
    gate.create("/keys", body.clone());
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || gate.post("/keys", body.clone()).status;
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|request| request.join().unwrap()).collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        1,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| matches!(status, 201 | 409)),
        "{statuses:?}"
    );
}

#[test]
fn a_key_of_another_system_is_brought_along_once() {
    let gate = Gate::new();
    let digest = "ab".repeat(32);
    let body = json!({ "name": "old", "expires": "never", "digest": digest });
    let created = gate.create("/keys/import", body.clone());
    assert_eq!(
        (&created.json["imported"], &created.json["key_hint"]),
        (&true.into(), &"(imported)".into())
    );
    assert!(created.json.get("key").is_none() && !created.text.contains(&digest));
    gate.post("/keys/import", body.clone())
        .expect_refusal(409, "key-exists");
    // Another organization cannot import the key either: one key has one owner.
    let elsewhere = gate.subscribe("acme", "default");
    let mut body = body;
    body["subscription"] = elsewhere.into();
    gate.post("/keys/import", body.clone())
        .expect_refusal(409, "key-exists");
    for bad in ["", "AB", &"AB".repeat(32), &"ab".repeat(33), &"zz".repeat(32)] {
        body["digest"] = (*bad).into();
        assert_eq!(gate.post("/keys/import", body.clone()).pointers(), ["/digest"], "{bad}");
    }
}

#[test]
fn every_mistake_is_told_at_once_and_where_it_stands() {
    let gate = Gate::new();
    let response = gate.post(
        "/keys",
        json!({
            "name": "a\nb", "expires": "731d", "scopes": ["ok", "not ok", ""], "addresses": ["10.0.0.1/8", "::1"],
            "environment": "prod", "subscription": "a b",
        }),
    );
    assert_eq!(
        response.pointers(),
        [
            "/name",
            "/expires",
            "/scopes/1",
            "/scopes/2",
            "/addresses/0",
            "/environment",
            "/subscription"
        ]
    );
}

#[test]
fn s144_texts_that_a_terminal_would_obey_are_refused_before_they_reach_the_audit_log() {
    let gate = Gate::new();
    for bad in ["\u{1b}[31mred", "a\r\nb", "a\0", "a\u{202e}b", "\u{200b}"] {
        for (path, body) in [
            ("/organizations", json!({ "id": "acme", "name": bad })),
            ("/keys", json!({ "name": bad, "expires": "1d" })),
            ("/clients", json!({ "name": bad, "authentication": "client_secret" })),
        ] {
            assert_eq!(gate.post(path, body).pointers(), ["/name"], "{path} {bad:?}");
        }
        let body = json!({ "name": "x", "authentication": "client_secret", "description": bad });
        assert_eq!(gate.post("/clients", body).pointers(), ["/description"], "{bad:?}");
    }
    let audit = gate.get("/audit").text;
    assert!(
        !audit.trim_end().chars().any(keygate::observe::escape::is_hidden),
        "{audit}"
    );
}

#[test]
fn a_change_of_a_key_changes_what_it_names_and_is_in_force_with_its_answer() {
    let gate = Gate::new();
    let body = json!({ "name": "ci", "expires": "90d", "scopes": ["a"], "addresses": ["192.0.2.0/24"] });
    let id = gate.create("/keys", body).id();
    let path = format!("/keys/{id}");
    let change = |body: Value| gate.call("PATCH", &path, Some(&body));
    let changed =
        change(json!({ "name": "cd", "expires": "30d", "scopes": ["b", "a"], "addresses": ["198.51.100.1"] }));
    assert_eq!(changed.status, 200, "{}", changed.text);
    for (member, expected) in [
        ("name", json!("cd")),
        ("expires_at", json!("2027-02-14T08:00:00.000Z")),
        ("scopes", json!(["a", "b"])),
        ("addresses", json!(["198.51.100.1/32"])),
        ("state", json!("active")),
    ] {
        assert_eq!(changed.json[member], expected);
    }
    assert_eq!(changed.json, gate.get(&path).json);
    let entry = || gate.control.directory.get(&id.parse().unwrap()).unwrap();
    assert_eq!(entry().scopes().to_string(), "a b");
    assert!(!entry().allows(Some([192, 0, 2, 1].into())) && entry().allows(Some([198, 51, 100, 1].into())));
    let expired = Some(gate.now().saturating_add(std::time::Duration::from_secs(30 * 86_400)));
    assert_eq!(entry().expires_at(), expired);
    // What is not named stays; `null` removes the addresses and nothing else.
    assert_eq!(change(json!({})).json, changed.json);
    assert_eq!(change(json!({ "addresses": null })).json["addresses"], json!([]));
    assert!(entry().allows(None));
    for member in ["name", "expires", "scopes", "state"] {
        let response = change(json!({ member: null }));
        assert_eq!(response.pointers(), [format!("/{member}")]);
        assert!(response.text.contains("cannot be removed"), "{}", response.text);
    }
    for (body, pointer) in [
        (json!({ "name": "" }), "/name"),
        (json!({ "expires": "731d" }), "/expires"),
        (json!({ "expires": "2027-01-15T08:00:00Z" }), "/expires"),
        (json!({ "scopes": ["a b"] }), "/scopes/0"),
        (json!({ "addresses": ["10.0.0.1/8"] }), "/addresses/0"),
        (json!({ "state": "revoked" }), "/state"),
        (json!({ "environment": "live" }), "/environment"),
        (json!({ "subscription": "sub_default" }), "/subscription"),
        (json!({ "digest": "a" }), "/digest"),
    ] {
        assert_eq!(change(body).pointers(), [pointer]);
    }
    // The plan bounds the scopes, as when a key is made.
    let subscription = gate.subscribe("acme", "gold");
    let body = json!({ "name": "k", "expires": "90d", "scopes": ["orders:read"], "subscription": subscription });
    let bound = format!("/keys/{}", gate.create("/keys", body).id());
    let wider = json!({ "scopes": ["orders:read", "orders:delete"] });
    let refused = gate.call("PATCH", &bound, Some(&wider));
    assert_eq!(refused.pointers_of(409, "beyond-plan"), ["/scopes"]);
    let within = json!({ "scopes": ["orders:write"] });
    assert_eq!(
        gate.perform("PATCH", &bound, Some(within))["scopes"],
        json!(["orders:write"])
    );
}

#[test]
fn a_disabled_key_is_refused_until_it_is_enabled_and_a_revoked_one_for_good() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "gold");
    let body = json!({ "name": "k", "expires": "90d", "subscription": subscription });
    let id = gate.create("/keys", body.clone()).id();
    let path = format!("/keys/{id}");
    let set = |state: &str| gate.perform("PATCH", &path, Some(json!({ "state": state })))["state"].clone();
    let entry = || gate.control.directory.get(&id.parse().unwrap()).unwrap();
    // The state that it has is no error.
    for state in ["disabled", "disabled", "active", "active", "disabled"] {
        assert_eq!(set(state), state);
        assert_eq!(entry().is_disabled(), state == "disabled");
    }
    let listed = gate.get("/keys?state=disabled").json;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    // It keeps its place in the plan, and so does its successor, which is disabled as well.
    gate.create("/keys", body.clone());
    gate.post("/keys", body).expect_refusal(409, "key-slots-full");
    let successor = gate.create(&format!("{path}/regenerate"), json!({ "grace": "1h" }));
    assert_eq!(successor.json["state"], "disabled");
    assert_eq!(gate.get(&path).json["state"], "disabled");
    assert_eq!(set("active"), "ending");
    assert_eq!(set("disabled"), "disabled");
    gate.perform("POST", &format!("{path}/revoke"), None);
    for state in ["active", "disabled"] {
        gate.call("PATCH", &path, Some(&json!({ "state": state })))
            .expect_refusal(409, "already-revoked");
    }
    assert!(entry().is_revoked(gate.now()));
    assert_eq!(gate.get(&path).json["state"], "revoked");
}

#[test]
fn s067_an_expired_key_does_not_come_back_to_life() {
    let gate = Gate::new();
    let id = gate.create("/keys", json!({ "name": "k", "expires": "1d" })).id();
    let path = format!("/keys/{id}");
    let longer = json!({ "expires": "90d" });
    gate.advance(86_399);
    gate.perform("PATCH", &path, Some(json!({ "expires": "2027-01-16T08:00:00Z" })));
    gate.advance(1);
    assert_eq!(gate.get(&path).json["state"], "expired");
    gate.call("PATCH", &path, Some(&longer))
        .expect_refusal(409, "already-expired");
    gate.call("PATCH", &path, Some(&json!({ "expires": "never" })))
        .expect_refusal(409, "already-expired");
    assert_eq!(
        gate.perform("PATCH", &path, Some(json!({ "name": "old" })))["name"],
        "old"
    );
    let entry = gate.control.directory.get(&id.parse().unwrap()).unwrap();
    assert!(entry.is_expired(gate.now()));
}
