//! Which exit code and message does a command that fails have?

use super::ADMIN_TOKEN;
use super::CommandFixture;
use super::Transport;
use crate::support::free_address;

const LIST: [&str; 2] = ["clients", "list"];

#[test]
fn what_is_not_understood_is_2_and_asks_nobody() {
    let fixture = CommandFixture::new(Transport::Store);
    for args in [
        &["keys", "create", "--name", "ci"][..],
        &["keys", "create", "--expires", "90d"],
        &["keys", "create", "--name", "ci", "--expires", "soon"],
        &["keys", "create", "--name", "ci", "--expires", "731d"],
        &[
            "keys",
            "create",
            "--name",
            "ci",
            "--expires",
            "90d",
            "--environment",
            "prod",
        ],
        &["clients", "create"],
        &["clients", "create", "--name", "a", "--token-ttl", "2h"],
        &["clients", "create", "--name", "a", "--authentication", "none"],
        &["clients", "add-key", "client_a"],
        &["clients", "add-key", "client_a", "--generate", "HS256"],
        &[
            "clients",
            "add-key",
            "client_a",
            "--generate",
            "ES256",
            "--public-key",
            "a.pem",
        ],
        &[
            "clients",
            "add-key",
            "client_a",
            "--public-key",
            "a.pem",
            "--out",
            "b.pem",
        ],
        &["clients", "remove-key", "client_a", "../secret"],
        &["orgs", "create", "Not A Name", "--name", "x"],
        &["orgs", "create", "a"],
        &["subscriptions", "create", "--organization", "a"],
        &["subscriptions", "change-plan", "sub_a"],
        &["keys", "list", "--limit", "0"],
        &["audit"],
        &["backup"],
    ] {
        let text = fixture.run(args).expect_failure(2);
        assert!(
            text.starts_with("error: ") && text.contains("--help"),
            "{args:?}: {text}"
        );
    }
    for args in [
        // No argument holds a secret, and two arguments that exclude each other are refused.
        &["clients", "list", "--token", "t"][..],
        &["token", "get", "--client-secret", "s"],
        &[
            "clients",
            "list",
            "--admin",
            "http://127.0.0.1:1",
            "--config",
            "keygate.yaml",
        ],
        &["clients", "list", "--admin", "http://127.0.0.1:1", "--socket", "s"],
        &["token", "get", "--secret-file", "s", "--key", "k"],
    ] {
        fixture.record(fixture.command(args), args).expect_failure(2);
    }
    assert!(!fixture.file("keygate.db").exists(), "nobody was asked");
}

#[test]
fn a_refusal_is_1_with_title_detail_and_place() {
    let fixture = CommandFixture::new(Transport::Socket);
    let long = "n".repeat(201);
    let text = fixture
        .run(&["clients", "create", "--name", &long, "--description", &long])
        .expect_failure(1);
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("keygate: ") && first.contains("(422 "), "{text}");
    assert!(lines.any(|line| line.starts_with("  /name: ")), "{text}");
    let text = fixture
        .run(&["clients", "show", "client_none", "--output", "json"])
        .expect_failure(1);
    assert!(text.contains("404"), "{text}");
}

#[test]
fn a_bad_token_is_1_and_a_gate_that_does_not_answer_is_4() {
    let fixture = CommandFixture::new(Transport::Listener);
    let base = fixture.admin();
    let with = |token: Option<&str>, args: &[&str]| {
        let args = [&LIST[..], args].concat();
        let mut command = fixture.command(&args);
        if let Some(token) = token {
            command.env("KEYGATE_ADMIN_TOKEN", token);
        }
        fixture.record(command, &args)
    };
    let wrong = "w".repeat(40);
    assert!(
        with(Some(&wrong), &["--admin", &base])
            .expect_failure(1)
            .contains("refuses the token")
    );
    assert!(
        with(None, &["--admin", &base])
            .expect_failure(1)
            .contains("KEYGATE_ADMIN_TOKEN")
    );
    std::fs::write(fixture.file("token"), format!("{ADMIN_TOKEN}\n")).unwrap();
    with(None, &["--admin", &base, "--token-file", "token"]).expect_success();
    let empty = with(None, &["--admin", &base, "--token-file", "/dev/null"]).expect_failure(1);
    assert!(empty.contains("empty"), "{empty}");

    let nobody = format!("http://{}", free_address());
    assert!(
        with(Some(&wrong), &["--admin", &nobody])
            .expect_failure(4)
            .contains("nothing answers")
    );
    let data = format!("http://{}", fixture.data());
    with(Some(&wrong), &["--admin", &data]).expect_failure(1);
    let text = with(None, &["--socket", "keygate.db.nothing"]).expect_failure(4);
    assert!(text.contains("keygate.db.nothing"), "{text}");
    with(None, &["--socket", "keygate.db.sock"]).expect_success();
}

#[test]
fn a_store_that_a_gate_has_is_not_opened_beside_it() {
    let fixture = CommandFixture::new(Transport::Socket);
    let key = fixture.expect_success(&["keys", "create", "--name", "a", "--expires", "1d"]);
    std::fs::remove_file(fixture.file("keygate.db.sock")).unwrap();
    let text = fixture.run(&LIST).expect_failure(4);
    assert!(text.contains("keygate.db") && text.contains("in use"), "{text}");
    fixture.check_key(key.trim_end(), 200);
}

