//! How is the outcome of an attempt to get an issuer's keys recorded and logged?

use crate::fetch::client::FetchError;
use crate::fetch::discovery::DiscoveryError;
use crate::gate::authenticate::jwks_cache::Attempt;
use crate::gate::authenticate::jwks_cache::FetchFailure;
use crate::gate::authenticate::jwks_cache::KeySet;
use crate::jose::jwks::Jwks;
use crate::jose::jwks::JwksError;
use crate::model::clock::Clock;
use crate::model::names::Name;
use crate::observe::log::ErrorChain;
use crate::observe::metrics::FetchResult;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The reason why an attempt brought no usable key set.
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
    /// Returns the metric label of the failed attempt.
    pub(in crate::fetch) fn result(&self) -> FetchResult {
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

/// Returns the metric label of an attempt that brought `jwks`.
pub(in crate::fetch) const fn success_result(jwks: &Jwks) -> FetchResult {
    if jwks.publishes_private_keys() {
        FetchResult::PrivateParts
    } else {
        FetchResult::Success
    }
}

/// Records a successful attempt. Logs a changed set, published private keys in it as an error, and the first success after
/// failures. Returns the current set.
pub(in crate::fetch) fn record_success(
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
        log_private_keys(name, &success.keys.jwks);
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

/// Logs an error if private keys are published in `jwks` (S049): anyone who reads the set can sign with them elsewhere.
pub(crate) fn log_private_keys(name: &Name, jwks: &Jwks) {
    if jwks.publishes_private_keys() {
        tracing::error!(
            issuer = name.as_str(),
            "Issuer publishes private keys; they are never used, its other keys are"
        );
    }
}

/// Records a failed attempt. Logs published private keys as an error, and the first failure in a row as a warning.
/// Returns the number of failures in a row.
pub(in crate::fetch) fn record_failure(name: &Name, attempt: Attempt<'_>, error: &SourceError) -> u32 {
    let leaks_private_keys = error.result() == FetchResult::PrivateParts;
    let error = ErrorChain(error).to_string();
    let FetchFailure {
        in_a_row,
        same_as_before,
    } = attempt.fail(&error);
    if leaks_private_keys && !same_as_before {
        // Urgent, unlike a failed fetch: anyone who reads the set can sign as the issuer.
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
