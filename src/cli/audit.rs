//! `keygate audit`: how are the audit log's events listed, and its integrity verified?

use crate::cli::gate::GateClient;
use crate::cli::gate::args::ListArgs;
use crate::cli::member;
use crate::cli::noun::GateCommand;
use crate::cli::reference::Reference;
use crate::cli::render;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::model::names::Name;
use clap::Subcommand;
use http::Method;
use serde_json::Value;
use serde_json::json;
use std::error::Error;

const PATH: &str = "audit";
const COLUMNS: &[Column<'_>] = &[
    ("EVENT", "sequence"),
    ("AT", "at"),
    ("ACTOR", "actor"),
    ("FROM", "from"),
    ("ACTION", "action"),
    ("TARGET", "target"),
    ("ORGANIZATION", "organization"),
    ("DETAILS", "details"),
];

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List changes, the newest first
    #[command(visible_alias = "ls")]
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
        /// The id of what was changed, or the text of an API key; `-` reads it from stdin
        #[arg(long, value_name = "ID")]
        target: Option<Reference>,
        /// From then on, such as 2026-11-22T08:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Before then
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Read the whole log; the exit code is 1 when an event was changed or removed
    Verify,
}

impl GateCommand for AuditCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List {
                organization,
                actor,
                action,
                target,
                since,
                until,
                list,
            } => {
                let filters = json!({
                    "organization": member::text(organization),
                    "actor": actor,
                    "action": action,
                    "target": target.as_ref().map(Reference::target).transpose()?,
                    "since": since,
                    "until": until,
                });
                gate.list(PATH, filters, list, COLUMNS)
            }
            Self::Verify => {
                let chain = gate.call(Method::GET, &format!("{PATH}/verify"), Value::Null)?;
                gate.printer
                    .show(&chain, |chain| render::page(chain, &["state", "events", "head"]))?;
                if chain["state"] == "whole" {
                    return Ok(());
                }
                let (sequence, problem) = (cell(&chain["sequence"]), cell(&chain["problem"]));
                Err(format!("the record is not whole, from event {sequence} on: {problem}").into())
            }
        }
    }
}
