//! What does `keygate issuers` print, and which exit code and message does each failure have?

use super::*;
use crate::support::raw_issuer::Reply;
use std::path::Path;
use std::process::Command;

struct CommandOutput {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `keygate issuers` in `folder`, with `token` in `KEYGATE_ADMIN_TOKEN`.
fn issuers(folder: &Path, token: Option<&str>, args: &[&str]) -> CommandOutput {
    let mut command = Command::new(crate::support::program());
    command
        .env_clear()
        .env("HOME", folder)
        .current_dir(folder)
        .arg("issuers")
        .args(args);
    if let Some(token) = token {
        command.env("KEYGATE_ADMIN_TOKEN", token);
    }
    let output = command.output().unwrap();
    let result = CommandOutput {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    for text in [&result.stdout, &result.stderr] {
        assert!(!text.contains("panicked") && !text.contains(TOKEN), "{text}");
    }
    result
}

#[test]
fn list_show_and_refresh_say_how_issuers_are() {
    let key = new_key();
    let server = RawIssuer::start();
    let mut odd = key.public_jwk();
    odd["kid"] = json!("odd\u{1b}[31m");
    odd["use"] = json!("enc");
    server.reply("/jwks", Reply::ok(&jwk_set(&[key.public_jwk(), odd])));
    let gate = gate("", &by_url(&server, ""), &[]);
    gate.wait_ready();
    let base = format!("http://{}", gate.admin());
    let run = |args: &[&str]| issuers(gate.folder(), Some(TOKEN), &[args, &["--admin", &base]].concat());

    let list = run(&["list"]);
    assert_eq!((list.code, list.stderr.as_str()), (Some(0), ""));
    let lines: Vec<Vec<&str>> = list
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[1][..5], ["main", "ok", "1", "1", "source"], "{}", list.stdout);

    let show = run(&["show", "main"]);
    assert_eq!(show.code, Some(0), "{}", show.stderr);
    let kid = key.public_jwk()["kid"].as_str().unwrap().to_owned();
    assert!(
        show.stdout.contains(&format!("key                  {kid} (ES256) ")),
        "{}",
        show.stdout
    );
    assert!(
        show.stdout
            .contains("skipped              odd\\u001b[31m: `use` is not `sig`"),
        "{}",
        show.stdout
    );

    let json = run(&["show", "main", "--output", "json"]);
    let body: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(body["state"], "ok");

    assert_eq!(run(&["refresh", "main"]).code, Some(0));
    server.reply("/jwks", Reply::status("500 Internal Server Error"));
    let failed = run(&["refresh", "main"]);
    assert_eq!(failed.code, Some(1));
    assert!(
        failed.stdout.contains("state                failing"),
        "{}",
        failed.stdout
    );
    assert!(
        failed.stderr.contains("the fetch failed") && failed.stderr.contains("status 500"),
        "{}",
        failed.stderr
    );
    let failed = run(&["refresh", "main", "--output", "json"]);
    let body: Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!((failed.code, &body["outcome"]), (Some(1), &json!("failed")));

    let unknown = run(&["show", "none"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(1), ""));
    assert!(unknown.stderr.contains("names no such issuer"), "{}", unknown.stderr);
    assert_eq!(run(&["show", "../keys"]).code, Some(2));
}

#[test]
fn address_and_token_come_from_the_configuration_and_what_is_missing_is_said() {
    let key = new_key();
    let server = RawIssuer::start();
    server.reply("/jwks", Reply::ok(&set_of(&[&key])));
    let gate = gate("", &by_url(&server, ""), &[]);
    gate.wait_ready();
    let folder = gate.folder();
    let base = format!("http://{}", gate.admin());
    let write = |name: &str, admin: &str| {
        let yaml = format!(
            "listeners: [{{ address: '127.0.0.1:0' }}]\n{admin}upstreams: {{ echo: {{ builtin: echo }} }}\n\
             routes: [{{ name: a, match: {{ path: /a }}, public: true, upstream: echo }}]\n"
        );
        std::fs::write(folder.join(name), yaml).unwrap();
    };
    let address = gate.admin();
    write(
        "good.yaml",
        &format!("admin: {{ address: '{address}', token: \"${{KEYGATE_ADMIN_TOKEN}}\" }}\n"),
    );
    write("no-token.yaml", &format!("admin: {{ address: '{address}' }}\n"));
    write("no-admin.yaml", "");
    let good = issuers(folder, Some(TOKEN), &["list", "--config", "good.yaml"]);
    assert_eq!((good.code, good.stderr.as_str()), (Some(0), ""));
    let unset = issuers(folder, None, &["list", "--config", "good.yaml"]);
    assert_eq!(unset.code, Some(1));
    assert!(unset.stderr.contains("KEYGATE_ADMIN_TOKEN"), "{}", unset.stderr);

    std::fs::write(folder.join("token"), format!("{TOKEN}\n")).unwrap();
    let by_file = ["list", "--admin", &base, "--token-file", "token"];
    assert_eq!(issuers(folder, None, &by_file).code, Some(0));
    assert_eq!(
        issuers(folder, Some("wrong"), &by_file).code,
        Some(0),
        "the file counts first"
    );

    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let closed = format!("http://{closed}");
    let other = crate::support::FakeUpstream::start();
    let not_ours = format!("http://{}", other.address());
    let wrong = "w".repeat(40);
    for (token, args, code, message) in [
        (None, &["list", "--config", "no-token.yaml"][..], 1, "set `admin.token`"),
        (
            None,
            &["list", "--config", "no-admin.yaml"],
            1,
            "there is no `admin` section",
        ),
        (None, &["list", "--config", "keygate.yaml"], 1, "leaves the port open"),
        (
            None,
            &["list", "--admin", &base],
            1,
            "no token: set KEYGATE_ADMIN_TOKEN",
        ),
        (
            None,
            &["list", "--admin", &base, "--token-file", "absent"],
            1,
            "absent: ",
        ),
        (
            Some(wrong.as_str()),
            &["list", "--admin", &base],
            1,
            "refuses the token",
        ),
        (
            Some(TOKEN),
            &["list", "--admin", &closed],
            4,
            "is `keygate run` running",
        ),
        (
            Some(TOKEN),
            &["list", "--admin", &not_ours],
            4,
            "is not Keygate's admin API",
        ),
        (
            Some(TOKEN),
            &["list", "--admin", "ftp://x"],
            1,
            "is no http or https URL",
        ),
        (
            Some(TOKEN),
            &["list", "--admin", "127.0.0.1:9090"],
            1,
            "is no http or https URL",
        ),
    ] {
        let result = issuers(folder, token, args);
        assert_eq!(
            (result.code, result.stdout.as_str()),
            (Some(code), ""),
            "{args:?}: {}",
            result.stderr
        );
        assert!(result.stderr.contains(message), "{args:?}: {}", result.stderr);
    }
    let given = issuers(folder, None, &["list", "--token", "t"]);
    assert_eq!(given.code, Some(2), "never on the command line");
}

#[test]
fn s055_key_files_that_are_no_public_key_are_refused_with_the_reason_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read_to_string(format!("tests/data/jose/{name}")).unwrap();
    let public = read("p256.public.pem");
    let (private, certificate) = (read("p256.private.pem"), read("p256.certificate.pem"));
    let yaml = GatewayBuilder::new()
        .issuer(
            "main",
            &format!("issuer: {ISSUER}\naudiences: any\npublic_key_files: [good.pem, key.pem]"),
        )
        .upstream_with("api", "builtin: echo")
        .route("api", "match: { path: /a }\naccept: [jwt]\nupstream: api")
        .yaml();
    std::fs::write(folder.path().join("keygate.yaml"), yaml).unwrap();
    std::fs::write(folder.path().join("good.pem"), read("rsa2048.public.pem")).unwrap();
    let check = |pem: &str| {
        std::fs::write(folder.path().join("key.pem"), pem).unwrap();
        let mut command = Command::new(crate::support::program());
        let output = command
            .args(["check", "keygate.yaml"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(&public), (Some(0), String::new()));
    for (pem, message) in [
        (private.clone(), "a private key"),
        (format!("{public}{private}"), "a private key"),
        (certificate.clone(), "a certificate, where a public key is expected"),
        (format!("{certificate}{certificate}"), "a chain of certificates"),
        (
            format!("{public}{}", read("ed25519.public.pem")),
            "more than one PEM block",
        ),
    ] {
        let (code, stderr) = check(&pem);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(
            stderr.contains("issuers.main: ") && stderr.contains("file 2 of the list") && stderr.contains(message),
            "{stderr}"
        );
        let secret = private.lines().nth(1).unwrap();
        assert!(!stderr.contains(secret), "{stderr}");
    }
}
