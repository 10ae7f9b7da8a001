//! Which keys does `keygate keys` make in a keys file?

use super::CommandOutput;
use super::GOOD;
use super::keygate;
use super::mode;
use super::run;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Child;
use std::process::Stdio;

/// Returns a new folder with the configuration `k.yaml` and an empty keys file.
pub(super) fn with_keys_file() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("keys.yaml"), "keys: []\n").unwrap();
    std::fs::write(
        home.path().join("k.yaml"),
        format!("{GOOD}api_keys: {{ file: keys.yaml }}\n"),
    )
    .unwrap();
    home
}

#[test]
fn a_created_key_is_on_stdout_alone_and_once() {
    let home = with_keys_file();
    let create = [
        "keys",
        "create",
        "--config",
        "k.yaml",
        "--name",
        "ci",
        "--expires",
        "90d",
        "--scope",
        "orders:read",
    ];
    let created = run(home.path(), &create);
    assert_eq!(
        (created.code, created.stdout.lines().count()),
        (Some(0), 1),
        "{created:?}"
    );
    let key = created.stdout.trim_end().to_owned();
    assert!(
        key.starts_with("kg_live_") && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
        "{key}"
    );
    let (id, secret) = (&key[8..24], &key[25..]);
    assert!(
        created.stderr.contains(id) && !created.stderr.contains(secret),
        "{}",
        created.stderr
    );
    assert_eq!(mode(&home.path().join("keys.yaml")), 0o600);
    let listed = run(home.path(), &["keys", "--config", "k.yaml", "list"]);
    for text in [
        &listed.stdout,
        &listed.stderr,
        &std::fs::read_to_string(home.path().join("keys.yaml")).unwrap(),
    ] {
        assert!(!text.contains(secret) && !text.contains(&secret[..10]), "{text}");
    }
    assert!(
        listed.stdout.contains(id) && listed.stdout.contains("active"),
        "{}",
        listed.stdout
    );

    let of_file = |args: &[&str]| run(home.path(), &[&["keys", "--config", "k.yaml"], args].concat()).expect_success();
    assert_eq!(of_file(&["ls", "-o", "name"]), format!("{id}\n"));
    assert_eq!(of_file(&["list", "--no-headers"]).lines().count(), 1);
    let json: Value = serde_json::from_str(&of_file(&["list", "-o", "json"])).unwrap();
    assert_eq!(json["items"][0]["scopes"][0], "orders:read");
    run(home.path(), &["keys", "revoke", id, "--yes", "--config", "k.yaml"]).expect_success();
    assert!(
        run(home.path(), &["keys", "--config", "k.yaml", "list"])
            .expect_success()
            .contains("revoked")
    );
    assert!(
        run(home.path(), &["keys", "--config", "k.yaml", "revoke", "--yes", id])
            .expect_failure(1)
            .contains("revoked already")
    );
    let unknown = run(
        home.path(),
        &["keys", "--config", "k.yaml", "revoke", "--yes", "AAAAAAAAAAAAAAAA"],
    )
    .expect_failure(1);
    assert!(unknown.contains("AAAAAAAAAAAAAAAA"), "{unknown}");
    let secret_alone = run(home.path(), &["keys", "--config", "k.yaml", "revoke", "--yes", secret]).expect_failure(1);
    assert!(!secret_alone.contains(secret), "{secret_alone}");
}

#[test]
fn s068_an_expiry_out_of_bounds_makes_no_key() {
    let home = with_keys_file();
    let before = std::fs::read_to_string(home.path().join("keys.yaml")).unwrap();
    for expires in [
        "731d",
        "0d",
        "0mo",
        "25mo",
        "-1d",
        "2020-01-01",
        "90",
        "",
        "1y",
        "999999999d",
    ] {
        let args = [
            "keys",
            "--config",
            "k.yaml",
            "create",
            "--name",
            "ci",
            &format!("--expires={expires}"),
        ];
        let result = run(home.path(), &args);
        assert!(
            result.code != Some(0) && result.stdout.is_empty() && result.stderr.contains("expir"),
            "{expires}: {result:?}"
        );
    }
    run(home.path(), &["keys", "--config", "k.yaml", "create", "--name", "ci"]).expect_failure(2);
    assert_eq!(std::fs::read_to_string(home.path().join("keys.yaml")).unwrap(), before);
    for expires in ["730d", "1d", "24mo", "never"] {
        create_key(home.path(), expires).expect_success();
    }
}

#[test]
fn keys_created_at_once_are_all_kept() {
    let home = with_keys_file();
    let mut children: Vec<Child> = (0..16)
        .map(|index| {
            keygate(home.path())
                .args([
                    "keys",
                    "--config",
                    "k.yaml",
                    "create",
                    "--expires",
                    "1d",
                    "--name",
                    &format!("n{index}"),
                ])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut ids = BTreeSet::new();
    for child in children.drain(..) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ids.insert(String::from_utf8(output.stdout).unwrap()[8..24].to_owned());
    }
    assert_eq!(ids.len(), 16);
    let listed = run(home.path(), &["keys", "--config", "k.yaml", "list"]).expect_success();
    for id in &ids {
        assert!(listed.contains(id), "{id} was lost:\n{listed}");
    }
    assert_eq!(mode(&home.path().join("keys.yaml")), 0o600);
}

/// Runs `keys create` on the keys file of [`with_keys_file`].
fn create_key(home: &Path, expires: &str) -> CommandOutput {
    let create = ["keys", "--config", "k.yaml", "create", "--name", "ci"];
    run(home, &[&create[..], &["--expires", expires]].concat())
}

#[test]
fn the_first_key_makes_the_keys_file_and_an_empty_one_has_none() {
    let home = with_keys_file();
    let file = home.path().join("keys.yaml");
    let check = || run(home.path(), &["check", "k.yaml"]);
    let create = || create_key(home.path(), "1d").expect_success();
    std::fs::write(&file, "").unwrap();
    check().expect_success();
    assert!(create().starts_with("kg_live_"));
    check().expect_success();
    std::fs::remove_file(&file).unwrap();
    let messages = check().expect_failure(1);
    assert!(
        messages.contains("k.yaml:4:13: api_keys.file: `keys.yaml`: there is no such file")
            && messages.contains("`keygate keys create --config FILE` makes it"),
        "{messages}"
    );
    let messages = run(home.path(), &["run", "--config", "k.yaml"]).expect_failure(1);
    assert!(messages.contains("there is no such file"), "{messages}");
    assert!(create().starts_with("kg_live_"));
    assert_eq!(mode(&file), 0o600);
    check().expect_success();
}

#[test]
fn keys_need_a_keys_file_that_is_good() {
    let home = with_keys_file();
    std::fs::write(home.path().join("none.yaml"), GOOD).unwrap();
    let create = ["create", "--name", "ci", "--expires", "1d"];
    let with = |file: &str| run(home.path(), &[&["keys", "--config", file][..], &create].concat());
    assert!(with("none.yaml").expect_failure(1).contains("api_keys.file"));
    assert!(with("absent.yaml").expect_failure(1).contains("absent.yaml"));
    std::fs::write(home.path().join("keys.yaml"), "keys: [{ id: x }]\n").unwrap();
    assert!(with("k.yaml").expect_failure(1).contains("keys.yaml"));
    assert_eq!(
        std::fs::read_to_string(home.path().join("keys.yaml")).unwrap(),
        "keys: [{ id: x }]\n"
    );
}
