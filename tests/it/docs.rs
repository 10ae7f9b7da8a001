//! Are the configurations, commands, problems and links in README.md true?

use crate::support::Binary;
use crate::support::RawClient;
use crate::support::Shell;
use crate::support::get;
use keygate::cli::introduction;
use keygate::config;
use keygate::gate::answer::refusal::ROWS;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const README: &str = include_str!("../../README.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Returns the fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README
        .split(&*fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[test]
fn every_configuration_in_the_readme_loads() {
    let blocks = blocks("yaml");
    assert!(!blocks.is_empty());
    for block in blocks {
        if let Err(errors) = config::parse(block, Path::new("keygate.yaml"), &|_| None) {
            panic!("{errors}");
        }
    }
}

/// In an empty folder, without variables. Only the addresses are others, and the issuer is one that no test can reach.
#[test]
fn the_configuration_of_the_readme_runs_as_it_stands() {
    let mut config = blocks("yaml").concat();
    for (from, to) in [
        ("0.0.0.0:8080", "127.0.0.1:0"),
        ("127.0.0.1:9090", "127.0.0.1:0"),
        ("https://login.example.com", "https://login.invalid"),
    ] {
        assert!(config.contains(from), "{from:?} in {config}");
        config = config.replace(from, to);
    }
    let gate = Binary::start(&config);
    let request = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
        RawClient::connect(gate.data()).exchange(request).status
    };
    assert_eq!((request("/v1/orders/7"), request("/other")), (401, 404));
}

/// A command of the README, and where it is run.
struct CommandRun {
    command: &'static str,
    /// The file of the test, or the script.
    file: &'static str,
    /// The test in `file`; empty for a script.
    test: &'static str,
    /// The text in the test or the script that runs the command.
    by: &'static str,
}

const RUNS: [CommandRun; 5] = [
    CommandRun {
        command: "deploy/try",
        file: "tests/it/docs.rs",
        test: "deploy_try_puts_the_program_where_the_printed_commands_find_it",
        by: "machine.deploy_try(",
    },
    // The script runs this test, so no test can run the script.
    CommandRun {
        command: "tests/run",
        file: "tests/it/docs.rs",
        test: "bash_parses_the_scripts_in_the_readme",
        by: "tests/run",
    },
    CommandRun {
        command: "keygate check conf/minimal.yaml",
        file: "tests/it/docs.rs",
        test: "the_check_commands_in_the_readme_say_what_it_promises",
        by: "check conf/minimal.yaml",
    },
    CommandRun {
        command: "keygate check conf/minimal.yaml --diff conf/examples/quotas.yaml",
        file: "tests/it/docs.rs",
        test: "the_check_commands_in_the_readme_say_what_it_promises",
        by: "check conf/minimal.yaml --diff conf/examples/quotas.yaml",
    },
    CommandRun {
        command: "keygate run --config conf/minimal.yaml",
        file: "tests/it/docs.rs",
        test: "the_minimal_configuration_runs",
        by: "conf/minimal.yaml",
    },
];

/// The commands of the first minutes, and the test that runs them as the program prints them.
const FIRST_MINUTES: CommandRun = CommandRun {
    command: "",
    file: "tests/it/cli/first_minutes.rs",
    test: "the_printed_commands_do_what_their_comments_say",
    by: "shell.paste(",
};

impl CommandRun {
    /// Asserts that the test exists and contains the text that runs the command.
    #[track_caller]
    fn assert_exists(&self) {
        let text = std::fs::read_to_string(Path::new(ROOT).join(self.file)).unwrap();
        let body = if self.test.is_empty() {
            &*text
        } else {
            let start = format!("#[test]\nfn {}() {{\n", self.test);
            let (_, rest) = text
                .split_once(&start)
                .unwrap_or_else(|| panic!("{}: no test {}", self.file, self.test));
            rest.split("\n}\n").next().unwrap()
        };
        assert!(body.contains(self.by), "{} {}: no {:?}", self.file, self.test, self.by);
    }
}

#[test]
fn every_command_in_the_readme_is_run_by_a_test_or_a_script() {
    let commands: Vec<&str> = blocks("sh")
        .into_iter()
        .flat_map(str::lines)
        .filter(|line| !line.is_empty())
        .collect();
    let first_minutes = introduction::commands("keygate", "", "127.0.0.1:8080");
    assert!(
        README.contains(&format!("```sh\n{first_minutes}```")),
        "{first_minutes}"
    );
    FIRST_MINUTES.assert_exists();
    let others: BTreeSet<&str> = commands
        .into_iter()
        .filter(|command| first_minutes.lines().all(|line| line != *command))
        .collect();
    assert_eq!(others, RUNS.iter().map(|run| run.command).collect());
    for run in &RUNS {
        run.assert_exists();
    }
}

/// Those between backquotes in a sentence. They are read and not run.
#[test]
fn the_command_line_of_every_other_command_in_the_readme_is_understood() {
    let prose: String = README.split("```").step_by(2).collect();
    let spans = prose.split('`').skip(1).step_by(2);
    let commands: BTreeSet<String> = spans
        .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|span| span.starts_with("keygate "))
        .collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let words = command.split(' ').chain(["--help"]).map(OsString::from);
        let parsed = keygate::cli::parse::parse(words)
            .map(drop)
            .map_err(|error| error.kind());
        assert_eq!(parsed, Err(clap::error::ErrorKind::DisplayHelp), "{command}");
    }
}

