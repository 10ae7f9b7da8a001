//! Which issuer keys are in force before the first fetch? The keys that an earlier process kept in `state_dir`.

use crate::config::Config;
use crate::config::KeySource;
use crate::fetch::issuer_key_files::IssuerKeyFileError;
use crate::fetch::issuer_key_files::IssuerKeyFiles;
use crate::fetch::issuer_key_files::KeyOwners;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::observe::log::ErrorChain;
use crate::observe::metrics::Metrics;
use std::sync::Arc;

/// Opens the `state_dir` of `config`. Returns `None` if `config` has no `state_dir` or the folder cannot be used. That
/// does not stop the start: kept keys matter only if an issuer is down at the start.
pub fn open(config: &Config, metrics: &Metrics) -> Option<Arc<IssuerKeyFiles>> {
    let Some(folder) = &config.state_dir else {
        let remote = |issuer: &crate::config::Issuer| matches!(issuer.keys, KeySource::Remote(_));
        if config.issuers.values().any(remote) {
            tracing::info!(
                "Issuers' keys are not kept over a restart: set `state_dir`, or `StateDirectory=` in the systemd unit"
            );
        }
        return None;
    };
    match IssuerKeyFiles::open(folder, KeyOwners::Issuers) {
        Ok(files) => Some(Arc::new(files)),
        Err(error) => {
            metrics.state.count_write_failure();
            tracing::error!(error = %ErrorChain(&error), "State folder cannot be used; nothing is kept over a restart");
            None
        }
    }
}

/// Restores the kept keys of each issuer that has no keys yet. Reads `files` from disk: call it at a start or a reload,
/// never for a request.
pub fn restore(snapshot: &Snapshot, files: &IssuerKeyFiles, now: Now) {
    let with_keys = |issuer| IssuerState::keys(issuer).map(|keys| (issuer, keys));
    let issuers = snapshot.issuers.iter().map(|issuer| &**issuer).filter_map(with_keys);
    for (issuer, issuer_keys) in issuers.filter(|(_, keys)| !keys.is_loaded()) {
        let name = issuer.name().as_str();
        match files.load(issuer.settings(), now.wall) {
            Ok(None) => {}
            Ok(Some(found)) => {
                let (keys, age_secs) = (found.jwks.len(), found.age.as_secs());
                issuer_keys.restore(&found.text, found.jwks, found.confirmed, found.age, now);
                tracing::info!(
                    issuer = name,
                    keys,
                    age_secs,
                    "Issuer keys taken from disk until they are fetched"
                );
            }
            Err(error @ (IssuerKeyFileError::TooOld { .. } | IssuerKeyFileError::OtherSource { .. })) => {
                tracing::info!(issuer = name, error = %ErrorChain(&error), "Issuer keys on disk are not used");
            }
            Err(error) => {
                tracing::warn!(issuer = name, error = %ErrorChain(&error), "Issuer keys on disk cannot be used");
            }
        }
    }
}
