//! Does `keygate explain` know what is in the store, and say so where it does not?

use super::CommandFixture;
use super::CommandOutput;
use super::Transport;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Returns the paths of all files below the folder of `fixture`.
fn files(fixture: &CommandFixture) -> BTreeSet<PathBuf> {
    super::files_below(fixture.folder.path()).into_iter().collect()
}

/// Adds a limit to the plan `free`.
fn add_limit(fixture: &CommandFixture) {
    let path = fixture.file("keygate.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let limited = text
        .replace("approval: automatic }", "approval: automatic, limits: [of-plan] }")
        .replace(
            "plans:\n",
            "limits: { of-plan: { by: credential, quota: 1000/min } }\nplans:\n",
        );
    assert_ne!(limited, text);
    std::fs::write(path, limited).unwrap();
}

/// Returns a new key under the plan `free`.
fn create_key(fixture: &CommandFixture) -> String {
    fixture.run(&["orgs", "create", "acme", "--name", "Acme"]);
    let subscription = ["subscriptions", "create", "--organization", "acme", "--plan", "free"];
    let subscription = fixture.expect_success(&subscription);
    let create = [
        "keys",
        "create",
        "--name",
        "ci",
        "--expires",
        "90d",
        "--subscription",
        subscription.trim_end(),
    ];
    fixture.expect_success(&create).trim_end().to_owned()
}

#[track_caller]
fn explain(fixture: &CommandFixture, args: &[&str]) -> CommandOutput {
    let args = [&["explain", "--config", "keygate.yaml"], args].concat();
    let before = files(fixture);
    let output = fixture.command(&args).output().unwrap();
    assert_eq!(files(fixture), before);
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    CommandOutput {
        args: Vec::new(),
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

#[track_caller]
fn check(output: &CommandOutput, code: i32, words: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    for word in words {
        assert!(output.stdout.contains(word), "{word} in {}", output.stdout);
    }
}

#[test]
fn keys_and_limits_of_the_store_decide_whether_a_gate_runs_or_not() {
    for transport in [Transport::Socket, Transport::Store] {
        let fixture = CommandFixture::new(transport);
        add_limit(&fixture);
        let key = create_key(&fixture);
        let ask = || explain(&fixture, &["--route", "key", "--key", &key]);
        check(&ask(), 0, &["of-plan: 1000/min", "allowed"]);
        fixture.expect_success(&["keys", "revoke", &key, "--yes"]);
        check(&ask(), 1, &["api_key_revoked"]);
        let unknown = explain(
            &fixture,
            &["--route", "key", "--key", "sk_live_4eC39HqLyjWDarjtT1zdp7dc"],
        );
        check(&unknown, 1, &["api_key_unknown"]);
    }
}

#[test]
fn tokens_of_the_gate_itself_are_verified_with_its_keys_and_revoked_with_its_store() {
    let fixture = CommandFixture::new(Transport::Socket);
    let token = |format: &str| {
        let create = [
            "clients",
            "create",
            "--name",
            format,
            "--scope",
            "orders:read",
            "--token-format",
            format,
        ];
        let lines = fixture.expect_success(&create);
        let value = |name: &str| {
            lines
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .to_owned()
        };
        let (id, secret) = (value("client_id="), value("client_secret="));
        let get = ["token", "get", "--client-id", &id, "--config", "keygate.yaml"];
        let mut command = fixture.command(&get);
        command.env("KEYGATE_CLIENT_SECRET", secret);
        let token = fixture.record(command, &get).expect_success().stdout;
        (id, token.trim_end().to_owned())
    };
    for format in ["jwt", "opaque"] {
        let (id, token) = token(format);
        let ask = || explain(&fixture, &["--route", "orders", "--token", &token]);
        check(&ask(), 0, &["allowed"]);
        assert!(
            !ask().stdout.lines().any(|line| line.starts_with("  NO")),
            "{}",
            ask().stdout
        );
        fixture.expect_success(&["clients", "delete", &id, "--revoke-tokens", "--yes"]);
        check(&ask(), 1, &["client_tokens_revoked"]);
    }
}

#[test]
fn a_store_that_cannot_be_read_decides_nothing() {
    let fixture = CommandFixture::new(Transport::Store);
    let key = create_key(&fixture);
    let key_of = |key: &str| explain(&fixture, &["--route", "key", "--key", key]);
    check(&key_of(&key), 0, &[]);
    let database = fixture.file("keygate.db");
    std::fs::rename(&database, fixture.file("elsewhere")).unwrap();
    let absent = key_of(&key);
    check(&absent, 2, &["cannot be told", "only the store can tell", "keygate.db"]);
    assert!(!absent.stdout.contains("refused"), "{}", absent.stdout);
    let json = explain(&fixture, &["--route", "key", "--key", &key, "--output", "json"]);
    check(&json, 2, &["\"needs_store\""]);
    // The text alone is enough to refuse these.
    let other_end = if key.ends_with('0') { "1" } else { "0" };
    check(&key_of(&format!("{}{other_end}", &key[..73])), 1, &["api_key_checksum"]);
    check(&explain(&fixture, &["--route", "key"]), 1, &["credential_missing"]);
    // Nor is a token of the gate's own refused for want of the keys that are there.
    let opaque = explain(&fixture, &["--route", "orders", "--token", "kgt_0123456789"]);
    assert_eq!(opaque.code, Some(2), "{opaque:?}");
    // Where a process ended without closing the store, its WAL has all of it.
    let _ = std::fs::remove_file(fixture.file("keygate.db-wal"));
    std::fs::write(&database, "this is no database").unwrap();
    check(&key_of(&key), 2, &["only the store can tell"]);
}

#[test]
fn a_store_with_another_pepper_decides_nothing_about_its_keys() {
    let fixture = CommandFixture::new(Transport::Store);
    let path = fixture.file("keygate.yaml");
    let without = std::fs::read_to_string(&path).unwrap();
    let with = |pepper: &str| format!("{without}\napi_keys: {{ pepper: {pepper} }}\n");
    std::fs::write(&path, with("the-first-pepper-of-the-tests-0123456789")).unwrap();
    let key = create_key(&fixture);
    let ask = || explain(&fixture, &["--route", "key", "--key", &key]);
    check(&ask(), 0, &["allowed"]);
    for other in [with("another-pepper-of-the-tests-0123456789ab"), without.clone()] {
        std::fs::write(&path, other).unwrap();
        let output = ask();
        check(
            &output,
            2,
            &["only the store can tell", "api_keys.pepper is not the one"],
        );
        assert!(!output.stdout.contains("refused:"), "{}", output.stdout);
    }
}
