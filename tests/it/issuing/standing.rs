//! Is a credential as valid as its subscription and its plan?

use super::Gate;
use super::gate;
use super::gate::key;
use super::gate::key_request;
use super::gate::subscription;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::with_other_secret;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::system_random;
use keygate::model::subscription::SubscriptionState;
use keygate::store::record::ApiKeyState;
use serde_json::json;

#[test]
fn s073_each_state_of_a_subscription_is_a_problem_of_its_own_and_only_the_keys_secret_reveals_it() {
    use ApiKeyEnvironment::Live;
    use ApiKeyEnvironment::Test;
    let folder = tempfile::tempdir().unwrap();
    let states = [
        (
            "sub_pending",
            "keys",
            Live,
            SubscriptionState::Pending,
            Some("subscription_pending"),
        ),
        (
            "sub_failed",
            "keys",
            Live,
            SubscriptionState::ProvisioningFailed,
            Some("subscription_provisioning_failed"),
        ),
        (
            "sub_cancelled",
            "keys",
            Live,
            SubscriptionState::Cancelled,
            Some("subscription_cancelled"),
        ),
        ("sub_due", "paid", Live, SubscriptionState::Active, Some("payment_due")),
        (
            "sub_unreleased",
            "unreleased",
            Live,
            SubscriptionState::Active,
            Some("plan_not_released"),
        ),
        (
            "sub_sandbox",
            "keys",
            Test,
            SubscriptionState::Active,
            Some("sandbox_only"),
        ),
        (
            "sub_gone",
            "of-yesterday",
            Live,
            SubscriptionState::Active,
            Some("plan_gone"),
        ),
        ("sub_good", "keys", Live, SubscriptionState::Active, None),
    ];
    let (mut writes, mut keys) = (Vec::new(), Vec::new());
    for (id, plan, environment, state, expected) in states {
        writes.push(subscription(id, plan, environment, state));
        let (write, text) = key(id, Live, |_| {});
        writes.push(write);
        keys.push((id, text, expected));
        let (write, text) = key(id, Test, |_| {});
        writes.push(write);
        // Sandbox keys need no payment and no release, and a sandbox subscription allows them.
        let expected = expected.filter(|reason| !["payment_due", "plan_not_released", "sandbox_only"].contains(reason));
        keys.push((id, text, expected));
    }
    gate::fill(folder.path(), writes);
    std::fs::write(folder.path().join("keygate.yaml"), gate::with_endpoint("")).unwrap();
    let gate = Gate::of(LocalGate::start_in(folder));
    for (id, text, expected) in &keys {
        let response = gate.with_key("/any/x", text);
        match expected {
            None => assert_eq!(response.status, 200, "{id}: {}", response.text()),
            Some(reason) => {
                assert_eq!(response.status, 403, "{id}: {}", response.text());
                let kind = format!("urn:keygate:problem:{}", reason.replace('_', "-"));
                assert_eq!(response.json()["type"], kind, "{id}");
            }
        }
        // Without the secret, the response is the one for an unknown key.
        let unknown = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let guess = with_other_secret(text);
        assert_eq!(
            refusal(&mut gate.client(), &guess),
            refusal(&mut gate.client(), unknown.expose()),
            "{id}"
        );
    }
    let records = gate.running.wait_access_records(3 * keys.len());
    let guesses = records
        .iter()
        .filter(|record| record["reason"] == "api_key_wrong_secret")
        .count();
    assert_eq!(guesses, keys.len(), "each guess had the id of a key");
    for (id, _, expected) in keys.iter().filter(|(_, _, expected)| expected.is_some()) {
        let recorded = records
            .iter()
            .any(|record| record["reason"] == json!(expected) && record["credential_id"].is_string());
        assert!(recorded, "{id}: {records:?}");
    }
}

/// Sends `key` and returns status, fields and body of the refusal, without the date. The request ids are equal, so that
/// refusals can be compared byte for byte.
#[track_caller]
fn refusal(client: &mut RawClient, key: &str) -> (u16, Vec<(String, String)>, String) {
    let response =
        client.exchange(key_request("/any/x", key).replacen("\r\n", "\r\nX-Request-Id: 0123456789abcdef\r\n", 1));
    assert_eq!(response.status, 401, "{}", response.text());
    let body = response.text();
    let mut headers = response.headers;
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
    (response.status, headers, body)
}

#[test]
fn s074_a_credential_of_a_kind_that_the_plan_does_not_have_is_refused_with_401() {
    let folder = tempfile::tempdir().unwrap();
    let (write, text) = key("sub_secrets", ApiKeyEnvironment::Live, |_| {});
    let writes = vec![
        subscription(
            "sub_secrets",
            "secrets",
            ApiKeyEnvironment::Live,
            SubscriptionState::Active,
        ),
        write,
    ];
    gate::fill(folder.path(), writes);
    let config = gate::with_endpoint("");
    std::fs::write(folder.path().join("keygate.yaml"), &config).unwrap();
    let gate = Gate::of(LocalGate::start_in(folder));
    let response = gate.with_key("/any/x", &text);
    assert_eq!(response.status, 401, "{}", response.text());
    assert_eq!(response.json()["type"], "urn:keygate:problem:credential-not-in-plan");
    // A reload changes the plan: with `api_key` in its credentials the key is valid, without it the key is not.
    let wider = config.replace("credentials: client_secret,", "credentials: [client_secret, api_key],");
    gate.running.reload(&wider);
    assert_eq!(gate.with_key("/any/x", &text).status, 200);
    gate.running.reload(&config);
    assert_eq!(gate.with_key("/any/x", &text).status, 401);
}

