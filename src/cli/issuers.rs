//! `keygate issuers`: in which state are the issuers of a running gate?

use crate::cli::gate::GateClient;
use crate::cli::gate::find;
use crate::cli::gate::find::GateLookup;
use crate::cli::http::admin_client::AdminRequest;
use crate::cli::noun::GateCommand;
use crate::cli::noun::GateCommandLine;
use crate::cli::printer::OutputForm;
use crate::cli::printer::Printer;
use crate::cli::render;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::model::names::Name;
use clap::Subcommand;
use http::Method;
use serde_json::Value;
use serde_json::json;
use std::error::Error;
use std::io::Write;

const PATH: &str = "issuers";
const COLUMNS: &[Column<'_>] = &[
    ("NAME", "name"),
    ("STATE", "state"),
    ("KEYS", "keys"),
    ("SKIPPED", "skipped"),
    ("FROM", "keys_from"),
    ("LAST GOOD", "last_good_at"),
    ("NEXT FETCH", "next_fetch_at"),
    ("FAILED", "consecutive_failures"),
];
/// Members of an issuer that have one line each on its page, in this order.
const MEMBERS: &[&str] = &[
    "name",
    "issuer",
    "state",
    "keys_from",
    "last_good_at",
    "age_seconds",
    "usable_until",
    "last_attempt_at",
    "last_error",
    "next_fetch_at",
    "consecutive_failures",
    "fetches_good",
    "fetches_failed",
];

#[derive(Debug, Subcommand)]
pub enum IssuerCommand {
    /// List the issuers of the configuration in force
    #[command(visible_alias = "ls")]
    List,
    /// Show an issuer: its keys, those it skips and why, the last error, the next fetch
    Show {
        /// As it stands under `issuers` in the configuration
        name: Name,
    },
    /// Fetch an issuer's keys now, whatever the cooldown says, and show the result
    Refresh {
        /// As it stands under `issuers` in the configuration
        name: Name,
    },
}

pub const HELP: &str = "\
Examples:
  keygate issuers list --config /etc/keygate.yaml
  KEYGATE_ADMIN_TOKEN=… keygate issuers show main --admin http://127.0.0.1:9090 --output json
After an issuer has rotated its keys:
  keygate issuers refresh main --config /etc/keygate.yaml

Asks a gate that runs: over the socket beside its store, else over `admin.address` with the token
of `admin.token`.

When a refresh brought no good keys, the exit code is 1; the keys from before still serve,
and what is known is printed all the same.";

/// Calls the gate and prints its response. If the fetch of a refresh fails, prints the issuer's state all the same.
///
/// # Errors
/// If the address or the token is missing, if no gate responds, if the gate refuses, or if the fetch failed.
pub fn run(
    issuers: &GateCommandLine<IssuerCommand>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let mut printer = Printer::new(&issuers.gate.output, out, err);
    let client = match find::find(&issuers.gate, &mut printer)? {
        GateLookup::Running(client) => client,
        GateLookup::Stopped(loaded) | GateLookup::NoStore(loaded) => loaded.admin_listener(&issuers.gate)?,
    };
    issuers.command.run(&mut GateClient::new(client, printer))
}

impl GateCommand for IssuerCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        let (method, path) = match self {
            Self::List => (Method::GET, PATH.to_owned()),
            Self::Show { name } => (Method::GET, format!("{PATH}/{name}")),
            Self::Refresh { name } => (Method::POST, format!("{PATH}/{name}/refresh")),
        };
        let response = gate.send(&AdminRequest {
            method,
            path: &path,
            body: None,
            idempotency_key: None,
        })?;
        let (is_good, form) = (response.status == 200, gate.printer.form);
        match self {
            Self::List if is_good => {
                let issuers = &response.body["issuers"];
                let issuers = match form {
                    OutputForm::Table | OutputForm::Name => counted(issuers),
                    OutputForm::Json => issuers.clone(),
                };
                gate.printer
                    .items(COLUMNS, &json!({ "items": issuers, "next": null }))?;
            }
            Self::Show { name } if is_good => gate.printer.show(&response.body, |issuer| match form {
                OutputForm::Name => format!("{name}\n"),
                OutputForm::Table | OutputForm::Json => page(issuer),
            })?,
            // The response to a failed refresh contains the issuer's state too.
            Self::Refresh { .. } if response.body["issuer"].is_object() => {
                gate.printer
                    .show(&response.body, |refreshed| page(&refreshed["issuer"]))?;
            }
            Self::List | Self::Show { .. } | Self::Refresh { .. } => {}
        }
        if is_good {
            return Ok(());
        }
        Err(gate.refusal(&response).into())
    }
}

