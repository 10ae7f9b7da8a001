//! The development set-up: a folder with a configuration, a token issuer of its own and a keys file, made at first start.

use crate::jose::sign::SigningKey;
use crate::model::algorithm::Algorithm;
use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

/// Issuer and audience of development tokens; `conf/embedded.yaml` trusts these and nothing else does.
pub const DEV_ISSUER: &str = "https://keygate.localhost";
pub const DEV_AUDIENCE: &str = "https://api.keygate.localhost";

const CONFIG: &str = include_str!("../../conf/embedded.yaml");
const EMPTY_KEYS: &str = "\
# API keys of the development set-up: digests only. Made by `keygate keys create`; changes are live.
keys: []
";

/// Why there is no data folder.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    #[error("no home: neither HOME nor XDG_STATE_HOME is set; name a folder with --data-dir")]
    NoHome,
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("no development set-up in {0}: `keygate run` makes it at its first start")]
    NotThere(PathBuf),
    #[error("the development issuer's key in {path} cannot be used: {problem}; remove it and start again")]
    Key { path: PathBuf, problem: String },
}

/// A data folder and the files in it.
#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// The folder that was named, or `keygate` in the user's state folder (XDG Base Directory specification).
    pub fn locate(named: Option<&Path>) -> Result<Self, DataFolderError> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let folder = match named {
            Some(folder) => folder.to_owned(),
            None => set("XDG_STATE_HOME")
                .or_else(|| set("HOME").map(|home| home.join(".local/state")))
                .ok_or(DataFolderError::NoHome)?
                .join("keygate"),
        };
        Ok(Self(folder))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn config(&self) -> PathBuf {
        self.0.join("keygate.yaml")
    }

    fn private_key(&self) -> PathBuf {
        self.0.join("dev-issuer.private.pem")
    }

    fn public_key(&self) -> PathBuf {
        self.0.join("dev-issuer.public.pem")
    }

    /// Makes what is missing; never touches what is there, because it may have been edited.
    ///
    /// # Errors
    /// A file that cannot be written, or an issuer key that cannot be read.
    pub fn prepare(&self) -> Result<(), DataFolderError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|source| DataFolderError::Write {
            path: self.0.clone(),
            source,
        })?;
        if !self.private_key().exists() {
            let key = SigningKey::generate_es256().map_err(|error| self.key_error(&error))?;
            let pem = key.to_pkcs8_pem().map_err(|error| self.key_error(&error))?;
            create(&self.private_key(), pem.expose(), 0o600)?;
        }
        if !self.public_key().exists() {
            create(&self.public_key(), &self.signing_key()?.public_pem(), 0o644)?;
        }
        if !self.0.join("keys.yaml").exists() {
            create(&self.0.join("keys.yaml"), EMPTY_KEYS, 0o600)?;
        }
        if !self.config().exists() {
            create(&self.config(), CONFIG, 0o600)?;
        }
        Ok(())
    }

    /// The development issuer's key.
    ///
    /// # Errors
    /// No set-up in this folder yet, or a file that is not the key.
    pub fn signing_key(&self) -> Result<SigningKey, DataFolderError> {
        let path = self.private_key();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DataFolderError::NotThere(self.0.clone()));
            }
            Err(source) => return Err(DataFolderError::Read { path, source }),
        };
        SigningKey::from_pkcs8_pem(Algorithm::Es256, &text).map_err(|error| self.key_error(&error))
    }

    fn key_error(&self, error: &dyn std::fmt::Display) -> DataFolderError {
        DataFolderError::Key {
            path: self.private_key(),
            problem: error.to_string(),
        }
    }
}

/// Writes a new file, whole or not at all, readable from its first moment only by whom `mode` says.
fn create(path: &Path, content: &str, mode: u32) -> Result<(), DataFolderError> {
    let failed = |source| DataFolderError::Write {
        path: path.to_owned(),
        source,
    };
    let staged = path.with_extension("new");
    let _ = std::fs::remove_file(&staged);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&staged)
        .map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&staged, path).map_err(failed)
}
