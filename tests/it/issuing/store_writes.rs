//! What does each kind of write answer while the store cannot be written, and what is there afterwards? Everything that was
//! acknowledged, and nothing that was refused.

use super::Gate;
use super::gate;
use super::gate::form;
use super::gate::text;
use super::store_faults;
use super::store_faults::IN_LOG;
use super::store_faults::IN_MEMORY;
use super::store_faults::WRITABLE;
use super::store_faults::events;
use super::store_faults::store_condition;
use super::store_faults::wait_for_condition;
use crate::support;
use crate::support::Binary;
use crate::support::Response;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use keygate::jose::sign::token_id;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

/// A full disk: the size beyond which no file can be written.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// No file at all.
    Everything,
    /// The database and its WAL, which are larger, and not the log of revocations.
    Database,
}

impl Fault {
    const ALL: [Self; 2] = [Self::Everything, Self::Database];

    const fn bytes(self) -> u64 {
        match self {
            Self::Everything => 0,
            Self::Database => 48 * 1024,
        }
    }

    /// Returns whether a revocation is on the disk.
    const fn is_durable(self) -> bool {
        match self {
            Self::Everything => false,
            Self::Database => true,
        }
    }

    #[track_caller]
    fn begin(self, gate: &Gate<Binary>) {
        let size = |name: &str| {
            let path = gate.running.folder().join("data").join(name);
            path.metadata().unwrap().len()
        };
        let (log, wal) = (size("keygate.db.revocations"), size("keygate.db-wal"));
        assert!(log + 8_192 < Self::Database.bytes(), "{log}");
        assert!(wal > Self::Database.bytes(), "{wal}");
        gate.running.limit_files(Some(self.bytes()));
    }
}

#[track_caller]
fn end(gate: &Gate<Binary>) {
    gate.running.limit_files(None);
    wait_for_condition(gate, "ok");
    wait_until("nothing waits", || {
        gate.running.metric(IN_LOG) + gate.running.metric(IN_MEMORY) == 0.0
    });
    assert_eq!(gate.running.metric(WRITABLE), 1.0);
}

/// A request to the admin API that writes.
struct AdminWrite {
    method: &'static str,
    path: String,
    body: Value,
}

fn post(path: impl Into<String>, body: Value) -> AdminWrite {
    AdminWrite {
        method: "POST",
        path: path.into(),
        body,
    }
}

/// Returns everything that is stored, except for the last use of keys, which is written late.
#[track_caller]
fn contents(gate: &Gate<Binary>) -> Value {
    let list = |path: &str| gate.admin.get(path)["items"].clone();
    let mut keys = list("/keys?limit=200");
    for key in keys.as_array_mut().unwrap() {
        key.as_object_mut().unwrap().remove("last_used_at");
    }
    json!({
        "organizations": list("/organizations?limit=200"),
        "subscriptions": list("/subscriptions?limit=200"),
        "keys": keys,
        "clients": list("/clients?limit=200"),
        "signing_keys": list("/signing-keys"),
        "newest_event": list("/audit?limit=1"),
    })
}

/// A client with a generated key.
struct KeyClient {
    id: String,
    kid: String,
    key: SigningKey,
}

impl KeyClient {
    #[track_caller]
    fn create(gate: &Gate<Binary>) -> Self {
        let new = json!({ "name": "pair", "authentication": "private_key_jwt", "scopes": ["orders:read"] });
        let id = text(&gate.admin.create("/clients", new)["id"]);
        let created = gate
            .admin
            .create(&format!("/clients/{id}/keys"), json!({ "generate": "ES256" }));
        let key = SigningKey::from_pkcs8_pem(Algorithm::Es256, &text(&created["private_key"])).unwrap();
        let kid = text(&created["kid"]);
        Self { id, kid, key }
    }

