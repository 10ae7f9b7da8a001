//! The command line as a person meets it: help, exit codes, files and what is printed where.

use crate::support::PATIENCE;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Instant;

/// The program, with a home of its own and nothing of ours in its environment.
fn keygate(home: &Path) -> Command {
    let mut command = Command::new(crate::support::program());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn run(home: &Path, args: &[&str]) -> Ran {
    let output: Output = keygate(home).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let ran = Ran {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert!(!ran.stderr.contains("panicked"), "{args:?}: {}", ran.stderr);
    ran
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// Its stdout, when it did what it was asked.
    #[track_caller]
    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Its stderr, when it refused: said why, and nothing on stdout.
    #[track_caller]
    fn refused(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        assert!(!self.stderr.is_empty());
        self.stderr
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn help_is_as_it_is_kept_in_the_golden_files() {
    let home = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/help");
    let update = std::env::var_os("KEYGATE_UPDATE_GOLDEN").is_some();
    let commands = [
        "",
        "run",
        "check",
        "explain",
        "schema",
        "keys",
        "keys create",
        "keys list",
        "keys show",
        "keys revoke",
        "keys regenerate",
        "keys import",
        "clients",
        "clients list",
        "clients show",
        "clients create",
        "clients update",
        "clients rotate-secret",
        "clients regenerate",
        "clients disable",
        "clients enable",
        "clients delete",
        "clients revoke-tokens",
        "clients validate-jwks",
        "clients keys",
        "clients add-key",
        "clients remove-key",
        "orgs",
        "orgs list",
        "orgs show",
        "orgs create",
        "plans",
        "plans list",
        "subscriptions",
        "subscriptions list",
        "subscriptions show",
        "subscriptions create",
        "subscriptions approve",
        "subscriptions fail",
        "subscriptions cancel",
        "subscriptions pay",
        "subscriptions change-plan",
        "signing-keys",
        "signing-keys list",
        "signing-keys rotate",
        "audit",
        "audit list",
        "audit verify",
        "backup",
        "token",
        "issuers",
        "issuers list",
        "issuers show",
        "issuers refresh",
    ]
    .map(|command| command.split_whitespace().collect::<Vec<_>>());
    for command in commands {
        let mut args = command.clone();
        args.push("--help");
        let said = run(home.path(), &args).good();
        assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
        let name = if command.is_empty() {
            "keygate".to_owned()
        } else {
            command.join("-")
        };
        let file = golden.join(format!("{name}.txt"));
        if update {
            std::fs::create_dir_all(&golden).unwrap();
            std::fs::write(&file, &said).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(said, kept, "{name}; KEYGATE_UPDATE_GOLDEN=1 writes it anew");
    }
}

#[test]
fn what_is_not_understood_is_2_and_says_what_is() {
    let home = tempfile::tempdir().unwrap();
    for args in [
        &["rnu"][..],
        &["check"],
        &["explain"],
        &["keys"],
        &["keys", "creat"],
        &["keys", "revoke"],
        &["run", "--confg", "x"],
        &["run", "--config", "a", "--data-dir", "b"],
        &["token", "--expirs", "1h"],
        &["schema", "extra"],
    ] {
        let said = run(home.path(), args).refused(2);
        assert!(said.contains("Usage: keygate"), "{args:?}: {said}");
    }
    // Nothing was made on the way.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    let version = run(home.path(), &["--version"]).good();
    assert_eq!(version, format!("keygate {}\n", env!("CARGO_PKG_VERSION")));
}

const GOOD: &str = "listeners: [{ address: '127.0.0.1:0' }]\nupstreams: { echo: { builtin: echo } }\n\
                    routes: [{ name: a, match: { path: /a }, public: true, upstream: echo }]\n";

#[test]
fn check_says_good_on_stdout_and_every_mistake_on_stderr() {
    let home = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(home.path().join("k.yaml"), text).unwrap();
    write(GOOD);
    let said = run(home.path(), &["check", "k.yaml"]);
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (Some(0), "k.yaml: good, 1 route\n", "")
    );
    write(
        "listeners: []\nlog: { level: loud, fromat: json }\nupstreams: { echo: { builtin: echo } }\n\
           routes: [{ name: a, match: { path: a }, public: true, upstream: ehco }]\n",
    );
    let said = run(home.path(), &["check", "k.yaml"]).refused(1);
    for word in [
        "k.yaml:1:1: listeners",
        "log.level",
        "log.fromat",
        "format",
        "match.path",
        "did you mean `echo`?",
        "5 errors",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert!(
        run(home.path(), &["check", "absent.yaml"])
            .refused(1)
            .contains("absent.yaml")
    );
    assert!(run(home.path(), &["check", "."]).refused(1).contains('.'));
    std::fs::write(home.path().join("k.yaml"), b"\xFF\xFE").unwrap();
    run(home.path(), &["check", "k.yaml"]).refused(1);
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
    run(home.path(), &["check", "k.yaml"]).good();
    write("a.pem", "no key");
    assert!(
        run(home.path(), &["check", "k.yaml"])
            .refused(1)
            .contains("file 1 of the list")
    );
    write("a.pem", pem.to_pkcs8_pem().unwrap().expose());
    let said = run(home.path(), &["check", "k.yaml"]).refused(1);
    assert!(
        said.contains("file 1 of the list") && !said.contains(&pem.to_pkcs8_pem().unwrap().expose()[60..90]),
        "{said}"
    );
    write("a.pem", &pem.public_pem());
    write("keys.yaml", "keys: [{ id: x }]\n");
    assert!(run(home.path(), &["check", "k.yaml"]).refused(1).contains("keys.yaml"));
}

#[test]
fn the_printed_schema_takes_the_configurations_that_come_along_and_refuses_typos() {
    let home = tempfile::tempdir().unwrap();
    let schema: Value = serde_json::from_str(&run(home.path(), &["schema"]).good()).unwrap();
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
fn a_reader_that_has_read_enough_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    for script in ["keygate schema | head -c 1", "keygate --help | head -c 1"] {
        let program = crate::support::program();
        let output = Command::new("bash")
            .args([
                "-c",
                &format!(
                    "set -o pipefail; keygate() {{ '{}' \"$@\"; }}; {script}",
                    program.display()
                ),
            ])
            .env("HOME", home.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !said.contains("panicked") && output.stdout.len() == 1,
            "{script}: {said}"
        );
    }
}

/// A configuration with a keys file that is not there yet.
fn with_keys_file() -> tempfile::TempDir {
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
    let made = run(home.path(), &create);
    assert_eq!((made.code, made.stdout.lines().count()), (Some(0), 1), "{made:?}");
    let key = made.stdout.trim_end().to_owned();
    assert!(
        key.starts_with("kg_live_") && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
        "{key}"
    );
    let (id, secret) = (&key[8..24], &key[25..]);
    assert!(
        made.stderr.contains(id) && !made.stderr.contains(secret),
        "{}",
        made.stderr
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

    run(home.path(), &["keys", "revoke", id, "--config", "k.yaml"]).good();
    assert!(
        run(home.path(), &["keys", "--config", "k.yaml", "list"])
            .good()
            .contains("revoked")
    );
    assert!(
        run(home.path(), &["keys", "--config", "k.yaml", "revoke", id])
            .refused(1)
            .contains("revoked already")
    );
    let unknown = run(
        home.path(),
        &["keys", "--config", "k.yaml", "revoke", "AAAAAAAAAAAAAAAA"],
    )
    .refused(1);
    assert!(unknown.contains("AAAAAAAAAAAAAAAA"), "{unknown}");
    run(home.path(), &["keys", "--config", "k.yaml", "revoke", secret]).refused(2);
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
        let ran = run(home.path(), &args);
        assert!(
            ran.code != Some(0) && ran.stdout.is_empty() && ran.stderr.contains("expir"),
            "{expires}: {ran:?}"
        );
    }
    run(home.path(), &["keys", "--config", "k.yaml", "create", "--name", "ci"]).refused(2);
    assert_eq!(std::fs::read_to_string(home.path().join("keys.yaml")).unwrap(), before);
    for expires in ["730d", "1d", "23mo", "never"] {
        run(
            home.path(),
            &[
                "keys",
                "--config",
                "k.yaml",
                "create",
                "--name",
                "ci",
                "--expires",
                expires,
            ],
        )
        .good();
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
    let listed = run(home.path(), &["keys", "--config", "k.yaml", "list"]).good();
    for id in &ids {
        assert!(listed.contains(id), "{id} was lost:\n{listed}");
    }
    assert_eq!(mode(&home.path().join("keys.yaml")), 0o600);
}

#[test]
fn keys_need_a_keys_file_that_is_good() {
    let home = with_keys_file();
    std::fs::write(home.path().join("none.yaml"), GOOD).unwrap();
    let create = ["create", "--name", "ci", "--expires", "1d"];
    let with = |file: &str| run(home.path(), &[&["keys", "--config", file][..], &create].concat());
    assert!(with("none.yaml").refused(1).contains("api_keys.file"));
    assert!(with("absent.yaml").refused(1).contains("absent.yaml"));
    std::fs::write(home.path().join("keys.yaml"), "keys: [{ id: x }]\n").unwrap();
    assert!(with("k.yaml").refused(1).contains("keys.yaml"));
    assert_eq!(
        std::fs::read_to_string(home.path().join("keys.yaml")).unwrap(),
        "keys: [{ id: x }]\n"
    );
}

#[test]
fn a_token_is_made_only_where_the_development_set_up_is() {
    let home = tempfile::tempdir().unwrap();
    assert!(run(home.path(), &["token"]).refused(1).contains("keygate run"));
    assert_eq!(
        std::fs::read_dir(home.path()).unwrap().count(),
        0,
        "asking makes nothing"
    );
    // Any command that prepares the folder will do.
    run(home.path(), &["keys", "list"]).good();
    let token = run(
        home.path(),
        &["token", "--scope", "a:b", "--scope", "c", "--expires", "5m"],
    )
    .good();
    let claims = claims_of(&token);
    assert_eq!(claims["scope"], "a:b c");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    let other = run(home.path(), &["token", "--subject", "s", "--client", "c"]).good();
    let claims = claims_of(&other);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&"s".into(), &"c".into()));
    for expires in ["0s", "25h", "-1s", "x", "1441m", ""] {
        let said = run(home.path(), &["token", &format!("--expires={expires}")]).refused(1);
        assert!(said.contains("--expires"), "{said}");
    }
    run(home.path(), &["token", "--expires", "24h"]).good();
    assert!(
        run(home.path(), &["token", "--scope", "a\"b"])
            .refused(1)
            .contains("--scope")
    );
    let no_home = Command::new(crate::support::program())
        .env_clear()
        .arg("token")
        .output()
        .unwrap();
    assert!(String::from_utf8(no_home.stderr).unwrap().contains("--data-dir"));
}

fn claims_of(token: &str) -> Value {
    assert_eq!((token.lines().count(), token.ends_with('\n')), (1, true));
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token.trim_end()).unwrap();
    claims.claims
}

#[test]
fn run_refuses_a_missing_and_a_broken_file_with_every_mistake() {
    let home = tempfile::tempdir().unwrap();
    assert!(
        run(home.path(), &["run", "--config", "absent.yaml"])
            .refused(1)
            .contains("absent.yaml")
    );
    let broken = GOOD
        .replace("path: /a", "path: a")
        .replace("upstream: echo", "upstream: ehco");
    std::fs::write(home.path().join("k.yaml"), broken).unwrap();
    let said = run(home.path(), &["run", "--config", "k.yaml"]).refused(1);
    assert!(
        said.contains("match.path") && said.contains("did you mean `echo`?") && said.contains("2 errors"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing was made");
}

/// `keygate run` in a data folder of its own, on free ports. Stopped when dropped.
struct Development {
    home: tempfile::TempDir,
    child: Child,
}

impl Development {
    fn folder(home: &Path) -> std::path::PathBuf {
        home.join(".local/state/keygate")
    }

    /// Starts where `home` has a folder already, with ports of the system's choice.
    fn start(home: tempfile::TempDir) -> Self {
        let config = Self::folder(home.path()).join("keygate.yaml");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9090", "127.0.0.1:0");
        std::fs::write(&config, text).unwrap();
        let child = keygate(home.path())
            .arg("run")
            .stdout(std::fs::File::create(home.path().join("out")).unwrap())
            .stderr(std::fs::File::create(home.path().join("err")).unwrap())
            .spawn()
            .unwrap();
        let development = Self { home, child };
        let deadline = Instant::now() + PATIENCE;
        while !development.said().contains("/readyz") {
            assert!(Instant::now() < deadline, "{}", development.said());
            std::thread::yield_now();
        }
        development
    }

    /// What it said on stderr.
    fn said(&self) -> String {
        std::fs::read_to_string(self.home.path().join("err")).unwrap()
    }
}

impl Drop for Development {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_first_start_makes_a_folder_for_its_owner_alone_and_the_second_keeps_what_was_edited() {
    let home = tempfile::tempdir().unwrap();
    // Prepares the same folder as `run`, without the fixed ports.
    run(home.path(), &["keys", "list"]).good();
    let folder = Development::folder(home.path());
    assert_eq!(mode(&folder), 0o700);
    for (name, expected) in [
        ("keygate.yaml", 0o600),
        ("keys.yaml", 0o600),
        ("dev-issuer.private.pem", 0o600),
        ("dev-issuer.public.pem", 0o644),
    ] {
        assert_eq!(mode(&folder.join(name)), expected, "{name}");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4);
    let config = folder.join("keygate.yaml");
    let edited = std::fs::read_to_string(&config).unwrap() + "# edited\n";
    std::fs::write(&config, &edited).unwrap();
    let key = std::fs::read(folder.join("dev-issuer.private.pem")).unwrap();
    run(home.path(), &["keys", "create", "--name", "a", "--expires", "1d"]).good();
    let development = Development::start(home);
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.ends_with("# edited\n"), "{text}");
    assert_eq!(std::fs::read(folder.join("dev-issuer.private.pem")).unwrap(), key);
    assert!(
        run(development.home.path(), &["keys", "list"])
            .good()
            .contains("active")
    );
    // What is missing is made again, and nothing else is touched.
    drop(development);
}

#[test]
fn a_named_folder_is_used_and_no_other() {
    let home = tempfile::tempdir().unwrap();
    let named = home.path().join("some where");
    let named = named.to_str().unwrap();
    run(home.path(), &["keys", "--data-dir", named, "list"]).good();
    assert!(Path::new(named).join("keygate.yaml").is_file());
    assert!(!Development::folder(home.path()).exists());
    run(home.path(), &["token", "--data-dir", named]).good();
}

#[test]
fn the_printed_commands_do_what_their_comments_say() {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["keys", "list"]).good();
    let development = Development::start(home);
    let said = development.said();
    let commands: Vec<&str> = said.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(commands.len(), 10, "{said}");
    let mut script = String::new();
    for command in &commands {
        script.push_str(&format!("echo '>>>'\n{command}\n"));
    }
    let output = Command::new("bash")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", development.home.path())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let sections: Vec<&str> = printed.split(">>>\n").skip(1).collect();
    let expected = ["200", "401", "", "", "200", "", "200", "403", "400", ""];
    assert_eq!(sections.len(), expected.len(), "{printed}");
    for ((command, section), status) in commands.iter().zip(&sections).zip(expected) {
        if !status.is_empty() {
            assert!(
                section.starts_with(&format!("HTTP/1.1 {status} ")),
                "{command}\n{section}"
            );
            assert!(command.contains(status), "the comment says what comes: {command}");
        }
    }
    assert!(sections[4].contains("x-keygate-credential-id"), "{}", sections[4]);
    let statuses: Vec<&str> = sections[9].lines().collect();
    assert_eq!(statuses.len(), 7, "{statuses:?}");
    assert!(statuses[0] == "200" && statuses.contains(&"429"), "{statuses:?}");
    assert!(!said.contains("panicked"));
}
