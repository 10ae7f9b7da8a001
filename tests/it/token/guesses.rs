//! Does the endpoint limit guesses at credentials, and reveal nothing about a client?

use super::fixture::*;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use std::time::Duration;
use std::time::Instant;

#[test]
fn s139_fifty_wrong_secrets_in_a_minute_are_stopped_and_other_clients_go_on() {
    let gate = Gate::new();
    let (a, b) = (gate.secret_client("a"), gate.secret_client("b"));
    let mut compared = 0;
    for _ in 0..50 {
        let response = gate.with_secret("a", "wrong");
        compared += usize::from(response.status.as_u16() == 400);
        gate.advance(1);
    }
    assert!((20..=30).contains(&compared), "{compared}");
    let stopped = gate.with_secret("a", &a);
    assert_eq!(stopped.error().0, 429);
    assert_eq!(stopped.outcome.reason, Some("too_many_failures"));
    let wait: u64 = stopped.headers["retry-after"].to_str().unwrap().parse().unwrap();
    gate.with_secret("b", &b).token();
    gate.send(from("192.0.2.2", post(TOKEN, &with_secret("a", &a), &[])))
        .token();
    // Guesses at an unknown client are stopped likewise (S133).
    for _ in 0..20 {
        assert_eq!(gate.with_secret("nobody", "x").error().0, 400);
    }
    assert_eq!(gate.with_secret("nobody", "x").error().0, 429);
    gate.advance(wait);
    gate.with_secret("a", &a).token();
}

#[test]
fn s139_wrong_signatures_count_and_what_a_proved_client_writes_does_not() {
    let gate = Gate::new();
    let key = gate.key_client("a", Algorithm::Es256);
    let stranger = SigningKey::generate_es256().unwrap();
    for _ in 0..60 {
        let mine = signed(
            &key,
            &claims_with("a", &serde_json::json!({ "aud": "https://x.example" })),
        );
        assert_eq!(gate.assert(&mine).outcome.reason, Some("assertion_audience"));
    }
    for _ in 0..20 {
        let response = gate.assert(&signed(&stranger, &claims("a")));
        assert_eq!(response.outcome.reason, Some("bad_assertion_signature"));
    }
    assert_eq!(gate.assert(&signed(&stranger, &claims("a"))).error().0, 429);
    assert_eq!(gate.assert(&signed(&key, &claims("a"))).error().0, 429);
    let elsewhere = post(TOKEN, &asserting(&signed(&key, &claims("a"))), &[]);
    gate.send(from("2001:db8::1", elsewhere)).token();
}

/// A unit test of `client_auth` checks that the secret of an unknown client is digested too.
#[test]
fn s133_an_unknown_client_takes_as_long_as_a_wrong_secret() {
    let gate = Gate::with(|endpoint| endpoint.failures = quota(1_000_000, Duration::from_secs(1), 1_000_000));
    gate.secret_client("client_with_an_id_of_some_length");
    let measure = |id: &str| {
        let started = Instant::now();
        assert_eq!(
            gate.with_secret(id, "kgs_a-secret-that-is-wrong").error().2,
            "invalid client"
        );
        started.elapsed()
    };
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    // Other load on the machine only adds time, so the shortest time of many is that of the work itself.
    for _ in 0..300 {
        known = known.min(measure("client_with_an_id_of_some_length"));
        unknown = unknown.min(measure("client_with_an_id_of_same_length"));
    }
    let apart = known.abs_diff(unknown);
    assert!(apart < known.min(unknown) / 5, "{known:?} {unknown:?}");
}
