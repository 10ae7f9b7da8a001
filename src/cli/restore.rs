//! `keygate restore`: how does a backup take the place of the store?

use crate::cli::gate::find::LoadedConfig;
use crate::cli::place::ConfigLocation;
use crate::runtime::restore;
use crate::runtime::restore::RestoredStore;
use crate::store::sqlite::restore::ExistingDatabase;
use clap::Args;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    pub place: ConfigLocation,
    /// A copy that `keygate backup` made; it stays as it is
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Move a database that stands there aside; without this it stays, and nothing is restored
    #[arg(long)]
    pub replace: bool,
}

pub const HELP: &str = "\
Example:
  systemctl stop keygate && keygate restore --replace /var/backups/keygate-2026-11-22.db
The gate must be stopped. What was revoked or cancelled since the copy was made, and clients that
were deleted, stay so, as long as the file `<store>.revocations` is kept. What was made since is
gone; what was only disabled or changed since is as in the copy. The configuration, its pepper and
the signing keys must be those of the copy.";

/// Puts the backup in the place of the store that the configuration names.
///
/// # Errors
/// If the configuration cannot be read or has no store, if a gate runs on it, or if the backup cannot be restored.
pub fn run(args: &Restore, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    // The audit log tells which file it was.
    let file = std::path::absolute(&args.file)?;
    let loaded = LoadedConfig::load(&args.place)?;
    let config = loaded.of_store()?;
    let existing = if args.replace {
        ExistingDatabase::MoveAside
    } else {
        ExistingDatabase::Keep
    };
    let RestoredStore { replaced, report } = restore::restore_store(config, &file, existing)?;
    if let Some(replaced) = replaced {
        writeln!(err, "The database that stood there is now {}", replaced.display())?;
    }
    writeln!(err, "{} is in the place of the store", file.display())?;
    if report.records > 0 {
        let count = report.records;
        writeln!(err, "Revoked since the copy was made, and now again: {count}")?;
    }
    if report.events_missing > 0 {
        let count = report.events_missing;
        writeln!(err, "Audit events that were written since, and are not in it: {count}")?;
    }
    Ok(())
}
