//! How does a gate stay up to date?

use crate::fetch::issuer_key_files::IssuerKeyFiles;
use crate::gate::Gate;
use crate::observe::ready::Readiness;
use crate::runtime::housekeeping;
use crate::runtime::reload::ConfigCheck;
use crate::runtime::reload::LoadedConfig;
use crate::runtime::reload::Reloader;
use crate::runtime::ticks::every;
use crate::runtime::watch::CHECK_INTERVAL;
use std::path::PathBuf;
use std::sync::Arc;

/// The background work of a [`crate::Gate`]: reloads the configuration when its files change, fetches issuers' keys,
/// resolves upstreams' names, and removes expired state.
///
/// Without this work, a gate has no issuers' keys except those in PEM files and `state_dir`, no introspection, and no
/// addresses of upstreams with a host name. A request that needs any of these is answered with 503.
#[must_use = "a gate without its upkeep never gets its issuers' keys"]
pub struct Upkeep {
    path: PathBuf,
    loaded: LoadedConfig,
    gate: Arc<Gate>,
    readiness: Arc<Readiness>,
    key_files: Option<Arc<IssuerKeyFiles>>,
    check: ConfigCheck,
}

impl Upkeep {
    pub(super) const fn new(
        path: PathBuf,
        loaded: LoadedConfig,
        gate: Arc<Gate>,
        readiness: Arc<Readiness>,
        key_files: Option<Arc<IssuerKeyFiles>>,
        check: ConfigCheck,
    ) -> Self {
        Self {
            path,
            loaded,
            gate,
            readiness,
            key_files,
            check,
        }
    }

    /// Runs until the future is dropped. Needs a tokio runtime with time and I/O. Logs an error
    /// about an invalid file, and keeps the configuration and the API keys that are in force.
    pub async fn run(self) {
        let gate = Arc::clone(&self.gate);
        let mut reloader = Reloader::new(
            self.path,
            self.loaded,
            self.gate,
            self.readiness,
            self.key_files,
            Vec::new(),
            self.check,
        );
        let follow_files = async {
            let mut ticks = every(CHECK_INTERVAL);
            loop {
                ticks.tick().await;
                reloader.check_files();
            }
        };
        tokio::join!(follow_files, housekeeping::run(gate));
    }
}

impl std::fmt::Debug for Upkeep {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Upkeep").finish_non_exhaustive()
    }
}