#[test]
fn without_a_store_there_are_the_keys_of_the_keys_file_and_nothing_else() {
    let fixture = CommandFixture::new(Transport::Store);
    let write = |more: &str| {
        let yaml = format!(
            "listeners: [{{ address: '127.0.0.1:0' }}]\n{more}upstreams: {{ echo: {{ builtin: echo }} }}\n\
             routes: [{{ name: a, match: {{ path: /a }}, public: true, upstream: echo }}]\n"
        );
        std::fs::write(fixture.file("keygate.yaml"), yaml).unwrap();
    };
    write("");
    let create = ["keys", "create", "--name", "ci", "--expires", "90d"];
    let text = fixture.run(&create).expect_failure(1);
    assert!(text.contains("`store`") && text.contains("`api_keys.file`"), "{text}");
    let text = fixture.run(&LIST).expect_failure(1);
    assert!(text.contains("`store` is not set"), "{text}");
    std::fs::write(fixture.file("keys.yaml"), "keys: []\n").unwrap();
    write("api_keys: { file: keys.yaml }\n");
    let key = fixture.expect_success(&create);
    let id = key.split('_').nth(2).unwrap();
    assert!(fixture.expect_success(&["keys", "list"]).contains(id));
    for args in [
        &["keys", "show", id][..],
        &["keys", "regenerate", id],
        &[
            "keys",
            "create",
            "--name",
            "ci",
            "--expires",
            "90d",
            "--subscription",
            "sub_a",
        ],
        &LIST,
    ] {
        assert!(
            fixture.run(args).expect_failure(1).contains("`store` is not set"),
            "{args:?}"
        );
    }
    let file_only = [
        "keys",
        "create",
        "--name",
        "a",
        "--expires",
        "1d",
        "--organization",
        "acme",
    ];
    fixture.expect_success(&file_only);
    let fixture = CommandFixture::new(Transport::Store);
    assert!(fixture.run(&file_only).expect_failure(1).contains("--subscription"));
}

#[test]
fn a_command_needs_the_secrets_that_it_uses_and_no_others() {
    let configuration = |fixture: &CommandFixture| {
        let text = std::fs::read_to_string(fixture.file("keygate.yaml")).unwrap();
        text.replace(ADMIN_TOKEN, "\"${ABSENT_TOKEN}\"")
            + "api_keys: { pepper: \"${ABSENT_PEPPER}\" }\n\
               issuers: { other: { issuer: 'https://a.example', audiences: any, \
               introspection: { url: 'https://a.example/i', client_id: a, client_secret: 'file:absent' } } }\n"
    };
    let fixture = CommandFixture::new(Transport::Socket);
    let refused = configuration(&fixture);
    // A gate that runs goes on with what it has.
    std::fs::write(fixture.file("keygate.yaml"), refused).unwrap();
    fixture.expect_success(&["keys", "list"]);
    let text = fixture
        .run(&["token", "get", "--client-id", "client_a"])
        .expect_failure(1);
    assert!(
        text.contains("KEYGATE_CLIENT_SECRET") && !text.contains("ABSENT"),
        "{text}"
    );

    let fixture = CommandFixture::new(Transport::Store);
    std::fs::write(fixture.file("keygate.yaml"), configuration(&fixture)).unwrap();
    let text = fixture.run(&["keys", "list"]).expect_failure(1);
    assert!(text.contains("ABSENT_PEPPER") && text.contains("1 error"), "{text}");
    let text = fixture.run(&["issuers", "list"]).expect_failure(1);
    assert!(text.contains("ABSENT_TOKEN") && text.contains("1 error"), "{text}");
    let args = ["keys", "list", "--config", "keygate.yaml"];
    let mut command = fixture.command(&args);
    command.env("ABSENT_PEPPER", "0123456789abcdef0123456789abcdef");
    fixture.record(command, &args).expect_success();
}

#[test]
fn without_a_terminal_what_ends_a_credential_is_done_with_yes_alone() {
    let fixture = CommandFixture::new(Transport::Socket);
    let key = fixture.expect_success(&["keys", "create", "--name", "ci", "--expires", "90d"]);
    let key = key.trim_end();
    let client = fixture.json(&["clients", "create", "--name", "demo"]);
    let client = client["id"].as_str().unwrap();
    let before = fixture.json(&["audit", "list"]);
    for (args, label) in [
        (&["keys", "revoke", "ci"][..], "`ci` ("),
        (&["keys", "regenerate", "ci"], "`ci` ("),
        (&["clients", "rotate-secret", "demo"], client),
        (&["clients", "regenerate", client], "`demo` ("),
        (&["clients", "delete", "demo"], client),
        (&["clients", "revoke-tokens", "demo"], client),
        (&["clients", "remove-key", "demo", "kid"], client),
        (
            &["subscriptions", "cancel", "sub_default"],
            "sub_default of default to default",
        ),
        (&["signing-keys", "rotate", "--leaked"], "Every token"),
    ] {
        let text = fixture.run(args).expect_failure(1);
        assert!(text.contains("nothing was done") && text.contains("--yes"), "{text}");
        assert!(text.contains(label), "{text}");
    }
    assert_eq!(fixture.json(&["audit", "list"]), before);
    fixture.check_key(key, 200);
    // What ends later, or can be taken back, is not asked about.
    fixture.expect_success(&["keys", "regenerate", "ci", "--grace", "1h"]);
    fixture.expect_success(&["clients", "disable", "demo"]);
}

#[test]
fn before_the_first_start_there_is_no_development_set_up_and_asking_makes_none() {
    let home = tempfile::tempdir().unwrap();
    for args in [
        &LIST[..],
        &["keys", "list"],
        &["token", "get", "--client-id", "client_a"],
    ] {
        let output = std::process::Command::new(crate::support::program())
            .env_clear()
            .env("HOME", home.path())
            .args(args)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("`keygate run` makes it"), "{text}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}
