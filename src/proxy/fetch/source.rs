//! Who keeps an issuer's keys up to date? One background task per issuer, so that there is one fetch at a time.

use crate::config::issuer::Issuer;
use crate::config::issuer::JwksUrl;
use crate::config::issuer::KeySource;
use crate::jose::jwks::Jwks;
use crate::jose::jwks::JwksError;
use crate::model::clock::Clock;
use crate::model::names::Name;
use crate::observe::metrics::FetchResult;
use crate::observe::metrics::IssuerMetrics;
use crate::proxy::authenticate::jwks_cache::Attempt;
use crate::proxy::authenticate::jwks_cache::IssuerKeys;
use crate::proxy::fetch::client::FetchError;
use crate::proxy::fetch::jwks::fetch;
use crate::proxy::fetch::schedule::Freshness;
use crate::proxy::fetch::schedule::Loaded;
use crate::proxy::fetch::schedule::after_failure;
use crate::proxy::fetch::schedule::after_success;
use std::error::Error;
use std::fs::Metadata;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often a file is looked at.
const POLL: Duration = Duration::from_secs(1);

/// Why an attempt brought no usable key set.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("fetching the issuer's keys failed")]
    Fetch(#[source] FetchError),
    #[error("{} cannot be read", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is longer than {} bytes", path.display(), Jwks::BYTES_MAX)]
    FileTooLong { path: PathBuf },
    #[error("reading was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
    #[error("what was read is not a usable key set")]
    Keys(#[source] JwksError),
}

/// Keeps `keys` up to date from where `issuer` says they are, until `stop` holds `true` or its sender is gone. For PEM
/// files, which are read once, returns after reading them.
///
/// `keys` must have been made for `issuer.keys`. Run one of these per issuer: that is what makes fetches single. When
/// `keys` comes from before a reload, it fetches when the next fetch was due, not at once.
pub async fn run(
    issuer: Issuer,
    keys: Arc<IssuerKeys>,
    clock: Arc<dyn Clock>,
    metrics: IssuerMetrics,
    mut stop: watch::Receiver<bool>,
) {
    let work = async {
        match &issuer.keys {
            KeySource::Url(source) => follow_url(&issuer.name, source, &keys, &*clock, &metrics).await,
            KeySource::File(path) => follow_file(&issuer.name, path, &keys, &*clock).await,
            // Part of the configuration: read with it, and watched with it.
            KeySource::Pem(_) => {}
        }
    };
    tokio::select! {
        // A sender that is gone means that whoever ran us is.
        _ = stop.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

async fn follow_url(name: &Name, source: &JwksUrl, keys: &IssuerKeys, clock: &dyn Clock, metrics: &IssuerMetrics) {
    loop {
        let due = tokio::time::sleep(keys.next_fetch_in(clock.now()));
        tokio::select! {
            () = due => {}
            () = keys.asked() => {}
        }
        let attempt = keys.start_attempt(clock.now());
        let outcome = fetch_set(source).await;
        metrics.fetched(match &outcome {
            Ok(_) => FetchResult::Success,
            Err(SourceError::Keys(_)) => FetchResult::Rejected,
            Err(_) => FetchResult::Failure,
        });
        let random = random();
        let pause = match outcome {
            Ok((body, jwks, freshness)) => {
                succeeded(name, attempt, &body, jwks, clock);
                after_success(source, freshness, random)
            }
            Err(error) => {
                let failures = failed(name, attempt, &error);
                let loaded = if keys.is_loaded() { Loaded::Once } else { Loaded::Never };
                after_failure(source, loaded, failures, random)
            }
        };
        keys.schedule(pause, clock.now());
    }
}

async fn fetch_set(source: &JwksUrl) -> Result<(Vec<u8>, Jwks, Freshness), SourceError> {
    let fetched = fetch(source).await.map_err(SourceError::Fetch)?;
    let jwks = Jwks::parse(&fetched.body).map_err(SourceError::Keys)?;
    Ok((fetched.body, jwks, fetched.freshness))
}

/// In 0..1; without randomness the middle, which only means that replicas do not drift apart.
fn random() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}

async fn follow_file(name: &Name, path: &Path, keys: &IssuerKeys, clock: &dyn Clock) {
    let mut file = KeyFile::new(path);
    loop {
        file.poll(name, keys, clock).await;
        tokio::time::sleep(POLL).await;
    }
}

/// A JWK set in a file, and what it looked like when it was last read.
#[derive(Debug)]
pub(crate) struct KeyFile<'a> {
    path: &'a Path,
    /// `None` before the first look.
    seen: Option<Result<Fingerprint, io::ErrorKind>>,
}

/// What changes when a file is written or replaced, also when its content keeps its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            // Also moves with the permissions, so a file that becomes readable is read.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl<'a> KeyFile<'a> {
    pub(crate) fn new(path: &'a Path) -> Self {
        Self { path, seen: None }
    }

    /// Reads the file if it changed since the last look.
    pub(crate) async fn poll(&mut self, name: &Name, keys: &IssuerKeys, clock: &dyn Clock) {
        // Taken before the content: a write in between shows at the next look.
        let metadata = tokio::fs::metadata(self.path).await;
        let seen = metadata.as_ref().map(Fingerprint::of).map_err(io::Error::kind);
        if self.seen == Some(seen) {
            return;
        }
        self.seen = Some(seen);
        let attempt = keys.start_attempt(clock.now());
        // Off the runtime: a network file system may take its time.
        let path = self.path.to_owned();
        let read = tokio::task::spawn_blocking(move || read_set(&path)).await;
        match read.unwrap_or_else(|error| Err(SourceError::Interrupted(error))) {
            Ok((text, jwks)) => succeeded(name, attempt, &text, jwks, clock),
            Err(error) => {
                failed(name, attempt, &error);
            }
        }
    }
}

