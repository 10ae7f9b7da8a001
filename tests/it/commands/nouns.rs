//! Does every command have its effect over the socket, over the admin listener and on the store?

use super::CommandFixture;
use super::Transport;
use keygate::jose::sign::SigningKey;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;

#[test]
fn every_command_works_over_the_socket_of_a_gate_that_runs() {
    everything(&CommandFixture::new(Transport::Socket));
}

#[test]
fn every_command_works_over_the_admin_listener() {
    everything(&CommandFixture::new(Transport::Listener));
}

#[test]
fn every_command_works_on_the_store_where_no_gate_runs() {
    everything(&CommandFixture::new(Transport::Store));
}

fn everything(fixture: &CommandFixture) {
    organizations(fixture);
    plans(fixture);
    subscriptions(fixture);
    let mut secrets = keys(fixture);
    secrets.extend(clients(fixture));
    secrets.extend(client_keys(fixture));
    signing_keys(fixture);
    audit(fixture);
    backup(fixture);
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    fixture.check_printed_once(&secrets, &["client.pem"]);
}

/// Returns the cells of the first table line of which one cell is `word`.
#[track_caller]
fn line(table: &str, word: &str) -> Vec<String> {
    let found = table
        .lines()
        .find(|line| line.split("  ").any(|cell| cell.trim() == word));
    let found = found.unwrap_or_else(|| panic!("no {word} in\n{table}"));
    let cells = found.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    cells.map(str::to_owned).collect()
}

fn organizations(fixture: &CommandFixture) {
    assert_eq!(
        fixture.expect_success(&["orgs", "create", "acme", "--name", "Acme Ltd"]),
        "acme\n"
    );
    let table = fixture.expect_success(&["orgs", "list"]);
    assert_eq!(line(&table, "acme")[..3], ["acme", "Acme Ltd", "active"]);
    line(&table, "default");
    assert!(
        fixture
            .expect_success(&["orgs", "show", "acme"])
            .contains("name                 Acme Ltd\n")
    );
    assert_eq!(fixture.json(&["orgs", "show", "acme"])["name"], "Acme Ltd");
    let page = fixture.json(&["orgs", "list", "--limit", "1"]);
    assert_eq!(
        (page["items"].as_array().unwrap().len(), &page["next"]),
        (1, &json!("acme"))
    );
    let page = fixture.json(&["orgs", "list", "--after", "acme"]);
    assert!(
        page["items"].as_array().unwrap().len() >= 2 && page["next"].is_null(),
        "{page}"
    );
    let names = fixture.expect_success(&["orgs", "ls", "-o", "name", "--limit", "2"]);
    assert_eq!(names, "acme\ndefault\n");
    assert_eq!(
        fixture.expect_success(&["orgs", "show", "Acme Ltd", "-o", "name"]),
        "acme\n"
    );
    let bare = fixture.expect_success(&["orgs", "list", "--no-headers", "--limit", "1"]);
    assert_eq!(bare.lines().count(), 1, "{bare}");
    line(&bare, "acme");
    let quiet = fixture
        .run(&["orgs", "create", "quiet", "--name", "x", "-q"])
        .expect_success();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("quiet\n", ""));
    fixture.expect_success(&["orgs", "update", "quiet", "--name", "Hushed"]);
    assert_eq!(fixture.json(&["orgs", "show", "Hushed"])["id"], "quiet");
    fixture.run(&["orgs", "update", "quiet"]).expect_failure(2);
    let unasked = fixture.run(&["orgs", "delete", "quiet"]).expect_failure(1);
    assert!(unasked.contains("--yes"), "{unasked}");
    fixture.expect_success(&["orgs", "delete", "Hushed", "--yes"]);
    let deleted = fixture.expect_success(&["orgs", "list", "--state", "deleted", "-o", "name"]);
    assert_eq!(deleted, "quiet\n");
    let again = fixture.run(&["orgs", "delete", "quiet", "-y"]).expect_failure(1);
    assert!(again.contains("organization-deleted"), "{again}");
    let again = fixture
        .run(&["orgs", "create", "acme", "--name", "x"])
        .expect_failure(1);
    assert!(again.contains("409"), "{again}");
    let none = fixture.run(&["orgs", "show", "none"]).expect_failure(1);
    assert!(none.contains("404"), "{none}");
}

