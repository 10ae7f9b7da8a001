//! Do revocation and expiry end a credential at once and for good?

use super::Gate;
use super::gate;
use super::gate::key_request;
use super::gate::text;
use crate::support::Binary;
use crate::support::StopAtEnd;
use crate::support::still_clock;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use keygate::jose::sign::token_id;
use keygate::model::algorithm::Algorithm;
use serde_json::json;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// Sends `request` over four connections while `revoke` ends its credential. Returns the number of
/// requests, and how many of those that began after the revocation's response passed.
fn under_load(gate: &Gate, request: &str, revoke: impl FnOnce()) -> (u64, u64) {
    let started = Instant::now();
    let (calls, late) = (AtomicU64::new(0), AtomicU64::new(0));
    // When the response to the revocation arrived, in nanoseconds from the start.
    let (revoked, stop) = (AtomicU64::new(u64::MAX), AtomicBool::new(false));
    let nanos = || u64::try_from(started.elapsed().as_nanos()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gate.client();
                while !stop.load(Ordering::Acquire) {
                    let began = nanos();
                    let response = client.exchange(request);
                    calls.fetch_add(1, Ordering::Relaxed);
                    if response.status == 200 && began > revoked.load(Ordering::Acquire) {
                        late.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let _stopping = StopAtEnd(&stop);
        wait_until("the load is on", || calls.load(Ordering::Relaxed) >= 400);
        revoke();
        revoked.store(nanos(), Ordering::Release);
        let enough = calls.load(Ordering::Relaxed) + 400;
        wait_until("the load went on", || calls.load(Ordering::Relaxed) >= enough);
    });
    println!("{} calls in {:?}", calls.load(Ordering::Relaxed), started.elapsed());
    (calls.into_inner(), late.into_inner())
}

#[test]
fn s069_no_call_that_begins_after_the_answer_to_a_revocation_is_let_through() {
    let gate = Gate::start();
    let (id, key) = gate.key(None);
    let request = key_request("/any/x", &key);
    assert_eq!(gate.client().exchange(&request).status, 200);
    let (_, late) = under_load(&gate, &request, || {
        gate.admin.perform("POST", &format!("/keys/{id}/revoke"), None);
    });
    assert_eq!(late, 0);
    assert_eq!(gate.client().exchange(&request).status, 401);

    let (id, secret) = gate.secret_client(json!({}));
    let token = gate.token((&id, &secret));
    let request = gate::token_request("/any/x", &token);
    assert_eq!(gate.client().exchange(&request).status, 200);
    let (_, late) = under_load(&gate, &request, || {
        gate.admin
            .perform("POST", &format!("/clients/{id}/revoke-tokens"), None);
    });
    assert_eq!(late, 0);
    assert_eq!(gate.client().exchange(&request).status, 401);
}

#[test]
fn s069_no_call_that_begins_after_a_key_is_disabled_is_let_through_until_it_is_enabled() {
    let gate = Gate::start();
    let (id, key) = gate.key(None);
    let request = key_request("/any/x", &key);
    let set = |state: &str| {
        gate.admin
            .perform("PATCH", &format!("/keys/{id}"), Some(json!({ "state": state })));
    };
    let (_, late) = under_load(&gate, &request, || set("disabled"));
    assert_eq!(late, 0);
    assert_eq!(gate.client().exchange(&request).status, 401);
    set("active");
    assert_eq!(gate.client().exchange(&request).status, 200);
}

#[test]
fn s070_without_a_grace_the_old_key_is_dead_at_once_and_with_one_when_it_ends() {
    let clock = still_clock();
    let gate = Gate::start_at(&clock);
    let (id, old) = gate.key(None);
    let created = gate.admin.create(&format!("/keys/{id}/regenerate"), json!({}));
    assert_eq!(gate.with_key("/any/x", &old).status, 401);
    let new = text(&created["key"]);
    assert_eq!(gate.with_key("/any/x", &new).status, 200);

    let id = text(&created["id"]);
    let created = gate
        .admin
        .create(&format!("/keys/{id}/regenerate"), json!({ "grace": "2s" }));
    assert_eq!(gate.with_key("/any/x", &new).status, 200, "it is in its grace");
    assert_eq!(gate.with_key("/any/x", &text(&created["key"])).status, 200);
    clock.advance(Duration::from_millis(1_999));
    assert_eq!(gate.with_key("/any/x", &new).status, 200, "until its last millisecond");
    clock.advance(Duration::from_millis(1));
    assert_eq!(gate.with_key("/any/x", &new).status, 401);
    assert_eq!(gate.with_key("/any/x", &text(&created["key"])).status, 200);
}

#[test]
fn s072_a_cancelled_subscription_ends_its_keys_and_tokens_in_the_same_instant() {
    let gate = Gate::start();
    let subscription = gate.subscription("acme", "limited");
    let (_, first) = gate.key(Some(&subscription));
    let (_, second) = gate.key(Some(&subscription));
    let (id, secret) = gate.secret_client(json!({ "subscription": subscription }));
    let token = gate.token((&id, &secret));
    for key in [&first, &second] {
        assert_eq!(gate.with_key("/any/x", key).status, 200);
    }
    assert_eq!(gate.with_token("/any/x", &token).status, 200);
    gate.admin
        .perform("POST", &format!("/subscriptions/{subscription}/cancel"), None);
    for key in [&first, &second] {
        let response = gate.with_key("/any/x", key);
        assert!([401, 403].contains(&response.status), "{}", response.text());
    }
    let response = gate.with_token("/any/x", &token);
    assert!([401, 403].contains(&response.status), "{}", response.text());
    assert!([400, 401].contains(&gate.ask_token((&id, &secret)).status));
}

#[test]
fn s078_what_was_revoked_stays_so_when_an_older_database_is_put_back() {
    let gate = Gate::program(&gate::with_endpoint(""));
    let (id, key) = gate.key(None);
    let (_, other) = gate.key(None);
    let (client, secret) = gate.secret_client(json!({}));
    let token = gate.token((&client, &secret));
    let config = gate::with_endpoint("");
    // A copy of the whole database while no process runs, as an operator's backup would be.
    let folder = gate.running.stop();
    let database = folder.path().join("keygate.db");
    let backup = std::fs::read(&database).unwrap();
    let gate = Gate::of(Binary::start_in(folder, &[]));
    assert_eq!(gate.with_key("/any/x", &key).status, 200);
    gate.admin.perform("POST", &format!("/keys/{id}/revoke"), None);
    gate.admin
        .perform("POST", &format!("/clients/{client}/revoke-tokens"), None);
    assert_eq!(gate.with_key("/any/x", &key).status, 401);
    let folder = gate.running.stop();
    std::fs::write(&database, backup).unwrap();
    for name in ["keygate.db-wal", "keygate.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(name));
    }
    std::fs::write(folder.path().join("keygate.yaml"), config).unwrap();
    let gate = Gate::of(Binary::start_in(folder, &[]));
    assert_eq!(gate.with_key("/any/x", &key).status, 401);
    assert_eq!(gate.with_token("/any/x", &token).status, 401);
    assert_eq!(gate.with_key("/any/x", &other).status, 200);
}

#[test]
fn s153_a_client_without_a_key_opens_nothing() {
    let gate = Gate::start();
    let new_client = json!({ "name": "job", "authentication": "private_key_jwt", "scopes": ["orders:read"] });
    let id = text(&gate.admin.create("/clients", new_client)["id"]);
    let created = gate
        .admin
        .create(&format!("/clients/{id}/keys"), json!({ "generate": "ES256" }));
    let kid = text(&created["kid"]);
    let key = SigningKey::from_pkcs8_pem(Algorithm::Es256, &text(&created["private_key"])).unwrap();
    let with_assertion = || {
        let now = gate::now().as_unix_secs();
        let claims = json!({
            "iss": id, "sub": id, "aud": gate::ISSUER, "iat": now, "exp": now + 60, "jti": token_id(),
        });
        let assertion = key.sign("JWT", &claims).unwrap();
        format!(
            "grant_type=client_credentials&client_assertion={assertion}&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        )
    };
    let request = |body: &str| gate.client().exchange(gate::form("/oauth/token", "", body));
    let issued = request(&with_assertion());
    assert_eq!(issued.status, 200, "{}", issued.text());
    let token = text(&issued.json()["access_token"]);
    let paths = ["/any/x", "/limited/x"];
    for path in paths {
        assert_eq!(gate.with_token(path, &token).status, 200, "{path}");
    }
    gate.admin
        .perform("DELETE", &format!("/clients/{id}/keys/{kid}?revoke_tokens=true"), None);
    // The removed key proves nothing, neither through a token that it brought nor as a credential itself.
    for path in paths {
        assert_eq!(gate.with_token(path, &token).status, 401, "{path}");
        let assertion = key
            .sign("JWT", &json!({ "iss": id, "sub": id, "aud": gate::ISSUER }))
            .unwrap();
        assert_eq!(gate.with_token(path, &assertion).status, 401, "{path}");
    }
    // The client does not authenticate: with the removed key, without a secret, or with an empty one.
    for body in [
        with_assertion(),
        format!("grant_type=client_credentials&client_id={id}"),
        format!("grant_type=client_credentials&client_id={id}&client_secret="),
    ] {
        let response = request(&body);
        assert!([400, 401].contains(&response.status), "{}", response.text());
    }
}
