//! Where does a backup of the store go? Into a new file beside
//! the store; a request from this machine may name any path.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::model::names::Name;
use serde_json::json;
use std::path::Path;
use std::path::PathBuf;

/// The names of [`is_file_name`], as a regular expression without anchors, for the description of the admin API.
pub const FILE_NAME_PATTERN: &str = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}";

/// Returns whether `text` is a plain file name, which names no other folder and is not hidden.
pub fn is_file_name(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

impl Registry {
    /// Writes a copy of the whole store, and returns its path.
    ///
    /// `to` is the name of a file beside the store. A local actor may give any absolute path. A client over the network
    /// may not: it has no shell here, and must not write files wherever the gate can.
    ///
    /// # Errors
    /// The actor is not an operator; the name is not allowed; the file exists or cannot be written.
    pub async fn backup(&self, to: &str) -> Result<PathBuf, RegistryError> {
        self.actor.operators_only()?;
        let path = self.backup_path(to)?;
        if path.symlink_metadata().is_ok() {
            return Err(RegistryError::File("there is a file of this name already".to_owned()));
        }
        self.control.store.backup(&path).await?;
        // Write the event afterwards, so that the backup holds only earlier events. The backup is recorded because it
        // holds the digests of all credentials.
        self.write_event("store.backup", &path.display().to_string(), json!({}))
            .await?;
        Ok(path)
    }

    /// Records that an endpoint of `upstream` gets no more requests, or gets them again.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn record_drain(&self, upstream: &Name, endpoint: &str, is_drained: bool) -> Result<(), RegistryError> {
        let action = if is_drained {
            "upstream.drain"
        } else {
            "upstream.undrain"
        };
        self.write_event(action, upstream.as_str(), json!({ "endpoint": endpoint }))
            .await
    }

    /// Records that the backup `from` has taken the place of the store.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn record_restore(&self, from: &Path) -> Result<(), RegistryError> {
        let from = from.display().to_string();
        self.write_event("store.restore", &from, json!({})).await
    }

    fn backup_path(&self, to: &str) -> Result<PathBuf, RegistryError> {
        let path = Path::new(to);
        if self.actor.is_local() && path.is_absolute() {
            return Ok(path.to_owned());
        }
        if !is_file_name(to) {
            return Err(RegistryError::invalid(
                "/path",
                "a file name of letters, digits, `-`, `_` and `.`; it is made beside the store (the command line on the gate's machine can name any absolute path)",
            ));
        }
        let settings = self.control.settings.load();
        let folder = settings.store.path.parent().unwrap_or_else(|| Path::new("."));
        Ok(folder.join(to))
    }
}
