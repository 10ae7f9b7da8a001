//! Does a backup take the place of the store of a stopped gate, without taking a revocation back?

use super::CommandFixture;
use super::Transport;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

fn key(fixture: &CommandFixture, name: &str) -> String {
    let made = fixture.json(&["keys", "create", "--name", name, "--expires", "1d"]);
    made["id"].as_str().unwrap().to_owned()
}

fn state(fixture: &CommandFixture, id: &str) -> Value {
    fixture.json(&["keys", "show", id])["state"].clone()
}

#[test]
fn s078_a_backup_takes_the_place_of_the_store_and_what_was_revoked_since_stays_so() {
    let fixture = CommandFixture::new(Transport::Store);
    let (revoked, disabled) = (key(&fixture, "revoked"), key(&fixture, "disabled"));
    fixture.expect_success(&["backup", "copy.db"]);
    let copy = std::fs::read(fixture.file("copy.db")).unwrap();
    fixture.expect_success(&["keys", "revoke", &revoked, "--yes"]);
    fixture.expect_success(&["keys", "disable", &disabled]);
    let later = key(&fixture, "later");

    let refused = fixture.run(&["restore", "copy.db"]).expect_failure(1);
    assert!(
        refused.contains("keygate.db") && refused.contains("--replace"),
        "{refused}"
    );
    assert_eq!(state(&fixture, &later), "active", "nothing was done");

    let restored = fixture.run(&["restore", "copy.db", "--replace"]).expect_success();
    for said in ["keygate.db.replaced", "now again: 1", "not in it: 4"] {
        assert!(restored.stderr.contains(said), "{restored:?}");
    }
    assert_eq!(
        std::fs::read(fixture.file("copy.db")).unwrap(),
        copy,
        "it stays as it is"
    );
    let mode = std::fs::metadata(fixture.file("keygate.db"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        (state(&fixture, &revoked), state(&fixture, &disabled)),
        (json!("revoked"), json!("active"))
    );
    fixture.run(&["keys", "show", &later]).expect_failure(1);
    let event = fixture.json(&["audit", "list", "--action", "store.restore"])["items"][0].clone();
    assert!(event["actor"].as_str().unwrap().starts_with("local"), "{event}");
    assert_eq!(event["target"], fixture.file("copy.db").to_str().unwrap());
    assert_eq!(fixture.json(&["audit", "verify"])["state"], "whole");

    // What stood there can be put back.
    let back = fixture
        .run(&["restore", "keygate.db.replaced", "--replace"])
        .expect_success();
    assert!(back.stderr.contains("keygate.db.replaced-2"), "{back:?}");
    assert_eq!(state(&fixture, &later), "active");
    assert_eq!(
        (state(&fixture, &revoked), state(&fixture, &disabled)),
        (json!("revoked"), json!("disabled"))
    );
}

#[test]
fn a_backup_is_restored_where_the_database_is_gone_and_its_log_is_left() {
    let fixture = CommandFixture::new(Transport::Store);
    let before = key(&fixture, "before");
    fixture.expect_success(&["backup", "copy.db"]);
    std::fs::remove_file(fixture.file("keygate.db")).unwrap();
    // As after a crash. SQLite would write its content into any database beside it.
    std::fs::write(fixture.file("keygate.db-wal"), "what was not in the database yet").unwrap();
    let restored = fixture.run(&["restore", "copy.db"]).expect_success();
    assert!(!restored.stderr.contains("stood there"), "{restored:?}");
    assert_eq!(state(&fixture, &before), "active");
    let log = std::fs::read_to_string(fixture.file("keygate.db.replaced-wal")).unwrap();
    assert_eq!(log, "what was not in the database yet");
}

#[test]
fn what_is_no_backup_is_refused_and_the_store_stays() {
    let fixture = CommandFixture::new(Transport::Store);
    let id = key(&fixture, "k");
    fixture.expect_success(&["backup", "copy.db"]);
    std::fs::write(fixture.file("text.db"), "no database, by far ".repeat(100)).unwrap();
    std::fs::write(fixture.file("empty.db"), "").unwrap();
    let mut damaged = std::fs::read(fixture.file("copy.db")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle..].fill(0xFF);
    std::fs::write(fixture.file("damaged.db"), damaged).unwrap();
    for file in ["text.db", "empty.db", "damaged.db", "none.db"] {
        let refused = fixture.run(&["restore", file, "--replace"]).expect_failure(1);
        assert!(refused.contains(file), "{refused}");
        assert_eq!(state(&fixture, &id), "active", "{file}");
        assert!(!fixture.file("keygate.db.restoring").exists(), "{file}");
    }
}

#[test]
fn nothing_is_restored_while_a_gate_runs_on_the_store() {
    let fixture = CommandFixture::new(Transport::Socket);
    let id = key(&fixture, "k");
    fixture.expect_success(&["backup", "copy.db"]);
    let refused = fixture.run(&["restore", "copy.db", "--replace"]).expect_failure(4);
    assert!(refused.contains("stop the gate"), "{refused}");
    assert_eq!(state(&fixture, &id), "active");
    assert!(!fixture.file("keygate.db.replaced").exists());
}
