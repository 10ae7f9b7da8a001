//! How do the keys of a loaded configuration come into force? With the snapshot that is compiled from it.

use crate::config::KeySource;
use crate::fetch::outcome::log_private_keys;
use crate::gate::accept::matcher::MatcherError;
use crate::gate::identity_token::published::SigningKeyOrigin;
use crate::gate::live::LiveState;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::model::directory::Directory;
use crate::model::directory::KeyRecord;
use crate::runtime::config_files::LoadedConfig;
use crate::runtime::signing_key;
use std::sync::Arc;

/// Compiles `loaded` and returns the snapshot. Puts the key material of `loaded` in force, but only after compiling,
/// the one step that can fail.
///
/// # Errors
/// Two routes are indistinguishable. `config::load` rejects such routes earlier, with a better message.
pub fn compile_and_install(loaded: &mut LoadedConfig, live: &LiveState, now: Now) -> Result<Snapshot, MatcherError> {
    let mut snapshot = Snapshot::compile(&loaded.config, live)?;
    let signing = loaded.config.identity_token.as_ref().zip(loaded.signing_key.take());
    let published = &live.identity_tokens.published;
    let signer = signing.map(|(settings, (key, origin))| (published.signer(settings, key, origin), origin));
    snapshot.signer = signer.as_ref().map(|(signer, _)| Arc::clone(signer));
    if let Some((signer, SigningKeyOrigin::Generated)) = &signer {
        signing_key::keep(signer.key(), loaded.config.state_dir.as_deref());
    }
    published.replace(signer, now.wall);
    for issuer in &snapshot.issuers {
        let (Some((text, jwks)), Some(keys)) = (loaded.key_sets.remove(issuer.name()), issuer.keys()) else {
            continue;
        };
        // The task of an issuer with a JWK set in a file knows a newer state of the file.
        let is_followed = matches!(issuer.settings().keys, KeySource::File(_)) && keys.is_loaded();
        if !is_followed {
            log_private_keys(issuer.name(), &jwks);
            keys.start_attempt(now).succeed(&text, jwks, now);
        }
    }
    replace_keys(&live.directory, std::mem::take(&mut loaded.keys));
    Ok(snapshot)
}

/// Replaces the API keys of `api_keys.file`. Logs a warning if the file has a revoked key as active.
pub(in crate::runtime) fn replace_keys(directory: &Directory, keys: Vec<KeyRecord>) {
    let still_revoked = directory.replace(keys);
    if still_revoked > 0 {
        tracing::warn!(
            keys = still_revoked,
            "Keys that were revoked came back as active; they stay revoked"
        );
    }
}
