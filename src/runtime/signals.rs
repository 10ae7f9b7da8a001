//! When does the process reload its configuration, and when does it stop?

use crate::runtime::reload::Reloader;
use crate::runtime::supervisor;
use crate::runtime::ticks::every;
use crate::runtime::watch::CHECK_INTERVAL;
use std::io;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// The signals that the process handles: SIGHUP reloads, SIGTERM and SIGINT stop.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    /// `true` once a signal to stop has come.
    is_stopping: bool,
}

impl Signals {
    /// Installs the handlers. Panics outside a tokio runtime.
    ///
    /// # Errors
    /// The system rejects a handler.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            is_stopping: false,
        })
    }

    /// Returns whether SIGTERM or SIGINT has come.
    pub const fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Reloads on SIGHUP and when a file has changed. Returns on SIGTERM or SIGINT, at once if one has come before.
    pub async fn reload_until_stop(&mut self, reloader: &mut Reloader) {
        if self.is_stopping {
            return;
        }
        let mut checks = every(CHECK_INTERVAL);
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    supervisor::reloading();
                    reloader.reload();
                    supervisor::reloaded(reloader.refusal());
                }
                _ = checks.tick() => reloader.check_files(),
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
            }
        }
        self.is_stopping = true;
    }

    /// Returns on the next SIGTERM or SIGINT.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.is_stopping = true;
    }
}
