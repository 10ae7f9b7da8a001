//! How does the admin API read requests: bodies, lists, idempotency keys, revisions, and the socket?

use super::fixture::ADMIN_TOKEN;
use super::fixture::AdminResponse;
use super::fixture::Gate;
use axum::body::Body;
use http::Request;
use keygate::control::admin::access::Peer;
use keygate::control::registry::actor::LocalUser;
use serde_json::Value;
use serde_json::json;

fn post_raw(gate: &Gate, content_type: Option<&str>, body: &str) -> AdminResponse {
    let mut request = Request::builder()
        .method("POST")
        .uri("/admin/v1/keys")
        .header("authorization", format!("Bearer {ADMIN_TOKEN}"));
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    gate.send(gate.somewhere(), request.body(Body::from(body.to_owned())).unwrap())
}

#[test]
fn a_body_is_json_of_known_members_and_at_most_64_kib() {
    let gate = Gate::new();
    let json = Some("application/json");
    let good = r#"{"name":"k","expires":"1d"}"#;
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
    ] {
        assert_eq!(post_raw(&gate, Some(content_type), good).status, 201, "{content_type}");
    }
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonx"),
    ] {
        post_raw(&gate, content_type, good).expect_refusal(415, "unsupported-media-type");
    }
    for bad in [
        "",
        "{",
        "name=k",
        r#"{"name":"k","expires":"1d",}"#,
        r#"{"name":"k","expires":"1d"} {}"#,
        "\u{feff}{}",
    ] {
        post_raw(&gate, json, bad).expect_refusal(400, "malformed-json");
    }
    for (bad, pointer) in [
        (r#"{"name":"k","expires":"1d","expire":"1d"}"#, "/expire"),
        (r#"{"name":"k","expires":"1d","expires":"2d"}"#, "/expires"),
        (r#"{"name":5,"expires":"1d"}"#, "/name"),
        (r#"{"name":"k","expires":"1d","scopes":"a"}"#, "/scopes"),
        (r#"{"name":"k","expires":"1d","scopes":[5]}"#, "/scopes/0"),
        ("[]", ""),
    ] {
        assert_eq!(post_raw(&gate, json, bad).pointers(), [pointer], "{bad}");
    }
    // Every mistake of this kind at once.
    assert_eq!(
        post_raw(&gate, json, r#"{"expire":"1d"}"#).pointers(),
        ["/name", "/expires", "/expire"]
    );
    let padded = |length: usize| format!("{good}{}", " ".repeat(length - good.len()));
    assert_eq!(post_raw(&gate, json, &padded(65_536)).status, 201);
    post_raw(&gate, json, &padded(65_537)).expect_refusal(413, "body-too-large");
    // A body for an operation that takes none is rejected, not ignored.
    let id = gate.create("/keys", json!({ "name": "k", "expires": "1d" })).id();
    let response = gate.post(&format!("/keys/{id}/revoke"), json!({ "grace": "24h" }));
    assert_eq!(response.pointers(), ["/grace"]);
    assert_eq!(gate.post(&format!("/keys/{id}/revoke"), json!({})).status, 200);
}

#[test]
fn an_optional_body_may_be_null_and_a_change_a_merge_patch() {
    let gate = Gate::new();
    let id = gate.create("/keys", json!({ "name": "k", "expires": "1d" })).id();
    gate.create(&format!("/keys/{id}/regenerate"), Value::Null);
    let client = gate.create("/clients", json!({ "name": "c", "authentication": "client_secret" }));
    let send = |method: &str, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1{path}"))
            .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
            .header("content-type", "application/merge-patch+json");
        let body = Body::from(json!({ "name": "d" }).to_string());
        gate.send(gate.somewhere(), request.body(body).unwrap())
    };
    assert_eq!(send("PATCH", &format!("/clients/{}", client.id())).json["name"], "d");
    send("POST", "/organizations").expect_refusal(415, "unsupported-media-type");
}

#[test]
fn rfc9110_section_13_1_2_a_representation_that_is_known_is_not_sent_again() {
    let gate = Gate::new();
    let path = format!(
        "/keys/{}",
        gate.create("/keys", json!({ "name": "k", "expires": "1d" })).id()
    );
    let tag = gate.get(&path).header("etag").unwrap().to_owned();
    let get = |tag: &str| gate.call_as(Some(ADMIN_TOKEN), "GET", &path, None, &[("if-none-match", tag)]);
    let same = get(&tag);
    assert_eq!(
        (same.status, same.text.as_str(), same.header("etag")),
        (304, "", Some(tag.as_str()))
    );
    assert_eq!(get(&format!("\"9\", W/{tag}")).status, 304);
    assert_eq!(get("\"9\"").status, 200);
    gate.perform("POST", &format!("{path}/revoke"), None);
    assert_eq!(get(&tag).status, 200);
}

#[test]
fn a_list_is_read_page_by_page_and_whole() {
    let gate = Gate::new();
    let mut created: Vec<String> = (0..7)
        .map(|_| gate.create("/keys", json!({ "name": "k", "expires": "1d" })).id())
        .collect();
    created.sort();
    for limit in [1, 3, 7, 200] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = gate.get(&format!("/keys?limit={limit}{after}")).json;
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit && !items.is_empty());
            seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, created, "{limit}");
    }
    for bad in [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=-1",
        "limit=1&limit=2",
        "after=nonsense",
        "limits=1",
        "organization=A",
    ] {
        gate.get(&format!("/keys?{bad}")).expect_refusal(400, "invalid-query");
    }
    gate.get("/clients?subscription=a%20b")
        .expect_refusal(400, "invalid-query");
}

#[test]
fn a_list_is_narrowed_by_name_and_state_and_still_read_page_by_page() {
    let gate = Gate::new();
    let ids: Vec<String> = (0..6)
        .map(|number| {
            let name = if number % 2 == 0 { "even" } else { "odd" };
            gate.create("/keys", json!({ "name": name, "expires": "1d" })).id()
        })
        .collect();
    gate.perform("POST", &format!("/keys/{}/revoke", ids[0]), None);
    let listed = |query: &str| {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = gate.get(&format!("/keys?{query}{after}")).json;
            let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
            seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return seen,
            }
        }
    };
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        ids
    };
    let (odd, even) = (
        sorted(&[&ids[1], &ids[3], &ids[5]]),
        sorted(&[&ids[0], &ids[2], &ids[4]]),
    );
    for limit in [1, 2, 3, 200] {
        assert_eq!(listed(&format!("limit={limit}&name=odd")), odd);
        assert_eq!(listed(&format!("limit={limit}&name=even")), even);
        assert_eq!(listed(&format!("limit={limit}&state=revoked")), [ids[0].clone()]);
        assert_eq!(
            listed(&format!("limit={limit}&state=active&name=even")),
            sorted(&[&ids[2], &ids[4]])
        );
    }
    assert!(listed("name=od").is_empty());
    let client = gate
        .create("/clients", json!({ "name": "c", "authentication": "client_secret" }))
        .id();
    let clients = |query: &str| {
        gate.get(&format!("/clients?{query}")).json["items"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((clients("name=c"), clients("name=c&state=deleted")), (1, 0));
    gate.perform("DELETE", &format!("/clients/{client}"), None);
    assert_eq!(clients("name=c&state=deleted"), 1);
    gate.subscribe("acme", "paid");
    gate.create("/subscriptions", json!({ "organization": "acme", "plan": "gold" }));
    let pending = gate.get("/subscriptions?organization=acme&state=pending").json;
    assert_eq!(pending["items"].as_array().unwrap().len(), 1);
    for bad in [
        "/keys?state=gone",
        "/clients?state=ending",
        "/subscriptions?state=",
        "/keys?names=a",
    ] {
        gate.get(bad).expect_refusal(400, "invalid-query");
    }
}

#[test]
fn an_idempotency_key_makes_one_thing_and_gives_its_secret_once() {
    let gate = Gate::new();
    let body = json!({ "name": "k", "expires": "1d" });
    let ask = |path: &str, body: &Value, key: &str| {
        gate.call_as(Some(ADMIN_TOKEN), "POST", path, Some(body), &[("idempotency-key", key)])
    };
    let first = ask("/keys", &body, "one");
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, None));
    assert!(first.json["key"].is_string());
    let again = ask("/keys", &body, "one");
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(again.id(), first.id());
    assert!(again.json.get("key").is_none(), "{}", again.text);
    ask("/keys", &json!({ "name": "k", "expires": "2d" }), "one").expect_refusal(422, "idempotency-key-reused");
    assert_ne!(ask("/keys", &body, "two").id(), first.id());
    // Another path or another caller may use the same idempotency key.
    let client = json!({ "name": "c", "authentication": "client_secret" });
    let created = ask("/clients", &client, "one");
    assert!(created.json["client_secret"].is_string());
    let again = ask("/clients", &client, "one");
    assert!(again.id() == created.id() && again.json.get("client_secret").is_none());
    let other = gate.token_of("sub_operators", &["admin:write"], "1h");
    let theirs = gate.call_as(
        Some(&other),
        "POST",
        "/keys",
        Some(&body),
        &[("idempotency-key", "one")],
    );
    assert_ne!(theirs.id(), first.id());
    // A refusal is not stored.
    let wrong = json!({ "name": "k", "expires": "731d" });
    assert_eq!(ask("/keys", &wrong, "three").pointers(), ["/expires"]);
    assert_eq!(ask("/keys", &body, "three").status, 201);
    ask("/keys", &body, &"k".repeat(256)).expect_refusal(400, "invalid-idempotency-key");
}

