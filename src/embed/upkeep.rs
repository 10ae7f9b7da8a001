//! How does a gate stay up to date?

use crate::fetch::issuer_key_files::IssuerKeyFiles;
use crate::gate::Gate;
use crate::observe::ready::Readiness;
use crate::runtime::config_files::ConfigCheck;
use crate::runtime::config_files::LoadedConfig;
use crate::runtime::housekeeping;
use crate::runtime::reload::HostProcess;
use crate::runtime::reload::Reloader;
use crate::runtime::restart::StartSettings;
use crate::runtime::start_wait;
use crate::runtime::ticks::every;
use crate::runtime::watch::CHECK_INTERVAL;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// The background work of a [`crate::Gate`]: reloads the configuration when its files change, fetches issuers' keys,
/// resolves upstreams' names, and removes expired state.
///
/// Without this work, a gate has no issuers' keys except those in PEM files and `state_dir`, no introspection, and no
/// addresses of upstreams with a host name. A request that needs any of these is answered with 503.
///
/// Spawn [`run`](Self::run), or add it to a pingora server: `pingora::services::background::background_service("keygate",
/// upkeep)`.
#[must_use = "a gate without its upkeep never gets its issuers' keys"]
pub struct Upkeep {
    /// `None` once it runs.
    work: Mutex<Option<Work>>,
}

struct Work {
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
            work: Mutex::new(Some(Work {
                path,
                loaded,
                gate,
                readiness,
                key_files,
                check,
            })),
        }
    }

    /// Runs until the future is dropped. Needs a tokio runtime with time and I/O. Logs an error
    /// about an invalid file, and keeps the configuration and the API keys that are in force.
    pub async fn run(self) {
        self.work().await;
    }

    /// Returns the wait of [`crate::Gate::start_wait`]; no wait if the work has begun. Something has to run the work meanwhile.
    pub(super) fn start_wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = work.as_ref().map(|work| Arc::clone(&work.gate));
        async move {
            if let Some(gate) = gate {
                start_wait::wait(&gate).await;
            }
        }
    }

    /// Runs until the future is dropped; returns at once if it was run before.
    pub(super) async fn work(&self) {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(work) = work else {
            return;
        };
        let gate = Arc::clone(&work.gate);
        let host = HostProcess {
            followers: Vec::new(),
            start_settings: StartSettings::of_embedded_gate(&work.loaded.config),
            check: work.check,
        };
        let mut reloader = Reloader::new(work.path, work.loaded, work.gate, work.readiness, work.key_files, host);
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
