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
use crate::runtime::admin::socket::Socket;
use crate::runtime::config_files;
use crate::runtime::config_files::LoadedConfig;
use crate::runtime::first_administrator::AdministratorNotice;
use crate::runtime::first_administrator::SecretPlace;
use crate::runtime::hand_over::Predecessor;
use crate::runtime::inherited::InheritedSockets;
use crate::runtime::serve::bound::Bound;
use crate::runtime::signals::Signals;
use crate::runtime::supervisor;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Serves with `threads` workers until SIGTERM or SIGINT, then drains. Listens on the `inherited` sockets where their addresses are
/// those of listeners. Calls `started` when all listeners accept, with
/// the notice of the first administrator if this start created one. Reloads read the file at `path`. `metrics` are those of
/// [`assemble::metrics`](crate::runtime::assemble::metrics).
///
/// # Errors
/// See [`StartError`].
pub fn serve(
    path: PathBuf,
    loaded: LoadedConfig,
    mut inherited: InheritedSockets,
    threads: usize,
    metrics: Arc<Metrics>,
    started: impl FnOnce(&Addresses, Option<AdministratorNotice>),
) -> Result<(), StartError> {
    config_files::log_warnings(&loaded.config);
    // `pingora::server::Server` would sleep through its whole grace period, continue without a listener when binding
    // fails, and die of SIGHUP. `workers.rs` accepts instead, on sockets that are bound here, so that every address and
    // every bind error is known before anything starts.
    let hand_over = loaded.config.hand_over.clone();
    let mut predecessor = match &hand_over {
        Some(path) => Predecessor::find(path)?,
        None => None,
    };
    let mut hand_over_socket = None;
    match (&mut predecessor, &hand_over) {
        (Some(predecessor), _) => inherited.add_given(predecessor.sockets()?),
        // Before the gate serves: a path that cannot be used stops the start.
        (None, Some(path)) => hand_over_socket = Some(Socket::bind(path)?),
        (None, None) => {}
    }
    let clock = Arc::new(SystemClock::new());
    let bound = Bound::bind(&loaded.config, &path, inherited, clock, metrics)?;
    panics::report(bound.live.metrics.process.panics.clone());
    let place = SecretPlace::of_stderr();
    let (opened, administrator) = bound.open(loaded, io::stdout(), place, predecessor.as_mut())?;
    // Before `/readyz` answers: a supervisor that sees the process may stop it, and a signal then ends it in good order.
    let mut signals = {
        let _inside = opened.background.enter();
        Signals::install().map_err(StartError::Signals)?
    };
    let (mut serving, offer) = opened.serve(path, threads, signals.stop())?;
    serving.addresses().log();
    started(serving.addresses(), administrator);
    if !signals.is_stopping()
        && let Some(predecessor) = predecessor.take()
    {
        serving.succeed(predecessor);
        hand_over_socket = hand_over.and_then(|path| {
            let bound = Socket::bind(&path);
            bound
                .inspect_err(|error| tracing::error!(%error, "No successor can take over from this gate"))
                .ok()
        });
    }
    match hand_over_socket {
        Some(socket) => serving.wait_for_successors(socket, offer),
        // Its copies of the listening sockets would keep these open while the gate drains.
        None => drop(offer),
    }
    supervisor::ready();
    serving.watch_for_supervisor();
    serving.run_and_drain(signals).end();
    // A gate that was stopped while it started has not taken over: the one before goes on, with the store that is closed now.
    drop(predecessor);
    Ok(())
}
