//! `keygate backup`: how is the store copied while the gate runs?

use crate::cli::gate::GateClient;
use crate::cli::gate::args::GateArgs;
use clap::Args;
use http::Method;
use serde_json::json;
use std::error::Error;
use std::io::Write;
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
The copy is whole and of one instant, also while the gate is busy. `keygate restore` puts it back;
what was revoked since stays revoked, as long as the file `<store>.revocations` is kept. Signing keys
are not in it.";

/// Copies the store: asks the gate that runs on the store, or opens the store of a stopped gate.
///
/// # Errors
/// Those of [`GateClient::open`], if the gate does not respond or refuses, or if the path is not UTF-8.
pub fn run(backup: &Backup, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let mut gate = GateClient::open(&backup.gate, out, err)?;
    // Resolve a relative path here: the gate accepts only absolute paths, and names of files beside the store.
    let path = if gate.is_local() {
        std::path::absolute(&backup.file)?
    } else {
        backup.file.clone()
    };
    let path = path.to_str().ok_or("the path is not UTF-8")?;
    let changed = gate.call(Method::POST, "backup", json!({ "path": path }))?;
    gate.report(&changed, &format!("The store is copied to {path}"), "")
}
