//! How does `keygate check` report for programs? As one JSON object, for a sound configuration as for one with mistakes.

use crate::cli::check_findings::Findings;
use crate::cli::render;
use crate::compare::Weakening;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::SourceLine;
use crate::config::error::Place;
use crate::explain::date;
use crate::keys_file::KeysFileError;
use crate::model::clock::Timestamp;
use crate::observe::log::ErrorChain;
use crate::runtime::config_files::LoadError;
use serde_json::Value;
use serde_json::json;
use std::path::Path;

/// Returns the report: `result` is `good`, `weaker` or `invalid`, and `problems` has every mistake and every warning.
pub fn report(findings: &Findings) -> String {
    let weakenings = findings.diff.as_ref().map(|diff| &diff.weakenings);
    let result = match (&findings.config, weakenings) {
        (Err(_), _) | (Ok(_), Some(Err(_))) => "invalid",
        (Ok(_), Some(Ok(weakenings))) if !weakenings.is_empty() => "weaker",
        (Ok(_), Some(Ok(_)) | None) => "good",
    };
    let mut problems: Vec<Value> = Vec::new();
    let refusals = [
        (findings.config.as_ref().err(), Some(&findings.name)),
        (
            weakenings.and_then(|weakenings| weakenings.as_ref().err()),
            findings.diff.as_ref().map(|diff| &diff.old),
        ),
    ];
    for (refusal, file) in refusals {
        if let (Some(refusal), Some(file)) = (refusal, file) {
            problems.extend(mistakes(refusal, file).iter().map(|mistake| problem("error", mistake)));
        }
    }
    let warnings = findings.warnings.iter().chain(&findings.unchecked);
    problems.extend(warnings.map(|warning| problem("warning", &warning.0)));
    let config = findings.config.as_ref().ok();
    render::json(&json!({
        "file": findings.name.display().to_string(),
        "result": result,
        "routes": config.map(|config| config.routes.len()),
        "problems": problems,
        "certificates": config.map(|config| certificates(config, findings.now)).unwrap_or_default(),
        "compared_with": findings.diff.as_ref().map(|diff| diff.old.display().to_string()),
        "weaker": weakenings.and_then(|weakenings| weakenings.as_ref().ok()).map(|list| list.iter().map(weaker).collect::<Vec<_>>()),
    }))
}

/// Returns the mistakes of a refusal, each with as much of its place as is known. `main` is the configuration.
fn mistakes(refusal: &LoadError, main: &Path) -> Vec<ConfigError> {
    let whole = |code, path: String, problem: String| {
        vec![ConfigError {
            code,
            file: main.to_owned(),
            place: None,
            path,
            problem,
            hint: None,
        }]
    };
    match refusal {
        LoadError::Config(errors) => errors.iter().cloned().collect(),
        LoadError::Issuer { issuer, problem } => whole("issuer-keys", format!("issuers.{issuer}"), problem.clone()),
        LoadError::KeysFile(KeysFileError::Broken { path, problems }) => problems
            .iter()
            .map(|problem| ConfigError {
                code: "keys-file",
                file: path.clone(),
                place: Some(Place {
                    line: problem.line,
                    column: 1,
                }),
                path: String::new(),
                problem: problem.message.clone(),
                hint: None,
            })
            .collect(),
        LoadError::KeysFile(error) => whole("keys-file", "api_keys.file".to_owned(), ErrorChain(error).to_string()),
        LoadError::SigningKey(error) => whole("signing-key", "identity_token".to_owned(), error.to_string()),
        LoadError::Unsupported { path, .. } => whole("unsupported", path.clone(), refusal.to_string()),
        LoadError::Unusable(problem) => whole("unusable", String::new(), problem.clone()),
        LoadError::Routes(error) => whole("routes", "routes".to_owned(), error.to_string()),
    }
}

fn problem(severity: &str, mistake: &ConfigError) -> Value {
    json!({
        "severity": severity,
        "file": mistake.file.display().to_string(),
        "line": mistake.place.map(|place| place.line),
        "column": mistake.place.map(|place| place.column),
        "path": mistake.path,
        "code": mistake.code,
        "message": mistake.problem,
        "hint": mistake.hint,
    })
}

fn certificates(config: &Config, now: Timestamp) -> Vec<Value> {
    let listed = config.certificates().map(|(listener, certificate)| {
        json!({
            "listener": listener.address.to_string(),
            "file": certificate.file.display().to_string(),
            "names": certificate.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "expires_at": date(certificate.not_after),
            "problem": certificate.validity_problem(now).map(|problem| problem.to_string()),
        })
    });
    listed.collect()
}

fn weaker(weakening: &Weakening) -> Value {
    let place = |line: &SourceLine| json!({ "file": line.file.display().to_string(), "line": line.line });
    json!({
        "routes": weakening.routes,
        "requirement": weakening.requirement,
        "was": weakening.was,
        "is": weakening.is,
        "old": place(&weakening.old),
        "new": place(&weakening.new),
    })
}
