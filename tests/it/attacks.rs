//! Does `tests/data/attacks.txt` say truly which attacks a test covers? The names of tests contain the numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

const LIST: &str = include_str!("../data/attacks.txt");
const ATTACKS: u16 = 156;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Covered,
    Partly,
    Later,
}

/// One line of the list of attacks.
struct Entry {
    attack: u16,
    status: Status,
    reason: &'static str,
}

fn entries() -> Vec<Entry> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let number = words.next().and_then(|word| word.strip_prefix('S'));
            let status = match words.next() {
                Some("covered") => Status::Covered,
                Some("partly") => Status::Partly,
                Some("later") => Status::Later,
                _ => panic!("not a status: {line:?}"),
            };
            let reason = words.next().unwrap_or_default().trim();
            assert!(!reason.is_empty(), "says nothing: {line:?}");
            Entry {
                attack: number.and_then(|number| number.parse().ok()).expect(line),
                status,
                reason,
            }
        })
        .collect()
}

/// Returns the tests of each attack as `file::test`, read from the source text.
fn tests() -> BTreeMap<u16, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for folder in ["src", "tests"] {
        for file in sources(&root.join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let short = file.strip_prefix(root).unwrap().display().to_string();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if let Some(name) = function(line) {
                    for attack in numbers(name) {
                        assert!(is_test, "{short}: {name} has an attack's number and is no test");
                        found.entry(attack).or_default().push(format!("{short}::{name}"));
                    }
                }
                // Further attributes may stand between `#[test]` and the function, over several lines.
                let goes_on = is_test && !line.is_empty() && !line.starts_with('}');
                is_test = ["#[test]", "#[tokio::test", "lanes!("]
                    .iter()
                    .any(|start| line.starts_with(start))
                    || goes_on;
            }
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("node_modules") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Returns the name of the function that begins in `line`.
fn function(line: &str) -> Option<&str> {
    let rest = ["fn ", "async fn ", "pub fn "]
        .iter()
        .find_map(|start| line.strip_prefix(start))?;
    rest.split(['(', '<']).next()
}

/// Returns the numbers at the start of a test's name: 1 and 5 of `s001_s005_a_name`.
fn numbers(name: &str) -> impl Iterator<Item = u16> {
    name.split('_').map_while(|word| {
        let digits = word.strip_prefix('s')?;
        let is_number = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok())?
    })
}

#[test]
fn every_attack_is_listed_as_it_is() {
    let (entries, mut tests) = (entries(), tests());
    let listed: Vec<u16> = entries.iter().map(|entry| entry.attack).collect();
    assert_eq!(listed, (1..=ATTACKS).collect::<Vec<_>>(), "each number once, in order");
    let mut wrong = Vec::new();
    for entry in &entries {
        let tests = tests.remove(&entry.attack).unwrap_or_default();
        println!("S{:03} {:?}: {}", entry.attack, entry.status, entry.reason);
        for test in &tests {
            println!("        {test}");
        }
        match (entry.status, tests.is_empty()) {
            (Status::Covered, true) => wrong.push(format!("S{:03} is covered by no test", entry.attack)),
            (Status::Later, false) => wrong.push(format!("S{:03} comes later and has {tests:?}", entry.attack)),
            _ => {}
        }
    }
    assert!(tests.is_empty(), "tests of attacks that are not listed: {tests:?}");
    assert!(wrong.is_empty(), "tests/data/attacks.txt: {}", wrong.join("; "));
}

#[test]
fn the_numbers_of_a_test_are_read_from_its_name() {
    let of = |name: &str| numbers(name).collect::<Vec<_>>();
    assert_eq!(of("s001_s005_a_name"), [1, 5]);
    assert_eq!(of("s155_x_s001"), [155]);
    assert_eq!(of("a_s001_name"), [0; 0]);
    assert_eq!(of("s01_es256_s0012"), [0; 0]);
    assert_eq!(function("async fn s001_a() {"), Some("s001_a"));
    assert_eq!(function("let fn_ = 1;"), None);
}

/// Returns the versions of `name` in the lock file.
fn locked(name: &str) -> Vec<(u64, u64, u64)> {
    let lock = include_str!("../../Cargo.lock");
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines();
    let mut versions = Vec::new();
    while lines.any(|line| line == wanted) {
        let line = lines.next().expect("a version follows");
        let version = line.trim_start_matches("version = ").trim_matches('"');
        let mut numbers = version
            .split(['.', '-', '+'])
            .map(|number| number.parse().expect("a number"));
        let mut number = || numbers.next().expect("three numbers");
        versions.push((number(), number(), number()));
    }
    versions
}

#[test]
fn s140_s155_no_dependency_is_one_with_an_advisory_that_an_attack_stands_for() {
    assert_eq!(locked("rsa"), [], "RUSTSEC-2023-0071");
    for (name, least) in [
        ("pingora-core", (0, 8, 0)),
        ("pingora-proxy", (0, 8, 0)),
        ("jsonwebtoken", (10, 3, 0)),
        // RUSTSEC-2024-0336, and RUSTSEC-2024-0332 with RUSTSEC-2024-0003.
        ("rustls", (0, 23, 5)),
        ("h2", (0, 4, 4)),
    ] {
        let versions = locked(name);
        assert!(!versions.is_empty(), "{name} is in the lock file");
        assert!(versions.iter().all(|version| *version >= least), "{name}: {versions:?}");
    }
}
