//! `keygate signing-keys`: what does the gate sign its tokens with?

use crate::cli::args::OutputForm;
use crate::cli::gate::GateArgs;
use crate::cli::gate::GateClient;
use crate::cli::render;
use crate::cli::render::Column;
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
    pub command: SigningKeyCommand,
}

#[derive(Debug, Subcommand)]
pub enum SigningKeyCommand {
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
pub fn run(asked: &SigningKeyCommand, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
    match asked {
        SigningKeyCommand::List => {
            let keys = gate.get(PATH)?;
            print(gate, &keys)
        }
        SigningKeyCommand::Rotate { leaked } => {
            let keys = gate.post(&format!("{PATH}/rotate"), Some(&json!({ "leaked": leaked })))?;
            match leaked {
                true => gate.tell("A new key signs; tokens that the ones before it signed are ended")?,
                false => gate.tell("A rotation has begun")?,
            }
            print(gate, &keys)
        }
    }
}

fn print(gate: &mut GateClient<'_>, keys: &Value) -> Result<(), Box<dyn Error>> {
    let text = match (gate.output, keys["items"].as_array()) {
        (OutputForm::Json, _) => render::json(keys),
        (OutputForm::Table, Some(items)) => render::table(COLUMNS, items),
        (OutputForm::Table, None) => render::page(keys, &["kid", "algorithm", "state"]),
    };
    gate.show(&text)
}
