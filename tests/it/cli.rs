//! What does the command line print to stdout and stderr, and which exit codes, files and help texts does it have?

use crate::support::PATIENCE;
use crate::support::Shell;
use crate::support::poll;
use crate::support::program;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

/// Returns a command of the program with the home folder `home` and, of this process's environment, only `PATH`.
fn keygate(home: &Path) -> Command {
    let mut command = Command::new(program());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn run(home: &Path, args: &[&str]) -> CommandOutput {
    let output: Output = keygate(home).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let result = CommandOutput {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert!(!result.stderr.contains("panicked"), "{args:?}: {}", result.stderr);
    result
}

#[derive(Debug)]
struct CommandOutput {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl CommandOutput {
    /// Returns stdout of a command that succeeded.
    #[track_caller]
    fn expect_success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Returns stderr of a command that failed with `code` and printed nothing on stdout.
    #[track_caller]
    fn expect_failure(self, code: i32) -> String {
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
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names = BTreeSet::new();
    for command in commands(&keygate::cli::parse::command(), &[]) {
        let args: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let messages = run(home.path(), &args).expect_success();
        assert!(messages.lines().all(|line| line.chars().count() <= 100), "{messages}");
        // A screen.
        assert!(messages.lines().count() <= 50, "{messages}");
        let name = if command.is_empty() {
            "keygate.txt".to_owned()
        } else {
            format!("{}.txt", command.join("-"))
        };
        let file = golden.join(&name);
        if update {
            std::fs::create_dir_all(&golden).unwrap();
            std::fs::write(&file, &messages).unwrap();
        }
        let content = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(messages, content, "{name}; UPDATE_GOLDEN=1 writes it anew");
        names.insert(name);
    }
    let kept = std::fs::read_dir(&golden).unwrap();
    let kept: BTreeSet<String> = kept
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept, names, "no other file is kept");
}

/// Returns the names of every command of the definition, and of every command below these.
fn commands(definition: &clap::Command, names: &[String]) -> Vec<Vec<String>> {
    let below = definition.get_subcommands().flat_map(|command| {
        let names = [names, &[command.get_name().to_owned()]].concat();
        commands(command, &names)
    });
    std::iter::once(names.to_vec()).chain(below).collect()
}

#[test]
fn the_page_of_options_has_those_that_the_help_of_commands_leaves_out() {
    let home = tempfile::tempdir().unwrap();
    let page = run(home.path(), &["options"]).expect_success();
    let help = run(home.path(), &["keys", "list", "--help"]).expect_success();
    for option in [
        "--admin",
        "--profile",
        "--socket",
        "--token-file",
        "--client-id",
        "--secret-file",
        "--issuer",
        "--data-dir",
    ] {
        assert!(page.contains(option), "{page}");
        assert!(!help.contains(option), "{help}");
    }
    for option in ["--config", "--output"] {
        assert!(page.contains(option) && help.contains(option), "{page}{help}");
    }
    assert!(page.lines().all(|line| line.chars().count() <= 110), "{page}");
    // `help` has them all.
    let help = run(home.path(), &["help", "keys", "list"]).expect_success();
    assert!(help.contains("--secret-file"), "{help}");
}

#[test]
fn shells_and_man_learn_every_command_from_its_definition() {
    let home = tempfile::tempdir().unwrap();
    for (shell, mark) in [
        ("bash", "complete -F _keygate"),
        ("zsh", "#compdef keygate"),
        ("fish", "complete -c keygate"),
    ] {
        let script = run(home.path(), &["completions", shell]).expect_success();
        for word in [mark, "revoke-tokens", "idempotency-key", "secret-file"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let source = format!(
        "source <('{}' completions bash) && complete -p keygate",
        crate::support::program().display()
    );
    let output = Command::new("bash").args(["-c", &source]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    run(home.path(), &["completions", "tcsh"]).expect_failure(2);

    run(home.path(), &["man-pages", "man/man1"]).expect_success();
    for command in commands(&keygate::cli::parse::command(), &["keygate".to_owned()]) {
        let page = home.path().join(format!("man/man1/{}.1", command.join("-")));
        let page = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(page.contains(".TH"), "{page}");
    }
    std::fs::write(home.path().join("file"), "").unwrap();
    let refused = run(home.path(), &["man-pages", "file"]).expect_failure(1);
    assert!(refused.contains("file"), "{refused}");
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
        &["token", "get", "--expirs", "1h"],
        &["schema", "extra"],
    ] {
        let messages = run(home.path(), args).expect_failure(2);
        assert!(messages.contains("Usage: keygate"), "{args:?}: {messages}");
    }
    // The commands created no file.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    for version in ["--version", "-V", "version"] {
        let version = run(home.path(), &[version]).expect_success();
        assert_eq!(version, format!("keygate {}\n", env!("CARGO_PKG_VERSION")));
    }
}

const GOOD: &str = "listeners: [{ address: '127.0.0.1:0' }]\nupstreams: { echo: { builtin: echo } }\n\
                    routes: [{ name: a, match: { path: /a }, public: true, upstream: echo }]\n";

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
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!messages.contains("panicked"), "{script}: {messages}");
        assert_eq!(output.stdout.len(), 1, "{script}");
        // With `pipefail`, the status of the pipe is a failure if the program failed.
        assert_eq!(output.status.code(), Some(0), "{script}: {messages}");
    }
}

/// Returns a new folder with the configuration `k.yaml` and an empty keys file.
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
    let created = run(home.path(), &create);
    assert_eq!(
        (created.code, created.stdout.lines().count()),
        (Some(0), 1),
        "{created:?}"
    );
    let key = created.stdout.trim_end().to_owned();
    assert!(
        key.starts_with("kg_live_") && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
        "{key}"
    );
    let (id, secret) = (&key[8..24], &key[25..]);
    assert!(
        created.stderr.contains(id) && !created.stderr.contains(secret),
        "{}",
        created.stderr
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

    let of_file = |args: &[&str]| run(home.path(), &[&["keys", "--config", "k.yaml"], args].concat()).expect_success();
    assert_eq!(of_file(&["ls", "-o", "name"]), format!("{id}\n"));
    assert_eq!(of_file(&["list", "--no-headers"]).lines().count(), 1);
    let json: Value = serde_json::from_str(&of_file(&["list", "-o", "json"])).unwrap();
    assert_eq!(json["items"][0]["scopes"][0], "orders:read");
    run(home.path(), &["keys", "revoke", id, "--yes", "--config", "k.yaml"]).expect_success();
    assert!(
        run(home.path(), &["keys", "--config", "k.yaml", "list"])
            .expect_success()
            .contains("revoked")
    );
    assert!(
        run(home.path(), &["keys", "--config", "k.yaml", "revoke", "--yes", id])
            .expect_failure(1)
            .contains("revoked already")
    );
    let unknown = run(
        home.path(),
        &["keys", "--config", "k.yaml", "revoke", "--yes", "AAAAAAAAAAAAAAAA"],
    )
    .expect_failure(1);
    assert!(unknown.contains("AAAAAAAAAAAAAAAA"), "{unknown}");
    let secret_alone = run(home.path(), &["keys", "--config", "k.yaml", "revoke", "--yes", secret]).expect_failure(1);
    assert!(!secret_alone.contains(secret), "{secret_alone}");
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
        let result = run(home.path(), &args);
        assert!(
            result.code != Some(0) && result.stdout.is_empty() && result.stderr.contains("expir"),
            "{expires}: {result:?}"
        );
    }
    run(home.path(), &["keys", "--config", "k.yaml", "create", "--name", "ci"]).expect_failure(2);
    assert_eq!(std::fs::read_to_string(home.path().join("keys.yaml")).unwrap(), before);
    for expires in ["730d", "1d", "24mo", "never"] {
        create_key(home.path(), expires).expect_success();
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
    let listed = run(home.path(), &["keys", "--config", "k.yaml", "list"]).expect_success();
    for id in &ids {
        assert!(listed.contains(id), "{id} was lost:\n{listed}");
    }
    assert_eq!(mode(&home.path().join("keys.yaml")), 0o600);
}

/// Runs `keys create` on the keys file of [`with_keys_file`].
fn create_key(home: &Path, expires: &str) -> CommandOutput {
    let create = ["keys", "--config", "k.yaml", "create", "--name", "ci"];
    run(home, &[&create[..], &["--expires", expires]].concat())
}

#[test]
fn the_first_key_makes_the_keys_file_and_an_empty_one_has_none() {
    let home = with_keys_file();
    let file = home.path().join("keys.yaml");
    let check = || run(home.path(), &["check", "k.yaml"]);
    let create = || create_key(home.path(), "1d").expect_success();
    std::fs::write(&file, "").unwrap();
    check().expect_success();
    assert!(create().starts_with("kg_live_"));
    check().expect_success();
    std::fs::remove_file(&file).unwrap();
    let messages = check().expect_failure(1);
    assert!(
        messages.contains("k.yaml:4:13: api_keys.file: `keys.yaml`: there is no such file")
            && messages.contains("`keygate keys create --config FILE` makes it"),
        "{messages}"
    );
    let messages = run(home.path(), &["run", "--config", "k.yaml"]).expect_failure(1);
    assert!(messages.contains("there is no such file"), "{messages}");
    assert!(create().starts_with("kg_live_"));
    assert_eq!(mode(&file), 0o600);
    check().expect_success();
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
fn keys_need_a_keys_file_that_is_good() {
    let home = with_keys_file();
    std::fs::write(home.path().join("none.yaml"), GOOD).unwrap();
    let create = ["create", "--name", "ci", "--expires", "1d"];
    let with = |file: &str| run(home.path(), &[&["keys", "--config", file][..], &create].concat());
    assert!(with("none.yaml").expect_failure(1).contains("api_keys.file"));
    assert!(with("absent.yaml").expect_failure(1).contains("absent.yaml"));
    std::fs::write(home.path().join("keys.yaml"), "keys: [{ id: x }]\n").unwrap();
    assert!(with("k.yaml").expect_failure(1).contains("keys.yaml"));
    assert_eq!(
        std::fs::read_to_string(home.path().join("keys.yaml")).unwrap(),
        "keys: [{ id: x }]\n"
    );
}

#[test]
fn run_refuses_a_missing_and_a_broken_file_with_every_mistake() {
    let home = tempfile::tempdir().unwrap();
    assert!(
        run(home.path(), &["run", "--config", "absent.yaml"])
            .expect_failure(1)
            .contains("absent.yaml")
    );
    let broken = GOOD
        .replace("path: /a", "path: a")
        .replace("upstream: echo", "upstream: ehco");
    std::fs::write(home.path().join("k.yaml"), broken).unwrap();
    let messages = run(home.path(), &["run", "--config", "k.yaml"]).expect_failure(1);
    assert!(
        messages.contains("match.path") && messages.contains("did you mean `echo`?") && messages.contains("2 errors"),
        "{messages}"
    );
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing was made");
}

/// A running `keygate run` with the data folder in `home`, on free ports. Killed when dropped.
struct Development {
    home: tempfile::TempDir,
    child: Child,
}

impl Development {
    fn folder(home: &Path) -> std::path::PathBuf {
        home.join(".local/state/keygate")
    }

    /// Creates the data folder, with the mode that `keygate run` would give it, and returns its path.
    fn prepare(home: &Path) -> std::path::PathBuf {
        let folder = Self::folder(home);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[track_caller]
    fn start(home: tempfile::TempDir, config: &str) -> Self {
        let file = Self::prepare(home.path()).join("keygate.yaml");
        let messages = || std::fs::read_to_string(home.path().join("err")).unwrap();
        // Tries again: another process may take a free port before the gate does.
        for _ in 0..5 {
            let text = config
                .replace("127.0.0.1:8080", &crate::support::free_address().to_string())
                .replace("127.0.0.1:9090", &crate::support::free_address().to_string());
            std::fs::write(&file, text).unwrap();
            let mut child = keygate(home.path())
                .arg("run")
                .stdout(std::fs::File::create(home.path().join("out")).unwrap())
                .stderr(std::fs::File::create(home.path().join("err")).unwrap())
                .spawn()
                .unwrap();
            let started = poll(PATIENCE, || {
                let ended = child.try_wait().unwrap().is_some();
                (ended || messages().contains("/readyz")).then_some(())
            });
            if started.is_none() {
                let _ = child.kill();
                panic!("{}", messages());
            }
            if child.try_wait().unwrap().is_none() {
                return Self { home, child };
            }
            assert!(messages().contains("cannot listen"), "{}", messages());
        }
        panic!("no free port");
    }

    /// Returns stderr so far.
    fn stderr(&self) -> String {
        std::fs::read_to_string(self.home.path().join("err")).unwrap()
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Development {
    fn drop(&mut self) {
        self.stop();
    }
}

const EMBEDDED: &str = include_str!("../../conf/embedded.yaml");

#[test]
fn a_port_that_is_taken_is_said_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = EMBEDDED.replace("127.0.0.1:8080", &address);
    std::fs::write(folder.join("keygate.yaml"), config.replace(":9090", ":0")).unwrap();
    let messages = run(home.path(), &["run"]).expect_failure(1);
    assert!(
        messages.contains(&address) && messages.contains("keygate.yaml") && messages.contains("choose another port"),
        "{messages}"
    );
}

#[test]
fn a_port_of_ones_own_is_kept_and_reaches_the_issuer_too() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    std::fs::write(
        folder.join("keygate.yaml"),
        EMBEDDED.replace("127.0.0.1:9090", "127.0.0.1:0"),
    )
    .unwrap();
    let messages = run(home.path(), &["run", "--port", &port.to_string()]).expect_failure(1);
    let cure = format!("run --port {}", u32::from(port) + 1);
    assert!(
        messages.contains(&format!("127.0.0.1:{port}")) && (port == u16::MAX || messages.contains(&cure)),
        "{messages}"
    );
    let text = std::fs::read_to_string(folder.join("keygate.yaml")).unwrap();
    assert!(
        text.contains(&format!("\n  issuer: http://127.0.0.1:{port}\n")) && !text.contains("8080"),
        "{text}"
    );
    let with_config = run(home.path(), &["run", "--port", "1", "--config", "k.yaml"]).expect_failure(2);
    assert!(with_config.contains("--config"), "{with_config}");
}

#[test]
fn what_is_printed_names_the_program_as_path_finds_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = EMBEDDED.replace("127.0.0.1:8080", &address).replace(":9090", ":0");
    std::fs::write(folder.join("keygate.yaml"), config).unwrap();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let program = crate::support::program().canonicalize().unwrap();
    let said = || {
        let output = keygate(home.path()).arg("run").env("PATH", &bin).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let own = format!("choose another port: {} run --port", program.display());
    assert!(said().contains(&own), "{}", said());
    std::os::unix::fs::symlink(&program, bin.join("keygate")).unwrap();
    assert!(said().contains("choose another port: keygate run --port"), "{}", said());
    std::fs::remove_file(bin.join("keygate")).unwrap();
    std::os::unix::fs::symlink("/bin/true", bin.join("keygate")).unwrap();
    assert!(said().contains(&own), "{}", said());
}

#[test]
fn an_address_of_no_interface_is_said_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    // RFC 5737 keeps this address for documentation: no machine has it.
    let yaml = "listeners: [{ address: 192.0.2.1:8080 }]
upstreams: { e: { builtin: echo } }
routes: [{ name: a, match: { path: / }, public: true, upstream: e }]
";
    std::fs::write(home.path().join("keygate.yaml"), yaml).unwrap();
    let said = run(home.path(), &["run", "--config", "keygate.yaml"]).expect_failure(1);
    assert!(said.contains("cannot listen on 192.0.2.1:8080"), "{said}");
    assert!(said.contains("no interface of this machine has this address"), "{said}");
}

#[test]
fn what_was_edited_and_what_was_made_outlives_the_process_for_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::folder(home.path());
    let edited = format!("{EMBEDDED}# edited\n");
    let mut development = Development::start(home, &edited);
    let text = std::fs::read_to_string(folder.join("keygate.yaml")).unwrap();
    assert!(text.ends_with("# edited\n"), "{text}");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // The test wrote `keygate.yaml` itself, with the default mode.
        let others = mode(&path) & 0o077;
        assert!(others == 0 || path.ends_with("keygate.yaml"), "{}", path.display());
    }
    // A key created while the gate runs is still listed after the gate has stopped.
    let create = ["keys", "create", "--name", "a", "--expires", "1d"];
    let key = run(development.home.path(), &create).expect_success();
    let id = key.split('_').nth(2).unwrap().to_owned();
    development.stop();
    let listed = run(development.home.path(), &["keys", "list"]).expect_success();
    assert!(listed.contains(&id), "{listed}");
}

