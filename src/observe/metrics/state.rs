//! How many writes to `state_dir` fail?

use crate::observe::metrics::registrar::Registrar;
use prometheus::IntCounter;

/// The metrics of writes to `state_dir`.
#[derive(Clone, Debug)]
pub struct StateMetrics {
    write_failures: IntCounter,
}

impl StateMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            write_failures: registrar.counter(
                "keygate_state_write_failures_total",
                "Attempts to keep something in state_dir that failed.",
            ),
        }
    }

    /// Counts one failed attempt to open `state_dir` or to write in it.
    pub fn count_write_failure(&self) {
        self.write_failures.inc();
    }
}
