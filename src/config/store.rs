//! Where does Keygate store organizations, subscriptions, clients, API keys and the audit log?

use crate::config::check::Checker;
use crate::config::check::ReferencedFiles;
use crate::config::error::MISSING_FOLDER;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::tree::printable;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

/// `store:` at the top of the file. Without a store there is no token endpoint, and keys come from `api_keys.file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The SQLite database, created at the first start. Its folder also holds the
    /// signing keys, the log of revocations and the socket of the command line.
    pub path: PathBuf,
}

impl StoreSettings {
    /// Returns the path of a file beside the database: the database's path with `name` at its end.
    pub fn beside(&self, name: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(name);
        path.into()
    }
}

/// Where Keygate keeps the credentials that it issues: organizations, subscriptions, clients, API keys, and who changed
/// what. Without it, API keys come from `api_keys.file` alone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Store")]
pub(in crate::config) struct Section {
    /// The SQLite database, such as `keygate.db`; made at the first start, in a folder that is there. Files with its name
    /// in front lie beside it: signing keys, the log of revocations, the socket of the command line, and after the first
    /// start the secret of the first administrator where no terminal showed it. Takes effect at start. Required.
    #[schemars(required)]
    path: Option<Text<PathBuf>>,
}

/// Converts the section. Opens and creates nothing.
pub(in crate::config) fn convert(
    TypedNode { value: section, at }: TypedNode<Section>,
    checker: &mut Checker<'_>,
) -> Option<StoreSettings> {
    let path = checker.need(at, "path", section.path, "such as `path: keygate.db`")?;
    let resolved = checker.resolve(path.at, path.get());
    if resolved.is_dir() {
        let problem = checker.with_value(path.at, "this is a folder, and the store is a file");
        checker.error_with(path.at, "not-a-file", problem, "such as `keygate.db` in it");
    }
    if checker.files != ReferencedFiles::MayBeMissing
        && let Some(folder) = resolved.parent().filter(|folder| !folder.as_os_str().is_empty())
        && !folder.is_dir()
    {
        let shown = printable(&folder.to_string_lossy());
        let problem = checker.with_value(path.at, &format!("there is no folder `{shown}`"));
        // A folder that is made would hide that a volume is not mounted, and the gate would start without its credentials.
        let hint = "make it, or mount it; Keygate makes the database, and never the folder";
        checker.error_with(path.at, MISSING_FOLDER, problem, hint);
    }
    Some(StoreSettings { path: resolved })
}
