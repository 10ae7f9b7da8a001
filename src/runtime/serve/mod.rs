//! How does a loaded configuration become a process that serves, and how does that process end? In four steps. Each
//! step is a type that owns the resources so far; its one method consumes the step and returns the next:
//!
//! - `Bound`: every socket is bound, and nothing reads them.
//! - `Opened`: the configuration is compiled, the store is open, and all it holds is in force.
//! - `Serving`: connections are accepted, and operators are answered; until it stops, it follows signals and files.
//! - `Drained`: no request is in flight, and the store is closed.
//!
//! A step that fails drops what it owns: sockets are closed, and the store's lock is released.
//!
//! pingora's `Server` is not used: it sleeps through its whole grace period, continues without a listener when binding
//! fails, and dies of SIGHUP. Its listening service is used (`workers.rs`), on sockets that are bound here, so that
//! every address and every bind error is known before anything starts.

mod error;
pub mod bound;
mod opened;
pub mod serving;
mod drained;

pub use bound::Addresses;
pub use error::StartError;

use crate::control::registry::prepare::FirstAdministrator;
use crate::model::clock::SystemClock;
use crate::observe::panics;
use crate::runtime::reload;
use crate::runtime::reload::LoadedConfig;
use crate::runtime::serve::bound::Bound;
use crate::runtime::signals::Signals;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Serves until SIGTERM or SIGINT, then drains. Calls `started` once everything
/// answers, with the first administrator if this start has created the store.
///
/// # Errors
/// See [`StartError`].
pub fn serve(
    path: PathBuf,
    loaded: LoadedConfig,
    threads: usize,
    started: impl FnOnce(&Addresses, Option<FirstAdministrator>),
) -> Result<(), StartError> {
    reload::log_warnings(&loaded.config);
    let bound = Bound::bind(&loaded.config, &path, Arc::new(SystemClock::new()))?;
    panics::report(bound.live.metrics.process.panics.clone());
    let (opened, first_administrator) = bound.open(loaded, io::stdout())?;
    let serving = opened.serve(path, threads)?;
    let signals = {
        let _inside = serving.background.enter();
        Signals::install().map_err(StartError::Signals)?
    };
    serving.addresses().log();
    started(serving.addresses(), first_administrator);
    serving.until_stopped(signals).end();
    Ok(())
}