#[test]
fn bash_parses_the_scripts_in_the_readme() {
    for script in ["deploy/try", "tests/run"] {
        let status = Command::new("bash").args(["-n", script]).current_dir(ROOT).status();
        assert!(status.unwrap().success(), "{script}");
    }
}

#[test]
fn the_check_commands_in_the_readme_say_what_it_promises() {
    const KEYGATE: &str = "keygate() { \"$PROGRAM\" \"$@\"; }\n";
    let program = crate::support::program();
    for (command, code, stdout) in [
        ("check conf/minimal.yaml", 0, "conf/minimal.yaml: good, 1 route\n"),
        (
            "check conf/minimal.yaml --diff conf/examples/quotas.yaml",
            3,
            "2 weaker than in conf/examples/quotas.yaml\n",
        ),
    ] {
        for shell in Shell::ALL {
            let lines = format!("{KEYGATE}keygate {command}\necho code $?\n");
            let variables = [("PROGRAM", program.to_str().unwrap())];
            let output = shell.paste(&lines, Path::new(ROOT), &variables);
            let text = String::from_utf8(output.stdout).unwrap();
            let end = format!("{stdout}code {code}\n");
            assert!(text.ends_with(&end), "{shell:?}: {command}: {text}");
        }
    }
}

/// A machine's folders: those of `PATH`, with what `deploy/try` needs, and a built program.
struct Machine {
    folder: TempDir,
    program: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("built here/release");
        std::fs::create_dir_all(&release).unwrap();
        let program = release.join("keygate");
        std::fs::copy(crate::support::program(), &program).unwrap();
        let tools = folder.path().join("tools");
        std::fs::create_dir(&tools).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        // Everything is installed, and everything is built.
        for tool in ["cargo", "cc", "cmake", "make", "curl"] {
            let tool = tools.join(tool);
            // A compiler reads its program.
            let script = if tool.ends_with("cc") {
                "#!/bin/sh\ncat >/dev/null\n"
            } else {
                "#!/bin/sh\n"
            };
            std::fs::write(&tool, script).unwrap();
            std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
        }
        for tool in [
            "bash", "zsh", "dirname", "mktemp", "rm", "realpath", "readlink", "ln", "setsid", "env", "cat",
        ] {
            let found = std::env::split_paths(&path).map(|folder| folder.join(tool));
            let found = found.into_iter().find(|path| path.is_file());
            symlink(found.unwrap_or_else(|| panic!("no {tool}")), tools.join(tool)).unwrap();
        }
        Self { folder, program }
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Runs `deploy/try` with an argument that `keygate run` refuses, with these folders before those of the tools in
    /// `PATH`. Returns what it prints.
    #[track_caller]
    fn deploy_try(&self, folders: &[PathBuf], argument: &str) -> String {
        let folders = folders.iter().cloned().chain([self.path("tools")]);
        let output = Command::new("bash")
            .args(["deploy/try", argument])
            .current_dir(ROOT)
            .env_clear()
            .env("PATH", std::env::join_paths(folders).unwrap())
            .env("HOME", self.path("home"))
            .env("CARGO_TARGET_DIR", self.path("built here"))
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn deploy_try_puts_the_program_where_the_printed_commands_find_it() {
    // The first folder of the home folder that is in `PATH`.
    let machine = Machine::new();
    let (local, cargo) = (machine.path("home/.local/bin"), machine.path("home/.cargo/bin"));
    let link = |folder: &Path| std::fs::read_link(folder.join("keygate")).ok();
    let said = machine.deploy_try(&[local.clone(), cargo.clone()], "--no-such-option");
    assert!(said.contains("--no-such-option"), "the program ran: {said}");
    assert_eq!(link(&local), Some(machine.program.clone()), "{said}");
    assert_eq!(link(&cargo), None, "{said}");
    // What is there already is left, and nothing is said.
    let said = machine.deploy_try(&[local.clone(), cargo.clone()], "--no-such-option");
    assert!(!said.contains("link") && !said.contains("PATH"), "{said}");
    assert_eq!(link(&cargo), None, "{said}");

    // Another program of this name is not replaced, and hides no link behind it.
    let machine = Machine::new();
    let (local, cargo) = (machine.path("home/.local/bin"), machine.path("home/.cargo/bin"));
    std::fs::write(local.join("keygate"), "another").unwrap();
    machine.deploy_try(&[cargo.clone(), local.clone()], "--no-such-option");
    assert_eq!(std::fs::read_to_string(local.join("keygate")).unwrap(), "another");
    assert_eq!(link(&cargo), Some(machine.program.clone()));

    // Help changes nothing.
    let machine = Machine::new();
    let local = machine.path("home/.local/bin");
    machine.deploy_try(std::slice::from_ref(&local), "--help");
    assert_eq!(link(&local), None);
}

#[test]
fn where_no_folder_takes_the_program_the_printed_line_makes_every_shell_find_it() {
    let machine = Machine::new();
    let said = machine.deploy_try(&[], "--no-such-option");
    let (_, line) = said.split_once("To find the program as `keygate`: ").expect(&said);
    let line = line.lines().next().unwrap();
    for shell in Shell::ALL {
        let output = shell.paste(&format!("{line}\nkeygate version\n"), machine.folder.path(), &[]);
        let version = String::from_utf8(output.stdout).unwrap();
        assert!(
            version.contains(env!("CARGO_PKG_VERSION")),
            "{shell:?}: {line}: {version}"
        );
    }
}

/// The configuration itself has fixed ports and the address of a foreign issuer.
#[test]
fn the_minimal_configuration_runs() {
    let mut config = std::fs::read_to_string(Path::new(ROOT).join("conf/minimal.yaml")).unwrap();
    for (from, to) in [
        ("127.0.0.1:8080\n", "127.0.0.1:0\nadmin: { address: 127.0.0.1:0 }\n"),
        (
            "jwks_url: https://login.example.com/",
            "jwks_url: https://login.invalid/",
        ),
    ] {
        assert!(config.contains(from), "{from:?} in {config}");
        config = config.replace(from, to);
    }
    let gate = Binary::start(&config);
    let status = |path: &str| get(gate.data(), path).status;
    assert_eq!((status("/orders/7"), status("/other")), (401, 404));
}

#[test]
fn the_readme_lists_every_problem_and_no_other() {
    let table = README
        .split("<!-- slugs:begin -->")
        .nth(1)
        .unwrap()
        .split("<!-- slugs:end -->")
        .next()
        .unwrap();
    let mut listed = BTreeSet::new();
    for line in table.lines().filter(|line| line.contains('`')) {
        let mut cells = line.split('|').map(str::trim).filter(|cell| !cell.is_empty());
        let status: u16 = cells.next().unwrap().parse().unwrap();
        let slugs = cells.next().unwrap().split(", ").map(|slug| slug.trim_matches('`'));
        listed.extend(slugs.map(|slug| (status, slug)));
    }
    // 499 is the status of access records only: the client left before a response.
    let given: BTreeSet<_> = ROWS
        .iter()
        .filter(|row| row.status != 499)
        .map(|row| (row.status, row.slug))
        .collect();
    assert_eq!(listed, given);
}

#[test]
fn links_in_the_readme_lead_somewhere() {
    for link in README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert!(
            link.starts_with("https://") || Path::new(ROOT).join(link).exists(),
            "{link}"
        );
    }
}
