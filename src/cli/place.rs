//! Which configuration file does a command read?

use crate::cli::data_folder::DataFolder;
use crate::cli::data_folder::DataFolderError;
use clap::Args;
use std::path::PathBuf;

/// Where a configuration is.
#[derive(Clone, Debug, Args)]
pub struct ConfigLocation {
    /// The configuration [default: keygate.yaml in the data folder]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Folder of the development set-up [default: keygate in the user's state folder, ~/.local/state]
    #[arg(
        long,
        value_name = "FOLDER",
        conflicts_with = "config",
        global = true,
        hide_short_help = true
    )]
    pub data_dir: Option<PathBuf>,
}

impl ConfigLocation {
    /// Returns the path given with `--config`, or the path of the configuration in the data folder.
    ///
    /// # Errors
    /// If `--config` is missing and there is no data folder with a configuration.
    pub fn config_path(&self) -> Result<PathBuf, DataFolderError> {
        match &self.config {
            Some(path) => Ok(path.clone()),
            None => DataFolder::locate(self.data_dir.as_deref())?.existing_config(),
        }
    }
}
