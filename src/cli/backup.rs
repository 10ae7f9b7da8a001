//! `keygate backup`: a copy of the store that can be put in its place.

use crate::cli::gate::GateArgs;
use crate::cli::gate::GateClient;
use clap::Args;
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    pub gate: GateArgs,
    /// Where the copy goes: a new file; with --admin, its name beside the store
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

pub const HELP: &str = "\
Example:
  keygate backup /var/backups/keygate-$(date +%F).db
The copy is whole and of one instant, also while the gate is busy. What was revoked since stays
revoked when it is put back, as long as the file `<store>.revocations` is kept. Signing keys are not
in it.";

/// Does what was asked.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(asked: &Backup, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
    // A gate has a folder of its own: on this machine the path means what it means here, elsewhere what it means there.
    let path = match gate.is_on_this_machine() {
        true => std::path::absolute(&asked.file)?,
        false => asked.file.clone(),
    };
    let path = path.to_str().ok_or("the path is not UTF-8")?;
    let made = gate.post("/admin/v1/backup", Some(&json!({ "path": path })))?;
    gate.done(&made, &format!("The store is copied to {path}"), "")
}
