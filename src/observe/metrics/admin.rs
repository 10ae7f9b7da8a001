//! How many requests come to the admin listener, and why are they refused?

use crate::observe::access::Decision;
use crate::observe::metrics::label::NONE;
use crate::observe::metrics::registrar::Registrar;
use prometheus::IntCounterVec;

/// The metrics of requests to the admin listener. Scrapes and probes are not counted.
pub struct AdminMetrics {
    requests: IntCounterVec,
}

impl AdminMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        let requests = registrar.counters(
            "keygate_admin_requests_total",
            "Requests to the admin API by outcome (allow, deny, answer for an unknown path, error without a response) and reason of the refusal.",
            &["outcome", "reason"],
        );
        for outcome in [Decision::Allow, Decision::Answer, Decision::Error] {
            requests.with_label_values(&[outcome.as_str(), NONE]);
        }
        Self { requests }
    }

    /// Creates the series of `reasons`, so that a graph shows the first refusal as an increase from 0.
    pub fn expect_refusals(&self, reasons: &[&'static str]) {
        for reason in reasons {
            self.requests.with_label_values(&[Decision::Deny.as_str(), reason]);
        }
    }

    /// Counts one request. `reason` is a word of a closed set.
    pub fn count(&self, outcome: Decision, reason: Option<&'static str>) {
        self.requests
            .with_label_values(&[outcome.as_str(), reason.unwrap_or(NONE)])
            .inc();
    }
}