#[test]
fn of_the_same_request_many_times_at_once_one_makes_the_thing() {
    let gate = Gate::new();
    let body = json!({ "name": "k", "expires": "1d" });
    let response: Vec<AdminResponse> = std::thread::scope(|scope| {
        let ask = || {
            gate.call_as(
                Some(ADMIN_TOKEN),
                "POST",
                "/keys",
                Some(&body),
                &[("idempotency-key", "one")],
            )
        };
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|request| request.join().unwrap()).collect()
    });
    assert!(response.iter().all(|response| response.status == 201), "{response:?}");
    assert_eq!(
        response
            .iter()
            .filter(|response| response.json["key"].is_string())
            .count(),
        1
    );
    assert!(response.iter().all(|other| other.id() == response[0].id()));
    assert_eq!(gate.get("/keys").json["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_change_with_if_match_is_made_if_nobody_was_faster() {
    let gate = Gate::new();
    let created = gate.create("/clients", json!({ "name": "c", "authentication": "client_secret" }));
    let path = format!("/clients/{}", created.id());
    let read = gate.get(&path);
    let tag = read.header("etag").unwrap().to_owned();
    assert_eq!(created.header("etag"), Some(tag.as_str()));
    let change = |name: &str, tag: &str| {
        gate.call_as(
            Some(ADMIN_TOKEN),
            "PATCH",
            &path,
            Some(&json!({ "name": name })),
            &[("if-match", tag)],
        )
    };
    let first = change("first", &tag);
    assert_eq!(first.status, 200);
    assert_eq!(gate.get(&path).header("etag"), first.header("etag"));
    change("second", &tag).expect_refusal(412, "precondition-failed");
    assert_eq!(gate.get(&path).json["name"], "first");
    assert_eq!(change("third", first.header("etag").unwrap()).status, 200);
    assert_eq!(change("fourth", "*").status, 200);
    change("fifth", "4").expect_refusal(400, "invalid-if-match");
}

#[test]
fn the_socket_asks_for_no_token_and_may_write_a_backup_anywhere() {
    let gate = Gate::new();
    let local = |method: &str, path: &str, body: Value| {
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1{path}"))
            .header("content-type", "application/json");
        let user = LocalUser::new(Some(1_000), Some("alice".to_owned()));
        gate.send(Peer::Local(user), request.body(Body::from(body.to_string())).unwrap())
    };
    let created = local("POST", "/keys", json!({ "name": "k", "expires": "1d" }));
    assert_eq!(created.status, 201);
    let event = &gate.get("/audit").json["items"][0];
    let alice = "local:alice (uid 1000)";
    assert_eq!((&event["actor"], &event["from"]), (&alice.into(), &Value::Null));
    for (actor, count) in [
        ("local", 1),
        ("local:alice", 1),
        ("local:alice%20(uid%201000)", 1),
        ("local:al", 0),
    ] {
        let found = gate.get(&format!("/audit?actor={actor}")).json;
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{actor}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("copy.db");
    let backup = |path: &str| local("POST", "/backup", json!({ "path": path }));
    assert_eq!(backup(path.to_str().unwrap()).status, 201);
    assert!(path.exists());
    backup(path.to_str().unwrap()).expect_refusal(409, "file-exists");
    // Over the network, a backup goes to a file beside the store; the request names the file without a folder.
    for bad in [
        path.to_str().unwrap(),
        "../copy.db",
        "a/b",
        ".hidden",
        "",
        "keygate db",
        "/etc/passwd",
    ] {
        assert_eq!(
            gate.post("/backup", json!({ "path": bad })).pointers(),
            ["/path"],
            "{bad}"
        );
    }
    gate.post("/backup", json!({ "path": "keygate.db" }))
        .expect_refusal(409, "file-exists");
    assert_eq!(gate.post("/backup", json!({ "path": "copy.db" })).status, 201);
    assert!(gate.folder.path().join("copy.db").exists());
}
