//! Which record does a command mean by an id, a name, the text of an API key, or what is on stdin?

use super::CommandFixture;
use super::CommandOutput;
use super::Transport;
use crate::support::run_with_input as run_command;
use serde_json::json;
use std::io::BufRead as _;
use std::process::Stdio;

/// Runs a command on the configuration with `input` on stdin.
#[track_caller]
fn run_with_input(fixture: &CommandFixture, args: &[&str], input: &str) -> CommandOutput {
    let args = [args, &["--config", "keygate.yaml"]].concat();
    let output = run_command(&mut fixture.command(&args), input);
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    CommandOutput {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Returns the text of a new key.
#[track_caller]
fn create(fixture: &CommandFixture, name: &str) -> String {
    let created = fixture.expect_success(&["keys", "create", "--name", name, "--expires", "90d"]);
    created.trim_end().to_owned()
}

fn id_of(key: &str) -> &str {
    key.split('_').nth(2).unwrap()
}

#[test]
fn a_key_is_meant_by_its_text_by_stdin_or_by_its_name() {
    for transport in [Transport::Socket, Transport::Listener, Transport::Store] {
        let fixture = CommandFixture::new(transport);
        let by_text = create(&fixture, "by text");
        let revoked = fixture.run(&["keys", "revoke", &by_text, "--yes"]).expect_success();
        assert!(!revoked.stderr.contains(&by_text[25..]), "{revoked:?}");
        assert!(revoked.stderr.contains(id_of(&by_text)), "{revoked:?}");
        fixture.check_key(&by_text, 401);

        let by_name = create(&fixture, "ci/nightly build");
        fixture.expect_success(&["keys", "revoke", "ci/nightly build", "--yes"]);
        fixture.check_key(&by_name, 401);
        // Its name is free for a second one, and means the one in use.
        let second = create(&fixture, "ci/nightly build");
        let shown = fixture.json(&["keys", "show", "ci/nightly build"]);
        assert_eq!(shown["id"], id_of(&second));
        let third = create(&fixture, "ci/nightly build");
        let several = fixture
            .run(&["keys", "revoke", "ci/nightly build", "--yes"])
            .expect_failure(1);
        for id in [id_of(&second), id_of(&third)] {
            assert!(several.contains(&format!("{id} (active)")), "{several}");
        }
        assert!(!several.contains(id_of(&by_name)), "{several}");
        fixture.check_key(&third, 200);

        if transport != Transport::Listener {
            run_with_input(&fixture, &["keys", "revoke", "-", "--yes"], &format!("{third}\n")).expect_success();
            fixture.check_key(&third, 401);
            let hint = format!("kg_live_{}_…", id_of(&second));
            run_with_input(&fixture, &["keys", "show", "-"], &hint).expect_success();
            let lines = run_with_input(&fixture, &["keys", "show", "-"], &format!("{second}\n{third}\n"));
            assert!(lines.expect_failure(1).contains("more than one line"));
        }
        let events = fixture.json(&["audit", "list", "--target", &second]);
        assert_eq!(events["items"][0]["action"], "api_key.create", "{events}");
    }
}

#[test]
fn an_imported_key_is_meant_by_its_text() {
    let fixture = CommandFixture::new(Transport::Socket);
    let key = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
    fixture.import(key);
    fixture.check_key(key, 200);
    fixture.expect_success(&["keys", "revoke", key, "--yes"]);
    fixture.check_key(key, 401);
}

#[test]
fn a_text_that_means_nothing_is_not_shown_where_it_may_be_a_secret() {
    let fixture = CommandFixture::new(Transport::Socket);
    let key = create(&fixture, "ci");
    let secret = "kgs_0123456789abcdefghijABCDEFGHIJ0123456789abc";
    for args in [
        &["keys", "revoke", &key[..70], "--yes"][..],
        &["keys", "revoke", &key[25..], "--yes"],
        &["clients", "delete", secret, "--yes"],
        &["clients", "remove-key", secret, "kid", "--yes"],
        &["subscriptions", "cancel", secret, "--yes"],
        &["orgs", "show", secret],
        &["keys", "revoke", "../../../clients", "--yes"],
        &["keys", "revoke", "short", "--yes"],
        &["clients", "show", "a/b"],
    ] {
        let text = fixture.run(args).expect_failure(1);
        assert!(!text.contains(&key[25..]) && !text.contains(secret), "{text}");
        assert!(text.contains("has the id or the name"), "{text}");
    }
    let whole = fixture.run(&["keys", "show", &key[..70]]).expect_failure(1);
    assert!(whole.contains("it is not whole"), "{whole}");
    // Neither does the gate log one.
    for log in ["gate.out", "gate.err"] {
        let log = std::fs::read_to_string(fixture.file(log)).unwrap();
        assert!(!log.contains(secret) && !log.contains(&key[25..]), "{log}");
    }
    let as_file = ["keys", "list", "--admin", "http://127.0.0.1:1", "--token-file", secret];
    let no_file = fixture.command(&as_file).output().unwrap();
    let text = String::from_utf8(no_file.stderr).unwrap();
    assert!(text.contains("not shown") && !text.contains(secret), "{text}");
    fixture.check_key(&key, 200);
}

#[test]
fn the_log_is_followed_until_nobody_reads_any_more() {
    let fixture = CommandFixture::new(Transport::Socket);
    create(&fixture, "before");
    let args = ["audit", "list", "--follow", "-o", "json", "--config", "keygate.yaml"];
    let mut child = fixture.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next_name = || loop {
        let event: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if event["action"] == "api_key.create" {
            return event["details"]["name"].clone();
        }
    };
    assert_eq!(next_name(), "before");
    create(&fixture, "after");
    assert_eq!(next_name(), "after");
    drop(lines);
    // The next event finds that nobody reads.
    create(&fixture, "last");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let stopped = CommandFixture::new(Transport::Store);
    let refused = stopped.run(&["audit", "list", "--follow"]).expect_failure(1);
    assert!(refused.contains("no gate runs"), "{refused}");
}

#[test]
fn clients_and_organizations_are_meant_by_their_names() {
    let fixture = CommandFixture::new(Transport::Store);
    fixture.expect_success(&["clients", "create", "--name", "nightly export"]);
    fixture.expect_success(&["clients", "disable", "nightly export"]);
    let client = fixture.json(&["clients", "show", "nightly export"]);
    assert_eq!(client["state"], "disabled");
    // An id goes before a name.
    let id = client["id"].as_str().unwrap();
    fixture.expect_success(&["clients", "create", "--name", id]);
    assert_eq!(fixture.json(&["clients", "show", id])["name"], "nightly export");
    fixture.expect_success(&["orgs", "create", "acme", "--name", "Acme Ltd"]);
    assert_eq!(fixture.json(&["orgs", "show", "Acme Ltd"])["id"], json!("acme"));
}

#[test]
fn a_key_of_a_keys_file_is_meant_by_its_text_or_its_name() {
    let fixture = CommandFixture::new(Transport::Store);
    let yaml = "listeners: [{ address: '127.0.0.1:0' }]\napi_keys: { file: keys.yaml }\n\
                upstreams: { echo: { builtin: echo } }\n\
                routes: [{ name: a, match: { path: /a }, accept: [api_key], upstream: echo }]\n";
    std::fs::write(fixture.file("keygate.yaml"), yaml).unwrap();
    std::fs::write(fixture.file("keys.yaml"), "keys: []\n").unwrap();
    let (first, second) = (create(&fixture, "ci"), create(&fixture, "ci"));
    let several = fixture.run(&["keys", "revoke", "ci", "--yes"]).expect_failure(1);
    assert!(several.contains("2 keys are named `ci`"), "{several}");
    let revoked = fixture.run(&["keys", "revoke", &first, "--yes"]).expect_success();
    assert!(!revoked.stderr.contains(&first[25..]), "{revoked:?}");
    fixture.expect_success(&["keys", "revoke", "ci", "--yes"]);
    let list = fixture.expect_success(&["keys", "list"]);
    assert!(list.contains(id_of(&second)) && !list.contains("active"), "{list}");
    let text = fixture
        .run(&["keys", "revoke", &second[..70], "--yes"])
        .expect_failure(1);
    assert!(!text.contains(&second[25..70]) && text.contains("not whole"), "{text}");
}
