//! Do routes take the tokens of Keygate's own token endpoint, and no others?

use super::Gate;
use super::gate;
use super::gate::basic;
use super::gate::form;
use super::gate::text;
use crate::support::Admin;
use crate::support::Binary;
use crate::support::RawClient;
use crate::support::StopAtEnd;
use crate::support::wait_until;
use serde_json::json;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

#[test]
fn a_client_gets_a_token_and_its_calls_carry_who_it_is() {
    let gate = Gate::program(&gate::with_endpoint(""));
    let (id, secret) = gate.secret_client(json!({}));
    let token = gate.token((&id, &secret));
    for _ in 0..2 {
        let response = gate.with_token("/any/x", &token);
        for (name, value) in [
            ("x-keygate-client-id", &*id),
            ("x-keygate-organization", "default"),
            ("x-keygate-issuer", "keygate"),
            ("x-keygate-scope", "orders:read"),
        ] {
            assert_eq!(gate::upstream_field(&response, name).as_deref(), Some(value), "{name}");
        }
    }
    let records = gate.running.wait_access_records(3);
    let issued = records
        .iter()
        .find(|record| record["route"] == "keygate.token")
        .unwrap();
    assert_eq!(issued["client_id"], id, "{issued}");
    assert_eq!(issued["decision"], "answer", "{issued}");
    let called = records.iter().find(|record| record["route"] == "any").unwrap();
    assert_eq!(
        (&called["subscription"], &called["plan"]),
        (&json!("sub_default"), &json!("default"))
    );
    assert!(!gate.running.output().contains(&token));
    assert!(!gate.running.output().contains(&secret));
}

#[test]
fn an_opaque_token_counts_like_any_other_and_not_once_it_is_revoked() {
    let gate = Gate::start();
    let (id, secret) = gate.secret_client(json!({ "token_format": "opaque" }));
    let token = gate.token((&id, &secret));
    assert!(token.starts_with("kgt_"), "{token}");
    let response = gate.with_token("/any/x", &token);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(
        gate::upstream_field(&response, "x-keygate-credential-type").as_deref(),
        Some("opaque")
    );
    // A token without its last character is refused.
    let shortened = gate.with_token("/any/x", &token[..token.len() - 1]);
    assert_eq!(shortened.status, 401);
    assert_eq!(gate.running.record(&shortened)["reason"], "token_unknown");
    let body = format!("token={token}");
    assert_eq!(
        gate.client()
            .exchange(form("/oauth/revoke", &basic(&id, &secret), &body))
            .status,
        200
    );
    let refused = gate.with_token("/any/x", &token);
    assert_eq!(refused.status, 401);
    assert_eq!(gate.running.record(&refused)["reason"], "token_revoked");
}

#[test]
fn a_token_that_was_revoked_is_refused_at_once_also_when_it_is_remembered() {
    let gate = Gate::start();
    let (id, secret) = gate.secret_client(json!({}));
    let (token, other) = (gate.token((&id, &secret)), gate.token((&id, &secret)));
    let mut client = gate.client();
    let request = gate::token_request("/any/x", &token);
    assert_eq!(client.exchange(&request).status, 200);
    assert_eq!(client.exchange(&request).status, 200);
    let body = format!("token={token}&token_type_hint=access_token");
    assert_eq!(
        gate.client()
            .exchange(form("/oauth/revoke", &basic(&id, &secret), &body))
            .status,
        200
    );
    assert_eq!(client.exchange(&request).status, 401);
    assert_eq!(
        gate.with_token("/any/x", &other).status,
        200,
        "the client's other token is as good as before"
    );
}

#[test]
fn a_deleted_client_gets_no_token_and_those_that_are_out_stay_good_unless_they_are_revoked() {
    let gate = Gate::start();
    let (id, secret) = gate.secret_client(json!({}));
    let token = gate.token((&id, &secret));
    gate.admin.perform("DELETE", &format!("/clients/{id}"), None);
    assert_eq!(gate.ask_token((&id, &secret)).status, 401);
    assert_eq!(gate.with_token("/any/x", &token).status, 200);

    let (id, secret) = gate.secret_client(json!({}));
    let token = gate.token((&id, &secret));
    assert_eq!(gate.with_token("/any/x", &token).status, 200);
    gate.admin
        .perform("DELETE", &format!("/clients/{id}?revoke_tokens=true"), None);
    let refused = gate.with_token("/any/x", &token);
    assert_eq!(refused.status, 401);
    assert_eq!(gate.running.record(&refused)["reason"], "client_tokens_revoked");
}

#[test]
fn a_token_of_a_client_that_nobody_knows_here_is_refused() {
    // The same signing key with another store, as after the loss of a database.
    let gate = Gate::program(&gate::with_endpoint(""));
    let (id, secret) = gate.secret_client(json!({}));
    let token = gate.token((&id, &secret));
    let folder = gate.running.stop();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("keygate.db") && path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    let gate = Gate::of(Binary::start_in(folder, &[]));
    let refused = gate.with_token("/any/x", &token);
    assert_eq!(refused.status, 401);
    assert_eq!(gate.running.record(&refused)["reason"], "client_unknown");
}

