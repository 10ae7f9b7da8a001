//! One assertion gives one token: is an intercepted assertion useless?

use super::fixture::*;
use keygate::model::algorithm::Algorithm;
use keygate::store::Store;
use serde_json::json;
use std::sync::atomic::Ordering;

/// Sends the same assertion a hundred times at once and returns the number of tokens.
fn hundred_at_once(gate: &Gate, assertion: &str) -> usize {
    let responses = gate.runtime.block_on(async {
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let router = gate.router.clone();
                let request = post(TOKEN, &asserting(assertion), &[]);
                tokio::spawn(send(router, request))
            })
            .collect();
        let mut responses = Vec::new();
        for task in tasks {
            responses.push(task.await.unwrap());
        }
        responses
    });
    for response in &responses {
        let expected = response
            .json
            .get("access_token")
            .is_none()
            .then_some("assertion_replayed");
        assert_eq!(response.outcome.reason, expected, "{}", response.text);
    }
    responses
        .iter()
        .filter(|response| response.json.get("access_token").is_some())
        .count()
}

#[test]
fn s121_one_assertion_sent_a_hundred_times_at_once_gives_one_token() {
    let gate = Gate::new();
    let key = gate.key_client("a", Algorithm::Es256);
    let assertion = signed(&key, &claims("a"));
    assert_eq!(hundred_at_once(&gate, &assertion), 1);
    assert_eq!(hundred_at_once(&gate, &assertion), 0);
    // A known replay needs no store access, and failures of an authenticated client are no guesses.
    let marks = gate.store.marks.load(Ordering::Relaxed);
    assert_eq!(gate.assert(&assertion).outcome.reason, Some("assertion_replayed"));
    assert_eq!(gate.store.marks.load(Ordering::Relaxed), marks);
    gate.assert(&signed(&key, &claims_with("a", &json!({ "jti": "2" }))))
        .token();
}

#[test]
fn s121_also_over_a_restart_on_the_real_store() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::open(folder.path(), |_| {});
    let key = gate.key_client("a", Algorithm::Es256);
    let assertion = signed(&key, &claims("a"));
    assert_eq!(hundred_at_once(&gate, &assertion), 1);
    gate.runtime.block_on(gate.store.close());
    drop(gate);

    let gate = Gate::open(folder.path(), |_| {});
    gate.load();
    assert_eq!(hundred_at_once(&gate, &assertion), 0);
    gate.assert(&signed(&key, &claims_with("a", &json!({ "jti": "2" }))))
        .token();
}

#[test]
fn s122_what_is_refused_for_another_reason_is_not_used_up() {
    let gate = Gate::new();
    let key = gate.key_client("a", Algorithm::Es256);
    let with = |change: serde_json::Value| signed(&key, &claims_with("a", &change));
    for refused in [
        with(json!({ "aud": "https://evil.example" })),
        with(json!({ "aud": [ISSUER, "https://evil.example"] })),
        with(json!({ "exp": START - 31 })),
        with(json!({ "exp": null })),
        with(json!({ "iat": START + 99 })),
    ] {
        assert!(gate.assert(&refused).json.get("access_token").is_none());
    }
    let good = with(json!({}));
    for (name, value) in [
        ("scope", "admin"),
        ("scope", "a  b"),
        ("grant_type", "password"),
        ("client_id", "b"),
    ] {
        let mut form = asserting(&good);
        form.retain(|(known, _)| *known != name);
        form.push((name, value));
        assert_ne!(gate.post(TOKEN, &form).outcome.reason, None);
    }
    gate.change("a", |record| {
        record.state = keygate::store::record::client::ClientState::Disabled
    });
    assert_eq!(gate.assert(&good).outcome.reason, Some("client_disabled"));
    gate.change("a", |record| {
        record.state = keygate::store::record::client::ClientState::Active
    });
    assert_eq!(gate.store.marks.load(Ordering::Relaxed), 0);
    gate.assert(&good).token();
}

#[test]
fn a_jti_is_one_clients_own_and_compared_byte_by_byte() {
    let gate = Gate::new();
    let (a, b) = (
        gate.key_client("a", Algorithm::Es256),
        gate.key_client("b", Algorithm::Es256),
    );
    gate.assert(&signed(&a, &claims("a"))).token();
    gate.assert(&signed(&b, &claims("b"))).token();
    for other in ["01", "1 ", "１", "A", "a"] {
        gate.assert(&signed(&a, &claims_with("a", &json!({ "jti": other }))))
            .token();
    }
    // Another assertion with the same `jti` is a replay.
    let again = signed(&a, &claims_with("a", &json!({ "exp": START + 301 })));
    assert_eq!(gate.assert(&again).outcome.reason, Some("assertion_replayed"));
}

#[test]
fn without_the_store_an_assertion_with_a_jti_gets_no_token() {
    let gate = Gate::new();
    let key = gate.key_client("a", Algorithm::Es256);
    let assertion = signed(&key, &claims("a"));
    gate.store.is_unavailable.store(true, Ordering::Relaxed);
    let response = gate.assert(&assertion);
    assert_eq!(
        (response.status.as_u16(), response.outcome.reason),
        (503, Some("store_unavailable"))
    );
    assert!(response.headers.contains_key("retry-after"));
    gate.store.is_unavailable.store(false, Ordering::Relaxed);
    gate.assert(&assertion).token();
}
