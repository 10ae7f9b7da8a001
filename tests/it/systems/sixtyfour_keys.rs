//! Sixtyfour: API keys that are shown once, each with an expiry that its owner chose.

use super::ExampleGate;
use super::problem;
use super::text;
use crate::support::issuer::now;
use serde_json::Value;
use serde_json::json;
use std::time::Instant;

const API: &str = "/v1/enrich-lead";

#[track_caller]
fn create(system: &ExampleGate, expires: &str) -> Value {
    let body = json!({ "name": "my key", "expires": expires, "scopes": ["full_access"] });
    system.admin.create("/keys", body)
}

/// Returns the RFC 3339 time in `secs` seconds.
fn in_secs(secs: u64) -> String {
    jiff::Timestamp::from_second((now() + secs) as i64).unwrap().to_string()
}

#[test]
fn an_expiry_is_never_or_at_most_730_days_and_must_be_chosen() {
    let system = ExampleGate::start("sixtyfour");
    let almost_two_years = in_secs(729 * 86_400);
    for expires in ["never", "1d", "730d", "1mo", "23mo", "24mo", &almost_two_years] {
        let key = create(&system, expires);
        assert_eq!(system.with_key(API, &text(&key["key"])).status, 200, "{expires}");
        assert_eq!(key["expires_at"].is_null(), expires == "never", "{key}");
    }
    // 24 months are 731 days where a leap day is among them, and then count as 730.
    let (past, too_far) = (in_secs(0), in_secs(731 * 86_400));
    for expires in ["731d", "25mo", "3y", "0d", "-1d", "1.5d", "", "soon", &past, &too_far] {
        let body = json!({ "name": "my key", "expires": expires, "scopes": ["full_access"] });
        system
            .admin
            .expect_refusal("POST", "/keys", Some(body), 422, "invalid-request");
    }
    for body in [json!({ "name": "my key" }), json!({ "expires": "90d" }), json!({})] {
        let response = system.admin.call("POST", "/keys", Some(body));
        assert!([400, 422].contains(&response.status), "{response:?}");
    }
}

#[test]
fn a_key_is_shown_once_and_later_only_in_part() {
    let system = ExampleGate::start("sixtyfour");
    let created = create(&system, "90d");
    let key = text(&created["key"]);
    assert!(key.starts_with("kg_live_"), "{key}");
    let id = text(&created["id"]);
    // The part after the public id is the secret.
    let secret = key.rsplit('_').next().unwrap();
    for path in ["/keys".to_owned(), format!("/keys/{id}"), "/audit".to_owned()] {
        let shown = system.admin.get(&path).to_string();
        assert!(shown.contains(&id), "{path}: {shown}");
        assert!(!shown.contains(&secret[..8]), "{path}: {shown}");
    }
    assert_eq!(system.with_key(API, &key).status, 200);
    let seen = system.upstream.only_received();
    assert_eq!(seen.headers_named("x-keygate-credential-type"), ["api_key"]);
    assert_eq!(seen.headers_named("x-api-key"), [""; 0]);
}

#[test]
fn a_key_is_refused_from_the_instant_it_expires() {
    let system = ExampleGate::start("sixtyfour");
    let expires = now() + 3;
    let at = jiff::Timestamp::from_second(expires as i64).unwrap().to_string();
    let key = text(&create(&system, &at)["key"]);
    let before = system.with_key(API, &key).status;
    // The key may have expired already on a slow machine.
    assert!(before == 200 || now() >= expires, "{before}");
    let refused = system.wait_refused(API, &key);
    assert!(now() >= expires, "too early: {}", refused.text());
    assert_eq!(problem(&refused, 401), "invalid-api-key");
    assert_eq!(
        problem(&system.with_key(API, &key), 401),
        "invalid-api-key",
        "and stays so"
    );
}

#[test]
fn a_revoked_key_is_refused_at_once_and_the_new_one_beside_it_serves() {
    let system = ExampleGate::start("sixtyfour");
    let (old, new) = (create(&system, "never"), create(&system, "never"));
    let (old_key, new_key) = (text(&old["key"]), text(&new["key"]));
    assert_eq!(system.with_key(API, &old_key).status, 200);
    system
        .admin
        .post(&format!("/keys/{}/revoke", text(&old["id"])), json!({}));
    let revoked = system.with_key(API, &old_key);
    assert_eq!(problem(&revoked, 401), "invalid-api-key");
    assert_eq!(system.with_key(API, &new_key).status, 200);
    let listed = system.admin.get(&format!("/keys/{}", text(&old["id"])));
    assert!(listed["revoked_at"].is_string(), "{listed}");
}

#[test]
fn each_key_may_call_500_times_a_minute() {
    let system = ExampleGate::start("sixtyfour");
    let [greedy, other] = [(); 2].map(|()| text(&create(&system, "30d")["key"]));
    let started = Instant::now();
    let mut passed = 0;
    let refused = loop {
        let response = system.with_key(API, &greedy);
        if response.status != 200 {
            break response;
        }
        passed += 1;
        assert!(passed < 2_000, "no limit");
    };
    // The quota refills 500 requests a minute during the loop.
    let refilled = started.elapsed().as_secs_f64() * 500.0 / 60.0;
    assert!((500..=501 + refilled as u32).contains(&passed), "{passed}");
    assert_eq!(problem(&refused, 429), "limit-spent");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(system.with_key(API, &other).status, 200);
}