/// Returns the file with the first administrator's credentials, which is in the data folder of `home`.
fn first_administrator_file(home: &Path) -> std::path::PathBuf {
    Development::folder(home).join("keygate.db.first-administrator")
}

#[test]
fn the_first_administrator_is_in_a_file_where_stderr_is_no_terminal_and_never_made_again() {
    let mut development = Development::start(tempfile::tempdir().unwrap(), EMBEDDED);
    let messages = development.stderr();
    let file = first_administrator_file(development.home.path());
    assert_eq!(mode(&file) & 0o777, 0o600);
    let named = messages.contains(file.canonicalize().unwrap().to_str().unwrap());
    assert!(named, "{messages}");
    let text = std::fs::read_to_string(&file).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in the file")).to_owned()
    };
    let (id, secret) = (value("client_id="), value("client_secret="));
    assert!(id.starts_with("client_") && secret.starts_with("kgs_"), "{id}");
    let home = development.home.path();
    let get = |secret: &str| {
        let mut command = keygate(home);
        command.args(["token", "get", "--client-id", &id]);
        command.env("KEYGATE_CLIENT_SECRET", secret).output().unwrap()
    };
    let token = get(&secret);
    assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
    let claims = claims_of(&String::from_utf8(token.stdout).unwrap());
    assert_eq!(claims["scope"], "admin:read admin:write");
    assert!(!get("kgs_other").status.success());
    assert!(!messages.contains("kgs_"), "{messages}");

    development.stop();
    std::fs::remove_file(&file).unwrap();
    let home = std::mem::replace(&mut development.home, tempfile::tempdir().unwrap());
    let config = std::fs::read_to_string(Development::folder(home.path()).join("keygate.yaml")).unwrap();
    let again = Development::start(home, &config);
    assert!(!first_administrator_file(again.home.path()).exists());
    assert!(!again.stderr().contains("irst administrator"), "{}", again.stderr());
}

