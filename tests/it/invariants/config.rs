//! Does every text either compile as a configuration or get errors with positions?

use keygate::config;
use keygate::gate::live::LiveState;
use keygate::gate::snapshot::Snapshot;
use keygate::model::clock::Timestamp;
use keygate::runtime::assemble;
use std::net::Ipv4Addr;
use std::path::Path;

/// Checks the text of a file.
pub fn check(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    // A folder that does not exist, so that relative names lead nowhere.
    let file = Path::new("/nonexistent/keygate/keygate.yaml");
    let env = |name: &str| (name == "NAME").then(|| "value".to_owned());
    match config::parse(text, file, &env) {
        Ok(config) => {
            let live = LiveState::new(
                assemble::metrics(Timestamp::from_unix_secs(1_800_000_000)),
                (Ipv4Addr::LOCALHOST, 9).into(),
            );
            let snapshot = Snapshot::compile(&config, &live).expect("what config takes compiles");
            assert_eq!(snapshot.issuers.len(), config.issuers.len());
            for route in &config.routes {
                // A route that is not public accepts at least one type of credential.
                assert_eq!(route.public, route.accept.is_empty(), "{}", route.name.as_str());
                assert!(!route.accept.contains(&config::AcceptedCredential::Jwt) || !route.issuers.is_empty());
            }
        }
        Err(errors) => {
            // Line ends as in YAML (YAML 1.2.2 section 5.4).
            let unified = text.replace("\r\n", "\n").replace('\r', "\n");
            let lines: Vec<&str> = unified.split('\n').collect();
            assert!(errors.iter().count() > 0);
            for error in errors.iter() {
                assert_eq!(error.file, file);
                assert!(!error.code.is_empty() && !error.problem.is_empty());
                let Some(place) = error.place else {
                    assert_eq!(error.code, "file-too-big", "{error}");
                    continue;
                };
                assert!(
                    (1..=lines.len()).contains(&place.line),
                    "{error} in {} lines",
                    lines.len()
                );
                let columns = lines[place.line - 1].chars().count();
                assert!(
                    (1..=columns + 1).contains(&place.column),
                    "{error} in {columns} columns"
                );
            }
            let again = config::parse(text, file, &env).map(drop);
            assert_eq!(again, Err(errors), "the same text, the same errors");
        }
    }
}
