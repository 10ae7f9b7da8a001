//! `keygate plans`: what may subscriptions be made under?

use crate::cli::args::OutputForm;
use crate::cli::gate::Gate;
use crate::cli::gate::GateArgs;
use crate::cli::shown;
use crate::cli::shown::Column;
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
    pub command: Asked,
}

#[derive(Debug, Subcommand)]
pub enum Asked {
    /// Every plan of the configuration, and those that are built in
    List,
}

/// Does what was asked.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(asked: &Asked, gate: &mut Gate<'_>) -> Result<(), Box<dyn Error>> {
    let Asked::List = asked;
    let plans = gate.get("/admin/v1/plans")?;
    let items = plans["items"].as_array().map_or(&[][..], Vec::as_slice);
    let text = match gate.output {
        OutputForm::Json => shown::json(&plans),
        OutputForm::Table => shown::table(COLUMNS, items),
    };
    gate.show(&text)
}
