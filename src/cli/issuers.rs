//! `keygate issuers`: how a running gate gets on with its issuers.

use crate::cli::args::OutputForm;
use crate::cli::gate::GateArgs;
use crate::cli::gate::GateClient;
use crate::cli::gate::GateLookup;
use crate::cli::http::admin_client::AdminRequest;
use crate::cli::render::aligned;
use crate::cli::render::cell;
use crate::cli::render::json;
use crate::model::names::Name;
use clap::Args;
use clap::Subcommand;
use http::Method;
use serde_json::Value;
use std::error::Error;
use std::io::Write;

#[derive(Debug, Args)]
pub struct Issuers {
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(subcommand)]
    pub command: IssuerCommand,
}

#[derive(Debug, Subcommand)]
pub enum IssuerCommand {
    /// Every issuer of the configuration in force, one line each
    List,
    /// Everything about one issuer: its keys, those it skips and why, the last error, the next fetch
    Show {
        /// As it stands under `issuers` in the configuration
        name: Name,
    },
    /// Fetch its keys now, whatever the cooldown says, and show what came of it
    Refresh {
        /// As it stands under `issuers` in the configuration
        name: Name,
    },
}

pub const HELP: &str = "\
Examples:
  keygate issuers list --config /etc/keygate.yaml
  keygate issuers refresh main --config /etc/keygate.yaml     after the issuer has rotated its keys
  KEYGATE_ADMIN_TOKEN=… keygate issuers show main --admin http://127.0.0.1:9090 --output json

Asks a gate that runs: over the socket beside its store, else over `admin.address` with the token
of `admin.token`. A token is never taken from the command line, which every user of the machine can
read.

When a refresh brought no good keys, the exit code is 1; the keys from before still serve,
and what is known is printed all the same.";

/// Asks, and prints what was answered on `out`. What could not be asked, or was refused, is the error; a refresh whose
/// fetch failed is both.
///
/// # Errors
/// No address or token, nothing that answers, a refusal, or a fetch that failed.
pub fn issuers(asked: &Issuers, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let mut gate = match GateClient::find(&asked.gate, out, err)? {
        GateLookup::Running(gate) => *gate,
        GateLookup::Stopped(found) | GateLookup::NoStore(found) => GateClient::on_admin_listener(&asked.gate, found)?,
    };
    let (method, path) = match &asked.command {
        IssuerCommand::List => (Method::GET, "/admin/v1/issuers".to_owned()),
        IssuerCommand::Show { name } => (Method::GET, format!("/admin/v1/issuers/{name}")),
        IssuerCommand::Refresh { name } => (Method::POST, format!("/admin/v1/issuers/{name}/refresh")),
    };
    let answered = gate.send(&AdminRequest {
        method,
        path: &path,
        body: None,
        idempotency_key: None,
    })?;
    let body = &answered.body;
    // A refresh that failed says how the issuer is, too; any other refusal has nothing to show.
    let health = match &asked.command {
        IssuerCommand::Refresh { .. } => &body["issuer"],
        IssuerCommand::List | IssuerCommand::Show { .. } if answered.status == 200 => body,
        IssuerCommand::List | IssuerCommand::Show { .. } => &Value::Null,
    };
    if health.is_object() {
        let text = match asked.gate.output {
            OutputForm::Json => json(body),
            OutputForm::Table => match &asked.command {
                IssuerCommand::List => table(&body["issuers"]),
                IssuerCommand::Show { .. } | IssuerCommand::Refresh { .. } => page(health),
            },
        };
        gate.show(&text)?;
    }
    match answered.status {
        200 => Ok(()),
        _ => Err(gate.refusal(&answered).into()),
    }
}

/// One line for each issuer.
fn table(issuers: &Value) -> String {
    let head = [
        "NAME",
        "STATE",
        "KEYS",
        "SKIPPED",
        "FROM",
        "LAST GOOD",
        "NEXT FETCH",
        "FAILED",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for issuer in issuers.as_array().into_iter().flatten() {
        rows.push(vec![
            cell(&issuer["name"]),
            cell(&issuer["state"]),
            count(&issuer["keys"]),
            count(&issuer["skipped"]),
            cell(&issuer["keys_from"]),
            cell(&issuer["last_good_at"]),
            cell(&issuer["next_fetch_at"]),
            cell(&issuer["consecutive_failures"]),
        ]);
    }
    aligned(&rows)
}

/// Everything about one issuer.
fn page(issuer: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:20} {value}\n"));
    for name in [
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
    ] {
        line(name, cell(&issuer[name]));
    }
    for (name, value) in issuer["source"].as_object().into_iter().flatten() {
        match value {
            Value::Array(items) => items.iter().for_each(|item| line(name, cell(item))),
            value => line(name, cell(value)),
        }
    }
    for key in issuer["keys"].as_array().into_iter().flatten() {
        let algorithms: Vec<String> = key["algorithms"].as_array().into_iter().flatten().map(cell).collect();
        let kid = cell(&key["kid"]);
        line(
            "key",
            format!("{kid} ({}) {}", algorithms.join(" "), cell(&key["thumbprint"])),
        );
    }
    for key in issuer["skipped"].as_array().into_iter().flatten() {
        line("skipped", format!("{}: {}", cell(&key["kid"]), cell(&key["reason"])));
    }
    text
}

fn count(list: &Value) -> String {
    list.as_array().map_or(0, Vec::len).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::escape;

    #[test]
    fn nothing_hidden_reaches_the_terminal() {
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
    fn columns_stand_below_their_names() {
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
