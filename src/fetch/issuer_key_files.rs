//! Which keys of issuers, and of clients with a JWKS URL, survive a restart? A file holds the last usable
//! set. The set expires by `max_stale`, as it would have without the restart.

use crate::config::issuer::Issuer;
use crate::config::issuer::JwksLocation;
use crate::config::issuer::KeySource;
use crate::config::issuer::RemoteKeys;
use crate::gate::authenticate::jwks_cache::KeySet;
use crate::jose::jwks::Jwks;
use crate::jose::jwks::JwksError;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use crate::model::clock::Timestamp;
use crate::model::hex;
use crate::model::id::ClientId;
use crate::model::replacement::Replacement;
use crate::model::replacement::remove_if_there;
use crate::observe::metrics::StateMetrics;
use aws_lc_rs::digest;
use serde::Deserialize;
use serde::Serialize;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The size limit of a file. Escaping a set as a JSON string at most doubles it.
const FILE_BYTES_MAX: u64 = 2 * Jwks::BYTES_MAX as u64 + 64 * 1024;
/// How many times per `max_stale` the new confirmation time of an unchanged set is written (hourly by default). After a
/// restart, a set therefore seems up to that interval older than it is, and never younger.
const WRITES_PER_MAX_STALE: u32 = 24;
const VERSION: u32 = 1;

/// The owners of the key sets in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOwners {
    /// Issuers of tokens.
    Issuers,
    /// Clients, which are the issuers of their assertions.
    Clients,
}

impl KeyOwners {
    const fn folder(self) -> &'static str {
        match self {
            Self::Issuers => "issuers",
            Self::Clients => "clients",
        }
    }
}

/// A folder in `state_dir` that only Keygate may write: a writer could decide which tokens are valid.
#[derive(Debug)]
pub struct IssuerKeyFiles {
    owners: KeyOwners,
    folder: PathBuf,
    /// The user id that must own the files.
    owner: u32,
}

/// The reason why a folder or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuerKeyFileError {
    #[error("{} cannot be used", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a regular file of ours that nobody else may touch (mode 0600)", path.display())]
    NotOurs { path: PathBuf },
    #[error("{} is longer than {FILE_BYTES_MAX} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{} was not written by this version, or not to its end", path.display())]
    Format {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} has the version {found}, and this program reads {VERSION}", path.display())]
    Version { path: PathBuf, found: u32 },
    #[error("{} is damaged: its set is not the one that was written", path.display())]
    Damaged { path: PathBuf },
    #[error("{} is about another source: the issuer's configuration has changed", path.display())]
    OtherSource { path: PathBuf },
    #[error("{} was confirmed in the future, by the clock of this machine", path.display())]
    Future { path: PathBuf },
    #[error("{} was confirmed {} s ago, longer than `max_stale`", path.display(), age.as_secs())]
    TooOld { path: PathBuf, age: Duration },
    #[error("{} holds no usable key set", path.display())]
    Keys {
        path: PathBuf,
        #[source]
        source: JwksError,
    },
}

/// A saved set that is usable, the time of its last confirmation, and the age of that confirmation.
#[derive(Debug)]
pub struct IssuerKeyFile {
    pub text: Vec<u8>,
    pub jwks: Jwks,
    pub confirmed: Timestamp,
    pub age: Duration,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// The configuration that the set was fetched with; see [`source_of`].
    source: String,
    /// The time of the last confirmation, by the wall clock: a monotonic clock ends with its process.
    confirmed_unix_millis: u64,
    /// SHA-256 of the time and the set, in hexadecimal, to detect a disk error in either.
    sha256: String,
    /// The document as the issuer published it.
    set: String,
}

impl IssuerKeyFiles {
    /// Opens the folder of `owners` in `state_dir`; creates both where missing, private to this user.
    ///
    /// # Errors
    /// If the folder cannot be created, made private, or written to.
    pub fn open(state_dir: &Path, owners: KeyOwners) -> Result<Self, IssuerKeyFileError> {
        let folder = state_dir.join(owners.folder());
        let failed = |source| IssuerKeyFileError::Folder {
            path: folder.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(failed)?;
        // An existing folder may have wider permissions.
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).map_err(failed)?;
        // Creating a file shows this process's user id, and that the folder is writable, before a set has to be saved.
        let probe = folder.join(format!(".probe.{}", std::process::id()));
        remove_if_there(&probe).map_err(failed)?;
        let file = File::create_new(&probe).map_err(failed)?;
        let owner = file.metadata().map_err(failed)?.uid();
        std::fs::remove_file(&probe).map_err(failed)?;
        Ok(Self { owners, folder, owner })
    }

