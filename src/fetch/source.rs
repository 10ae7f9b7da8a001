//! Who keeps an issuer's keys up to date? One background task per issuer, so that there is one fetch at a time.

use crate::config::issuer::Issuer;
use crate::config::issuer::KeySource;
use crate::config::issuer::KeysAt;
use crate::config::issuer::RemoteKeys;
use crate::fetch::client::FetchError;
use crate::fetch::discovery;
use crate::fetch::discovery::DiscoveryError;
use crate::fetch::file;
use crate::fetch::jwks::Wanted;
use crate::fetch::jwks::fetch;
use crate::fetch::kept::Keeper;
use crate::fetch::schedule::Freshness;
use crate::fetch::schedule::Loaded;
use crate::fetch::schedule::after_failure;
use crate::fetch::schedule::after_success;
use crate::gate::authenticate::jwks_cache::Attempt;
use crate::gate::authenticate::jwks_cache::Failure;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::jwks_cache::KeySet;
use crate::jose::jwks::Jwks;
use crate::jose::jwks::JwksError;
use crate::model::clock::Clock;
use crate::model::names::Name;
use crate::observe::metrics::FetchResult;
use crate::observe::metrics::IssuerMetrics;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use url::Url;

/// Why an attempt brought no usable key set.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("the issuer does not say where its keys are")]
    Discovery(#[source] DiscoveryError),
    #[error("fetching the issuer's keys failed")]
    Fetch(#[source] FetchError),
    #[error("no whole answer within {} ms, discovery included", timeout.as_millis())]
    TimedOut { timeout: Duration },
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

impl SourceError {
    /// Under which word the attempt is counted.
    fn result(&self) -> FetchResult {
        match self {
            Self::Keys(JwksError::PrivateParts) => FetchResult::PrivateParts,
            Self::Keys(_) => FetchResult::Rejected,
            Self::Discovery(error) if error.is_about_a_document() => FetchResult::Rejected,
            Self::Discovery(_)
            | Self::Fetch(_)
            | Self::TimedOut { .. }
            | Self::File { .. }
            | Self::NotAFile { .. }
            | Self::FileTooLong { .. }
            | Self::Interrupted(_) => FetchResult::Failure,
        }
    }
}

/// Keeps `keys` up to date from where `issuer` says they are, until `stop` holds `true` or its sender is gone. For PEM
/// files, which are read once, returns at once.
///
/// `keys` must have been made for `issuer.keys`. Run one of these per issuer: that is what makes fetches single. When
/// `keys` comes from before a reload, it fetches when the next fetch was due, not at once. What is fetched is handed to
/// `keeper`, where there is one.
pub async fn run(
    issuer: Issuer,
    keys: Arc<IssuerKeys>,
    clock: Arc<dyn Clock>,
    metrics: IssuerMetrics,
    keeper: Option<Keeper>,
    mut stop: watch::Receiver<bool>,
) {
    let work = async {
        match &issuer.keys {
            KeySource::Remote(source) => follow_remote(&issuer.name, source, &keys, &*clock, &metrics, keeper).await,
            KeySource::File(path) => file::follow(&issuer.name, path, &keys, &*clock).await,
            // Part of the configuration: read with it, and watched with it.
            KeySource::Pem(_) => {}
            // Has none.
            KeySource::Introspection(_) => {}
            // Put in place by whoever makes them.
            KeySource::Own => {}
        }
    };
    tokio::select! {
        // A sender that is gone means that whoever ran us is.
        _ = stop.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

async fn follow_remote(
    name: &Name,
    source: &RemoteKeys,
    keys: &IssuerKeys,
    clock: &dyn Clock,
    metrics: &IssuerMetrics,
    mut keeper: Option<Keeper>,
) {
    let mut finder = Finder::default();
    loop {
        let due = tokio::time::sleep(keys.next_fetch_in(clock.now()));
        tokio::select! {
            () = due => {}
            () = keys.asked() => {}
        }
        let attempt = keys.start_attempt(clock.now());
        let timeout = source.dial.timeout;
        let bounded = tokio::time::timeout(timeout, fetch_set(source, &mut finder)).await;
        let outcome = bounded.unwrap_or(Err(SourceError::TimedOut { timeout }));
        metrics.fetched(
            outcome
                .as_ref()
                .map_or_else(SourceError::result, |_| FetchResult::Success),
        );
        let random = random();
        let pause = match outcome {
            Ok(set) => {
                if finder.found.as_ref() != Some(&set.from) {
                    // Where discovery leads to is news; a URL of the configuration is not.
                    if let KeysAt::Discovery(_) = source.at {
                        tracing::info!(issuer = name.as_str(), jwks_uri = %set.from, "Issuer keys discovered");
                    }
                    finder.found = Some(set.from.clone());
                }
                let attempt = attempt.from(set.from.as_str());
                let in_place = succeeded(name, attempt, &set.body, set.jwks, clock);
                if let Some(keeper) = &mut keeper {
                    keeper.keep(name, &set.body, in_place, clock.now()).await;
                }
                after_success(source, set.freshness, random)
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

/// What finding the set has taught.
#[derive(Debug, Default)]
struct Finder {
    /// Which of the issuer's documents was good last: asked first, so that a refresh costs one request and not two.
    document: usize,
    /// Where the last good set came from.
    found: Option<Url>,
}

/// A good set and where it came from.
struct FetchedSet {
    from: Url,
    body: Vec<u8>,
    jwks: Jwks,
    freshness: Freshness,
}

/// The document is read again each time: an issuer that moves its keys says so there and nowhere else.
async fn fetch_set(source: &RemoteKeys, finder: &mut Finder) -> Result<FetchedSet, SourceError> {
    let url = match &source.at {
        KeysAt::JwksUrl(url) => url.clone(),
        KeysAt::Discovery(settings) => discovery::find(settings, &source.dial, &mut finder.document)
            .await
            .map_err(SourceError::Discovery)?,
    };
    let fetched = fetch(&url, &source.dial, Wanted::Jwks)
        .await
        .map_err(SourceError::Fetch)?;
    let jwks = Jwks::parse(&fetched.body).map_err(SourceError::Keys)?;
    Ok(FetchedSet {
        from: url,
        body: fetched.body,
        jwks,
        freshness: fetched.freshness,
    })
}

/// In 0..1; without randomness the middle, which only means that replicas do not drift apart.
pub(in crate::fetch) fn random() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}

/// Notes a good attempt; logs it when something changed. Returns the set that is in place now.
pub(in crate::fetch) fn succeeded(
    name: &Name,
    attempt: Attempt<'_>,
    text: &[u8],
    jwks: Jwks,
    clock: &dyn Clock,
) -> Arc<KeySet> {
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
    success.keys
}

/// Notes a bad attempt; the first in a row is a warning, the others are counted. Returns how many there were in a row.
pub(in crate::fetch) fn failed(name: &Name, attempt: Attempt<'_>, error: &SourceError) -> u32 {
    let published = error.result() == FetchResult::PrivateParts;
    let error = chain(error);
    let Failure {
        in_a_row,
        same_as_before,
    } = attempt.fail(&error);
    if published && !same_as_before {
        // Whoever read the set can sign as the issuer: this is not about a fetch, and cannot wait.
        tracing::error!(
            issuer = name.as_str(),
            error,
            "Issuer publishes private keys; its key set is refused"
        );
    } else if in_a_row == 1 {
        tracing::warn!(issuer = name.as_str(), error, "Issuer keys cannot be fetched");
    } else {
        tracing::debug!(
            issuer = name.as_str(),
            failures = in_a_row,
            error,
            "Issuer keys still cannot be fetched"
        );
    }
    in_a_row
}

/// An error and its causes in one line.
pub(in crate::fetch) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