#[test]
fn the_first_administrator_is_shown_on_a_terminal() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    std::fs::write(folder.join("keygate.yaml"), EMBEDDED).unwrap();
    // `script` gives the program a terminal, and copies to its own stdout what the program writes there.
    let program = keygate(home.path()).get_program().to_str().unwrap().to_owned();
    let command = format!("'{program}' keys list --data-dir '{}'", folder.display());
    let shown = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.matches("client_secret=kgs_").count(), 1, "{shown}");
    assert!(!first_administrator_file(home.path()).exists());
}

#[test]
fn no_first_administrator_is_made_where_a_token_lets_one_in() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    std::fs::write(folder.join("token"), "0123456789abcdef0123456789abcdef").unwrap();
    let admin = "admin:\n  token: \"file:token\"\n";
    let config = EMBEDDED.replacen("admin:\n", admin, 1);
    assert_ne!(config, EMBEDDED);
    std::fs::write(folder.join("keygate.yaml"), config).unwrap();
    let listed = run(home.path(), &["clients", "list", "--output", "json"]).expect_success();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["items"], serde_json::json!([]), "{listed}");
    assert!(!first_administrator_file(home.path()).exists());
}

fn claims_of(token: &str) -> Value {
    assert_eq!((token.lines().count(), token.ends_with('\n')), (1, true));
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token.trim_end()).unwrap();
    claims.claims
}

