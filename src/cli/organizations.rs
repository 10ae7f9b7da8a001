//! `keygate orgs`: which organizations hold subscriptions, and under which names?

use crate::cli::confirm::ConfirmArgs;
use crate::cli::gate::GateClient;
use crate::cli::gate::args::ItemFilter;
use crate::cli::gate::args::ListArgs;
use crate::cli::gate::args::OnceArgs;
use crate::cli::noun::GateCommand;
use crate::cli::reference::OrganizationArg;
use crate::cli::reference::ResolvedId;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::model::names::Name;
use crate::store::record::OrganizationState;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::Value;
use serde_json::json;
use std::error::Error;

const PATH: &str = "organizations";
const COLUMNS: &[Column<'_>] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("CREATED", "created_at"),
];

#[derive(Debug, Subcommand)]
pub enum OrganizationCommand {
    /// List organizations
    #[command(visible_alias = "ls")]
    List {
        /// Those with this name
        #[arg(long)]
        name: Option<String>,
        /// Those in this state
        #[arg(long, value_parser = PossibleValuesParser::new(OrganizationState::ALL.map(OrganizationState::as_str)))]
        state: Option<String>,
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
    /// Give an organization another name; its id stays
    Update {
        #[command(flatten)]
        organization: OrganizationArg,
        /// For people
        #[arg(long)]
        name: String,
    },
    /// Delete an organization for good, once its subscriptions are cancelled; no other can have its id
    Delete {
        #[command(flatten)]
        organization: OrganizationArg,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

impl GateCommand for OrganizationCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List { name, state, list } => {
                let filter = ItemFilter {
                    name: name.clone(),
                    state: state.clone(),
                };
                gate.list(PATH, Value::Null, &filter, list, COLUMNS)
            }
            Self::Show(organization) => {
                let path = format!("{PATH}/{}", organization.find(gate)?.id);
                gate.show_one(&path, &["id", "name", "state"])
            }
            Self::Create { id, name, once } => {
                let made = gate.create(PATH, json!({ "id": id.as_str(), "name": name }), once)?;
                let id = cell(&made["id"]);
                gate.report(&made, &format!("Organization {id} is made"), &format!("{id}\n"))
            }
            Self::Update { organization, name } => {
                let id = organization.find(gate)?.id;
                let changed = gate.call(Method::PATCH, &format!("{PATH}/{id}"), json!({ "name": name }))?;
                gate.report(&changed, &format!("Organization {id} is changed"), "")
            }
            Self::Delete { organization, confirm } => {
                let ResolvedId { id, label } = organization.find(gate)?;
                let consequence =
                    format!("Organization {label} will get no subscription any more, and its id stays taken");
                confirm.confirm(&mut gate.printer, &consequence)?;
                let deleted = gate.call(Method::DELETE, &format!("{PATH}/{id}"), Value::Null)?;
                gate.report(&deleted, &format!("Organization {id} is deleted"), "")
            }
        }
    }
}
