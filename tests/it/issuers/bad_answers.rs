//! Does the last valid key set stay in force after any response of an issuer, with the failure in health and metrics?

use super::*;
use crate::support::RawIssuer;
use crate::support::issuer::base64url;
use crate::support::issuer::key;
use crate::support::raw_issuer::Reply;
use crate::support::wait_until;
use keygate::model::algorithm::Algorithm;

/// An invalid response: name, reply, the error in health, and the metric's result label.
type BadReply = (&'static str, Reply, &'static str, &'static str);

/// Returns responses that never come to an end, so that only the timeout of the fetch ends them.
fn slow_replies() -> Vec<BadReply> {
    vec![
        ("hangs", Reply::Hang, "no whole answer within", "failure"),
        ("drips", Reply::Drip, "no whole answer within", "failure"),
    ]
}

/// Returns invalid responses that end the fetch, however long its timeout is.
fn bad_replies(other: &SigningKey) -> Vec<BadReply> {
    let set = set_of(&[other]);
    let mut private = other.public_jwk();
    private["d"] = json!(base64url(&[1; 32]));
    let many = |one: &str, count: usize| format!(r#"{{"keys":[{}]}}"#, vec![one; count].join(","));
    // The header of a gzip stream: the gate must refuse the body without decompressing it.
    let bomb = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3][..], &[0; 1000]].concat();
    vec![
        ("never ends", Reply::Endless, "longer than 1048576 bytes", "failure"),
        (
            "says it is longer",
            Reply::sized("", set.as_bytes(), set.len() + 10),
            "no answer",
            "failure",
        ),
        (
            "says it is shorter",
            Reply::sized("", set.as_bytes(), set.len() - 10),
            "not a JWK set",
            "rejected",
        ),
        (
            "redirects inside",
            Reply::status("302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/"),
            "redirected to `169.254.169.254`",
            "failure",
        ),
        (
            "HTML",
            Reply::ok("<!doctype html><title>Sign in</title>"),
            "not a JWK set",
            "rejected",
        ),
        (
            "truncated",
            Reply::ok(&set[..set.len() - 2]),
            "not a JWK set",
            "rejected",
        ),
        ("empty set", Reply::ok(r#"{"keys":[]}"#), "no usable key", "rejected"),
        ("no set", Reply::ok("{}"), "no `keys` array", "rejected"),
        (
            "10 000 keys",
            Reply::ok(&many("{}", 10_000)),
            "more than 1000 keys",
            "rejected",
        ),
        (
            "10 000 real keys",
            Reply::ok(&many(&other.public_jwk().to_string(), 10_000)),
            "longer than 1048576 bytes",
            "failure",
        ),
        (
            "private parts",
            Reply::ok(&jwk_set(&[other.public_jwk(), private])),
            "published with their private parts",
            "private_parts",
        ),
        (
            "gzip bomb",
            Reply::with("Content-Encoding: gzip\r\n", &bomb),
            "the body is encoded",
            "failure",
        ),
        (
            "gzip without a word",
            Reply::with("", &bomb),
            "not a JWK set",
            "rejected",
        ),
        (
            "500",
            Reply::status("500 Internal Server Error"),
            "status 500",
            "failure",
        ),
        ("closes", Reply::Bytes(Vec::new()), "no answer", "failure"),
        (
            "no HTTP",
            Reply::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
            "no answer",
            "failure",
        ),
    ]
}

#[test]
fn s042_s048_s049_the_last_good_set_serves_whatever_comes_and_health_and_metric_say_what_came() {
    let other = new_key();
    let gate = assert_last_good_set_serves("timeout: 15s", bad_replies(&other), &other);
    gate.wait_for_output("\"level\":\"ERROR\",\"message\":\"Issuer publishes private keys; its key set is refused\"");
}

#[test]
fn s041_the_last_good_set_serves_when_only_the_timeout_ends_a_fetch() {
    assert_last_good_set_serves("timeout: 1s", slow_replies(), &new_key());
}

/// Asserts that after each of `replies` the first set serves, and health and metrics have the failure; and that
/// afterwards a set of `other` alone replaces the first one.
#[track_caller]
fn assert_last_good_set_serves(timeout: &str, replies: Vec<BadReply>, other: &SigningKey) -> Binary {
    let good = new_key();
    let server = RawIssuer::start();
    server.reply("/jwks", Reply::ok(&set_of(&[&good])));
    let gate = program(
        "",
        &by_url(&server, &format!("{timeout}\ncooldown: 1h\nwait: 1ms")),
        &[],
    );
    gate.wait_ready();
    let confirmed = health(&gate)["last_good_at"].clone();
    let mut failures = 0;
    for (name, reply, message, result) in replies {
        server.reply("/jwks", reply);
        let before = fetches(&gate, result);
        let (status, response) = refresh(&gate);
        failures += 1;
        assert_eq!(
            (status, &response["outcome"]),
            (502, &json!("failed")),
            "{name}: {response}"
        );
        let health = &response["issuer"];
        assert!(
            health["last_error"].as_str().unwrap().contains(message),
            "{name}: {health}"
        );
        assert!(
            response["detail"].as_str().unwrap().contains(message),
            "{name}: {response}"
        );
        assert_eq!(health["state"], "failing", "{name}");
        assert_eq!(health["consecutive_failures"], failures, "{name}");
        assert_eq!(health["last_good_at"], confirmed, "{name}");
        assert_eq!(health["keys"][0]["kid"], good.public_jwk()["kid"], "{name}");
        assert_eq!(fetches(&gate, result), before + 1.0, "{name}");
        assert_eq!(ask(gate.data(), &token(&good)).status, 200, "{name}");
        // A key from an invalid response never verifies. Within the cooldown after a failure the status is 503.
        assert!(matches!(ask(gate.data(), &token(other)).status, 401 | 503), "{name}");
    }
    assert_eq!(
        gate.metric("keygate_issuer_consecutive_failures{issuer=\"main\"}"),
        f64::from(failures)
    );
    // The issuer rotates its keys.
    server.reply("/jwks", Reply::ok(&set_of(&[other])));
    let (status, response) = refresh(&gate);
    assert_eq!((status, &response["outcome"]), (200, &json!("good")), "{response}");
    assert_eq!(response["issuer"]["state"], "ok");
    assert_eq!(response["issuer"]["last_error"], Value::Null);
    assert_eq!(ask(gate.data(), &token(other)).status, 200);
    assert_eq!(ask(gate.data(), &token(&good)).status, 401);
    assert_eq!(gate.metric("keygate_issuer_consecutive_failures{issuer=\"main\"}"), 0.0);
    gate
}

#[test]
fn s045_odd_keys_are_skipped_with_their_reasons_and_the_good_ones_verify() {
    let (good, rsa) = (new_key(), key(Algorithm::Rs256));
    let with = |kid: Option<&str>, change: Value| {
        let mut jwk = rsa.public_jwk();
        jwk["kid"] = json!(kid);
        for (name, value) in change.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        if kid.is_none() {
            jwk.as_object_mut().unwrap().remove("kid");
        }
        jwk
    };
    let even = base64url(&[&[0xC0][..], &[1; 254], &[2]].concat());
    let odd = [
        (
            json!({ "kty": "AKP", "alg": "ML-DSA-44", "kid": "akp", "pub": "AAAA" }),
            "`alg` is none",
        ),
        (
            with(Some("short"), json!({ "n": base64url(&[0xFF; 128]) })),
            "below 2048 bits",
        ),
        (with(Some("even"), json!({ "n": even })), "an even modulus"),
        (with(Some("one"), json!({ "e": "AQ" })), "exponent"),
        (with(Some("enc"), json!({ "use": "enc" })), "`use` is not `sig`"),
        (with(Some("alg"), json!({ "alg": "ES256" })), "does not fit"),
        (
            json!({ "kid": "no-kty" }),
            "a member that its key type needs is missing",
        ),
        (json!("text"), "not a JSON object"),
    ];
    let mut keys: Vec<Value> = odd.iter().map(|(jwk, _)| jwk.clone()).collect();
    // A valid key without `kid`.
    keys.push(with(None, json!({})));
    keys.push(good.public_jwk());
    let server = RawIssuer::start();
    server.reply("/jwks", Reply::ok(&jwk_set(&keys)));
    let gate = gate("", &by_url(&server, ""), &[]);
    gate.wait_ready();
    assert_eq!(ask(gate.data(), &token(&good)).status, 200);
    let health = health(&gate);
    assert_eq!(health["state"], "ok");
    assert_eq!(health["keys"].as_array().unwrap().len(), 2, "{health}");
    let skipped = health["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), odd.len(), "{health}");
    for ((jwk, why), skipped) in odd.iter().zip(skipped) {
        assert_eq!(skipped["kid"], jwk.get("kid").cloned().unwrap_or_default(), "{health}");
        assert!(skipped["reason"].as_str().unwrap().contains(why), "{why}: {skipped}");
    }
    assert_eq!(gate.metric("keygate_issuer_keys_skipped{issuer=\"main\"}"), 8.0);
    // A symmetric key is a published secret: an alarm, and the others serve.
    server.reply(
        "/jwks",
        Reply::ok(&jwk_set(&[
            good.public_jwk(),
            json!({ "kty": "oct", "k": "AAAA", "kid": "oct" }),
        ])),
    );
    let (status, health) = refresh(&gate);
    assert_eq!(
        (status, &health["issuer"]["keys"][0]["kid"]),
        (200, &json!(good.kid())),
        "{health}"
    );
    assert_eq!(health["issuer"]["skipped"][0]["kid"], "oct", "{health}");
    assert_eq!(fetches(&gate, "private_parts"), 1.0);
    assert_eq!(ask(gate.data(), &token(&good)).status, 200);
}

#[test]
fn s041_valid_tokens_do_not_wait_for_an_issuer_that_hangs() {
    let key = new_key();
    let server = RawIssuer::start();
    server.reply("/jwks", Reply::ok(&set_of(&[&key])));
    let gate = gate("", &by_url(&server, "timeout: 15s"), &[]);
    gate.wait_ready();
    server.reply("/jwks", Reply::Hang);
    let mut waiting = RawClient::connect(gate.admin());
    waiting.send(format!(
        "POST /admin/v1/issuers/main/refresh HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    ));
    wait_until("it hangs", || server.targets().len() == 2);
    for _ in 0..50 {
        assert_eq!(ask(gate.data(), &token(&key)).status, 200);
    }
    // The fetch is still in flight, so no request waited for its end, and no second fetch began.
    let health = health(&gate);
    assert_eq!(health["state"], "ok", "nothing has failed yet");
    assert_eq!(server.targets().len(), 2);
}

#[test]
fn s047_expired_and_foreign_certificates_bring_no_keys() {
    let key = new_key();
    let gate_for = |server: &RawIssuer, authority: &str| {
        let issuer = format!(
            "issuer: {ISSUER}\naudiences: [{AUDIENCE}]\njwks_url: {}\nallow_private_addresses: true\nca_file: ca.pem",
            server.url("/jwks")
        );
        server.reply("/jwks", Reply::ok(&set_of(&[&key])));
        gate("", &issuer, &[("ca.pem", authority)])
    };
    let (server, authority) = RawIssuer::start_tls("localhost", 2999);
    let gate = gate_for(&server, &authority);
    gate.wait_ready();
    assert_eq!(ask(gate.data(), &token(&key)).status, 200);
    let (_, stranger) = RawIssuer::start_tls("localhost", 2999);
    for ((server, _), authority) in [
        (RawIssuer::start_tls("localhost", 2001), None),
        (RawIssuer::start_tls("other.example", 2999), None),
        (RawIssuer::start_tls("localhost", 2999), Some(&stranger)),
    ]
    .map(|(started, authority)| {
        let own = started.1.clone();
        (started, authority.cloned().unwrap_or(own))
    }) {
        let gate = gate_for(&server, &authority);
        wait_until("tried", || fetches(&gate, "failure") > 0.0);
        assert_eq!(ask(gate.data(), &token(&key)).status, 503);
        assert_eq!(health(&gate)["state"], "no_keys");
        assert!(
            server.targets().is_empty(),
            "nothing was asked over a connection that is not theirs"
        );
    }
}