fn plans(fixture: &CommandFixture) {
    let table = fixture.expect_success(&["plans", "list"]);
    assert_eq!(line(&table, "gold")[..3], ["gold", "api_key", "orders:read"]);
    let plan = fixture.json(&["plans", "show", "gold"]);
    assert_eq!((&plan["name"], &plan["payment"]), (&json!("gold"), &json!("required")));
    let none = fixture.run(&["plans", "show", "none"]).expect_failure(1);
    assert!(none.contains("`none`"), "{none}");
    let plans = fixture.json(&["plans", "list"]);
    let names: Vec<&Value> = plans["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plan| &plan["name"])
        .collect();
    assert!(
        names.contains(&&json!("default")) && names.contains(&&json!("free")),
        "{names:?}"
    );
}

fn subscriptions(fixture: &CommandFixture) {
    let create = |plan: &str| {
        let args = ["subscriptions", "create", "--organization", "acme", "--plan", plan];
        fixture.expect_success(&args).trim_end().to_owned()
    };
    let id = create("gold");
    let state = || fixture.json(&["subscriptions", "show", &id])["state"].clone();
    assert_eq!(state(), "pending");
    let key = |environment: &str| {
        fixture.run(&[
            "keys",
            "create",
            "--name",
            "gold",
            "--expires",
            "1d",
            "--subscription",
            &id,
            "--environment",
            environment,
        ])
    };
    let refused = key("live").expect_failure(1);
    assert!(refused.contains("(409 ") && refused.contains("approve"), "{refused}");
    fixture.expect_success(&["subscriptions", "approve", &id]);
    assert_eq!(state(), "active");
    assert!(key("live").expect_failure(1).contains("409"), "it is not paid for");
    assert!(key("sandbox").expect_success().stdout.starts_with("kg_test_"));
    fixture.expect_success(&["subscriptions", "pay", &id]);
    assert_eq!(fixture.json(&["subscriptions", "show", &id])["paid"], true);
    let live = key("live").expect_success().stdout.trim_end().to_owned();
    assert!(live.starts_with("kg_live_"), "{live}");
    fixture.check_key(&live, 200);
    fixture.expect_success(&["subscriptions", "pay", &id, "--unpaid"]);
    fixture.check_key(&live, 403);
    fixture.expect_success(&["subscriptions", "pay", &id]);
    fixture.expect_success(&["subscriptions", "change-plan", &id, "--plan", "free"]);
    let table = fixture.expect_success(&["subscriptions", "list", "--organization", "acme"]);
    assert_eq!(line(&table, &id)[..3], [&id, "acme", "free"]);

    let output = fixture.run(&["subscriptions", "cancel", &id, "--yes"]).expect_success();
    assert!(
        output.stderr.contains("cancelled") && output.stdout.is_empty(),
        "{output:?}"
    );
    fixture.check_key(&live, 401);
    let keys = fixture.json(&["keys", "list", "--subscription", &id]);
    let states: Vec<&Value> = keys["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states, [&json!("revoked"), &json!("revoked")]);
    assert!(
        fixture
            .run(&["subscriptions", "cancel", &id, "--yes"])
            .expect_failure(1)
            .contains("409")
    );

    let other = create("gold");
    fixture.expect_success(&["subscriptions", "fail", &other]);
    let unknown = ["subscriptions", "create", "--organization", "acme", "--plan", "none"];
    fixture.run(&unknown).expect_failure(1);
}

/// Runs a command with table output and returns stdout's lines, and stderr.
#[track_caller]
fn run_table(fixture: &CommandFixture, args: &[&str]) -> (Vec<String>, String) {
    let output = fixture.run(args).expect_success();
    (output.stdout.lines().map(str::to_owned).collect(), output.stderr)
}

fn keys(fixture: &CommandFixture) -> Vec<String> {
    let create = [
        "keys",
        "create",
        "--name",
        "ci",
        "--expires",
        "90d",
        "--scope",
        "orders:read",
    ];
    let (lines, stderr) = run_table(fixture, &create);
    let [key] = &lines[..] else {
        panic!("{lines:?}");
    };
    let id = key.split('_').nth(2).unwrap().to_owned();
    assert!(stderr.contains(&id) && stderr.contains("expires 20"), "{stderr}");
    let says = "The gate is not running";
    assert_eq!(stderr.contains(says), fixture.transport == Transport::Store, "{stderr}");
    fixture.check_key(key, 200);
    let shown = fixture.json(&["keys", "show", &id]);
    assert_eq!(
        (&shown["state"], &shown["scopes"]),
        (&json!("active"), &json!(["orders:read"]))
    );
    let table = fixture.expect_success(&["keys", "list"]);
    assert!(line(&table, &id).contains(&"active".to_owned()), "{table}");
    change_key(fixture, &id, key);

    // A second key beside the first, and one that replaces it.
    let whole = fixture.json(&[
        "keys",
        "create",
        "--name",
        "second",
        "--expires",
        "never",
        "--environment",
        "sandbox",
    ]);
    let second = whole["key"].as_str().unwrap().to_owned();
    assert!(
        whole["expires_at"].is_null() && second.starts_with("kg_test_"),
        "{}",
        whole["id"]
    );
    let regenerate = ["keys", "regenerate", &id, "--grace", "1h", "--expires", "6mo"];
    let (lines, stderr) = run_table(fixture, &regenerate);
    let third = lines[0].clone();
    assert!(stderr.contains("1h more"), "{stderr}");
    for key in [key, &second, &third] {
        fixture.check_key(key, 200);
    }
    let id_of = |key: &str| key.split('_').nth(2).unwrap().to_owned();
    let (lines, stderr) = run_table(fixture, &["keys", "regenerate", &id_of(&third), "--yes"]);
    let fourth = lines[0].clone();
    assert!(stderr.contains("is revoked"), "{stderr}");
    fixture.check_key(&third, 401);
    fixture.check_key(&fourth, 200);

    let output = fixture
        .run(&["keys", "revoke", &id_of(&fourth), "--yes"])
        .expect_success();
    assert!(
        output.stdout.is_empty() && output.stderr.contains("is revoked"),
        "{output:?}"
    );
    fixture.check_key(&fourth, 401);
    assert!(
        fixture
            .run(&["keys", "revoke", "AAAAAAAAAAAAAAAA", "-y"])
            .expect_failure(1)
            .contains("404")
    );
    let long = [
        "keys",
        "create",
        "--name",
        "x",
        "--expires",
        "23mo",
        "--address",
        "10.0.0.0/8",
    ];
    let (lines, _) = run_table(fixture, &long);
    fixture.check_key(&lines[0], 401);

    // A key of another system, by its digest.
    let old = "sk_old_0123456789abcdefghij";
    let id = fixture.import(old);
    fixture.check_key(old, 200);
    fixture.expect_success(&["keys", "revoke", &id, "--yes"]);
    fixture.check_key(old, 401);

    let listed = |args: &[&str]| fixture.expect_success(&[&["keys", "list", "-o", "name"], args].concat());
    assert_eq!(listed(&["--name", "second"]), format!("{}\n", id_of(&second)));
    let revoked = listed(&["--state", "revoked"]);
    assert!(
        revoked.contains(&id_of(&fourth)) && !revoked.contains(&id_of(&second)),
        "{revoked}"
    );
    assert_eq!(listed(&["--state", "revoked", "--name", "second"]), "");
    let page = fixture.json(&["keys", "list", "--state", "active", "--limit", "1"]);
    let after = page["next"].as_str().unwrap();
    assert_eq!(page["items"][0]["id"], after);
    let rest = listed(&["--state", "active", "--after", after]);
    assert!(!rest.is_empty() && !rest.contains(after), "{rest}");
    fixture.run(&["keys", "list", "--state", "done"]).expect_failure(2);

    // The same command with the same idempotency key creates nothing and shows no secret.
    let once = [
        "keys",
        "create",
        "--name",
        "once",
        "--expires",
        "1d",
        "--idempotency-key",
        "k1",
    ];
    let (lines, _) = run_table(fixture, &once);
    let (again, stderr) = run_table(fixture, &once);
    assert!(again.is_empty() && stderr.contains("made before"), "{again:?} {stderr}");
    vec![key.clone(), second, third, fourth, lines[0].clone()]
        .into_iter()
        // The secret part of the key.
        .map(|key| key[25..].to_owned())
        .collect()
}

fn change_key(fixture: &CommandFixture, id: &str, key: &str) {
    let update = [
        "keys",
        "update",
        "ci",
        "--name",
        "cd",
        "--expires",
        "6mo",
        "--scope",
        "orders:read,b",
    ];
    let output = fixture
        .run(&[&update[..], &["--address", "192.0.2.0/24"]].concat())
        .expect_success();
    assert!(output.stdout.is_empty() && output.stderr.contains("`ci`"), "{output:?}");
    let shown = fixture.json(&["keys", "show", id]);
    assert_eq!(
        (&shown["name"], &shown["scopes"], &shown["addresses"]),
        (&json!("cd"), &json!(["b", "orders:read"]), &json!(["192.0.2.0/24"]))
    );
    fixture.check_key(key, 401);
    fixture.expect_success(&["keys", "update", id, "--name", "ci", "--any-address", "--no-scopes"]);
    let shown = fixture.json(&["keys", "show", id]);
    assert_eq!((&shown["scopes"], &shown["addresses"]), (&json!([]), &json!([])));
    fixture.check_key(key, 200);
    let nothing = fixture.run(&["keys", "update", id]).expect_failure(2);
    assert!(nothing.contains("--any-address"), "{nothing}");

    let output = fixture.run(&["keys", "disable", "ci"]).expect_success();
    assert!(output.stderr.contains("until it is enabled"), "{output:?}");
    fixture.check_key(key, 401);
    assert_eq!(fixture.json(&["keys", "show", id])["state"], "disabled");
    let listed = fixture.expect_success(&["keys", "list", "--state", "disabled", "-o", "name"]);
    assert_eq!(listed, format!("{id}\n"));
    std::fs::write(fixture.file("key.txt"), format!("{key}\n")).unwrap();
    verify_key(fixture, id);
    fixture.expect_success(&["keys", "enable", id]);
    fixture.check_key(key, 200);
    verify_key(fixture, id);
    fixture.expect_success(&["keys", "update", id, "--scope", "orders:read"]);
    std::fs::remove_file(fixture.file("key.txt")).unwrap();
}

/// Verifies the key in `key.txt`, whose id and state the store has.
fn verify_key(fixture: &CommandFixture, id: &str) {
    let verify = |args: &[&str]| fixture.run_with_stdin(&[&["keys", "verify", "-"], args].concat(), "key.txt");
    let state = fixture.json(&["keys", "show", id])["state"].clone();
    let output = verify(&["-o", "json"]);
    if fixture.transport == Transport::Store {
        assert!(output.expect_failure(1).contains("no gate runs here"));
        return;
    }
    let reason = (state == "disabled").then_some("api_key_disabled");
    let verdict: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (&verdict["valid"], &verdict["reason"]),
        (&json!(reason.is_none()), &json!(reason))
    );
    assert_eq!(
        (&verdict["key"]["id"], output.code),
        (&json!(id), Some(i32::from(reason.is_some())))
    );
    let other_scope = verify(&["--scope", "orders:write", "--address", "192.0.2.7"]);
    assert_eq!(other_scope.code, Some(1), "{other_scope:?}");
    let reason = reason.unwrap_or("insufficient_scope");
    assert!(
        other_scope.stdout.starts_with("valid                no\n") && other_scope.stderr.contains(reason),
        "{other_scope:?}"
    );
}

/// Returns the values of `client_id=…` and `client_secret=…`.
#[track_caller]
fn id_and_secret(lines: &[String]) -> (String, String) {
    let [id, secret] = lines else {
        panic!("{} lines", lines.len());
    };
    let value = |line: &str, name: &str| line.strip_prefix(name).expect("its name").to_owned();
    (value(id, "client_id="), value(secret, "client_secret="))
}

fn clients(fixture: &CommandFixture) -> Vec<String> {
    let create = [
        "clients",
        "create",
        "--name",
        "demo",
        "--scope",
        "orders:read",
        "--token-ttl",
        "5m",
    ];
    let (lines, stderr) = run_table(fixture, &create);
    let (id, first) = id_and_secret(&lines);
    assert!(stderr.contains("only time"), "{stderr}");
    let client = fixture.json(&["clients", "show", &id]);
    assert_eq!((&client["name"], &client["token_ttl"]), (&json!("demo"), &json!("5m")));
    let table = fixture.expect_success(&["clients", "list"]);
    assert!(line(&table, &id).contains(&"client_secret".to_owned()), "{table}");

    fixture.expect_success(&[
        "clients",
        "update",
        &id,
        "--scope",
        "b,a",
        "--scope",
        "c",
        "--token-ttl",
        "1m",
    ]);
    let client = fixture.json(&["clients", "show", &id]);
    assert_eq!(
        (&client["scopes"], &client["token_ttl"]),
        (&json!(["a", "b", "c"]), &json!("60s"))
    );
    let update = [
        "clients",
        "update",
        &id,
        "--name",
        "other",
        "--token-format",
        "opaque",
        "--no-scopes",
    ];
    fixture.expect_success(&update);
    let client = fixture.json(&["clients", "show", &id]);
    assert_eq!((&client["name"], &client["scopes"]), (&json!("other"), &json!([])));
    assert!(
        fixture
            .run(&["clients", "update", &id])
            .expect_failure(2)
            .contains("--name")
    );

    let (lines, stderr) = run_table(fixture, &["clients", "rotate-secret", &id, "--grace", "10m"]);
    let (same, second) = id_and_secret(&lines);
    assert!(same == id && stderr.contains("10m more"), "{stderr}");
    let (lines, _) = run_table(fixture, &["clients", "regenerate", &id, "--revoke-tokens", "--yes"]);
    let (new, third) = id_and_secret(&lines);
    assert_ne!(new, id);
    assert_eq!(fixture.json(&["clients", "show", &id])["state"], "deleted");

    fixture.expect_success(&["clients", "disable", &new]);
    assert_eq!(fixture.json(&["clients", "show", &new])["state"], "disabled");
    fixture.expect_success(&["clients", "enable", &new]);
    assert_eq!(fixture.json(&["clients", "show", &new])["state"], "active");
    fixture.expect_success(&["clients", "revoke-tokens", &new, "--yes"]);
    assert!(fixture.json(&["clients", "show", &new])["tokens_not_before"].is_string());
    fixture.expect_success(&["clients", "delete", &new, "--yes"]);
    assert_eq!(fixture.json(&["clients", "show", &new])["state"], "deleted");
    assert!(
        fixture
            .run(&["clients", "rotate-secret", &new, "--yes"])
            .expect_failure(1)
            .contains("409")
    );
    vec![first, second, third]
}

fn client_keys(fixture: &CommandFixture) -> Vec<String> {
    let create = [
        "clients",
        "create",
        "--name",
        "keys",
        "--authentication",
        "private_key_jwt",
    ];
    let (lines, _) = run_table(fixture, &create);
    let id = lines[0].strip_prefix("client_id=").unwrap().to_owned();
    assert_eq!(lines.len(), 1);

    let own = SigningKey::generate_es256().unwrap();
    std::fs::write(fixture.file("own.public.pem"), own.public_pem()).unwrap();
    let output = fixture
        .run(&["clients", "add-key", &id, "--public-key", "own.public.pem"])
        .expect_success();
    assert!(
        output.stdout.is_empty() && output.stderr.contains(own.kid()),
        "{output:?}"
    );

    // The command rejects a private key without sending it.
    std::fs::write(fixture.file("own.pem"), own.to_pkcs8_pem().unwrap().expose()).unwrap();
    let private = ["clients", "add-key", &id, "--public-key", "own.pem"];
    assert!(fixture.run(&private).expect_failure(1).contains("private key"));
    std::fs::remove_file(fixture.file("own.pem")).unwrap();

    let generate = ["clients", "add-key", &id, "--generate", "ES256"];
    let (lines, stderr) = run_table(fixture, &generate);
    assert_eq!(lines[0], "-----BEGIN PRIVATE KEY-----");
    assert!(stderr.contains("only time"), "{stderr}");
    let printed = lines[1].clone();

    let to_file = [&generate[..], &["--out", "client.pem"]].concat();
    let output = fixture.run(&to_file).expect_success();
    assert!(output.stdout.is_empty(), "{output:?}");
    let file = fixture.file("client.pem");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let pem = std::fs::read_to_string(&file).unwrap();
    let pair = keygate::cli::http::token_client::private_key(&pem, None).unwrap();
    assert!(output.stderr.contains(pair.kid()), "{}", output.stderr);
    // The command never overwrites a file, and creates no key then: three keys are listed below.
    assert!(fixture.run(&to_file).expect_failure(1).contains("client.pem"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), pem);

    let keys = fixture.json(&["clients", "keys", &id]);
    assert_eq!(keys["items"].as_array().unwrap().len(), 3, "{keys}");
    let table = fixture.expect_success(&["clients", "keys", &id]);
    line(&table, own.kid());
    fixture.expect_success(&["clients", "remove-key", &id, pair.kid(), "--yes"]);
    let again = fixture
        .run(&["clients", "remove-key", &id, pair.kid(), "--yes"])
        .expect_failure(1);
    assert!(again.contains("this key was revoked"), "{again}");
    // A refused command leaves no file behind.
    fixture
        .run(&[
            "clients",
            "add-key",
            "client_none",
            "--generate",
            "ES256",
            "--out",
            "none.pem",
        ])
        .expect_failure(1);
    assert!(!fixture.file("none.pem").exists());

    let by_url = [
        "clients",
        "create",
        "--name",
        "url",
        "--jwks-url",
        "https://client.invalid/jwks.json",
    ];
    let (lines, _) = run_table(fixture, &by_url);
    let id = lines[0].strip_prefix("client_id=").unwrap().to_owned();
    let output = fixture.run(&["clients", "validate-jwks", &id]);
    assert_eq!(output.code, Some(1), "{output:?}");
    vec![printed]
}

fn signing_keys(fixture: &CommandFixture) {
    let states = |keys: &Value| -> Vec<Value> {
        let items = keys["items"].as_array().unwrap();
        items.iter().map(|key| key["state"].clone()).collect()
    };
    assert_eq!(states(&fixture.json(&["signing-keys", "list"])), ["active"]);
    let table = fixture.expect_success(&["signing-keys", "list"]);
    assert_eq!(line(&table, "active")[1], "ES256");
    fixture.expect_success(&["signing-keys", "rotate"]);
    assert_eq!(states(&fixture.json(&["signing-keys", "list"])), ["active", "next"]);
}

fn audit(fixture: &CommandFixture) {
    let uid = std::fs::metadata(fixture.file("keygate.yaml")).unwrap().uid();
    let (actor, whole_name) = match fixture.transport {
        Transport::Socket | Transport::Store => ("local", format!("(uid {uid})")),
        Transport::Listener => ("admin.token", "admin.token".to_owned()),
    };
    let table = fixture.expect_success(&["audit", "list", "--action", "organization.create"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    let cells = line(&table, "acme");
    let is_actor = |cell: &&String| cell.starts_with(actor) && cell.ends_with(&whole_name);
    assert!(cells.iter().any(|cell| is_actor(&cell)), "{table}");
    let events = fixture.json(&["audit", "list", "--actor", actor, "--limit", "3"]);
    let first = events["items"].as_array().unwrap();
    let next = events["next"].as_str().unwrap();
    assert_eq!(first.len(), 3);
    let more = fixture.json(&["audit", "list", "--after", next, "--limit", "1"]);
    assert!(
        more["items"][0]["sequence"].as_u64() < first[2]["sequence"].as_u64(),
        "{more}"
    );
    let recent = fixture.json(&["audit", "list", "--since", "1h", "--action", "organization.create"]);
    assert!(!recent["items"].as_array().unwrap().is_empty());
    let old = fixture.json(&["audit", "list", "--until", "1h"]);
    assert!(old["items"].as_array().unwrap().is_empty(), "{old}");
    let chain = fixture.json(&["audit", "verify"]);
    assert_eq!(chain["state"], "whole");
    assert!(
        fixture
            .expect_success(&["audit", "verify"])
            .starts_with("state                whole\n")
    );
    let none = fixture.expect_success(&["audit", "list", "--since", "2999-01-01T00:00:00Z"]);
    assert_eq!(none.lines().count(), 1, "{none}");
}

fn backup(fixture: &CommandFixture) {
    let output = fixture.run(&["backup", "copy.db"]).expect_success();
    assert!(output.stderr.contains("copy.db"), "{output:?}");
    assert!(std::fs::metadata(fixture.file("copy.db")).unwrap().len() > 0);
    fixture.run(&["backup", "copy.db"]).expect_failure(1);
}

#[test]
fn a_command_on_the_store_leaves_the_database_alone_whole() {
    let fixture = CommandFixture::new(Transport::Store);
    let key = fixture.expect_success(&["keys", "create", "--name", "ci", "--expires", "90d"]);
    for args in [
        &["keys", "list"][..],
        &["keys", "revoke", key.trim(), "--yes"],
        &["audit", "list"],
    ] {
        fixture.expect_success(args);
        for name in ["keygate.db-wal", "keygate.db-shm"] {
            assert!(!fixture.file(name).exists(), "{args:?} leaves {name}");
        }
    }
    // A refusal too.
    assert_ne!(fixture.run(&["keys", "show", "0123456789abcdef"]).code, Some(0));
    assert!(!fixture.file("keygate.db-wal").exists());
    // The copy of this one file is a backup.
    let copy = fixture.file("copy.db");
    std::fs::copy(fixture.file("keygate.db"), &copy).unwrap();
    let events = fixture.json(&["audit", "list", "--action", "api_key.revoke"]);
    assert_eq!(events["items"].as_array().unwrap().len(), 1, "{events}");
    std::fs::rename(copy, fixture.file("keygate.db")).unwrap();
    assert_eq!(fixture.json(&["audit", "list", "--action", "api_key.revoke"]), events);
}
