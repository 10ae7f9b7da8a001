//! `keygate signing-keys`: which keys sign the gate's tokens?

use crate::cli::confirm::ConfirmArgs;
use crate::cli::gate::GateClient;
use crate::cli::noun::GateCommand;
use crate::cli::render;
use crate::cli::render::Column;
use clap::Subcommand;
use http::Method;
use serde_json::json;
use std::error::Error;

const PATH: &str = "signing-keys";
const COLUMNS: &[Column<'_>] = &[
    ("KID", "kid"),
    ("ALGORITHM", "algorithm"),
    ("STATE", "state"),
    ("CREATED", "created_at"),
    ("SIGNS FROM", "signs_from"),
    ("SIGNS UNTIL", "signs_until"),
    ("PUBLISHED UNTIL", "published_until"),
];

#[derive(Debug, Subcommand)]
pub enum SigningKeyCommand {
    /// List the keys: the next one, the one that signs, and those whose tokens are still valid
    #[command(visible_alias = "ls")]
    List,
    /// Begin a rotation: publish a new key now, which signs once verifiers have had time to fetch it
    Rotate {
        /// The private key leaked: the new one signs at once, and every token of the old ones is revoked
        #[arg(long)]
        leaked: bool,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

impl GateCommand for SigningKeyCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List => gate.list_all(PATH, COLUMNS),
            Self::Rotate { leaked, confirm } => {
                if *leaked {
                    let consequence = "Every token that this gate has signed will be refused from now on";
                    confirm.confirm(&mut gate.printer, consequence)?;
                }
                let next = gate.call(Method::POST, &format!("{PATH}/rotate"), json!({ "leaked": leaked }))?;
                gate.printer.note(if *leaked {
                    "A new key signs; tokens that the ones before it signed are ended"
                } else {
                    "A rotation has begun"
                })?;
                gate.printer
                    .show(&next, |key| render::page(key, &["kid", "algorithm", "state"]))
            }
        }
    }
}
