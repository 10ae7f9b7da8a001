//! What does `keygate check` read, and what does it say? What does the schema accept?

use super::GOOD;
use super::keygate;
use super::keys_file::with_keys_file;
use super::run;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

#[test]
fn check_says_good_on_stdout_and_every_mistake_on_stderr() {
    let home = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(home.path().join("k.yaml"), text).unwrap();
    write(GOOD);
    let messages = run(home.path(), &["check", "k.yaml"]);
    assert_eq!(
        (messages.code, messages.stdout.as_str(), messages.stderr.as_str()),
        (Some(0), "k.yaml: good, 1 route\n", "")
    );
    write(
        "listeners: []\nlog: { level: loud, fromat: json }\nupstreams: { echo: { builtin: echo } }\n\
           routes: [{ name: a, match: { path: a }, public: true, upstream: ehco }]\n",
    );
    let messages = run(home.path(), &["check", "k.yaml"]).expect_failure(1);
    for word in [
        "k.yaml:1:1: listeners",
        "log.level",
        "log.fromat",
        "format",
        "match.path",
        "did you mean `echo`?",
        "5 errors",
    ] {
        assert!(messages.contains(word), "{word} in {messages}");
    }
    assert!(
        run(home.path(), &["check", "absent.yaml"])
            .expect_failure(1)
            .contains("absent.yaml")
    );
    let messages = run(home.path(), &["check", "."]).expect_failure(1);
    assert!(
        messages.starts_with(".: ") && messages.contains("cannot be read"),
        "{messages}"
    );
    std::fs::write(home.path().join("k.yaml"), b"\xFF\xFE").unwrap();
    run(home.path(), &["check", "k.yaml"]).expect_failure(1);
}

#[test]
fn check_accepts_unset_variables_where_it_is_told_to_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
    let secrets = "api_keys: { pepper: \"${ABSENT_PEPPER}\", file: keys.yaml }\n\
                   admin: { address: '127.0.0.1:9090', token: \"${ABSENT_TOKEN}\" }\n";
    write("k.yaml", &format!("{GOOD}{secrets}"));
    write("keys.yaml", "keys: []\n");
    let refused = run(home.path(), &["check", "k.yaml"]).expect_failure(1);
    assert!(refused.contains("2 errors"), "{refused}");
    let accepted = run(home.path(), &["check", "k.yaml", "--allow-unset"]);
    assert_eq!(
        (accepted.code, accepted.stdout.as_str()),
        (Some(0), "k.yaml: good, 1 route, 2 variables not set\n")
    );
    let place = "k.yaml:4:13: api_keys.pepper: warning: the environment variable ABSENT_PEPPER is not set, so this was \
                 not checked\n";
    assert!(accepted.stderr.contains(place), "{}", accepted.stderr);
    write(
        "k.yaml",
        &format!("{GOOD}{secrets}").replace("upstream: echo", "upstream: ehco"),
    );
    let refused = run(home.path(), &["check", "k.yaml", "--allow-unset"]).expect_failure(1);
    assert!(
        refused.contains("1 error") && refused.contains("did you mean `echo`?"),
        "{refused}"
    );
    // Files with secrets must be there.
    write("k.yaml", &format!("{GOOD}api_keys: {{ pepper: 'file:absent' }}\n"));
    run(home.path(), &["check", "k.yaml", "--allow-unset"]).expect_failure(1);
}

#[test]
fn the_examples_can_be_checked_without_their_secrets() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let checked = run(Path::new("."), &["check", "--allow-unset", path.to_str().unwrap()]);
            assert_eq!(checked.code, Some(0), "{}: {}", path.display(), checked.stderr);
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn check_prints_the_names_and_the_expiry_of_each_certificate() {
    let output = run(Path::new("."), &["check", "conf/examples/tls.yaml"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let lines: Vec<&str> = output.stdout.lines().collect();
    let names = "127.0.0.1:8443: conf/examples/../dev-tls.pem for localhost, *.localhost, 127.0.0.1, ::1, until 2126-";
    assert!(lines.len() == 2 && lines[1].starts_with(names), "{lines:?}");
}

#[test]
fn check_reads_the_key_files_that_run_would_read() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
    let pem = keygate::jose::sign::SigningKey::generate_es256().unwrap();
    let issuer = "issuers: { main: { issuer: 'https://a.test', audiences: any, public_key_files: [a.pem] } }\n";
    write("k.yaml", &format!("{GOOD}{issuer}api_keys: {{ file: keys.yaml }}\n"));
    write("a.pem", &pem.public_pem());
    write("keys.yaml", "keys: []\n");
    run(home.path(), &["check", "k.yaml"]).expect_success();
    write("a.pem", "no key");
    assert!(
        run(home.path(), &["check", "k.yaml"])
            .expect_failure(1)
            .contains("file 1 of the list")
    );
    write("a.pem", pem.to_pkcs8_pem().unwrap().expose());
    let messages = run(home.path(), &["check", "k.yaml"]).expect_failure(1);
    assert!(
        messages.contains("file 1 of the list") && !messages.contains(&pem.to_pkcs8_pem().unwrap().expose()[60..90]),
        "{messages}"
    );
    write("a.pem", &pem.public_pem());
    write("keys.yaml", "keys: [{ id: x }]\n");
    assert!(
        run(home.path(), &["check", "k.yaml"])
            .expect_failure(1)
            .contains("keys.yaml")
    );
}

#[test]
fn the_printed_schema_takes_the_configurations_that_come_along_and_refuses_typos() {
    let home = tempfile::tempdir().unwrap();
    let schema: Value = serde_json::from_str(&run(home.path(), &["schema"]).expect_success()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut seen = 0;
    for folder in [conf.clone(), conf.join("examples")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_configuration =
                path.extension().is_some_and(|it| it == "yaml") && path.file_name().unwrap() != "keys.yaml";
            if !is_configuration {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let value: Value = serde_yaml::from_str(&text).unwrap();
            let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
            seen += 1;
            let mut typo = value.clone();
            typo["listeners"][0]["adress"] = "x".into();
            assert!(!validator.is_valid(&typo), "{}", path.display());
            let mut missing = value;
            let missing_map = missing.as_object_mut().unwrap();
            missing_map.remove("routes");
            missing_map.remove("include");
            assert!(!validator.is_valid(&missing), "{}", path.display());
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn check_reads_stdin_beside_the_files_of_the_current_folder() {
    let home = with_keys_file();
    let text = std::fs::read(home.path().join("k.yaml")).unwrap();
    let mut child = keygate(home.path())
        .args(["check", "-", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &text).unwrap();
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &report["result"]),
        (Some(0), &Value::from("good")),
        "{report}"
    );
}

#[test]
fn of_the_configuration_before_no_secret_is_read() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(home.path().join(name), content).unwrap();
    let token = "admin: { address: '127.0.0.1:0', token: 'file:admin-token' }\n";
    write("old.yaml", &format!("{GOOD}{token}"));
    write("new.yaml", GOOD);
    let output = run(home.path(), &["check", "new.yaml", "--diff", "old.yaml"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}
