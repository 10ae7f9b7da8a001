//! A running gate as operators and clients see it: reloads, limits, routing, leaks, metrics, shutdown.

mod admin_records;
mod descriptors;
mod idle_memory;
mod leaks;
mod limit_counts;
mod limits;
mod logging;
mod metrics;
mod owners;
mod reload;
mod removed_files;
mod restart;
mod cached_tokens;
mod routing;
mod shutdown;
mod supervisor;
mod unread_memory;
mod upgrade;
mod upstream_failures;

use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use keygate::model::api_key::ApiKeyText;
use keygate::model::clock::Clock;
use keygate::model::clock::SystemClock;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const ISSUER: &str = "https://issuer.test";
const AUDIENCE: &str = "https://api.test";

/// The section of an issuer whose only key is in `issuer.pem`.
const ISSUER_YAML: &str = "issuer: https://issuer.test\naudiences: [https://api.test]\npublic_key_files: [issuer.pem]";

fn now_secs() -> u64 {
    SystemClock::new().now().wall.as_unix_secs()
}

/// Returns the claims of a valid token, with `more` merged in; null removes a claim.
fn claims(more: &Value) -> Value {
    let now = now_secs();
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "somebody", "client_id": "a-client",
        "iat": now, "exp": now + 600, "scope": "read",
    });
    for (name, value) in more.as_object().expect("claims are an object") {
        claims[name] = value.clone();
    }
    let claims = claims.as_object().expect("still an object").clone();
    claims.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

fn token(key: &SigningKey, more: &Value) -> String {
    key.sign("at+jwt", &claims(more)).unwrap()
}

/// Creates a key with the program itself, for the configuration in `folder`.
#[track_caller]
fn create_key(folder: &Path, more: &[&str]) -> String {
    let mut args = vec!["create", "--name", "test", "--expires", "30d"];
    args.extend(more);
    let output = keys_command(folder, &args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Replaces the keys of `gate` by a new key, and returns the new key.
#[track_caller]
fn put_key(gate: &LocalGate) -> ApiKeyText {
    let (key, entry) = crate::support::api_key("");
    put_keys(gate, &[entry]);
    key
}

/// Replaces the keys of `gate` by `entries`, which are entries of a keys file. When this returns, they are in force.
fn put_keys(gate: &LocalGate, entries: &[String]) {
    gate.replace_file("keys.yaml", &format!("keys:\n{}", entries.concat()));
    gate.check_files();
}

fn keys_command(folder: &Path, args: &[&str]) -> std::process::Output {
    Command::new(crate::support::program())
        .args(["keys", "--config"])
        .arg(folder.join("keygate.yaml"))
        .args(args)
        .output()
        .unwrap()
}

/// Sends a GET with these header lines on a connection of its own.
#[track_caller]
fn get(address: SocketAddr, target: &str, headers: &[&str]) -> Response {
    RawClient::connect(address).exchange(request("GET", target, headers))
}

fn request(method: &str, target: &str, headers: &[&str]) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|line| line.starts_with("Host:")) {
        text.push_str("Host: api.test\r\n");
    }
    for line in headers {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn api_key(key: &str) -> String {
    format!("x-api-key: {key}")
}

const RELOADED: &str = "keygate_config_reloads_total{result=\"success\"}";
const REFUSED: &str = "keygate_config_reloads_total{result=\"failure\"}";

/// Replaces the configuration file and sends no signal: only the file watcher finds the change.
fn write_config(binary: &RunningGate, yaml: &str) {
    binary.replace_file("keygate.yaml", yaml);
}

/// Replaces the configuration and waits until it is in force. Only for tests without
/// another change in flight: one change is one reload, so the next reload is this one.
#[track_caller]
fn reload(binary: &RunningGate, yaml: &str) {
    let before = binary.metric(RELOADED);
    write_config(binary, yaml);
    wait_until("the configuration is in force", || binary.metric(RELOADED) > before);
    assert_eq!(binary.metric(RELOADED), before + 1.0);
}

fn condition(binary: &RunningGate, name: &str) -> Value {
    let response = crate::support::get(binary.admin(), "/readyz");
    let report = response.json();
    let conditions = report["conditions"].as_array().expect("conditions are a list");
    conditions
        .iter()
        .find(|condition| condition["name"] == name)
        .cloned()
        .unwrap_or(Value::Null)
}
