//! How long do requests to upstreams take, and which failures do they have?

use crate::model::upstream_failure::UpstreamFailure;
use crate::observe::metrics::label::STATUS_CLASSES;
use crate::observe::metrics::label::status_class;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::registrar::forget;
use prometheus::Histogram;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use std::collections::HashSet;
use std::time::Duration;

/// The families with a series for each upstream.
pub struct UpstreamFamilies {
    requests: IntCounterVec,
    duration: HistogramVec,
    connect_failures: IntCounterVec,
    failures: IntCounterVec,
    retries: IntCounterVec,
}

impl UpstreamFamilies {
    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            requests: registrar.counters(
                "keygate_upstream_requests_total",
                "Requests to an upstream by the status of the response that the client received (none: no response was begun).",
                &["upstream", "status_class"],
            ),
            duration: registrar.histograms(
                "keygate_upstream_duration_seconds",
                "Time from the first connection attempt to an upstream to the end of its answer.",
                "upstream",
            ),
            connect_failures: registrar.counters(
                "keygate_upstream_connect_failures_total",
                "Connection attempts to an upstream that failed.",
                &["upstream"],
            ),
            failures: registrar.counters(
                "keygate_upstream_failures_total",
                "Failed connection attempts and responses of an upstream by what happened (refused, unreachable, reset, closed, timed_out, no_http, tls, no_resources).",
                &["upstream", "failure"],
            ),
            retries: registrar.counters(
                "keygate_upstream_retries_total",
                "Requests whose endpoint failed them, by whether they were sent again (sent) or the budget of retries was spent (over_budget).",
                &["upstream", "result"],
            ),
        }
    }

    /// Returns the series of one upstream.
    pub fn of(&self, upstream: &str) -> UpstreamMetrics {
        let failures = |failure: UpstreamFailure| self.failures.with_label_values(&[upstream, failure.as_str()]);
        UpstreamMetrics {
            requests: STATUS_CLASSES.map(|class| self.requests.with_label_values(&[upstream, class])),
            failures: UpstreamFailure::ALL.map(failures),
            retries: self.retries.with_label_values(&[upstream, "sent"]),
            retries_over_budget: self.retries.with_label_values(&[upstream, "over_budget"]),
            duration: self.duration.with_label_values(&[upstream]),
            connect_failures: self.connect_failures.with_label_values(&[upstream]),
        }
    }

    pub(super) fn forget_all_but(&self, upstreams: &HashSet<&str>) {
        forget(&self.requests, "upstream", upstreams);
        forget(&self.duration, "upstream", upstreams);
        forget(&self.connect_failures, "upstream", upstreams);
        forget(&self.failures, "upstream", upstreams);
        forget(&self.retries, "upstream", upstreams);
    }
}

/// The metrics of one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    requests: [IntCounter; STATUS_CLASSES.len()],
    duration: Histogram,
    connect_failures: IntCounter,
    failures: [IntCounter; UpstreamFailure::ALL.len()],
    retries: IntCounter,
    retries_over_budget: IntCounter,
}

impl UpstreamMetrics {
    /// Counts one admitted request that has ended, and the time since its admission. `status` is that of the response to the
    /// client; `None` if none was begun.
    pub fn observe_response(&self, status: Option<u16>, duration: Duration) {
        self.requests[status_class(status)].inc();
        self.duration.observe(duration.as_secs_f64());
    }

    /// Counts one failed connection attempt or response.
    pub fn count_failure(&self, failure: UpstreamFailure) {
        self.failures[failure as usize].inc();
    }

    /// Counts one request that its endpoint failed, and that is sent again if the budget allows it.
    pub fn count_retry(&self, is_allowed: bool) {
        if is_allowed {
            self.retries.inc();
        } else {
            self.retries_over_budget.inc();
        }
    }

    /// Counts one connection attempt that failed.
    pub fn count_connect_failure(&self) {
        self.connect_failures.inc();
    }
}