#[test]
fn s077_unknown_guessed_revoked_expired_and_disabled_keys_get_the_same_response() {
    let folder = tempfile::tempdir().unwrap();
    let (good, good_text) = key("sub_good", ApiKeyEnvironment::Live, |_| {});
    let (revoked, revoked_text) = key("sub_good", ApiKeyEnvironment::Live, |record| {
        record.revoked_at = Some(gate::now())
    });
    let (expired, expired_text) = key("sub_good", ApiKeyEnvironment::Live, |record| {
        record.expires_at = Some(gate::now())
    });
    let (disabled, disabled_text) = key("sub_good", ApiKeyEnvironment::Live, |record| {
        record.state = ApiKeyState::Disabled
    });
    let writes = vec![
        subscription("sub_good", "keys", ApiKeyEnvironment::Live, SubscriptionState::Active),
        good,
        revoked,
        expired,
        disabled,
    ];
    gate::fill(folder.path(), writes);
    let config = gate::yaml("")
        .replace("issuers: [keygate], ", "")
        .replace("accept: [jwt, api_key]", "accept: [api_key]");
    std::fs::write(
        folder.path().join("keygate.yaml"),
        config.replace("    issuers: [keygate]\n", ""),
    )
    .unwrap();
    let gate = Gate::of(LocalGate::start_in(folder));
    let unknown = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    let cases = [
        (unknown.expose().to_owned(), "api_key_unknown"),
        (with_other_secret(&good_text), "api_key_wrong_secret"),
        (with_other_secret(&revoked_text), "api_key_wrong_secret"),
        (with_other_secret(&expired_text), "api_key_wrong_secret"),
        (revoked_text, "api_key_revoked"),
        (expired_text, "api_key_expired"),
        (disabled_text, "api_key_disabled"),
    ];
    // One connection, so that the access records are in the order of the requests.
    let mut client: RawClient = gate.client();
    let refusals = cases.each_ref().map(|(text, _)| refusal(&mut client, text));
    let records = gate.running.wait_access_records(cases.len());
    for (((_, reason), refusal), record) in cases.iter().zip(&refusals).zip(&records) {
        assert_eq!(record["reason"], *reason);
        assert_eq!(refusal, &refusals[0], "{reason}");
    }
}

#[test]
fn limits_of_the_plan_are_spent_beside_those_of_the_route_and_the_tightest_is_told() {
    let gate = Gate::start();
    let subscription = gate.subscription("acme", "limited");
    let (_, key) = gate.key(Some(&subscription));
    // A request spends the limits of the plan and of the route; a limit that stands in both lists is spent once.
    let first = gate.with_key("/any/x", &key);
    assert_eq!(first.status, 200);
    assert!(
        first.header("ratelimit").unwrap().starts_with("\"of-plan\";r=4"),
        "{:?}",
        first.headers
    );
    for left in (0..4).rev() {
        let response = gate.with_key("/limited/x", &key);
        assert_eq!(response.status, 200);
        assert!(
            response
                .header("ratelimit")
                .unwrap()
                .starts_with(&format!("\"of-plan\";r={left}")),
            "{left}"
        );
    }
    let spent = gate.with_key("/limited/x", &key);
    assert_eq!(spent.status, 429);
    assert_eq!(spent.json()["limit"], "of-plan");
    // A key whose plan has no limits spends only the route's limits.
    let (_, other) = gate.key(None);
    let response = gate.with_key("/limited/x", &other);
    assert!(
        response.header("ratelimit").unwrap().starts_with("\"of-route\";r=99"),
        "{:?}",
        response.headers
    );
    assert_eq!(gate.with_key("/any/x", &other).header("ratelimit"), None);
}

#[test]
fn a_route_that_asks_for_a_plan_takes_no_other() {
    let gate = Gate::start();
    let (_, of_default) = gate.key(None);
    let response = gate.with_key("/planned/x", &of_default);
    assert_eq!(response.status, 403);
    assert_eq!(response.json()["type"], "urn:keygate:problem:subscription-required");
    let subscription = gate.subscription("acme", "keys");
    let (_, key) = gate.key(Some(&subscription));
    assert_eq!(gate.with_key("/planned/x", &key).status, 200);
    // A request without a credential is refused too.
    assert_eq!(
        gate.client()
            .exchange("GET /planned/x HTTP/1.1\r\nHost: a\r\n\r\n")
            .status,
        401
    );
}

#[test]
fn a_payment_counts_from_its_answer_on_and_so_does_its_lack() {
    let gate = Gate::start();
    let subscription = gate.subscription("acme", "paid");
    let pay = |paid: bool| {
        let path = format!("/subscriptions/{subscription}/payment");
        gate.admin.perform("POST", &path, Some(json!({ "paid": paid })))
    };
    pay(true);
    let (_, key) = gate.key(Some(&subscription));
    let (id, secret) = gate.secret_client(json!({ "subscription": subscription }));
    let token = gate.token((&id, &secret));
    for paid in [true, false, true] {
        pay(paid);
        let expected = if paid { 200 } else { 403 };
        assert_eq!(gate.with_key("/any/x", &key).status, expected, "{paid}");
        assert_eq!(gate.with_token("/any/x", &token).status, expected, "{paid}");
    }
}