/// Returns each issuer with the numbers of its keys and of its skipped keys, in place of these.
fn counted(issuers: &Value) -> Value {
    let issuers = issuers.as_array().into_iter().flatten().map(|issuer| {
        let mut row = issuer.clone();
        for list in ["keys", "skipped"] {
            row[list] = issuer[list].as_array().map_or(0, Vec::len).into();
        }
        row
    });
    issuers.collect()
}

/// Returns the page of one issuer.
fn page(issuer: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| render::push_line(&mut text, name, value);
    for name in MEMBERS {
        line(name, &cell(&issuer[*name]));
    }
    for (name, value) in issuer["source"].as_object().into_iter().flatten() {
        match value {
            Value::Array(items) => items.iter().for_each(|item| line(name, &cell(item))),
            value => line(name, &cell(value)),
        }
    }
    for key in issuer["keys"].as_array().into_iter().flatten() {
        let algorithms: Vec<String> = key["algorithms"].as_array().into_iter().flatten().map(cell).collect();
        let (kid, thumbprint) = (cell(&key["kid"]), cell(&key["thumbprint"]));
        line("key", &format!("{kid} ({}) {thumbprint}", algorithms.join(" ")));
    }
    for key in issuer["skipped"].as_array().into_iter().flatten() {
        line("skipped", &format!("{}: {}", cell(&key["kid"]), cell(&key["reason"])));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::TableStyle;
    use crate::cli::render::json;
    use crate::observe::escape;

    fn table(issuers: &Value) -> String {
        let style = TableStyle {
            has_headings: true,
            width: None,
        };
        render::table(COLUMNS, &counted(issuers), style).text
    }

    #[test]
    fn hidden_characters_are_escaped() {
        let health = serde_json::json!({
            "name": "a", "state": "ok", "last_error": "x\u{1b}[31m\n\u{202e}",
            "keys": [{ "kid": "k\r\n\0", "thumbprint": "t", "algorithms": ["ES256"] }],
            "skipped": [{ "kid": null, "reason": "a symmetric key" }],
            "source": { "kind": "discovery", "documents": ["https://a.example/\u{7f}"] },
        });
        for text in [page(&health), table(&serde_json::json!([health])), json(&health)] {
            let hidden = text
                .chars()
                .filter(|character| *character != '\n')
                .any(escape::is_hidden);
            assert!(!hidden, "{text:?}");
        }
        assert!(serde_json::from_str::<Value>(&json(&health)).is_ok());
        assert!(page(&health).contains("key                  k\\u000d\\u000a\\u0000 (ES256) t\n"));
        assert!(page(&health).contains("skipped              -: a symmetric key\n"));
    }

    #[test]
    fn columns_are_aligned_with_their_headings() {
        let issuers = serde_json::json!([
            { "name": "a-long-name", "state": "ok", "keys": [1, 2], "skipped": [], "keys_from": "source" },
            { "name": "b", "state": "no_keys", "keys": [], "skipped": [], "consecutive_failures": 3 },
        ]);
        let text = table(&issuers);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("STATE"), lines[1].find("ok"));
        assert_eq!(lines[0].find("KEYS"), lines[2].find('0'));
        assert!(lines[2].ends_with('3'));
    }
}