#[test]
fn a_named_folder_is_used_and_no_other() {
    let home = tempfile::tempdir().unwrap();
    let named = home.path().join("some where");
    std::fs::create_dir(&named).unwrap();
    std::fs::write(named.join("keygate.yaml"), EMBEDDED).unwrap();
    let named = named.to_str().unwrap();
    run(home.path(), &["keys", "list", "--data-dir", named]).expect_success();
    assert!(Path::new(named).join("keygate.db").is_file());
    assert!(!Development::folder(home.path()).exists());
}

/// The data folder of an earlier version has an issuer and a keys file, and no store.
#[test]
fn a_folder_of_an_earlier_version_goes_on_and_says_how_to_begin_anew() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    let pem = keygate::jose::sign::SigningKey::generate_es256().unwrap().public_pem();
    std::fs::write(folder.join("dev-issuer.public.pem"), pem).unwrap();
    std::fs::write(folder.join("keys.yaml"), "keys: []\n").unwrap();
    let config = "listeners: [{ address: 127.0.0.1:8080 }]\nadmin: { address: 127.0.0.1:9090 }\n\
                  issuers:\n  dev:\n    issuer: https://keygate.localhost\n    audiences: [https://api.keygate.localhost]\n    \
                  algorithms: [ES256]\n    public_key_files: [dev-issuer.public.pem]\n\
                  api_keys: { file: keys.yaml }\nupstreams: { echo: { builtin: echo } }\n\
                  routes: [{ name: key, match: { path: \"/key/{*rest}\" }, accept: [api_key], upstream: echo }]\n";
    let development = Development::start(home, config);
    let messages = development.stderr();
    assert!(
        messages.contains("has no `store`") && messages.contains("To begin anew: mv "),
        "{messages}"
    );
    assert!(!messages.contains("clients create"), "{messages}");
    let create = ["keys", "create", "--name", "a", "--expires", "1d"];
    assert!(
        run(development.home.path(), &create)
            .expect_success()
            .starts_with("kg_live_")
    );
    let get = ["token", "get", "--client-id", "client_a"];
    assert!(
        run(development.home.path(), &get)
            .expect_failure(1)
            .contains("`token_endpoint` is not set")
    );
}

