//! `keygate audit`: who changed what, when, from where, and is the record whole?

use crate::cli::gate::GateArgs;
use crate::cli::gate::GateClient;
use crate::cli::gate::ListArgs;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::model::names::Name;
use clap::Args;
use clap::Subcommand;
use serde_json::Value;
use std::error::Error;

const PATH: &str = "/admin/v1/audit";
const COLUMNS: &[Column] = &[
    ("EVENT", "sequence"),
    ("AT", "at"),
    ("ACTOR", "actor"),
    ("FROM", "from"),
    ("ACTION", "action"),
    ("TARGET", "target"),
    ("ORGANIZATION", "organization"),
    ("DETAILS", "details"),
];

#[derive(Debug, Args)]
pub struct Audit {
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Changes, the newest first
    List {
        /// Of what belongs to this organization
        #[arg(long, value_name = "ID")]
        organization: Option<Name>,
        /// By whom: a client's id, `admin.token`, `local`, `gate`
        #[arg(long, value_name = "WHO")]
        actor: Option<String>,
        /// What, such as `client.create`
        #[arg(long, value_name = "WHAT")]
        action: Option<String>,
        /// The id of what was changed
        #[arg(long, value_name = "ID")]
        target: Option<String>,
        /// From then on, such as 2026-11-22T08:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Before then
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Read the whole record: exits with 1 when an event was changed or removed
    Verify,
}

/// Does what was asked.
///
/// # Errors
/// No answer, a refusal, or a record that is not whole.
pub fn run(asked: &AuditCommand, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
    match asked {
        AuditCommand::List {
            organization,
            actor,
            action,
            target,
            since,
            until,
            list,
        } => {
            let filters = [
                ("organization", organization.as_ref().map(ToString::to_string)),
                ("actor", actor.clone()),
                ("action", action.clone()),
                ("target", target.clone()),
                ("since", since.clone()),
                ("until", until.clone()),
            ];
            gate.list(PATH, &filters, list, COLUMNS)
        }
        AuditCommand::Verify => {
            let chain = gate.get(&format!("{PATH}/verify"))?;
            gate.thing(&chain, &["state", "events", "head"])?;
            match whole(&chain) {
                true => Ok(()),
                false => Err(format!(
                    "the record is not whole, from event {} on: {}",
                    cell(&chain["sequence"]),
                    cell(&chain["problem"])
                )
                .into()),
            }
        }
    }
}

fn whole(chain: &Value) -> bool {
    chain["state"] == "whole"
}
