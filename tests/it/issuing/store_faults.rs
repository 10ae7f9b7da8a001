//! What works while the store fails: on a full disk, with a damaged or deleted database? Revocations work, issued credentials
//! stay valid, and nothing that was acknowledged is lost.

use super::Gate;
use super::gate;
use super::gate::form;
use super::gate::text;
use crate::support;
use crate::support::AdminResponse;
use crate::support::Binary;
use crate::support::folder_with;
use crate::support::wait_until;
use serde_json::Value;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

pub(super) const WRITABLE: &str = "keygate_store_writable";
pub(super) const IN_LOG: &str = "keygate_store_pending_revocations{kept_in=\"log\"}";
pub(super) const IN_MEMORY: &str = "keygate_store_pending_revocations{kept_in=\"memory\"}";

/// Returns the configuration with the store in the folder `data`, and with a short drain.
pub(super) fn config() -> String {
    gate::with_endpoint("").replace("path: keygate.db", "path: data/keygate.db") + "shutdown: { drain: 1s }\n"
}

/// Returns a folder with the configuration `config` and the folder of the store, which the program does not make.
pub(super) fn folder_with_data(config: &str) -> tempfile::TempDir {
    let folder = folder_with(config, &[]);
    std::fs::create_dir(folder.path().join("data")).unwrap();
    folder
}

fn start() -> Gate<Binary> {
    Gate::of(Binary::start_in(folder_with_data(&config()), &[]))
}

/// Returns the condition `store` of `/readyz`, which must be answered with 200.
#[track_caller]
pub(super) fn store_condition(gate: &Gate<Binary>) -> (String, String) {
    let response = support::get(gate.running.admin(), "/readyz");
    assert_eq!(response.status, 200, "{}", response.text());
    let report = response.json();
    let mut conditions = report["conditions"].as_array().unwrap().iter();
    let found = conditions.find(|condition| condition["name"] == "store").unwrap();
    (text(&found["status"]), text(&found["detail"]))
}

#[track_caller]
pub(super) fn wait_for_condition(gate: &Gate<Binary>, status: &str) -> String {
    wait_until(&format!("the store is {status}"), || store_condition(gate).0 == status);
    store_condition(gate).1
}

/// Revokes the key `id`, which must be answered with 202, and returns `durable`.
#[track_caller]
fn revoke_key(gate: &Gate<Binary>, id: &str) -> bool {
    durable(gate.admin.call("POST", &format!("/keys/{id}/revoke"), None), id)
}

#[track_caller]
pub(super) fn durable(response: AdminResponse, id: &str) -> bool {
    assert_eq!(
        (response.status, &response.json["id"]),
        (202, &json!(id)),
        "{response:?}"
    );
    response.json["durable"].as_bool().unwrap()
}

/// Returns the targets of the audit events with this action.
pub(super) fn events(gate: &Gate<Binary>, action: &str) -> Vec<String> {
    let found = gate.admin.get(&format!("/audit?action={action}&limit=200"));
    let items = found["items"].as_array().unwrap();
    items.iter().map(|event| text(&event["target"])).collect()
}

/// Fills the disk of `folder` to its last byte, and returns the path of the file that takes the place.
fn fill(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    while file.write_all(&[0; 1024]).is_ok() {}
    path
}

/// Damages every page of the database but the first, on which the schema begins.
pub(super) fn damage(database: &Path) {
    let mut content = std::fs::read(database).unwrap();
    content[4_096..].fill(0xA5);
    let mut file = std::fs::OpenOptions::new().write(true).open(database).unwrap();
    file.write_all(&content).unwrap();
}

fn new_key() -> Option<Value> {
    Some(json!({ "name": "ci", "expires": "never" }))
}

