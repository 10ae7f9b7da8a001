//! `keygate signing-keys`: what does the gate sign its tokens with?

use crate::cli::args::OutputForm;
use crate::cli::gate::Gate;
use crate::cli::gate::GateArgs;
use crate::cli::shown;
use crate::cli::shown::Column;
use clap::Args;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;
use std::error::Error;

const PATH: &str = "/admin/v1/signing-keys";
const COLUMNS: &[Column] = &[
    ("KID", "kid"),
    ("ALGORITHM", "algorithm"),
    ("STATE", "state"),
    ("CREATED", "created_at"),
    ("SIGNS FROM", "signs_from"),
    ("SIGNS UNTIL", "signs_until"),
    ("PUBLISHED UNTIL", "published_until"),
];

#[derive(Debug, Args)]
pub struct SigningKeys {
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(subcommand)]
    pub command: Asked,
}

#[derive(Debug, Subcommand)]
pub enum Asked {
    /// The keys: the next, the one that signs, and those whose last tokens are still out
    List,
    /// Begin a rotation: a new key is published now, and signs once everybody has had time to see it
    Rotate {
        /// Somebody has the private key: the new one signs at once, and every token that is out ends
        #[arg(long)]
        leaked: bool,
    },
}

/// Does what was asked.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(asked: &Asked, gate: &mut Gate<'_>) -> Result<(), Box<dyn Error>> {
    match asked {
        Asked::List => {
            let keys = gate.get(PATH)?;
            print(gate, &keys)
        }
        Asked::Rotate { leaked } => {
            let keys = gate.post(&format!("{PATH}/rotate"), Some(&json!({ "leaked": leaked })))?;
            match leaked {
                true => gate.tell("A new key signs; tokens that the ones before it signed are ended")?,
                false => gate.tell("A rotation has begun")?,
            }
            print(gate, &keys)
        }
    }
}

fn print(gate: &mut Gate<'_>, keys: &Value) -> Result<(), Box<dyn Error>> {
    let text = match (gate.output, keys["items"].as_array()) {
        (OutputForm::Json, _) => shown::json(keys),
        (OutputForm::Table, Some(items)) => shown::table(COLUMNS, items),
        (OutputForm::Table, None) => shown::page(keys, &["kid", "algorithm", "state"]),
    };
    gate.show(&text)
}
