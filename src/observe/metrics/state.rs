//! How many writes to `state_dir` fail?

use crate::observe::metrics::registrar::Registrar;
use prometheus::IntCounter;

/// Attempts to save something in `state_dir`.
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

    /// Counts one attempt that failed.
    pub fn count_write_failure(&self) {
        self.write_failures.inc();
    }
}