#[test]
fn on_a_full_disk_everything_is_revoked_at_once_and_written_when_there_is_room() {
    let config = gate::with_endpoint("").replace("path: keygate.db", "path: disk/keygate.db");
    let Some(binary) = Binary::start_on_small_disk(&config, 32_768) else {
        return;
    };
    let gate = Gate::of(binary);
    let (first, _) = gate.key(None);
    gate.admin.perform("POST", &format!("/keys/{first}/revoke"), None);
    let (_, kept) = gate.key(None);
    let keys: Vec<(String, String)> = (0..60).map(|_| gate.key(None)).collect();
    let clients: Vec<(String, String)> = (0..3).map(|_| gate.secret_client(json!({}))).collect();
    let tokens: Vec<String> = clients.iter().map(|(id, secret)| gate.token((id, secret))).collect();
    let opaque = gate.secret_client(json!({ "token_format": "opaque" }));
    let opaque_token = gate.token((&opaque.0, &opaque.1));
    assert_eq!(store_condition(&gate), ("ok".to_owned(), String::new()));
    assert_eq!(gate.running.metric(WRITABLE), 1.0);

    let filler = fill(&gate.running.disk());
    // Each kind of write that makes something is refused with a reason, and makes nothing.
    gate.admin
        .expect_refusal("POST", "/keys", new_key(), 503, "store-unavailable");
    let client = json!({ "name": "job", "authentication": "client_secret" });
    gate.admin
        .expect_refusal("POST", "/clients", Some(client), 503, "store-unavailable");
    let regenerate = format!("/keys/{}/regenerate", keys[0].0);
    gate.admin
        .expect_refusal("POST", &regenerate, Some(json!({})), 503, "store-unavailable");
    assert_eq!(gate.ask_token((&opaque.0, &opaque.1)).status, 503);
    // Issued credentials stay valid, and tokens that need no store are issued.
    assert_eq!(gate.with_key("/any/x", &kept).status, 200);
    assert_eq!(gate.with_token("/any/x", &opaque_token).status, 200);
    assert_eq!(gate.ask_token((&clients[0].0, &clients[0].1)).status, 200);

    // The log of revocations has room on the disk, more than in the block that it has begun.
    for (id, key) in &keys {
        assert!(revoke_key(&gate, id), "{id}");
        assert_eq!(gate.with_key("/any/x", key).status, 401);
    }
    let revoked: Vec<&String> = keys.iter().map(|(id, _)| id).collect();
    gate.admin.expect_refusal(
        "POST",
        &format!("/keys/{}/revoke", revoked[0]),
        None,
        409,
        "already-revoked",
    );
    assert_eq!(gate.admin.get(&format!("/keys/{}", revoked[0]))["state"], "revoked");
    // Clients and tokens.
    let [deleted, ended, own] = [&clients[0], &clients[1], &clients[2]];
    let response = gate
        .admin
        .call("DELETE", &format!("/clients/{}?revoke_tokens=true", deleted.0), None);
    durable(response, &deleted.0);
    let response = gate
        .admin
        .call("POST", &format!("/clients/{}/revoke-tokens", ended.0), None);
    durable(response, &ended.0);
    let revoke = form(
        "/oauth/revoke",
        &gate::basic(&own.0, &own.1),
        &format!("token={}", tokens[2]),
    );
    assert_eq!(gate.client().exchange(revoke).status, 200);
    for token in &tokens {
        assert_eq!(gate.with_token("/any/x", token).status, 401);
    }
    assert!([400, 401].contains(&gate.ask_token((&deleted.0, &deleted.1)).status));
    let token = gate.token((&ended.0, &ended.1));
    assert_eq!(gate.with_token("/any/x", &token).status, 200);

    // Readiness, metrics and the log report it.
    let detail = wait_for_condition(&gate, "degraded");
    assert!(
        detail.contains("cannot be written") && detail.contains("revocations are in force and wait for it"),
        "{detail}"
    );
    assert_eq!(gate.running.metric(WRITABLE), 0.0);
    let waiting = || gate.running.metric(IN_LOG) + gate.running.metric(IN_MEMORY);
    wait_until("the revocations are counted", || {
        waiting() == revoked.len() as f64 + 3.0
    });
    assert!(gate.running.metric("keygate_store_commits_total{result=\"failure\"}") > 0.0);
    assert!(gate.running.metric("keygate_store_last_failure_timestamp_seconds") > 0.0);
    let output = gate.running.output();
    assert!(output.contains("Store cannot be written"), "{output}");

    std::fs::remove_file(filler).unwrap();
    assert_eq!(wait_for_condition(&gate, "ok"), "");
    wait_until("the revocations are written", || waiting() == 0.0);
    assert_eq!(gate.running.metric(WRITABLE), 1.0);
    let found = events(&gate, "api_key.revoke");
    for id in &revoked {
        assert_eq!(found.iter().filter(|target| target == &*id).count(), 1, "{id}");
    }
    for (action, target) in [("client.delete", &deleted.0), ("client.revoke_tokens", &ended.0)] {
        assert_eq!(events(&gate, action), std::slice::from_ref(target));
    }
    assert_eq!(events(&gate, "token.revoke").len(), 1);
    assert_eq!(gate.admin.get("/audit/verify")["state"], "whole");
    // Nothing that was refused has been made, and making works again.
    assert_eq!(events(&gate, "api_key.create").len(), keys.len() + 2);
    gate.key(None);
    assert_eq!(gate.with_token("/any/x", &token).status, 200);
}

