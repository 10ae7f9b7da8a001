//! Does a gate notice that its pepper is not the one that its keys were made with?

use super::Gate;
use super::gate;
use crate::support;
use crate::support::Binary;
use crate::support::RawClient;
use crate::support::wait_until;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

const FIRST: &str = "the-first-pepper-of-the-tests-0123456789";
const OTHER: &str = "another-pepper-of-the-tests-0123456789ab";

fn config(pepper: &str) -> String {
    gate::with_endpoint("") + &format!("api_keys: {{ pepper: {pepper} }}\n")
}

/// Runs a command on the configuration in `folder`, which must fail, and returns its stderr.
#[track_caller]
fn failure(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(support::program())
        .args(arguments)
        .arg("--config")
        .arg(folder.join("keygate.yaml"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    text
}

#[test]
fn a_gate_starts_and_reloads_only_with_the_pepper_of_its_store() {
    let gate = Gate::program(&config(FIRST));
    let (_, key) = gate.key(None);
    gate.running.reload(&config(OTHER));
    wait_until("the reload is refused", || {
        gate.running.metric("keygate_config_reloads_total{result=\"failure\"}") == 1.0
    });
    let ready = support::get(gate.running.admin(), "/readyz");
    assert!(
        ready.status == 200 && ready.text().contains("api_keys.pepper is not the one"),
        "{}",
        ready.text()
    );
    assert_eq!(gate.with_key("/any/x", &key).status, 200);
    let folder = gate.running.stop();
    for arguments in [&["run"][..], &["keys", "list"]] {
        let said = failure(folder.path(), arguments);
        assert!(
            said.contains("api_keys.pepper is not the one") && !said.contains(OTHER),
            "{said}"
        );
    }
    std::fs::write(folder.path().join("keygate.yaml"), gate::with_endpoint("")).unwrap();
    let said = failure(folder.path(), &["run"]);
    assert!(said.contains("the configuration gives sha256"), "{said}");
    std::fs::write(folder.path().join("keygate.yaml"), config(FIRST)).unwrap();
    let gate = Gate::of(Binary::start_in(folder, &[]));
    assert_eq!(gate.with_key("/any/x", &key).status, 200);
}

#[test]
fn a_keys_file_names_the_pepper_of_its_keys() {
    let with = |pepper: &str| {
        format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
             api_keys: {{ file: keys.yaml, pepper: {pepper} }}\nupstreams: {{ echo: {{ builtin: echo }} }}\n\
             routes: [{{ name: any, match: {{ path: \"/{{*rest}}\" }}, accept: [api_key], upstream: echo }}]\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.yaml"), "keys: []\n").unwrap();
    std::fs::write(folder.path().join("keygate.yaml"), with(FIRST)).unwrap();
    let created = Command::new(support::program())
        .args([
            "keys",
            "create",
            "--name",
            "ci",
            "--expires",
            "never",
            "--config",
            "keygate.yaml",
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(created.status.success(), "{created:?}");
    let key = String::from_utf8(created.stdout).unwrap();
    std::fs::write(folder.path().join("keygate.yaml"), with(OTHER)).unwrap();
    for arguments in [&["run"][..], &["keys", "list"]] {
        let said = failure(folder.path(), arguments);
        assert!(said.contains("was made with another pepper"), "{said}");
    }
    std::fs::write(folder.path().join("keygate.yaml"), with(FIRST)).unwrap();
    let binary = Binary::start_in(folder, &[]);
    let response = RawClient::connect(binary.data()).exchange(gate::key_request("/x", key.trim()));
    assert_eq!(response.status, 200);
}
