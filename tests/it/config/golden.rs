//! Which message does each mistake produce? `tests/data/config/*.txt`: input, a line of dashes, messages.
//!
//! The first line of an input gives the JSON Schema's verdict: `# schema refuses`, `# schema accepts`
//! (a schema cannot express the mistake), or `# not yaml`. `UPDATE_GOLDEN=1` rewrites the messages.

use keygate::config;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

const RULE: &str = "\n----------------------------------------\n";

fn golden_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/data/config")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

fn env(name: &str) -> Option<String> {
    match name {
        "EMPTY" => Some(String::new()),
        "SECRET" => Some("hunter2 hunter2".to_owned()),
        "FILE" => Some("file:Cargo.toml".to_owned()),
        "TWO_KEYS" => Some("10s, idle_timeout: 1s".to_owned()),
        _ => None,
    }
}

/// Returns the valid configurations that produce warnings.
fn warning_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/data/config/warnings")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Returns the messages about `input` with a last line that lists their codes, and the codes.
fn messages(input: &str) -> (String, BTreeSet<&'static str>) {
    match config::parse(input, Path::new("keygate.yaml"), &env) {
        Ok(config) if !config.warnings.is_empty() => {
            let codes: BTreeSet<&str> = config.warnings.iter().map(|warning| warning.0.code).collect();
            let lines: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
            let list: Vec<&str> = codes.iter().copied().collect();
            (format!("{}\ngood\ncodes: {}", lines.join("\n"), list.join(", ")), codes)
        }
        Ok(_) => ("good".to_owned(), BTreeSet::new()),
        Err(errors) => {
            let codes: BTreeSet<&str> = errors.iter().map(|error| error.code).collect();
            let list: Vec<&str> = codes.iter().copied().collect();
            (format!("{errors}\ncodes: {}", list.join(", ")), codes)
        }
    }
}

#[test]
fn every_mistake_is_said_as_written_down() {
    let mut wrong = Vec::new();
    for path in golden_files().into_iter().chain(warning_files()) {
        let file = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = file.split_once(RULE).unwrap_or((&file, ""));
        let (messages, _) = messages(input);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, format!("{}{RULE}{messages}\n", input.trim_end())).unwrap();
        } else if messages != expected.trim_end() {
            wrong.push(format!("{}:\n{messages}\n", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_mistake_file_is_good_and_none_says_a_secret() {
    for path in golden_files() {
        let file = std::fs::read_to_string(&path).unwrap();
        let (messages, codes) = messages(file.split_once(RULE).unwrap().0);
        assert!(
            !codes.is_empty() && !messages.contains("\ngood\n"),
            "{}",
            path.display()
        );
        assert!(!messages.contains("hunter2"), "{}: {messages}", path.display());
    }
}

#[test]
fn what_is_only_warned_of_is_good() {
    for path in warning_files() {
        let file = std::fs::read_to_string(&path).unwrap();
        let (messages, _) = messages(file.split_once(RULE).unwrap().0);
        assert!(messages.contains("\ngood\n"), "{}: {messages}", path.display());
    }
}

#[test]
fn the_schema_refuses_what_is_broken_in_structure() {
    let validator = jsonschema::validator_for(&config::schema()).unwrap();
    for path in golden_files().into_iter().chain(warning_files()) {
        let file = std::fs::read_to_string(&path).unwrap();
        let input = file.split_once(RULE).unwrap().0;
        let instance = serde_yaml::from_str::<serde_json::Value>(input);
        let (name, marker) = (path.display(), input.lines().next().unwrap());
        match marker {
            "# not yaml" => {}
            "# schema refuses" => assert!(!validator.is_valid(&instance.unwrap()), "{name}"),
            "# schema accepts" => {
                let instance = instance.unwrap();
                let error = validator.iter_errors(&instance).next().map(|error| error.to_string());
                assert_eq!(error, None, "{name}");
            }
            other => panic!("{name}: unknown marker {other}"),
        }
    }
}

/// Returns the files of `folder` and of those below it, without tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| !path.ends_with("tests.rs"))
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .collect()
}

/// Each message stands in a golden file, so that a person has read it once.
#[test]
fn every_code_has_a_golden_file() {
    let shown: BTreeSet<&str> = golden_files()
        .iter()
        .chain(&warning_files())
        .flat_map(|path| {
            let file = std::fs::read_to_string(path).unwrap();
            messages(file.split_once(RULE).unwrap().0).1
        })
        .collect();
    // Codes whose example needs another file, or would be too long; unit tests cover them.
    let elsewhere = [
        "too-many-files",
        "unreadable-file",
        "not-utf8",
        "file-too-big",
        "too-big",
        "too-deep",
    ];
    let mut codes = BTreeSet::new();
    for path in sources(Path::new("src/config")) {
        let source = std::fs::read_to_string(path).unwrap();
        let source = source.split("#[cfg(test)]").next().unwrap();
        for quoted in source.split('"').skip(1).step_by(2) {
            let is_code = quoted.contains('-')
                && quoted.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                && !quoted.starts_with("x-")
                && !quoted.ends_with('-');
            if is_code {
                codes.insert(quoted.to_owned());
            }
        }
    }
    // Words with `-` in the sources that are not codes.
    let headers = [
        "content-length",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "proxy-authorization",
        "proxy-authenticate",
        "www-authenticate",
        "accept-charset",
        "accept-encoding",
        "access-control-request-headers",
        "access-control-request-method",
        "set-cookie",
        "orders-read",
        "oauth-authorization-server",
        "openid-configuration",
    ];
    let unseen: Vec<&String> = codes
        .iter()
        .filter(|code| {
            !shown.contains(code.as_str()) && !elsewhere.contains(&code.as_str()) && !headers.contains(&code.as_str())
        })
        .collect();
    assert!(unseen.is_empty(), "no golden file shows {unseen:?}");
}