/// Reads a JWK set.
///
/// # Errors
/// A file that cannot be read, is too long, or holds no usable set.
pub fn read_set(path: &Path) -> Result<(Vec<u8>, Jwks), SourceError> {
    let text = read_bounded(path)?;
    let jwks = Jwks::parse(&text).map_err(SourceError::Keys)?;
    Ok((text, jwks))
}

/// Reads PEM public keys. All or nothing: with one file missing, tokens would be refused that the operator meant to
/// accept, and 401 would be the wrong answer to them.
///
/// # Errors
/// A file that cannot be read, is too long, or is not exactly one public key.
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
    // Opening a named pipe would wait for its writer, without end.
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

/// Notes a good attempt; logs it when something changed.
fn succeeded(name: &Name, attempt: Attempt<'_>, text: &[u8], jwks: Jwks, clock: &dyn Clock) {
    let success = attempt.succeed(text, jwks, clock.now());
    let (issuer, generation) = (name.as_str(), success.keys.generation);
    if success.changed {
        let keys = success.keys.jwks.len();
        let skipped = success.keys.jwks.skipped().len();
        tracing::info!(issuer, generation, keys, skipped, "Issuer keys replaced");
    }
    if success.failures_before > 0 {
        tracing::info!(
            issuer,
            generation,
            failures = success.failures_before,
            "Issuer keys fetched again"
        );
    }
}

/// Notes a bad attempt; the first in a row is a warning, the others are counted. Returns how many there were in a row.
fn failed(name: &Name, attempt: Attempt<'_>, error: &SourceError) -> u32 {
    let error = chain(error);
    let failures = attempt.fail(&error);
    if failures == 1 {
        tracing::warn!(issuer = name.as_str(), error, "Issuer keys cannot be fetched");
    } else {
        tracing::debug!(
            issuer = name.as_str(),
            failures,
            error,
            "Issuer keys still cannot be fetched"
        );
    }
    failures
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
