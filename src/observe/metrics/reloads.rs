//! How many loads of the configuration or of the API keys succeed? The load at the start counts; a load without a
//! change does not.

use crate::model::clock::Timestamp;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::value::seconds;
use prometheus::Gauge;
use prometheus::IntCounter;
use prometheus::IntGauge;

/// The outcome of a load of the configuration or of the API keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    Success,
    Failure,
}

/// The metrics of loads, and the outcome of the last load.
pub struct ReloadMetrics {
    successes: IntCounter,
    failures: IntCounter,
    last_success: IntGauge,
    last_success_timestamp: Gauge,
}

impl ReloadMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        let reloads = registrar.counters(
            "keygate_config_reloads_total",
            "Attempts to load a configuration by result (success, failure).",
            &["result"],
        );
        Self {
            successes: reloads.with_label_values(&["success"]),
            failures: reloads.with_label_values(&["failure"]),
            last_success: registrar.gauge(
                "keygate_config_last_reload_success",
                "Whether the last attempt to load a configuration succeeded.",
            ),
            last_success_timestamp: registrar.float_gauge(
                "keygate_config_last_reload_success_timestamp_seconds",
                "When a configuration was last put in force.",
            ),
        }
    }

    /// Counts one load that ended at `now`.
    pub fn count(&self, result: ReloadResult, now: Timestamp) {
        match result {
            ReloadResult::Success => {
                self.successes.inc();
                self.last_success.set(1);
                self.last_success_timestamp.set(seconds(now));
            }
            ReloadResult::Failure => {
                self.failures.inc();
                self.last_success.set(0);
            }
        }
    }
}
