//! How does the operator learn the secret of the first administrator? On a terminal it is shown. Elsewhere stderr is
//! usually a log, which is kept and which others read, so it goes into a file beside the store.

use crate::config::Config;
use crate::config::StoreSettings;
use crate::control::Control;
use crate::control::registry::FirstAdministrator;
use crate::control::registry::Random;
use crate::control::registry::prepare::is_prepared;
use crate::control::registry::prepare::prepare;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::replacement;
use crate::store::StoreError;
use std::io;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Why a new store cannot get its first administrator.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdministratorError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("its secret cannot be written to {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// The place for the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    Terminal,
    File,
}

impl SecretPlace {
    /// Returns the place for a process with this stderr.
    pub fn of_stderr() -> Self {
        if io::stderr().is_terminal() {
            Self::Terminal
        } else {
            Self::File
        }
    }
}

/// The message to the operator about the first administrator.
#[derive(Debug)]
pub enum AdministratorNotice {
    /// The credentials, to be shown now: the store has only a digest of the secret.
    Credentials(FirstAdministrator),
    /// The file with the credentials.
    File { client_id: ClientId, path: PathBuf },
}

/// The path of the file is the path of the database with this suffix.
const FILE_SUFFIX: &str = ".first-administrator";

/// Fills a new store, and returns the notice of its first administrator. Returns `None` if the store is not new, or if
/// `admin.token` of `config` lets an administrator in: then no such client is made.
///
/// # Errors
/// Those of the store, or the file cannot be written.
pub async fn introduce(
    control: &Control,
    config: &Config,
    place: SecretPlace,
    now: Timestamp,
    random: Random,
) -> Result<Option<AdministratorNotice>, FirstAdministratorError> {
    if is_prepared(control).await? {
        return Ok(None);
    }
    let has_token = config.admin.as_ref().is_some_and(|admin| admin.token.is_some());
    let administrator = (!has_token).then(|| FirstAdministrator::generate(random));
    // The file first: a secret that could not be written down would be lost with the store already filled.
    let path = match (place, administrator.as_ref().zip(config.store.as_ref())) {
        (SecretPlace::File, Some((administrator, store))) => Some(write(administrator, store)?),
        (SecretPlace::File, None) | (SecretPlace::Terminal, _) => None,
    };
    // After an error the file stays: it opens nothing, and the next attempt replaces it.
    prepare(control, administrator.as_ref(), now).await?;
    Ok(administrator.map(|administrator| match path {
        Some(path) => AdministratorNotice::File {
            client_id: administrator.client_id,
            path,
        },
        None => AdministratorNotice::Credentials(administrator),
    }))
}

fn write(administrator: &FirstAdministrator, store: &StoreSettings) -> Result<PathBuf, FirstAdministratorError> {
    let path = store.beside(FILE_SUFFIX);
    let content = administrator.text();
    let written = replacement::replace(&path, content.expose().as_bytes(), 0o600);
    // The absolute path, for a log that is read elsewhere.
    let absolute = written.and_then(|()| path.canonicalize());
    absolute.map_err(|source| FirstAdministratorError::File { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::system_random;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_its_owners_alone_and_replaces_one_of_an_earlier_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreSettings {
            path: folder.path().join("keygate.db"),
        };
        let old = store.beside(FILE_SUFFIX);
        std::fs::write(&old, "open to all").unwrap();
        let administrator = FirstAdministrator::generate(system_random);
        let path = write(&administrator, &store).unwrap();
        assert_eq!(path.file_name(), old.file_name());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        let secret = administrator.client_secret.expose();
        assert_eq!(
            text,
            format!("client_id={}\nclient_secret={secret}\n", administrator.client_id)
        );
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
    }
}
