//! What do help, completions and man pages say, and are the commands in them right?

use super::run;
use crate::support::Shell;
use crate::support::program;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

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
