//! Where the records are that Keygate keeps: organizations, subscriptions, clients, API keys, audit.

use std::path::PathBuf;

/// `store:` at the top of the file. Without it there is no token endpoint and keys come from `api_keys.file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The SQLite database; made at the first start. Its folder also holds the signing keys, the log of revocations and
    /// the socket of the command line.
    pub path: PathBuf,
}

impl StoreSettings {
    /// Beside the database.
    pub fn beside(&self, name: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(name);
        path.into()
    }
}