    /// Opens the folder `issuers` in `state_dir` for reading, without changing it. Returns `None` if it does not exist.
    /// The files must belong to the folder's owner, who may differ from this process's user.
    pub fn open_read_only(state_dir: &Path) -> Option<Self> {
        let owners = KeyOwners::Issuers;
        let folder = state_dir.join(owners.folder());
        let owner = std::fs::metadata(&folder).ok()?.uid();
        Some(Self { owners, folder, owner })
    }

    /// Returns the saved set of `issuer`; `None` if it has no file or no remote keys.
    ///
    /// # Errors
    /// If the file cannot be read or trusted, is of another source, or holds an expired or unusable set.
    pub fn load(&self, issuer: &Issuer, now: Timestamp) -> Result<Option<IssuerKeyFile>, IssuerKeyFileError> {
        let KeySource::Remote(remote) = &issuer.keys else {
            return Ok(None);
        };
        self.load_of(issuer.name.as_str(), issuer.issuer.as_str(), remote, now)
    }

    /// Returns the saved set of `client`; `None` if it has no file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_client(
        &self,
        client: &ClientId,
        remote: &RemoteKeys,
        now: Timestamp,
    ) -> Result<Option<IssuerKeyFile>, IssuerKeyFileError> {
        self.load_of(client.as_str(), client.as_str(), remote, now)
    }

    /// Removes the files of those that `stays` does not name.
    ///
    /// # Errors
    /// If the folder cannot be read, or a file in it cannot be removed.
    pub fn retain(&self, stays: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json"));
            if name.is_some_and(|name| !stays(name)) {
                remove_if_there(&path)?;
            }
        }
        Ok(())
    }

    fn load_of(
        &self,
        name: &str,
        issuer: &str,
        remote: &RemoteKeys,
        now: Timestamp,
    ) -> Result<Option<IssuerKeyFile>, IssuerKeyFileError> {
        let path = self.path(name);
        let Some(bytes) = self.read(&path)? else {
            return Ok(None);
        };
        let content: Content = match serde_json::from_slice(&bytes) {
            Ok(content) => content,
            Err(source) => return Err(IssuerKeyFileError::Format { path, source }),
        };
        if content.version != VERSION {
            return Err(IssuerKeyFileError::Version {
                path,
                found: content.version,
            });
        }
        if content.source != source_of(issuer, remote) {
            return Err(IssuerKeyFileError::OtherSource { path });
        }
        if content.sha256 != sha256(content.confirmed_unix_millis, &content.set) {
            return Err(IssuerKeyFileError::Damaged { path });
        }
        let confirmed = Timestamp::from_unix_millis(content.confirmed_unix_millis);
        if confirmed > now {
            return Err(IssuerKeyFileError::Future { path });
        }
        let age = now.saturating_since(confirmed);
        if age > remote.max_stale {
            return Err(IssuerKeyFileError::TooOld { path, age });
        }
        let text = content.set.into_bytes();
        match Jwks::parse(&text) {
            Ok(jwks) => Ok(Some(IssuerKeyFile {
                text,
                jwks,
                confirmed,
                age,
            })),
            Err(source) => Err(IssuerKeyFileError::Keys { path, source }),
        }
    }

    /// Replaces the file of `name` atomically.
    fn save(&self, name: &str, source: String, set: &[u8], confirmed: Timestamp) -> io::Result<()> {
        let set = std::str::from_utf8(set).map_err(io::Error::other)?;
        let content = Content {
            version: VERSION,
            source,
            confirmed_unix_millis: confirmed.as_unix_millis(),
            sha256: sha256(confirmed.as_unix_millis(), set),
            set: set.to_owned(),
        };
        let bytes = serde_json::to_vec(&content)?;
        Replacement::create_shared(&self.path(name), 0o600)?.finish(&bytes)?;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, IssuerKeyFileError> {
        let unreadable = |source| IssuerKeyFileError::Unreadable {
            path: path.to_owned(),
            source,
        };
        // Checked before opening: a symbolic link is rejected, and opening a named pipe would wait for a writer.
        let metadata = match std::fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let is_ours = metadata.is_file() && metadata.uid() == self.owner && metadata.mode() & 0o077 == 0;
        if !is_ours {
            return Err(IssuerKeyFileError::NotOurs { path: path.to_owned() });
        }
        let file = File::open(path).map_err(unreadable)?;
        let opened = file.metadata().map_err(unreadable)?;
        if (opened.dev(), opened.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(IssuerKeyFileError::NotOurs { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        let mut bounded = file.take(FILE_BYTES_MAX + 1);
        bounded.read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(IssuerKeyFileError::TooLong { path: path.to_owned() });
        }
        Ok(Some(bytes))
    }
}

/// Returns, as JSON text, every setting that decides which keys are trusted: the issuer, the URL of its keys, and the
/// servers that may send them. A set that was fetched with `allow_http` must not be used after `allow_http` is removed.
fn source_of(issuer: &str, remote: &RemoteKeys) -> String {
    let at = match &remote.at {
        JwksLocation::JwksUrl(url) => serde_json::json!({ "jwks_url": url.as_str() }),
        JwksLocation::Discovery(discovery) => {
            let documents: Vec<&str> = discovery.documents.iter().map(url::Url::as_str).collect();
            serde_json::json!({ "discovery": documents })
        }
    };
    serde_json::json!({
        "issuer": issuer,
        "at": at,
        "allow_http": remote.connect.allow_http,
        "allow_private_addresses": remote.connect.allow_private_addresses,
        "ca_file": remote.connect.ca_file,
        "proxy": remote.connect.proxy.as_ref().map(url::Url::as_str),
    })
    .to_string()
}

fn sha256(confirmed_unix_millis: u64, set: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&confirmed_unix_millis.to_be_bytes());
    context.update(set.as_bytes());
    hex::text(context.finish().as_ref())
}

/// Saves the sets of one issuer or client on another thread, so that a slow disk delays no fetch.
#[derive(Debug)]
pub struct IssuerKeySaver {
    files: Arc<IssuerKeyFiles>,
    /// The name of the file.
    name: String,
    source: String,
    every: Duration,
    metrics: StateMetrics,
    /// The generation of the last set that was written, and the time when its write began.
    written: Option<(u64, Tick)>,
    writing: Option<(u64, Tick, JoinHandle<bool>)>,
}

impl IssuerKeySaver {
    /// Returns a saver for `issuer`; `None` for an issuer without remote keys.
    pub fn new(files: &Arc<IssuerKeyFiles>, issuer: &Issuer, metrics: StateMetrics) -> Option<Self> {
        let KeySource::Remote(remote) = &issuer.keys else {
            return None;
        };
        let (name, issuer) = (issuer.name.as_str(), issuer.issuer.as_str());
        Some(Self::of(files, name, issuer, remote, metrics))
    }

    /// Returns a saver for the set of `client`.
    pub fn of_client(
        files: &Arc<IssuerKeyFiles>,
        client: &ClientId,
        remote: &RemoteKeys,
        metrics: StateMetrics,
    ) -> Self {
        Self::of(files, client.as_str(), client.as_str(), remote, metrics)
    }

    fn of(files: &Arc<IssuerKeyFiles>, name: &str, issuer: &str, remote: &RemoteKeys, metrics: StateMetrics) -> Self {
        Self {
            files: Arc::clone(files),
            name: name.to_owned(),
            source: source_of(issuer, remote),
            every: remote.max_stale / WRITES_PER_MAX_STALE,
            metrics,
            written: None,
            writing: None,
        }
    }

    /// Begins to save `set`, which was parsed from `text`, if its content has changed or the last write is at least
    /// `every` ago. Does nothing while an earlier write runs; the call after the next fetch saves then.
    pub(in crate::fetch) async fn save(&mut self, text: &[u8], set: Arc<KeySet>, now: Now) {
        if let Some((generation, at, task)) = self.writing.take() {
            if !task.is_finished() {
                self.writing = Some((generation, at, task));
                return;
            }
            if task.await.unwrap_or(false) {
                self.written = Some((generation, at));
            }
        }
        let due = self
            .written
            .is_none_or(|(generation, at)| generation != set.generation || now.tick.saturating_since(at) >= self.every);
        if !due {
            return;
        }
        let (files, metrics, source) = (Arc::clone(&self.files), self.metrics.clone(), self.source.clone());
        let (name, text, confirmed) = (self.name.clone(), text.to_vec(), set.confirmed);
        let task = tokio::task::spawn_blocking(move || match files.save(&name, source, &text, confirmed) {
            Ok(()) => true,
            Err(error) => {
                metrics.count_write_failure();
                let folder = files.folder.display();
                match files.owners {
                    KeyOwners::Issuers => tracing::warn!(
                        issuer = name,
                        %folder,
                        %error,
                        "Issuer keys cannot be kept on disk; a restart while the issuer is down would be without them"
                    ),
                    KeyOwners::Clients => tracing::warn!(
                        client = name,
                        %folder,
                        %error,
                        "Client keys cannot be kept on disk; a restart while their server is down would be without them"
                    ),
                }
                false
            }
        });
        self.writing = Some((set.generation, now.tick, task));
    }
}

#[cfg(test)]
mod tests;