#[test]
fn the_printed_commands_do_what_their_comments_say() {
    // Five requests at once, and one more every twelve minutes: how long the commands take changes no status.
    let quota = "quota: 30/min, burst: 5";
    assert!(EMBEDDED.contains(quota));
    let config = EMBEDDED.replace(quota, "quota: 5/hour, burst: 5");
    for shell in Shell::ALL {
        let development = Development::start(tempfile::tempdir().unwrap(), &config);
        let messages = development.stderr();
        let commands: Vec<&str> = messages.lines().filter(|line| line.starts_with("  ")).collect();
        let mut lines = String::new();
        for command in &commands {
            lines.push_str(&format!("echo '>>>'\n{command}\n"));
        }
        let output = shell.paste(&lines, development.home.path(), &[]);
        let printed = String::from_utf8(output.stdout).unwrap();
        let sections: Vec<&str> = printed.split(">>>\n").skip(1).collect();
        assert_eq!(sections.len(), commands.len(), "{printed}");
        let mut statuses = Vec::new();
        for (command, section) in commands.iter().zip(&sections) {
            if command.trim_start().starts_with("curl -i ") {
                let comment = command.rsplit(": '").next().unwrap();
                let status = comment.split(|it: char| !it.is_ascii_digit()).next().unwrap();
                assert!(
                    section.starts_with(&format!("HTTP/1.1 {status} ")),
                    "{shell:?}: the comment says what comes: {command}\n{section}"
                );
                statuses.push(status);
            }
        }
        assert_eq!(statuses, ["200", "401", "200", "200", "403", "400", "401", "401"]);
        let section = |word: &str| {
            let place = commands.iter().position(|command| command.contains(word));
            sections[place.unwrap_or_else(|| panic!("no {word} in {messages}"))]
        };
        assert!(section("grant_type=client_credentials").contains("\"access_token\":"));
        assert!(section("200, with identity headers").contains("x-keygate-client-id"));
        // An earlier command sent the first of the five.
        let limited: Vec<&str> = section("for i in").lines().collect();
        assert_eq!(limited, ["200", "200", "200", "200", "429", "429", "429"]);
        let audit = section("audit list");
        for action in ["client.create", "client.delete"] {
            assert!(audit.contains(action), "{audit}");
        }
        let complaints = String::from_utf8(output.stderr).unwrap();
        for complaint in [
            "keygate: ",
            "event not found",
            "no matches found",
            "bad pattern",
            "command not found",
        ] {
            assert!(!complaints.contains(complaint), "{shell:?}: {complaints}");
        }
        assert!(!messages.contains("panicked"));
    }
}