#[test]
fn a_revocation_without_a_database_survives_a_crash_in_the_log() {
    let gate = start();
    let (id, key) = gate.key(None);
    let (_, kept) = gate.key(None);
    let database = gate.running.folder().join("data/keygate.db");
    let away = database.with_extension("away");
    std::fs::rename(&database, &away).unwrap();
    // Noticed while the gate runs, without a write.
    let detail = wait_for_condition(&gate, "degraded");
    assert!(
        detail.contains("is not the file any more that the gate opened"),
        "{detail}"
    );
    assert_eq!(gate.running.metric(WRITABLE), 0.0);
    gate.admin
        .expect_refusal("POST", "/keys", new_key(), 503, "store-unavailable");
    assert!(revoke_key(&gate, &id));
    assert_eq!(gate.with_key("/any/x", &key).status, 401);
    assert_eq!(gate.with_key("/any/x", &kept).status, 200);

    let folder = gate.running.kill();
    std::fs::rename(&away, &database).unwrap();
    let gate = Gate::of(Binary::start_in(folder, &[]));
    assert_eq!(gate.with_key("/any/x", &key).status, 401);
    assert_eq!(gate.with_key("/any/x", &kept).status, 200);
    assert_eq!(gate.admin.get(&format!("/keys/{id}"))["state"], "revoked");
    assert_eq!(events(&gate, "store.restored").len(), 1);
}

#[test]
fn a_database_that_is_put_back_gets_what_was_revoked() {
    let gate = start();
    let (id, _) = gate.key(None);
    let database = gate.running.folder().join("data/keygate.db");
    let away = database.with_extension("away");
    std::fs::rename(&database, &away).unwrap();
    assert!(revoke_key(&gate, &id));
    std::fs::rename(&away, &database).unwrap();
    wait_until("it is written", || events(&gate, "api_key.revoke") == [id.clone()]);
    wait_for_condition(&gate, "ok");
    wait_until("the log says so", || {
        gate.running.output().contains("Store can be written again")
    });
    gate.running.stop();
}

#[test]
fn a_gate_that_ends_says_which_revocations_it_could_not_write() {
    for with_log in [true, false] {
        let gate = start();
        let (id, key) = gate.key(None);
        let place = gate
            .running
            .folder()
            .join(if with_log { "data/keygate.db" } else { "data" });
        std::fs::rename(&place, place.with_extension("away")).unwrap();
        assert_eq!(revoke_key(&gate, &id), with_log);
        assert_eq!(gate.with_key("/any/x", &key).status, 401);
        let series = if with_log { IN_LOG } else { IN_MEMORY };
        wait_until("it is counted", || gate.running.metric(series) == 1.0);
        let mut binary = gate.running;
        binary.signal("TERM");
        assert!(binary.wait_exit().success());
        let output = binary.output();
        let sentence = if with_log {
            "Revocation is not in the store"
        } else {
            "Revocation is lost"
        };
        let line = output.lines().find(|line| line.contains(sentence));
        assert!(line.is_some_and(|line| line.contains(&id)), "{output}");
    }
}

#[test]
fn a_key_in_a_damaged_database_is_revoked_and_stays_so_with_the_backup() {
    let gate = start();
    let (id, key) = gate.key(None);
    let (_, kept) = gate.key(None);
    let folder = gate.running.stop();
    let database = folder.path().join("data/keygate.db");
    let whole = std::fs::read(&database).unwrap();
    let gate = Gate::of(Binary::start_in(folder, &[]));
    damage(&database);
    assert!(revoke_key(&gate, &id));
    assert_eq!(gate.with_key("/any/x", &key).status, 401);
    assert_eq!(gate.with_key("/any/x", &kept).status, 200);
    let detail = wait_for_condition(&gate, "degraded");
    assert!(detail.contains("put a backup in its place"), "{detail}");
    let folder = gate.running.kill();
    for name in ["keygate.db-wal", "keygate.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join("data").join(name));
    }
    std::fs::write(&database, &whole).unwrap();
    let gate = Gate::of(Binary::start_in(folder, &[]));
    assert_eq!(gate.with_key("/any/x", &key).status, 401);
    assert_eq!(gate.with_key("/any/x", &kept).status, 200);
}

#[test]
fn the_command_line_says_where_a_revocation_is() {
    let gate = start();
    let ids = [gate.key(None).0, gate.key(None).0, gate.key(None).0];
    let data = gate.running.folder().join("data");
    let revoke = |id: &str, form: &str| {
        let output = Command::new(support::program())
            .args(["keys", "revoke", id, "--yes", "--output", form])
            .args(["--admin", &format!("http://{}", gate.running.admin())])
            .env("KEYGATE_ADMIN_TOKEN", gate::ADMIN_TOKEN)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    std::fs::rename(data.join("keygate.db"), data.join("away.db")).unwrap();
    let (success, _, said) = revoke(&ids[0], "table");
    assert!(
        success && said.contains("is revoked") && said.contains("in its log of revocations"),
        "{said}"
    );
    let (success, printed, said) = revoke(&ids[1], "json");
    assert!(success && said.contains("warning"), "{said}");
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&printed["id"], &printed["durable"]), (&json!(ids[1]), &json!(true)));
    std::fs::rename(&data, data.with_extension("away")).unwrap();
    let (success, _, said) = revoke(&ids[2], "table");
    assert!(success && said.contains("memory alone"), "{said}");
}
