//! How many loads of the configuration or of the API keys succeed, and which settings wait for a restart? The load at
//! the start counts; a load without a change does not.

use crate::model::clock::Timestamp;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::value::seconds;
use prometheus::Gauge;
use prometheus::IntCounter;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;

/// The outcome of a load of the configuration or of the API keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// Everything is in force.
    Success,
    /// Everything is in force but the settings that need a restart.
    RestartNeeded,
    /// A part could not be applied; the rest is in force.
    Incomplete,
    /// Nothing is in force; what was before stays.
    Failure,
}

/// The metrics of loads, and the outcome of the last load.
pub struct ReloadMetrics {
    successes: IntCounter,
    restarts_needed: IntCounter,
    incomplete: IntCounter,
    failures: IntCounter,
    restart_needed: IntGaugeVec,
    last_success: IntGauge,
    last_success_timestamp: Gauge,
}

impl ReloadMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        let reloads = registrar.counters(
            "keygate_config_reloads_total",
            "Attempts to load a configuration by result (success; restart_needed: in force but what keygate_config_restart_needed names; incomplete: in force but a part that failed; failure).",
            &["result"],
        );
        Self {
            successes: reloads.with_label_values(&["success"]),
            restarts_needed: reloads.with_label_values(&["restart_needed"]),
            incomplete: reloads.with_label_values(&["incomplete"]),
            failures: reloads.with_label_values(&["failure"]),
            restart_needed: registrar.gauges(
                "keygate_config_restart_needed",
                "Whether a setting of the configuration takes effect only after a restart, by setting.",
                &["setting"],
            ),
            last_success: registrar.gauge(
                "keygate_config_last_reload_success",
                "Whether the last attempt to load a configuration succeeded; settings that need a restart do not count.",
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
            ReloadResult::RestartNeeded => {
                self.restarts_needed.inc();
                self.last_success.set(1);
                self.last_success_timestamp.set(seconds(now));
            }
            ReloadResult::Incomplete => {
                self.incomplete.inc();
                self.last_success.set(0);
                self.last_success_timestamp.set(seconds(now));
            }
            ReloadResult::Failure => {
                self.failures.inc();
                self.last_success.set(0);
            }
        }
    }

    /// Sets whether each of `settings`, a closed set, waits for a restart.
    pub fn set_restart_needed(&self, settings: impl IntoIterator<Item = (&'static str, bool)>) {
        for (setting, needed) in settings {
            self.restart_needed.with_label_values(&[setting]).set(needed.into());
        }
    }
}