#[test]
fn a_printed_path_is_one_word_in_every_shell() {
    let home = tempfile::tempdir().unwrap();
    let paths = ["/a/b-c.d", "/a b", "/it's", "/$(rm)", "/a!b", "/~ #*?[x]", "/a\\\"`b`"];
    for shell in Shell::ALL {
        // As the commands have it: in place of an argument, and in a substitution between double quotes.
        let line = |path: &&str| {
            let word = keygate::cli::introduction::shell_word(Path::new(path));
            format!("printf '%s\\n' {word} \"$(printf %s {word})\"\n")
        };
        let output = shell.paste(&paths.iter().map(line).collect::<String>(), home.path(), &[]);
        let printed = String::from_utf8(output.stdout).unwrap();
        let expected: Vec<&str> = paths.iter().flat_map(|path| [*path, *path]).collect();
        assert_eq!(
            printed.lines().collect::<Vec<_>>(),
            expected,
            "{shell:?}: {:?}",
            output.stderr
        );
    }
}

/// Returns the commands among the examples of every `--help`, and of `keygate options`.
fn help_examples() -> Vec<String> {
    let mut pages = vec![keygate::cli::parse::options_page()];
    let mut commands = vec![keygate::cli::parse::command()];
    while let Some(command) = commands.pop() {
        pages.extend(command.get_after_help().map(ToString::to_string));
        commands.extend(command.get_subcommands().cloned());
    }
    let lines = pages.iter().flat_map(|page| page.lines());
    let is_command = |line: &&str| line.contains("keygate ") || line.starts_with("  mkdir ");
    let is_example = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let examples = lines.filter(is_example).filter(is_command);
    examples.map(|line| line.trim_start().to_owned()).collect()
}

