//! Does every command have its effect over the socket, over the admin listener and on the store?

use super::Way;
use super::World;
use keygate::jose::sign::SigningKey;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

#[test]
fn every_command_works_over_the_socket_of_a_gate_that_runs() {
    everything(&World::new(Way::Socket));
}

#[test]
fn every_command_works_over_the_admin_listener() {
    everything(&World::new(Way::Listener));
}

#[test]
fn every_command_works_on_the_store_where_no_gate_runs() {
    everything(&World::new(Way::Store));
}

fn everything(world: &World) {
    organizations(world);
    plans(world);
    subscriptions(world);
    let mut secrets = keys(world);
    secrets.extend(clients(world));
    secrets.extend(client_keys(world));
    signing_keys(world);
    audit(world);
    backup(world);
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    world.check_printed_once(&secrets, &["client.pem"]);
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

fn organizations(world: &World) {
    assert_eq!(
        world.expect_success(&["orgs", "create", "acme", "--name", "Acme Ltd"]),
        "acme\n"
    );
    let table = world.expect_success(&["orgs", "list"]);
    assert_eq!(line(&table, "acme")[..2], ["acme", "Acme Ltd"]);
    line(&table, "default");
    assert!(
        world
            .expect_success(&["orgs", "show", "acme"])
            .contains("name                 Acme Ltd\n")
    );
    assert_eq!(world.json(&["orgs", "show", "acme"])["name"], "Acme Ltd");
    let page = world.json(&["orgs", "list", "--limit", "1"]);
    assert_eq!(
        (page["items"].as_array().unwrap().len(), &page["next"]),
        (1, &json!("acme"))
    );
    let page = world.json(&["orgs", "list", "--after", "acme"]);
    assert!(
        page["items"].as_array().unwrap().len() >= 2 && page["next"].is_null(),
        "{page}"
    );
    let again = world.run(&["orgs", "create", "acme", "--name", "x"]).expect_failure(1);
    assert!(again.contains("409"), "{again}");
    let none = world.run(&["orgs", "show", "none"]).expect_failure(1);
    assert!(none.contains("404"), "{none}");
}

fn plans(world: &World) {
    let table = world.expect_success(&["plans", "list"]);
    assert_eq!(line(&table, "gold")[..3], ["gold", "api_key", "orders:read"]);
    let plans = world.json(&["plans", "list"]);
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

fn subscriptions(world: &World) {
    let create = |plan: &str| {
        let args = ["subscriptions", "create", "--organization", "acme", "--plan", plan];
        world.expect_success(&args).trim_end().to_owned()
    };
    let id = create("gold");
    let state = || world.json(&["subscriptions", "show", &id])["state"].clone();
    assert_eq!(state(), "pending");
    let key = |environment: &str| {
        world.run(&[
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
    world.expect_success(&["subscriptions", "approve", &id]);
    assert_eq!(state(), "active");
    assert!(key("live").expect_failure(1).contains("409"), "it is not paid for");
    assert!(key("sandbox").expect_success().stdout.starts_with("kg_test_"));
    world.expect_success(&["subscriptions", "pay", &id]);
    assert_eq!(world.json(&["subscriptions", "show", &id])["paid"], true);
    let live = key("live").expect_success().stdout.trim_end().to_owned();
    assert!(live.starts_with("kg_live_"), "{live}");
    world.check_key(&live, 200);
    world.expect_success(&["subscriptions", "pay", &id, "--unpaid"]);
    world.check_key(&live, 403);
    world.expect_success(&["subscriptions", "pay", &id]);
    world.expect_success(&["subscriptions", "change-plan", &id, "--plan", "free"]);
    let table = world.expect_success(&["subscriptions", "list", "--organization", "acme"]);
    assert_eq!(line(&table, &id)[..3], [&id, "acme", "free"]);

    let output = world.run(&["subscriptions", "cancel", &id]).expect_success();
    assert!(
        output.stderr.contains("cancelled") && output.stdout.is_empty(),
        "{output:?}"
    );
    world.check_key(&live, 401);
    let keys = world.json(&["keys", "list", "--subscription", &id]);
    let states: Vec<&Value> = keys["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states, [&json!("revoked"), &json!("revoked")]);
    assert!(
        world
            .run(&["subscriptions", "cancel", &id])
            .expect_failure(1)
            .contains("409")
    );

    let other = create("gold");
    world.expect_success(&["subscriptions", "fail", &other]);
    let unknown = ["subscriptions", "create", "--organization", "acme", "--plan", "none"];
    world.run(&unknown).expect_failure(1);
}

/// Runs a command with table output and returns stdout's lines, and stderr.
#[track_caller]
fn run_table(world: &World, args: &[&str]) -> (Vec<String>, String) {
    let output = world.run(args).expect_success();
    (output.stdout.lines().map(str::to_owned).collect(), output.stderr)
}

fn keys(world: &World) -> Vec<String> {
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
    let (lines, stderr) = run_table(world, &create);
    let [key] = &lines[..] else {
        panic!("{lines:?}");
    };
    let id = key.split('_').nth(2).unwrap().to_owned();
    assert!(stderr.contains(&id) && stderr.contains("expires 20"), "{stderr}");
    let says = "The gate is not running";
    assert_eq!(stderr.contains(says), world.way == Way::Store, "{stderr}");
    world.check_key(key, 200);
    let shown = world.json(&["keys", "show", &id]);
    assert_eq!(
        (&shown["state"], &shown["scopes"]),
        (&json!("active"), &json!(["orders:read"]))
    );
    let table = world.expect_success(&["keys", "list"]);
    assert!(line(&table, &id).contains(&"active".to_owned()), "{table}");

    // A second key beside the first, and one that replaces it.
    let whole = world.json(&[
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
    let (lines, stderr) = run_table(world, &regenerate);
    let third = lines[0].clone();
    assert!(stderr.contains("1h more"), "{stderr}");
    for key in [key, &second, &third] {
        world.check_key(key, 200);
    }
    let id_of = |key: &str| key.split('_').nth(2).unwrap().to_owned();
    let (lines, stderr) = run_table(world, &["keys", "regenerate", &id_of(&third)]);
    let fourth = lines[0].clone();
    assert!(stderr.contains("is revoked"), "{stderr}");
    world.check_key(&third, 401);
    world.check_key(&fourth, 200);

    let output = world.run(&["keys", "revoke", &id_of(&fourth)]).expect_success();
    assert!(
        output.stdout.is_empty() && output.stderr.contains("is revoked"),
        "{output:?}"
    );
    world.check_key(&fourth, 401);
    assert!(
        world
            .run(&["keys", "revoke", "AAAAAAAAAAAAAAAA"])
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
    let (lines, _) = run_table(world, &long);
    world.check_key(&lines[0], 401);

    // A key of another system, by its digest.
    let old = "sk_old_0123456789abcdefghij";
    let digest = keygate::model::api_key::CredentialDigest::sha256(old).to_hex();
    std::fs::write(world.file("digest"), format!("{digest}\n")).unwrap();
    let import = [
        "keys",
        "import",
        "--digest-file",
        "digest",
        "--name",
        "old",
        "--expires",
        "30d",
    ];
    let (lines, _) = run_table(world, &import);
    world.check_key(old, 200);
    world.expect_success(&["keys", "revoke", &lines[0]]);
    world.check_key(old, 401);

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
    let (lines, _) = run_table(world, &once);
    let (again, stderr) = run_table(world, &once);
    assert!(again.is_empty() && stderr.contains("made before"), "{again:?} {stderr}");
    vec![key.clone(), second, third, fourth, lines[0].clone()]
        .into_iter()
        // The secret part of the key.
        .map(|key| key[25..].to_owned())
        .collect()
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

fn clients(world: &World) -> Vec<String> {
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
    let (lines, stderr) = run_table(world, &create);
    let (id, first) = id_and_secret(&lines);
    assert!(stderr.contains("only time"), "{stderr}");
    let client = world.json(&["clients", "show", &id]);
    assert_eq!((&client["name"], &client["token_ttl"]), (&json!("demo"), &json!("5m")));
    let table = world.expect_success(&["clients", "list"]);
    assert!(line(&table, &id).contains(&"client_secret".to_owned()), "{table}");

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
    world.expect_success(&update);
    let client = world.json(&["clients", "show", &id]);
    assert_eq!((&client["name"], &client["scopes"]), (&json!("other"), &json!([])));
    assert!(
        world
            .run(&["clients", "update", &id])
            .expect_failure(2)
            .contains("--name")
    );

    let (lines, stderr) = run_table(world, &["clients", "rotate-secret", &id, "--grace", "10m"]);
    let (same, second) = id_and_secret(&lines);
    assert!(same == id && stderr.contains("10m more"), "{stderr}");
    let (lines, _) = run_table(world, &["clients", "regenerate", &id, "--revoke-tokens"]);
    let (new, third) = id_and_secret(&lines);
    assert_ne!(new, id);
    assert_eq!(world.json(&["clients", "show", &id])["state"], "deleted");

    world.expect_success(&["clients", "disable", &new]);
    assert_eq!(world.json(&["clients", "show", &new])["state"], "disabled");
    world.expect_success(&["clients", "enable", &new]);
    assert_eq!(world.json(&["clients", "show", &new])["state"], "active");
    world.expect_success(&["clients", "revoke-tokens", &new]);
    assert!(world.json(&["clients", "show", &new])["tokens_not_before"].is_string());
    world.expect_success(&["clients", "delete", &new]);
    assert_eq!(world.json(&["clients", "show", &new])["state"], "deleted");
    assert!(
        world
            .run(&["clients", "rotate-secret", &new])
            .expect_failure(1)
            .contains("409")
    );
    vec![first, second, third]
}

fn client_keys(world: &World) -> Vec<String> {
    let create = [
        "clients",
        "create",
        "--name",
        "keys",
        "--authentication",
        "private_key_jwt",
    ];
    let (lines, _) = run_table(world, &create);
    let id = lines[0].strip_prefix("client_id=").unwrap().to_owned();
    assert_eq!(lines.len(), 1);

    let own = SigningKey::generate_es256().unwrap();
    std::fs::write(world.file("own.public.pem"), own.public_pem()).unwrap();
    let output = world
        .run(&["clients", "add-key", &id, "--public-key", "own.public.pem"])
        .expect_success();
    assert!(
        output.stdout.is_empty() && output.stderr.contains(own.kid()),
        "{output:?}"
    );

    // The command rejects a private key without sending it.
    std::fs::write(world.file("own.pem"), own.to_pkcs8_pem().unwrap().expose()).unwrap();
    let private = ["clients", "add-key", &id, "--public-key", "own.pem"];
    assert!(world.run(&private).expect_failure(1).contains("private key"));
    std::fs::remove_file(world.file("own.pem")).unwrap();

    let generate = ["clients", "add-key", &id, "--generate", "ES256"];
    let (lines, stderr) = run_table(world, &generate);
    assert_eq!(lines[0], "-----BEGIN PRIVATE KEY-----");
    assert!(stderr.contains("only time"), "{stderr}");
    let printed = lines[1].clone();

    let to_file = [&generate[..], &["--out", "client.pem"]].concat();
    let output = world.run(&to_file).expect_success();
    assert!(output.stdout.is_empty(), "{output:?}");
    let file = world.file("client.pem");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let pem = std::fs::read_to_string(&file).unwrap();
    let pair = keygate::cli::http::token_client::private_key(&pem, None).unwrap();
    assert!(output.stderr.contains(pair.kid()), "{}", output.stderr);
    // The command never overwrites a file, and creates no key then: three keys are listed below.
    assert!(world.run(&to_file).expect_failure(1).contains("client.pem"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), pem);

    let keys = world.json(&["clients", "keys", &id]);
    assert_eq!(keys["items"].as_array().unwrap().len(), 3, "{keys}");
    let table = world.expect_success(&["clients", "keys", &id]);
    line(&table, own.kid());
    world.expect_success(&["clients", "remove-key", &id, pair.kid()]);
    let again = world.run(&["clients", "remove-key", &id, pair.kid()]).expect_failure(1);
    assert!(again.contains("this key was revoked"), "{again}");
    // A refused command leaves no file behind.
    world
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
    assert!(!world.file("none.pem").exists());

    let by_url = [
        "clients",
        "create",
        "--name",
        "url",
        "--jwks-url",
        "https://client.invalid/jwks.json",
    ];
    let (lines, _) = run_table(world, &by_url);
    let id = lines[0].strip_prefix("client_id=").unwrap().to_owned();
    let output = world.run(&["clients", "validate-jwks", &id]);
    assert_eq!(output.code, Some(1), "{output:?}");
    vec![printed]
}

fn signing_keys(world: &World) {
    let states = |keys: &Value| -> Vec<Value> {
        let items = keys["items"].as_array().unwrap();
        items.iter().map(|key| key["state"].clone()).collect()
    };
    assert_eq!(states(&world.json(&["signing-keys", "list"])), ["active"]);
    let table = world.expect_success(&["signing-keys", "list"]);
    assert_eq!(line(&table, "active")[1], "ES256");
    world.expect_success(&["signing-keys", "rotate"]);
    assert_eq!(states(&world.json(&["signing-keys", "list"])), ["active", "next"]);
}

fn audit(world: &World) {
    let actor = match world.way {
        Way::Socket | Way::Store => "local",
        Way::Listener => "admin.token",
    };
    let table = world.expect_success(&["audit", "list", "--action", "organization.create"]);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(line(&table, "acme").contains(&actor.to_owned()), "{table}");
    let events = world.json(&["audit", "list", "--actor", actor, "--limit", "3"]);
    let first = events["items"].as_array().unwrap();
    let next = events["next"].as_str().unwrap();
    assert_eq!(first.len(), 3);
    let more = world.json(&["audit", "list", "--after", next, "--limit", "1"]);
    assert!(
        more["items"][0]["sequence"].as_u64() < first[2]["sequence"].as_u64(),
        "{more}"
    );
    let chain = world.json(&["audit", "verify"]);
    assert_eq!(chain["state"], "whole");
    assert!(
        world
            .expect_success(&["audit", "verify"])
            .starts_with("state                whole\n")
    );
    let none = world.expect_success(&["audit", "list", "--since", "2999-01-01T00:00:00Z"]);
    assert_eq!(none.lines().count(), 1, "{none}");
}

fn backup(world: &World) {
    let output = world.run(&["backup", "copy.db"]).expect_success();
    assert!(output.stderr.contains("copy.db"), "{output:?}");
    assert!(std::fs::metadata(world.file("copy.db")).unwrap().len() > 0);
    world.run(&["backup", "copy.db"]).expect_failure(1);
}
