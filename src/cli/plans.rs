//! `keygate plans`: what may subscriptions be made under?

use crate::cli::args::OutputForm;
use crate::cli::gate::GateArgs;
use crate::cli::gate::GateClient;
use crate::cli::render;
use crate::cli::render::Column;
use clap::Args;
use clap::Subcommand;
use std::error::Error;

const COLUMNS: &[Column] = &[
    ("NAME", "name"),
    ("CREDENTIALS", "credentials"),
    ("SCOPES", "scopes"),
    ("LIMITS", "limits"),
    ("PAYMENT", "payment"),
    ("RELEASED", "released"),
    ("APPROVAL", "approval"),
    ("KEYS", "keys_max"),
];

#[derive(Debug, Args)]
pub struct Plans {
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(subcommand)]
    pub command: PlanCommand,
}

#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Every plan of the configuration, and those that are built in
    List,
}

/// Does what was asked.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(asked: &PlanCommand, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
    let PlanCommand::List = asked;
    let plans = gate.get("/admin/v1/plans")?;
    let items = plans["items"].as_array().map_or(&[][..], Vec::as_slice);
    let text = match gate.output {
        OutputForm::Json => render::json(&plans),
        OutputForm::Table => render::table(COLUMNS, items),
    };
    gate.show(&text)
}