/// Those that write files are run; of the others only the command line is read.
#[test]
fn the_examples_in_the_help_can_be_pasted() {
    const FUNCTIONS: &str = r#"
keygate() {
    case $1 in
        completions | man-pages | schema) "$PROGRAM" "$@" ;;
        *) "$PROGRAM" "$@" --help >/dev/null ;;
    esac || echo "$*" >>refused
}
curl() { :; }
git() { :; }
man() { :; }
systemctl() { :; }
"#;
    let examples = help_examples();
    assert!(examples.len() > 20, "{examples:?}");
    // The help breaks longer lines, and a broken command is two.
    assert!(
        examples.iter().all(|example| example.chars().count() <= 98),
        "{examples:?}"
    );
    let program = program();
    for shell in Shell::ALL {
        let for_bash = |example: &str| shell != Shell::Bash && example.contains("<(keygate completions bash)");
        // The ellipsis stands for what only the reader knows, alone for other options.
        let lines: String = examples
            .iter()
            .filter(|example| !for_bash(example))
            .map(|example| example.replace(" … ", " ").replace('…', "x") + "\n")
            .collect();
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("key"), "").unwrap();
        let variables = [("PROGRAM", program.to_str().unwrap())];
        let output = shell.paste(&format!("{FUNCTIONS}{lines}"), home.path(), &variables);
        let complaints = String::from_utf8(output.stderr).unwrap();
        let refused = std::fs::read_to_string(home.path().join("refused")).unwrap_or_default();
        assert_eq!(refused, "", "{shell:?}: {complaints}");
        for complaint in [
            "error: ",
            "not found",
            "No such file",
            "no such file",
            "no matches",
            "bad pattern",
        ] {
            assert!(!complaints.contains(complaint), "{shell:?}: {complaints}");
        }
        for file in [
            ".local/share/bash-completion/completions/keygate",
            ".zfunc/_keygate",
            ".config/fish/completions/keygate.fish",
            ".local/share/man/man1/keygate-keys-create.1",
            "keygate.schema.json",
        ] {
            let written = std::fs::metadata(home.path().join(file)).map(|file| file.len());
            assert!(written.is_ok_and(|bytes| bytes > 0), "{shell:?}: {file}: {complaints}");
        }
    }
}
