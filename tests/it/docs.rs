//! Are the configurations, commands, problems and links in README.md true?

use keygate::cli::introduction;
use keygate::config;
use keygate::gate::answer::refusal::ROWS;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

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
        // The block names `keys.yaml` beside itself, as in conf/.
        let file = Path::new(ROOT).join("conf/readme.yaml");
        let env = |name: &str| (name == "KEYGATE_PEPPER").then(|| "a pepper".to_owned());
        if let Err(errors) = config::parse(block, &file, &env) {
            panic!("{errors}");
        }
    }
}

/// Scripts that no test here runs: `deploy/try` builds for minutes, and `tests/run` would start itself.
/// Bash parses both, and `tests/run` runs `deploy/try --help`.
const RUN_BY_TESTS_RUN: [&str; 2] = ["deploy/try", "tests/run"];

#[test]
fn every_command_in_the_readme_is_run_by_a_test() {
    let commands: Vec<&str> = blocks("sh")
        .into_iter()
        .flat_map(str::lines)
        .filter(|line| !line.is_empty())
        .collect();
    assert!(!commands.is_empty());
    // `cli` runs each of these, as the program prints them.
    let first_minutes = introduction::commands("keygate", "", "127.0.0.1:8080");
    assert!(
        README.contains(&format!("```sh\n{first_minutes}```")),
        "{first_minutes}"
    );
    for command in commands {
        if first_minutes.lines().any(|line| line == command) {
            continue;
        }
        let words: Vec<&str> = command.split('#').next().unwrap().split_whitespace().collect();
        match words[..] {
            [script] if RUN_BY_TESTS_RUN.contains(&script) => {
                let checked = Command::new("bash")
                    .arg("-n")
                    .arg(Path::new(ROOT).join(script))
                    .status()
                    .unwrap();
                assert!(checked.success(), "{script}");
            }
            ["keygate", "check", ..] => {
                let checked = Command::new(crate::support::program())
                    .args(&words[1..])
                    .current_dir(ROOT)
                    .output()
                    .unwrap();
                assert!(
                    checked.status.success(),
                    "{command}: {}",
                    String::from_utf8_lossy(&checked.stderr)
                );
            }
            // The configuration has fixed ports, so no test starts it; `config` loads it.
            ["keygate", "run", "--config", file] => assert!(Path::new(ROOT).join(file).is_file(), "{command}"),
            _ => panic!("no test runs `{command}`"),
        }
    }
    let script = std::fs::read_to_string(Path::new(ROOT).join("tests/run")).unwrap();
    assert!(
        script.contains("deploy/try --help"),
        "tests/run no longer runs deploy/try"
    );
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
