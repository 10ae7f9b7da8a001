//! `keygate upstreams`: how are the endpoints of a running gate, and which of them get requests?

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
use crate::cli::render::TableStyle;
use crate::cli::render::cell;
use crate::model::names::Name;
use clap::Subcommand;
use http::Method;
use serde_json::Value;
use serde_json::json;
use std::error::Error;
use std::io::Write;

const PATH: &str = "upstreams";
const COLUMNS: &[Column<'_>] = &[
    ("NAME", "name"),
    ("BALANCE", "balance"),
    ("ENDPOINTS", "endpoints"),
    ("IN SERVICE", "in_service"),
    ("IN FLIGHT", "in_flight"),
    ("REQUESTS", "requests"),
    ("FAILURES", "failures"),
    ("PANIC", "panic"),
];
const ENDPOINT_COLUMNS: &[Column<'_>] = &[
    ("ENDPOINT", "address"),
    ("STATE", "state"),
    ("WEIGHT", "weight"),
    ("PRIORITY", "priority"),
    ("IN FLIGHT", "in_flight"),
    ("REQUESTS", "requests"),
    ("FAILURES", "failures"),
    ("EJECTIONS", "ejections"),
    ("LAST FAILURE", "last_failure"),
    ("CHECK", "check_problem"),
    ("TLS NAME", "server_name"),
];
const NAME_COLUMNS: &[Column<'_>] = &[("NAME", "name"), ("ADDRESSES", "addresses"), ("PROBLEM", "problem")];

#[derive(Debug, Subcommand)]
pub enum UpstreamCommand {
    /// List the upstreams of the configuration in force
    #[command(visible_alias = "ls")]
    List,
    /// Show the endpoints of an upstream: state, load, failures
    Show {
        /// As it stands under `upstreams` in the configuration
        name: Name,
    },
    /// Send an endpoint no more requests; those that it has go on
    Drain {
        /// As it stands under `upstreams` in the configuration
        name: Name,
        /// The address, as `show` prints it
        endpoint: String,
    },
    /// Send a drained endpoint requests again, slowly at first
    Undrain {
        /// As it stands under `upstreams` in the configuration
        name: Name,
        /// The address, as `show` prints it
        endpoint: String,
    },
}

pub const HELP: &str = "\
Examples:
  keygate upstreams list --config /etc/keygate.yaml
  keygate upstreams show orders --config /etc/keygate.yaml
Before a server is shut down:
  keygate upstreams drain orders 10.0.0.5:8080 --config /etc/keygate.yaml
  keygate upstreams undrain orders 10.0.0.5:8080 --config /etc/keygate.yaml

Asks a gate that runs: over the socket beside its store, else over `admin.address` with the token
of `admin.token`. A drained endpoint stays so over reloads that keep it, until it is undrained or
the gate is restarted.";

/// Calls the gate and prints its response.
///
/// # Errors
/// If the address or the token is missing, if no gate responds, or if the gate refuses.
pub fn run(
    upstreams: &GateCommandLine<UpstreamCommand>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let mut printer = Printer::new(&upstreams.gate.output, out, err);
    let client = match find::find(&upstreams.gate, &mut printer)? {
        GateLookup::Running(client) => client,
        GateLookup::Stopped(loaded) | GateLookup::NoStore(loaded) => loaded.admin_listener(&upstreams.gate)?,
    };
    upstreams.command.run(&mut GateClient::new(client, printer))
}

impl GateCommand for UpstreamCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        let (method, path, body) = match self {
            Self::List => (Method::GET, PATH.to_owned(), None),
            Self::Show { name } => (Method::GET, format!("{PATH}/{name}"), None),
            Self::Drain { name, endpoint } => {
                let body = json!({ "endpoint": endpoint });
                (Method::POST, format!("{PATH}/{name}/drain"), Some(body))
            }
            Self::Undrain { name, endpoint } => {
                let body = json!({ "endpoint": endpoint });
                (Method::POST, format!("{PATH}/{name}/undrain"), Some(body))
            }
        };
        let response = gate.send(&AdminRequest {
            method,
            path: &path,
            body: body.as_ref(),
            idempotency_key: None,
        })?;
        if response.status != 200 {
            return Err(gate.refusal(&response).into());
        }
        let form = gate.printer.form;
        match self {
            Self::List => {
                let upstreams = &response.body["upstreams"];
                let upstreams = match form {
                    OutputForm::Table | OutputForm::Name => totals(upstreams),
                    OutputForm::Json => upstreams.clone(),
                };
                gate.printer
                    .items(COLUMNS, &json!({ "items": upstreams, "next": null }))?;
            }
            Self::Show { name } | Self::Drain { name, .. } | Self::Undrain { name, .. } => {
                gate.printer.show(&response.body, |upstream| match form {
                    OutputForm::Name => format!("{name}\n"),
                    OutputForm::Table | OutputForm::Json => page(upstream),
                })?;
            }
        }
        Ok(())
    }
}