    /// Returns the body of a token request with a new assertion.
    fn assertion(&self) -> String {
        let now = gate::now().as_unix_secs();
        let claims = json!({
            "iss": self.id, "sub": self.id, "aud": gate::ISSUER, "iat": now, "exp": now + 600, "jti": token_id(),
        });
        let assertion = self.key.sign("JWT", &claims).unwrap();
        format!(
            "grant_type=client_credentials&client_assertion={assertion}&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        )
    }
}

#[track_caller]
fn token_request(gate: &Gate<Binary>, body: &str) -> Response {
    gate.client().exchange(form("/oauth/token", "", body))
}

#[track_caller]
fn expect_unavailable(response: &Response) {
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(response.json()["error"], "temporarily_unavailable");
    assert_eq!(response.json()["error_description"], "the store is not available");
}

fn start() -> Gate<Binary> {
    let config = store_faults::config().replace("plans:\n", "plans:\n  manual: { credentials: api_key }\n");
    Gate::of(Binary::start_under_file_limit(store_faults::folder_with_data(&config)))
}

fn restart(gate: Gate<Binary>) -> Gate<Binary> {
    Gate::of(Binary::start_under_file_limit(gate.running.stop()))
}

/// Returns a write of each kind that cannot be made without the store.
fn writes(gate: &Gate<Binary>) -> Vec<AdminWrite> {
    let subscription = gate.subscription("acme", "paid");
    let new = json!({ "organization": "acme", "plan": "manual", "environment": "live" });
    let [pending, failing] = [(); 2].map(|()| text(&gate.admin.create("/subscriptions", new.clone())["id"]));
    let (key, _) = gate.key(None);
    let (_, verified) = gate.key(None);
    let [changed, disabled, rotated, regenerated] = [(); 4].map(|()| gate.secret_client(json!({})).0);
    let pair = KeyClient::create(gate).id;
    let pem = SigningKey::generate_es256().unwrap().public_pem();
    let patch = |id: &str, body| AdminWrite {
        method: "PATCH",
        path: format!("/clients/{id}"),
        body,
    };
    vec![
        post("/organizations", json!({ "id": "later", "name": "Later" })),
        post("/subscriptions", new),
        post(format!("/subscriptions/{pending}/approve"), Value::Null),
        post(format!("/subscriptions/{failing}/fail"), Value::Null),
        post(
            format!("/subscriptions/{subscription}/payment"),
            json!({ "paid": true }),
        ),
        post(format!("/subscriptions/{subscription}/plan"), json!({ "plan": "keys" })),
        post("/keys", json!({ "name": "ci", "expires": "never" })),
        post(
            "/keys/import",
            json!({ "name": "old", "expires": "never", "digest": "ab".repeat(32) }),
        ),
        post(format!("/keys/{key}/regenerate"), json!({ "grace": "1h" })),
        // Its audit event.
        post("/keys/verify", json!({ "key": verified })),
        post("/clients", json!({ "name": "job", "authentication": "client_secret" })),
        post(
            "/clients",
            json!({ "name": "job", "authentication": "private_key_jwt" }),
        ),
        patch(&changed, json!({ "name": "renamed" })),
        patch(&disabled, json!({ "state": "disabled" })),
        post(format!("/clients/{rotated}/secret/rotate"), json!({})),
        post(format!("/clients/{regenerated}/secret/regenerate"), json!({})),
        post(format!("/clients/{pair}/keys"), json!({ "public_key": pem })),
        post(format!("/clients/{pair}/keys"), json!({ "generate": "ES256" })),
        post("/signing-keys/rotate", json!({})),
        post("/backup", json!({ "path": "copy.db" })),
    ]
}

#[test]
fn each_kind_of_write_is_refused_on_a_full_disk_and_made_when_there_is_room() {
    for fault in Fault::ALL {
        println!("{fault:?}");
        let gate = start();
        let writes = writes(&gate);
        let (_, key) = gate.key(None);
        let job = gate.secret_client(json!({}));
        let opaque = gate.secret_client(json!({ "token_format": "opaque" }));
        let (token, opaque_token) = (gate.token((&job.0, &job.1)), gate.token((&opaque.0, &opaque.1)));
        let pair = KeyClient::create(&gate);
        let assertion = pair.assertion();
        let before = contents(&gate);

        fault.begin(&gate);
        for AdminWrite { method, path, body } in &writes {
            let body = (!body.is_null()).then(|| body.clone());
            gate.admin.expect_refusal(method, path, body, 503, "store-unavailable");
        }
        expect_unavailable(&gate.ask_token((&opaque.0, &opaque.1)));
        expect_unavailable(&token_request(&gate, &assertion));
        // What is known goes on: credentials, tokens that need no store, and reading.
        let is_in_use = || {
            assert_eq!(gate.with_key("/any/x", &key).status, 200);
            assert_eq!(gate.with_token("/any/x", &token).status, 200);
            assert_eq!(gate.with_token("/any/x", &opaque_token).status, 200);
            assert_eq!(gate.ask_token((&job.0, &job.1)).status, 200);
        };
        is_in_use();
        assert_eq!(contents(&gate), before);
        let detail = wait_for_condition(&gate, "degraded");
        assert!(detail.contains("cannot be written"), "{detail}");
        assert_eq!(gate.running.metric(WRITABLE), 0.0);
        assert!(gate.running.metric("keygate_store_commits_total{result=\"failure\"}") >= writes.len() as f64);
        // Said once, however many fail.
        let output = gate.running.output();
        assert_eq!(output.matches("Store cannot be written").count(), 1, "{output}");

        end(&gate);
        assert!(gate.running.output().contains("Store can be written again"));
        assert_eq!(contents(&gate), before);
        assert!(!gate.running.folder().join("data/copy.db").exists());
        let gate = restart(gate);
        assert_eq!(contents(&gate), before);
        // Each of them was refused for the disk alone. The assertion is unused.
        assert_eq!(token_request(&gate, &assertion).status, 200);
        assert!([400, 401].contains(&token_request(&gate, &assertion).status), "used");
        for AdminWrite { method, path, body } in writes {
            gate.admin.perform(method, &path, (!body.is_null()).then_some(body));
        }
        gate.token((&opaque.0, &opaque.1));
        assert_eq!(gate.admin.get("/audit/verify")["state"], "whole");

        // Nor does a gate that ends on a full disk lose anything: what is in the WAL stays there.
        assert_eq!(gate.with_key("/limited/x", &key).status, 200);
        let before = contents(&gate);
        gate.running.limit_files(Some(0));
        let (folder, output) = gate.running.stop_and_read();
        for sentence in ["Counts of limits not stored", "Stopped"] {
            assert!(output.contains(sentence), "{sentence}: {output}");
        }
        let gate = Gate::of(Binary::start_in(folder, &[]));
        assert_eq!(contents(&gate), before);
        assert_eq!(gate.with_key("/any/x", &key).status, 200);
    }
}

/// A revocation, and how the record looks afterwards.
struct RevocationCase {
    method: &'static str,
    path: String,
    id: String,
    /// A path of the admin API, a JSON pointer, and the value there.
    record: (String, &'static str, Option<Value>),
    action: &'static str,
}

#[test]
fn each_kind_of_revocation_is_in_force_on_a_full_disk_and_stays_so() {
    for fault in Fault::ALL {
        println!("{fault:?}");
        let gate = start();
        let (key, key_text) = gate.key(None);
        let (replaced, replaced_text) = gate.key(None);
        let regenerate = format!("/keys/{replaced}/regenerate");
        gate.admin.create(&regenerate, json!({ "grace": "1h" }));
        let subscription = gate.subscription("acme", "limited");
        let (_, under) = gate.key(Some(&subscription));
        let clients = [(); 4].map(|()| gate.secret_client(json!({})));
        let tokens = clients.each_ref().map(|(id, secret)| gate.token((id, secret)));
        let [deleted, ended, revoked, own] = &clients;
        let pair = KeyClient::create(&gate);
        let case = |method, path: String, id: &str, record: (String, _, Option<Value>), action| RevocationCase {
            method,
            path,
            id: id.to_owned(),
            record,
            action,
        };
        let state = |kind: &str, id: &str, word: &str| (format!("/{kind}/{id}"), "/state", Some(json!(word)));
        let revoke_key = |id: &str| {
            let path = format!("/keys/{id}/revoke");
            case("POST", path, id, state("keys", id, "revoked"), "api_key.revoke")
        };
        let delete = |(id, _): &(String, String), query: &str| {
            let path = format!("/clients/{id}{query}");
            case("DELETE", path, id, state("clients", id, "deleted"), "client.delete")
        };
        let cases = [
            revoke_key(&key),
            // In its grace.
            revoke_key(&replaced),
            delete(deleted, ""),
            delete(ended, "?revoke_tokens=true"),
            case(
                "POST",
                format!("/clients/{}/revoke-tokens", revoked.0),
                &revoked.0,
                (format!("/clients/{}", revoked.0), "/tokens_not_before", None),
                "client.revoke_tokens",
            ),
            case(
                "DELETE",
                format!("/clients/{}/keys/{}", pair.id, pair.kid),
                &pair.id,
                (format!("/clients/{}/keys", pair.id), "/items/0/revoked_at", None),
                "client_key.revoke",
            ),
            case(
                "POST",
                format!("/subscriptions/{subscription}/cancel"),
                &subscription,
                state("subscriptions", &subscription, "cancelled"),
                "subscription.cancel",
            ),
        ];
        let check = |gate: &Gate<Binary>| {
            for case in &cases {
                let (path, pointer, expected) = &case.record;
                let record = gate.admin.get(path);
                let found = record.pointer(pointer).unwrap_or(&Value::Null);
                match expected {
                    Some(expected) => assert_eq!(found, expected, "{path}: {record}"),
                    None => assert!(found.is_string(), "{path}: {record}"),
                }
            }
            assert_eq!(gate.with_key("/any/x", &key_text).status, 401);
            assert_eq!(gate.with_key("/any/x", &replaced_text).status, 401);
            assert!([401, 403].contains(&gate.with_key("/any/x", &under).status));
            // A deleted client's tokens stay unless it was said otherwise.
            let statuses = tokens.each_ref().map(|token| gate.with_token("/any/x", token).status);
            assert_eq!(statuses, [200, 401, 401, 401]);
            for (id, secret) in [deleted, ended] {
                assert!([400, 401].contains(&gate.ask_token((id, secret)).status));
            }
            assert!([400, 401].contains(&token_request(gate, &pair.assertion()).status));
        };

        fault.begin(&gate);
        for RevocationCase { method, path, id, .. } in &cases {
            let response = gate.admin.call(method, path, None);
            assert_eq!(store_faults::durable(response, id), fault.is_durable(), "{path}");
        }
        let body = format!("token={}", tokens[3]);
        let revoke = form("/oauth/revoke", &gate::basic(&own.0, &own.1), &body);
        assert_eq!(gate.client().exchange(revoke).status, 200);
        check(&gate);
        let detail = wait_for_condition(&gate, "degraded");
        let in_memory = "8 of them in memory alone; the log of revocations cannot be written";
        assert!(
            detail.contains("8 revocations are in force and wait for it")
                && detail.contains(in_memory) != fault.is_durable(),
            "{detail}"
        );
        let series = if fault.is_durable() { IN_LOG } else { IN_MEMORY };
        wait_until("the revocations are counted", || gate.running.metric(series) == 8.0);
        let output = gate.running.output();
        let said = "Revocation is in force, and not in the store yet";
        assert_eq!(output.matches(said).count(), 8, "{output}");

        end(&gate);
        assert_eq!(store_condition(&gate), ("ok".to_owned(), String::new()));
        let check_events = |gate: &Gate<Binary>| {
            for RevocationCase { id, action, .. } in &cases {
                let found = events(gate, action);
                assert_eq!(found.iter().filter(|target| *target == id).count(), 1, "{action} {id}");
            }
            assert_eq!(events(gate, "token.revoke").len(), 1);
            assert_eq!(gate.admin.get("/audit/verify")["state"], "whole");
        };
        check(&gate);
        check_events(&gate);
        let gate = restart(gate);
        check(&gate);
        check_events(&gate);
        // All of it was in the store: the log had nothing to add.
        assert_eq!(events(&gate, "store.restored").len(), 0);
    }
}

#[test]
fn a_damaged_database_takes_no_kind_of_write_and_its_credentials_go_on() {
    let gate = start();
    let writes = writes(&gate);
    let (id, key) = gate.key(None);
    let (_, kept) = gate.key(None);
    let job = gate.secret_client(json!({}));
    let opaque = gate.secret_client(json!({ "token_format": "opaque" }));
    let opaque_token = gate.token((&opaque.0, &opaque.1));
    let gate = restart(gate);
    let database = gate.running.folder().join("data/keygate.db");
    let whole = std::fs::read(&database).unwrap();
    store_faults::damage(&database);
    for AdminWrite { method, path, body } in &writes {
        let response = gate.admin.call(method, path, (!body.is_null()).then(|| body.clone()));
        let slug = text(&response.json["type"]).replace("urn:keygate:problem:", "");
        assert!(
            [(500, "store-unreadable"), (503, "store-unavailable")].contains(&(response.status, &*slug)),
            "{method} {path}: {response:?}"
        );
    }
    expect_unavailable(&gate.ask_token((&opaque.0, &opaque.1)));
    assert!(store_faults::durable(
        gate.admin.call("POST", &format!("/keys/{id}/revoke"), None),
        &id
    ));
    assert_eq!(gate.with_key("/any/x", &key).status, 401);
    assert_eq!(gate.with_key("/any/x", &kept).status, 200);
    assert_eq!(gate.with_token("/any/x", &opaque_token).status, 200);
    assert_eq!(gate.ask_token((&job.0, &job.1)).status, 200);
    let detail = wait_for_condition(&gate, "degraded");
    assert!(detail.contains("put a backup in its place"), "{detail}");
    assert_eq!(gate.running.metric(WRITABLE), 0.0);

    let folder = gate.running.kill();
    // A gate does not start on it: it could accept what was revoked.
    let (success, said) = run_in(folder.path(), &["run"], None);
    assert!(!success && said.contains("put a backup in its place"), "{said}");
    for name in ["keygate.db-wal", "keygate.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join("data").join(name));
    }
    std::fs::write(&database, whole).unwrap();
    let gate = Gate::of(Binary::start_in(folder, &[]));
    assert_eq!(gate.with_key("/any/x", &key).status, 401);
    let detail = "older than its log of revocations when it was opened: 1 revocations";
    wait_until("it is said", || store_condition(&gate).1.starts_with(detail));
    assert_eq!(store_condition(&gate).0, "ok");
    let restored = gate.admin.get("/audit?action=store.restored")["items"][0].clone();
    assert_eq!(restored["details"]["ids"], json!([id]), "{restored}");
    assert!(
        gate.running
            .output()
            .contains("Store is older than its log of revocations")
    );
    for AdminWrite { method, path, body } in writes {
        gate.admin.perform(method, &path, (!body.is_null()).then_some(body));
    }
}

/// Runs the program in `folder` with at most `blocks` of 512 bytes in a file. Returns whether it succeeded, and its stderr.
#[track_caller]
fn run_in(folder: &Path, args: &[&str], blocks: Option<u32>) -> (bool, String) {
    let limit = blocks.map_or_else(String::new, |blocks| format!("trap '' XFSZ && ulimit -f {blocks} && "));
    let output = Command::new("sh")
        .args(["-c", &format!("{limit}exec \"$0\" \"$@\"")])
        .arg(support::program())
        .args(args)
        .args(["--config", "keygate.yaml"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_start_and_a_command_on_a_full_disk_name_the_store_and_leave_it_whole() {
    let gate = start();
    let (id, key) = gate.key(None);
    let before = contents(&gate);
    let folder = gate.running.stop();
    for args in [&["run"][..], &["keys", "revoke", &id, "--yes"], &["keys", "list"]] {
        let (success, said) = run_in(folder.path(), args, Some(0));
        assert!(!success && said.contains("keygate.db"), "{args:?}: {said}");
    }
    let gate = Gate::of(Binary::start_in(folder, &[]));
    assert_eq!(contents(&gate), before);
    assert_eq!(gate.with_key("/any/x", &key).status, 200);
}
