//! `keygate plans`: which plans may subscriptions use?

use crate::cli::gate::GateClient;
use crate::cli::noun::GateCommand;
use crate::cli::render::Column;
use clap::Subcommand;
use std::error::Error;

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
}

impl GateCommand for PlanCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List => gate.list_all("plans", COLUMNS),
        }
    }
}
