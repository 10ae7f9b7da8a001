//! `keygate token`: does a client get, introspect and revoke tokens at the endpoints of the issuer's metadata?

use super::ADMIN_TOKEN;
use super::CommandFixture;
use super::CommandOutput;
use super::Transport;
use serde_json::Value;
use serde_json::json;

/// Runs `keygate token` with `args`, and with `secret` in `KEYGATE_CLIENT_SECRET`.
#[track_caller]
fn token(fixture: &CommandFixture, secret: Option<&str>, args: &[&str]) -> CommandOutput {
    let args = [&["token"], args].concat();
    let mut command = fixture.command(&args);
    if let Some(secret) = secret {
        command.env("KEYGATE_CLIENT_SECRET", secret);
    }
    fixture.record(command, &args)
}

/// Creates a client and returns its id and its secret.
#[track_caller]
fn client(fixture: &CommandFixture, more: &[&str]) -> (String, String) {
    let created = fixture.expect_success(&[&["clients", "create", "--name", "demo"], more].concat());
    let mut lines = created.lines();
    let mut value = |name: &str| lines.next().unwrap().strip_prefix(name).unwrap().to_owned();
    (value("client_id="), value("client_secret="))
}

#[test]
fn a_client_with_a_secret_gets_a_token_that_opens_a_route_until_it_is_ended() {
    let fixture = CommandFixture::new(Transport::Socket);
    let (id, secret) = client(&fixture, &["--scope", "orders:read", "--scope", "orders:write"]);
    let here = ["--config", "keygate.yaml", "--client-id", &id];
    let get = token(&fixture, Some(&secret), &[&["get"], &here[..]].concat()).expect_success();
    assert_eq!((get.stdout.lines().count(), get.stderr.as_str()), (1, ""));
    let bearer = get.stdout.trim_end();
    let authorization = format!("Authorization: Bearer {bearer}");
    assert_eq!(fixture.call("/orders/7", &authorization).status, 200);

    // With the issuer's URL, the secret in a file, and fewer scopes than the client may have.
    let issuer = format!("http://{}", fixture.data());
    std::fs::write(fixture.file("secret"), format!("{secret}\n")).unwrap();
    let narrow = [
        "get",
        "--issuer",
        &issuer,
        "--client-id",
        &id,
        "--secret-file",
        "secret",
        "--scope",
        "orders:write",
        "--output",
        "json",
    ];
    let response: Value = serde_json::from_str(&token(&fixture, None, &narrow).expect_success().stdout).unwrap();
    assert_eq!(
        (&response["token_type"], &response["scope"]),
        (&json!("Bearer"), &json!("orders:write"))
    );
    let less = format!("Authorization: Bearer {}", response["access_token"].as_str().unwrap());
    assert_eq!(fixture.call("/orders/7", &less).status, 403);

    std::fs::write(fixture.file("token"), bearer).unwrap();
    let about = |verb: &str| {
        token(
            &fixture,
            Some(&secret),
            &[&[verb, "--token-file", "token"], &here[..]].concat(),
        )
    };
    let output = about("introspect").expect_success().stdout;
    assert!(
        output.starts_with("active               yes\n") && output.contains(&id),
        "{output}"
    );
    let ended = about("revoke").expect_success();
    assert!(
        ended.stdout.is_empty() && ended.stderr.contains("not count"),
        "{ended:?}"
    );
    assert_eq!(fixture.call("/orders/7", &authorization).status, 401);
    let output = about("introspect");
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(1), "active               no\n")
    );
    std::fs::remove_file(fixture.file("token")).unwrap();
    std::fs::remove_file(fixture.file("secret")).unwrap();
    fixture.check_printed_once(&[&secret, bearer], &[]);
}

#[test]
fn a_client_with_a_key_gets_a_token_by_signing_for_the_issuer() {
    let fixture = CommandFixture::new(Transport::Socket);
    let create = [
        "clients",
        "create",
        "--name",
        "signs",
        "--scope",
        "orders:read",
        "--authentication",
        "private_key_jwt",
    ];
    let created = fixture.expect_success(&create);
    let id = created.trim_end().strip_prefix("client_id=").unwrap();
    for algorithm in ["ES256", "RS256", "PS256", "EdDSA"] {
        let file = format!("{algorithm}.pem");
        fixture.expect_success(&["clients", "add-key", id, "--generate", algorithm, "--out", &file]);
        let mut get = vec!["get", "--config", "keygate.yaml", "--client-id", id, "--key", &file];
        if algorithm == "PS256" {
            get.extend(["--algorithm", "PS256"]);
        }
        let bearer = token(&fixture, None, &get).expect_success().stdout;
        let authorization = format!("Authorization: Bearer {}", bearer.trim_end());
        assert_eq!(fixture.call("/orders/7", &authorization).status, 200, "{algorithm}");
    }
    let get = [
        "get",
        "--config",
        "keygate.yaml",
        "--client-id",
        id,
        "--key",
        "ES256.pem",
        "--kid",
        "another",
    ];
    assert!(token(&fixture, None, &get).expect_failure(1).contains("invalid_client"));
}

