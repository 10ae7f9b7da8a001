//! Which keys are in an issuer's files? Each file is read whole, up to a size limit. A set is read again when its file
//! changes.

use crate::fetch::outcome::SourceError;
use crate::fetch::outcome::record_failure;
use crate::fetch::outcome::record_success;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::jose::jwks::Jwks;
use crate::model::clock::Clock;
use crate::model::names::Name;
use std::fs::Metadata;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// How often a file is checked.
const POLL: Duration = Duration::from_secs(1);

/// Reads the set in `path` into `keys`, and again whenever the file changes. Never returns.
pub async fn follow(name: &Name, path: &Path, keys: &IssuerKeys, clock: &dyn Clock) {
    let mut file = KeyFile::new(path);
    loop {
        file.poll(name, keys, clock).await;
        tokio::time::sleep(POLL).await;
    }
}

/// A JWK set in a file, and the state of the file when it was last read.
#[derive(Debug)]
pub(crate) struct KeyFile<'a> {
    path: &'a Path,
    /// `None` before the first check.
    seen: Option<Result<Fingerprint, io::ErrorKind>>,
}

/// Metadata that changes when a file is written or replaced, even if its length stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            // `ctime` also changes with the permissions, so a file that becomes readable is read.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl<'a> KeyFile<'a> {
    pub(crate) fn new(path: &'a Path) -> Self {
        Self { path, seen: None }
    }

    /// Reads the file if it changed since the last check.
    pub(crate) async fn poll(&mut self, name: &Name, keys: &IssuerKeys, clock: &dyn Clock) {
        // Read before the content, so that the next check detects a write in between.
        let metadata = tokio::fs::metadata(self.path).await;
        let seen = metadata.as_ref().map(Fingerprint::of).map_err(io::Error::kind);
        if self.seen == Some(seen) {
            return;
        }
        self.seen = Some(seen);
        let attempt = keys.start_attempt(clock.now());
        // Reading from a slow network file system must not block a thread of the runtime.
        let path = self.path.to_owned();
        let read = tokio::task::spawn_blocking(move || read_set(&path)).await;
        match read.unwrap_or_else(|error| Err(SourceError::Interrupted(error))) {
            Ok((text, jwks)) => drop(record_success(name, attempt, &text, jwks, clock)),
            Err(error) => {
                record_failure(name, attempt, &error);
            }
        }
    }
}

/// Reads a JWK set. Returns the text of the file and the parsed set.
///
/// # Errors
/// If the file cannot be read, is longer than [`Jwks::BYTES_MAX`], or holds no usable set.
pub fn read_set(path: &Path) -> Result<(Vec<u8>, Jwks), SourceError> {
    let text = read_bounded(path)?;
    let jwks = Jwks::parse(&text).map_err(SourceError::Keys)?;
    Ok((text, jwks))
}

/// Reads one PEM public key from each of `paths`. Returns the concatenated text and the set. Reads all keys or fails:
/// with a key missing, valid tokens would be rejected with 401.
///
/// # Errors
/// If a file cannot be read, is longer than [`Jwks::BYTES_MAX`], or is not exactly one public key.
pub fn read_pems(paths: &[PathBuf]) -> Result<(Vec<u8>, Jwks), SourceError> {
    let pems = paths
        .iter()
        .map(|path| read_bounded(path))
        .collect::<Result<Vec<_>, _>>()?;
    let jwks = Jwks::from_pems(&pems).map_err(SourceError::Keys)?;
    Ok((pems.concat(), jwks))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, SourceError> {
    let unreadable = |source| SourceError::File {
        path: path.to_owned(),
        source,
    };
    // Opening a named pipe would wait for a writer without a time limit.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(SourceError::NotAFile { path: path.to_owned() });
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = Vec::new();
    let mut bounded = file.take(Jwks::BYTES_MAX as u64 + 1);
    bounded.read_to_end(&mut text).map_err(unreadable)?;
    if text.len() > Jwks::BYTES_MAX {
        return Err(SourceError::FileTooLong { path: path.to_owned() });
    }
    Ok(text)
}
