//! How does a loaded configuration become a process that serves, and how does that process end? In four states, each
//! returned by a method of the previous state: `Bound`, `Opened`, `Serving`, `Drained`. Each state owns the resources
//! so far, so a step that fails drops them: the sockets are closed, and the store's lock is released.

mod error;
pub mod bound;
mod opened;
pub mod serving;
mod drained;

pub use bound::Addresses;
pub use error::StartError;

use crate::model::clock::SystemClock;
use crate::observe::metrics::Metrics;
use crate::observe::panics;
use crate::runtime::config_files;
use crate::runtime::config_files::LoadedConfig;
use crate::runtime::first_administrator::AdministratorNotice;
use crate::runtime::first_administrator::SecretPlace;
use crate::runtime::serve::bound::Bound;
use crate::runtime::signals::Signals;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Serves with `threads` workers until SIGTERM or SIGINT, then drains. Calls `started` when all listeners accept, with
/// the notice of the first administrator if this start created one. Reloads read the file at `path`. `metrics` are those of
/// [`assemble::metrics`](crate::runtime::assemble::metrics).
///
/// # Errors
/// See [`StartError`].
pub fn serve(
    path: PathBuf,
    loaded: LoadedConfig,
    threads: usize,
    metrics: Arc<Metrics>,
    started: impl FnOnce(&Addresses, Option<AdministratorNotice>),
) -> Result<(), StartError> {
    config_files::log_warnings(&loaded.config);
    // `pingora::server::Server` would sleep through its whole grace period, continue without a listener when binding
    // fails, and die of SIGHUP. `workers.rs` accepts instead, on sockets that are bound here, so that every address and
    // every bind error is known before anything starts.
    let bound = Bound::bind(&loaded.config, &path, Arc::new(SystemClock::new()), metrics)?;
    panics::report(bound.live.metrics.process.panics.clone());
    let (opened, administrator) = bound.open(loaded, io::stdout(), SecretPlace::of_stderr())?;
    // Before `/readyz` answers: a supervisor that sees the process may stop it, and a signal then ends it in good order.
    let mut signals = {
        let _inside = opened.background.enter();
        Signals::install().map_err(StartError::Signals)?
    };
    let serving = opened.serve(path, threads, signals.stop())?;
    serving.addresses().log();
    started(serving.addresses(), administrator);
    serving.run_and_drain(signals).end();
    Ok(())
}
