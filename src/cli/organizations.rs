//! `keygate orgs`: who holds subscriptions?

use crate::cli::gate::GateArgs;
use crate::cli::gate::GateClient;
use crate::cli::gate::ListArgs;
use crate::cli::gate::OnceArgs;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::model::names::Name;
use clap::Args;
use clap::Subcommand;
use serde_json::json;
use std::error::Error;

const PATH: &str = "/admin/v1/organizations";
const COLUMNS: &[Column] = &[("ID", "id"), ("NAME", "name"), ("CREATED", "created_at")];

#[derive(Debug, Args)]
pub struct Organizations {
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(subcommand)]
    pub command: OrganizationCommand,
}

#[derive(Debug, Subcommand)]
pub enum OrganizationCommand {
    /// Every organization
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// One organization
    Show { id: Name },
    /// Make an organization; its id goes to stdout
    Create {
        /// Stands in /t/ID/oauth/token and in the tokens: a lower-case letter or digit, then also `-`, `_` and `.`
        id: Name,
        /// For people
        #[arg(long)]
        name: String,
        #[command(flatten)]
        once: OnceArgs,
    },
}

/// Does what was asked.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(asked: &OrganizationCommand, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
    match asked {
        OrganizationCommand::List { list } => gate.list(PATH, &[], list, COLUMNS),
        OrganizationCommand::Show { id } => {
            let organization = gate.get(&format!("{PATH}/{id}"))?;
            gate.thing(&organization, &["id", "name"])
        }
        OrganizationCommand::Create { id, name, once } => {
            let made = gate.create(PATH, &json!({ "id": id.as_str(), "name": name }), once)?;
            let id = cell(&made["id"]);
            gate.done(&made, &format!("Organization {id} is made"), &format!("{id}\n"))
        }
    }
}