#[test]
fn what_the_token_endpoint_refuses_is_1_with_its_error_and_nobody_there_is_4() {
    let fixture = CommandFixture::new(Transport::Socket);
    let (id, secret) = client(&fixture, &["--scope", "orders:read"]);
    let get = |secret: Option<&str>, more: &[&str]| {
        token(&fixture, secret, &[&["get", "--config", "keygate.yaml"], more].concat())
    };
    let output = get(Some("kgs_wrong"), &["--client-id", &id]).expect_failure(1);
    assert!(output.contains("invalid_client") && output.contains("401"), "{output}");
    let output = get(Some(&secret), &["--client-id", &id, "--scope", "orders:write"]).expect_failure(1);
    assert!(output.contains("invalid_scope"), "{output}");
    assert!(get(Some(&secret), &[]).expect_failure(1).contains("--client-id"));
    assert!(
        get(None, &["--client-id", &id])
            .expect_failure(1)
            .contains("KEYGATE_CLIENT_SECRET")
    );
    assert!(
        get(None, &["--client-id", &id, "--key", "absent.pem"])
            .expect_failure(1)
            .contains("absent.pem")
    );
    std::fs::write(fixture.file("bad.pem"), "no key").unwrap();
    assert!(
        get(None, &["--client-id", &id, "--key", "bad.pem"])
            .expect_failure(1)
            .contains("bad.pem")
    );

    let by = |issuer: &str| {
        token(
            &fixture,
            Some(&secret),
            &["get", "--client-id", &id, "--issuer", issuer],
        )
    };
    let nobody = format!("http://{}", crate::support::free_address());
    assert!(by(&nobody).expect_failure(4).contains("nothing answers"));
    // Another name for the same address is another issuer (RFC 8414 section 3.3).
    let other = format!("http://localhost:{}", fixture.data().port());
    assert!(by(&other).expect_failure(4).contains("not those of"));
    assert!(by(&fixture.admin()).expect_failure(4).contains("status 404"));
    by("ftp://a").expect_failure(2);
}

/// Uses the token of a client with the scopes `admin:read` and `admin:write`, not the gate's own admin token.
#[test]
fn an_administrators_token_opens_the_admin_listener() {
    let fixture = CommandFixture::new(Transport::Listener);
    let operators = [
        "--subscription",
        "sub_operators",
        "--scope",
        "admin:read",
        "--scope",
        "admin:write",
    ];
    let (id, secret) = client(&fixture, &operators);
    let get = token(
        &fixture,
        Some(&secret),
        &["get", "--config", "keygate.yaml", "--client-id", &id],
    );
    std::fs::write(fixture.file("token"), get.expect_success().stdout).unwrap();
    let admin = fixture.admin();
    let args = ["orgs", "list", "--admin", &admin, "--token-file", "token"];
    let listed = fixture.record(fixture.command(&args), &args).expect_success();
    assert!(listed.stdout.contains("operators") && !listed.stdout.contains(ADMIN_TOKEN));
    let args = [
        "audit",
        "list",
        "--admin",
        &admin,
        "--token-file",
        "token",
        "--limit",
        "1",
    ];
    fixture.record(fixture.command(&args), &args).expect_success();
    std::fs::remove_file(fixture.file("token")).unwrap();

    // With `--client-id`, the command gets the token itself.
    let issuer = format!("http://{}", fixture.data());
    let at_once = |secret: &str, args: &[&str]| {
        let args = [&["orgs", "list", "--admin", &admin, "--client-id", &id], args].concat();
        let mut command = fixture.command(&args);
        command.env("KEYGATE_CLIENT_SECRET", secret);
        fixture.record(command, &args)
    };
    assert!(
        at_once(&secret, &["--issuer", &issuer])
            .expect_success()
            .stdout
            .contains("operators")
    );
    assert!(
        at_once("kgs_wrong", &["--issuer", &issuer])
            .expect_failure(1)
            .contains("invalid_client")
    );
    assert!(at_once(&secret, &[]).expect_failure(1).contains("--issuer"));
    fixture.check_printed_once(&[&secret], &[]);
}

#[test]
fn a_profile_is_a_name_for_the_options_of_a_gate() {
    let fixture = CommandFixture::new(Transport::Listener);
    let run = |args: &[&str]| fixture.record(fixture.command(args), args);
    let list = ["orgs", "list", "-o", "name", "--profile", "here"];
    let missing = run(&list).expect_failure(1);
    assert!(missing.contains(".config/keygate/profiles.yaml"), "{missing}");
    let folder = fixture.file(".config/keygate");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("here.token"), ADMIN_TOKEN).unwrap();
    let profiles = format!("here: {{ admin: '{}', token_file: here.token }}\n", fixture.admin());
    std::fs::write(folder.join("profiles.yaml"), profiles).unwrap();
    assert!(run(&list).expect_success().stdout.contains("operators"));
    let other = run(&["orgs", "list", "--profile", "there"]).expect_failure(1);
    assert!(other.contains("no `there`; there are `here`"), "{other}");
    run(&["orgs", "list", "--profile", "here", "--admin", "http://x"]).expect_failure(2);
}