/// Returns each upstream with sums over its endpoints, in place of these.
fn totals(upstreams: &Value) -> Value {
    let upstreams = upstreams.as_array().into_iter().flatten().map(|upstream| {
        let endpoints = || upstream["endpoints"].as_array().into_iter().flatten();
        let sum = |member: &str| {
            endpoints()
                .filter_map(|endpoint| endpoint[member].as_u64())
                .sum::<u64>()
        };
        let is_in_service =
            |endpoint: &&Value| matches!(endpoint["state"].as_str(), Some("serving" | "failing" | "returning"));
        let mut row = upstream.clone();
        for member in ["in_flight", "requests", "failures"] {
            row[member] = sum(member).into();
        }
        row["in_service"] = endpoints().filter(is_in_service).count().into();
        row["endpoints"] = endpoints().count().into();
        row
    });
    upstreams.collect()
}

/// Returns the page of one upstream.
fn page(upstream: &Value) -> String {
    let mut text = String::new();
    for name in ["name", "balance", "panic"] {
        render::push_line(&mut text, name, &cell(&upstream[name]));
    }
    let style = TableStyle {
        has_headings: true,
        width: None,
    };
    text.push('\n');
    text.push_str(&render::table(ENDPOINT_COLUMNS, &upstream["endpoints"], style).text);
    if upstream["names"].as_array().is_some_and(|names| !names.is_empty()) {
        text.push('\n');
        text.push_str(&render::table(NAME_COLUMNS, &upstream["names"], style).text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_the_sums_of_the_endpoints_and_the_page_each_of_them() {
        let upstream = json!({
            "name": "orders", "balance": "round_robin", "panic": false,
            "endpoints": [
                { "address": "10.0.0.5:8080", "state": "serving", "weight": 1, "in_flight": 2, "requests": 10, "failures": 0, "ejections": 0 },
                { "address": "10.0.0.6:8080", "state": "ejected", "weight": 1, "in_flight": 0, "requests": 3, "failures": 1, "ejections": 1, "last_failure": "closed" },
            ],
        });
        let row = &totals(&json!([upstream]))[0];
        let sums = ["endpoints", "in_service", "in_flight", "requests", "failures"]
            .map(|member| row[member].as_u64().unwrap());
        assert_eq!(sums, [2, 1, 2, 13, 1]);
        let page = page(&upstream);
        let line = page.lines().find(|line| line.contains("10.0.0.6:8080")).unwrap();
        assert!(line.contains("ejected") && line.contains("closed"), "{page}");
        assert!(!page.contains("PROBLEM"), "no names: {page}");
    }

    #[test]
    fn the_page_says_why_a_name_does_not_resolve() {
        let name = json!({ "name": "_orders._tcp.internal", "addresses": 0, "problem": "there is no such name" });
        let page = page(&json!({
            "name": "orders", "balance": "round_robin", "panic": false, "endpoints": [], "names": [name],
        }));
        let line = page
            .lines()
            .find(|line| line.contains("_orders._tcp.internal"))
            .unwrap();
        assert!(line.contains("there is no such name"), "{page}");
    }
}
