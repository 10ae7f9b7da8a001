//! `keygate plans`: which plans may subscriptions use?

use crate::cli::gate::GateClient;
use crate::cli::noun::GateCommand;
use crate::cli::render::Column;
use crate::model::names::Name;
use clap::Subcommand;
use http::Method;
use serde_json::Value;
use std::error::Error;

const PATH: &str = "plans";
const COLUMNS: &[Column<'_>] = &[
    ("NAME", "name"),
    ("CREDENTIALS", "credentials"),
    ("SCOPES", "scopes"),
    ("LIMITS", "limits"),
    ("PAYMENT", "payment"),
    ("RELEASED", "released"),
    ("APPROVAL", "approval"),
    ("KEYS", "keys_max"),
];

#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// List the plans of the configuration, and those that are built in
    #[command(visible_alias = "ls")]
    List,
    /// Show a plan
    Show {
        /// Its name in the configuration
        #[arg(value_name = "PLAN")]
        name: Name,
    },
}

impl GateCommand for PlanCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List => gate.list_all(PATH, COLUMNS),
            Self::Show { name } => {
                let plans = gate.call(Method::GET, PATH, Value::Null)?;
                let mut plans = plans["items"].as_array().into_iter().flatten();
                let plan = plans.find(|plan| plan["name"] == *name.as_str());
                let plan =
                    plan.ok_or_else(|| format!("no plan has the name `{name}`; `keygate plans list` has them"))?;
                gate.printer.page(plan, &["name", "credentials", "scopes", "limits"])
            }
        }
    }
}
