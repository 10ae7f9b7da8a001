//! Do stored key sets survive a restart while the issuer is down, and expire as if there had been no restart?

use super::*;
use crate::support::raw_issuer::Reply;
use crate::support::still_clock;
use crate::support::wait_until;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

fn state_dir(folder: &Path) -> String {
    format!("state_dir: {}", folder.display())
}

/// Runs a gate until it has fetched and stored `key`, and stops the gate. The issuer responds with 500 afterwards.
fn after_a_run(server: &RawIssuer, folder: &Path, key: &SigningKey, issuer: &str) {
    server.reply("/jwks", Reply::ok(&set_of(&[key])));
    stop_when_stored(gate(&state_dir(folder), issuer, &[]), server, folder);
}

/// Stops `gate` when it has fetched and stored the set of `server`, which responds with 500 afterwards.
fn stop_when_stored(gate: LocalGate, server: &RawIssuer, folder: &Path) {
    gate.wait_ready();
    wait_until("kept", || folder.join("issuers/main.json").exists());
    drop(gate);
    server.reply("/jwks", Reply::status("500 Internal Server Error"));
}

#[test]
fn a_restart_while_the_issuer_is_down_serves_what_was_kept() {
    let (folder, key, server) = (tempfile::tempdir().unwrap(), new_key(), RawIssuer::start());
    let issuer = by_url(&server, "");
    after_a_run(&server, folder.path(), &key, &issuer);
    let mode = |path: &str| {
        std::fs::metadata(folder.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("issuers"), mode("issuers/main.json")), (0o700, 0o600));
    let gate = program(&state_dir(folder.path()), &issuer, &[]);
    // The stored keys serve at once: no fetch can succeed.
    assert_eq!(ask(gate.data(), &token(&key)).status, 200);
    gate.wait_ready();
    wait_until("tried", || fetches(&gate, "failure") > 0.0);
    let seen = health(&gate);
    assert_eq!(
        (&seen["keys_from"], &seen["state"]),
        (&json!("disk"), &json!("failing")),
        "{seen}"
    );
    assert_eq!(gate.metric("keygate_issuer_keys_from_disk{issuer=\"main\"}"), 1.0);
    assert_eq!(fetches(&gate, "success"), 0.0);
    gate.wait_for_output("Issuer keys taken from disk until they are fetched");
    // The gate cannot know whether the issuer has published this key since, so the status is 503 and not 401.
    assert_eq!(ask(gate.data(), &token(&new_key())).status, 503);
    // The issuer is back; the process now holds the set from its own fetch.
    server.reply("/jwks", Reply::ok(&set_of(&[&key])));
    assert_eq!(refresh(&gate).0, 200);
    assert_eq!(health(&gate)["keys_from"], "source");
    assert_eq!(gate.metric("keygate_issuer_keys_from_disk{issuer=\"main\"}"), 0.0);
}

/// Rewrites the stored file as if a process had written it `age` earlier.
fn make_older(file: &Path, age: Duration) {
    let mut stored: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let confirmed = stored["confirmed_unix_millis"].as_u64().unwrap() - u64::try_from(age.as_millis()).unwrap();
    let text = [&confirmed.to_be_bytes(), stored["set"].as_str().unwrap().as_bytes()].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
    stored["confirmed_unix_millis"] = json!(confirmed);
    stored["sha256"] = json!(
        digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    );
    std::fs::write(file, stored.to_string()).unwrap();
}