#[test]
fn s135_a_key_is_published_before_it_signs_and_after_and_no_good_token_is_refused_meanwhile() {
    let gate = Gate::start_with(&gate::with_endpoint(
        ", publish_before: 2s, rotate_every: 1h, limit: { quota: 100000/min, burst: 100000 }",
    ));
    let kids = |client: &mut RawClient| -> Vec<String> {
        let set = client.exchange("GET /oauth/jwks HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // A cache keeps the set no longer than a key is published before the key signs.
        assert_eq!(set.header("cache-control"), Some("public, max-age=2"));
        let keys = set.json()["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| text(&key["kid"])).collect()
    };
    let client = gate.secret_client(json!({}));
    let client = (client.0.as_str(), client.1.as_str());
    let mut asking = gate.client();
    let before = kids(&mut asking);
    assert_eq!(before.len(), 1, "{before:?}");
    let first = gate.token(client);
    let stop = AtomicBool::new(false);
    let (refused, calls) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut refused, mut calls) = (Vec::new(), 0_u32);
            let mut connection = gate.client();
            while !stop.load(Ordering::Acquire) {
                let token = gate.token(client);
                for token in [&token, &first] {
                    let response = connection.exchange(gate::token_request("/any/x", token));
                    calls += 1;
                    if response.status != 200 {
                        refused.push(response.text());
                    }
                }
            }
            (refused, calls)
        });
        let stopping = StopAtEnd(&stop);
        gate.admin.perform("POST", "/signing-keys/rotate", Some(json!({})));
        // Waits until the new key signs.
        let request = form(
            "/oauth/token",
            &basic(client.0, client.1),
            "grant_type=client_credentials",
        );
        let signed_by = |asking: &mut RawClient| {
            let token = text(&asking.exchange(&request).json()["access_token"]);
            let header = crate::support::issuer::from_base64url(token.split('.').next().unwrap());
            let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
            text(&header["kid"])
        };
        let mut published = Vec::new();
        wait_until("the new key signs", || {
            let by = signed_by(&mut asking);
            if by != before[0] {
                assert!(published.contains(&by), "it signed before it was published");
                return true;
            }
            published = kids(&mut asking);
            false
        });
        drop(stopping);
        load.join().unwrap()
    });
    assert!(refused.is_empty(), "of {calls}: {refused:?}");
    assert!(calls > 20, "{calls}");
    // The old key stays published until its last token expires.
    assert!(kids(&mut asking).contains(&before[0]));
    assert_eq!(gate.with_token("/any/x", &first).status, 200);
}

#[test]
fn tokens_are_good_over_a_restart_and_only_for_their_audience() {
    let gate = Gate::program(&gate::with_endpoint(""));
    let (id, secret) = gate.secret_client(json!({}));
    let token = gate.token((&id, &secret));
    let gate = Gate::of(Binary::start_in(gate.running.stop(), &[]));
    assert_eq!(gate.with_token("/any/x", &token).status, 200);
    gate.running
        .reload(&gate::with_endpoint(", audiences: [\"https://other.example\"]"));
    gate.running.wait_for_output("Configuration reloaded");
    assert_eq!(gate.with_token("/any/x", &token).status, 401);
    let other = gate.token((&id, &secret));
    assert_eq!(gate.with_token("/any/x", &other).status, 200);
}

#[test]
fn the_admin_api_takes_no_token_for_another_api() {
    let of = |audiences: &str| {
        let gate = Gate::start_with(&gate::with_endpoint(audiences));
        let client = gate.secret_client(json!({ "subscription": "sub_operators", "scopes": ["admin:read"] }));
        (gate, client)
    };
    let status = |gate: &Gate, client: &(String, String), resource: &str| {
        let body = format!("grant_type=client_credentials{resource}");
        let response = gate
            .client()
            .exchange(form("/oauth/token", &basic(&client.0, &client.1), &body));
        let token = text(&response.json()["access_token"]);
        Admin::new(&gate.running, &token).call("GET", "/plans", None).status
    };
    let (a, b) = ("&resource=https://a.example", "&resource=https://b.example");
    let (gate, client) =
        of(", audiences: [\"https://a.example\", \"https://b.example\"], default_audiences: [\"https://a.example\"]");
    assert_eq!(status(&gate, &client, ""), 200);
    assert_eq!(status(&gate, &client, a), 200);
    assert_eq!(status(&gate, &client, b), 401);
    // Where tokens can be good for the issuer, no other audience will do.
    let issuer = gate::ISSUER;
    let (gate, client) = of(&format!(
        ", audiences: [\"{issuer}\", \"https://a.example\"], default_audiences: [\"https://a.example\"]"
    ));
    assert_eq!(status(&gate, &client, ""), 401);
    assert_eq!(status(&gate, &client, a), 401);
    assert_eq!(status(&gate, &client, &format!("&resource={issuer}")), 200);
}
