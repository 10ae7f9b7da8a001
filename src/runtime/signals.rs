//! When does the process reload its configuration, and when does it stop?

use crate::runtime::reload::Reloader;
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
        })
    }

    /// Reloads on SIGHUP and when a file has changed. Returns on SIGTERM or SIGINT.
    pub async fn reload_until_stop(&mut self, reloader: &mut Reloader) {
        let mut checks = every(CHECK_INTERVAL);
        loop {
            tokio::select! {
                _ = self.hangup.recv() => reloader.reload(),
                _ = checks.tick() => reloader.check_files(),
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }

    /// Returns on SIGTERM or SIGINT.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