#[test]
fn restarts_do_not_make_the_kept_set_younger() {
    let (folder, key, server) = (tempfile::tempdir().unwrap(), new_key(), RawIssuer::start());
    let issuer = by_url(&server, "max_stale: 60s");
    let top = state_dir(folder.path());
    let clock = still_clock();
    let start = || LocalGate::start_at(&clock, &yaml(&top, &issuer), &[]);
    server.reply("/jwks", Reply::ok(&set_of(&[&key])));
    stop_when_stored(start(), &server, folder.path());
    let good = token(&key);
    // The set serves restart after restart until it is too old, and then no more.
    for _ in 0..3 {
        clock.advance(Duration::from_secs(20));
        let gate = start();
        assert_eq!(ask(gate.data(), &good).status, 200);
    }
    let gate = start();
    assert_eq!(ask(gate.data(), &good).status, 200, "exactly `max_stale` old");
    let usable = "keygate_issuer_keys{issuer=\"main\"}";
    assert_eq!(gate.metric(usable), 1.0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(ask(gate.data(), &good).status, 503);
    assert_eq!(health(&gate)["state"], "stale");
    assert_eq!(gate.metric(usable), 0.0, "an alert compares it with 0");
    drop(gate);
    let gate = start();
    assert_eq!(ask(gate.data(), &good).status, 503);
    assert_eq!(health(&gate)["state"], "no_keys");
}

#[test]
fn a_kept_set_that_is_too_old_is_logged() {
    let (folder, key, server) = (tempfile::tempdir().unwrap(), new_key(), RawIssuer::start());
    let issuer = by_url(&server, "max_stale: 60s");
    after_a_run(&server, folder.path(), &key, &issuer);
    make_older(&folder.path().join("issuers/main.json"), Duration::from_secs(61));
    let gate = program(&state_dir(folder.path()), &issuer, &[]);
    gate.wait_for_output("longer than `max_stale`");
    assert_eq!(ask(gate.data(), &token(&key)).status, 503);
}

#[test]
fn a_file_that_is_not_what_was_written_is_not_used_and_is_logged() {
    let (folder, key, server) = (tempfile::tempdir().unwrap(), new_key(), RawIssuer::start());
    let issuer = by_url(&server, "");
    after_a_run(&server, folder.path(), &key, &issuer);
    let file = folder.path().join("issuers/main.json");
    let good = std::fs::read_to_string(&file).unwrap();
    let millis = |text: &str| {
        let (_, rest) = text.split_once("\"confirmed_unix_millis\":").unwrap();
        rest.split(',').next().unwrap().to_owned()
    };
    let cases = [
        (String::new(), "not to its end"),
        ("\0\u{1b}[31m{".to_owned(), "not to its end"),
        (good[..good.len() / 2].to_owned(), "not to its end"),
        (good.replace("ES256", "ES384"), "is damaged"),
        (good.replace(&millis(&good), "1"), "is damaged"),
    ];
    for (text, message) in cases {
        std::fs::write(&file, &text).unwrap();
        let gate = program(&state_dir(folder.path()), &issuer, &[]);
        assert_eq!(ask(gate.data(), &token(&key)).status, 503, "{text:?}");
        gate.wait_for_output("Issuer keys on disk cannot be used");
        gate.wait_for_output(message);
        assert_eq!(health(&gate)["state"], "no_keys");
    }
    std::fs::write(&file, &good).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let gate = program(&state_dir(folder.path()), &issuer, &[]);
    assert_eq!(
        ask(gate.data(), &token(&key)).status,
        503,
        "others can read it, so who knows who wrote it"
    );
    drop(gate);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    // Keys that were fetched from another URL are not used.
    let other = by_url(&server, "").replace("/jwks", "/other");
    let gate = program(&state_dir(folder.path()), &other, &[]);
    assert_eq!(ask(gate.data(), &token(&key)).status, 503);
    gate.wait_for_output("is about another source");
    drop(gate);
    let gate = program(&state_dir(folder.path()), &issuer, &[]);
    assert_eq!(ask(gate.data(), &token(&key)).status, 200, "the file itself is good");
}

#[test]
fn a_folder_that_cannot_be_used_is_an_alarm_and_no_outage() {
    let (folder, key, server) = (tempfile::tempdir().unwrap(), new_key(), RawIssuer::start());
    server.reply("/jwks", Reply::ok(&set_of(&[&key])));
    // A file where the folder should be.
    std::fs::write(folder.path().join("issuers"), "").unwrap();
    let gate = program(&state_dir(folder.path()), &by_url(&server, ""), &[]);
    gate.wait_ready();
    assert_eq!(ask(gate.data(), &token(&key)).status, 200);
    gate.wait_for_output("State folder cannot be used; nothing is kept over a restart");
    assert_eq!(gate.metric("keygate_state_write_failures_total"), 1.0);
}

#[test]
fn without_a_state_dir_one_line_says_that_nothing_is_kept() {
    let (key, server) = (new_key(), RawIssuer::start());
    server.reply("/jwks", Reply::ok(&set_of(&[&key])));
    let gate = program("", &by_url(&server, ""), &[]);
    gate.wait_for_output("Issuers' keys are not kept over a restart: set `state_dir`");
}

#[test]
fn a_reload_that_changes_an_interval_keeps_the_keys_although_the_issuer_is_down() {
    let (key, server) = (new_key(), RawIssuer::start());
    server.reply("/jwks", Reply::ok(&set_of(&[&key])));
    let gate = program("", &by_url(&server, "timeout: 1s"), &[]);
    gate.wait_ready();
    server.reply("/jwks", Reply::status("500 Internal Server Error"));
    let yaml = std::fs::read_to_string(gate.folder().join("keygate.yaml")).unwrap();
    gate.reload(&yaml.replace("timeout: 1s", "timeout: 2s"));
    gate.wait_for_output("Configuration reloaded");
    wait_until("tried", || fetches(&gate, "failure") > 0.0);
    assert_eq!(ask(gate.data(), &token(&key)).status, 200);
    // With another rule for the connection, here a proxy, keys that were fetched under the old rule are not used.
    gate.reload(&yaml.replace("allow_http: true", "allow_http: true\n    proxy: http://127.0.0.1:1"));
    ask_until(gate.data(), &token(&key), 503, &[200]);
}
