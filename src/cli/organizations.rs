//! `keygate orgs`: which organizations hold subscriptions?

use crate::cli::gate::GateClient;
use crate::cli::gate::args::ItemFilter;
use crate::cli::gate::args::ListArgs;
use crate::cli::gate::args::OnceArgs;
use crate::cli::noun::GateCommand;
use crate::cli::reference::OrganizationArg;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::model::names::Name;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;
use std::error::Error;

const PATH: &str = "organizations";
const COLUMNS: &[Column<'_>] = &[("ID", "id"), ("NAME", "name"), ("CREATED", "created_at")];

#[derive(Debug, Subcommand)]
pub enum OrganizationCommand {
    /// List organizations
    #[command(visible_alias = "ls")]
    List {
        /// Those with this name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show an organization
    Show(OrganizationArg),
    /// Create an organization and print its id
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

impl GateCommand for OrganizationCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List { name, list } => {
                let filter = ItemFilter {
                    name: name.clone(),
                    state: None,
                };
                gate.list(PATH, Value::Null, &filter, list, COLUMNS)
            }
            Self::Show(organization) => {
                let path = format!("{PATH}/{}", organization.find(gate)?.id);
                gate.show_one(&path, &["id", "name"])
            }
            Self::Create { id, name, once } => {
                let made = gate.create(PATH, json!({ "id": id.as_str(), "name": name }), once)?;
                let id = cell(&made["id"]);
                gate.report(&made, &format!("Organization {id} is made"), &format!("{id}\n"))
            }
        }
    }
}
