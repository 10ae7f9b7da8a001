//! How often are tokens introspected, and how many responses are cached?

use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::registrar::forget;
use crate::observe::metrics::value::count;
use prometheus::Histogram;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use std::collections::HashSet;
use std::time::Duration;

/// The families with a series for each issuer with an introspection endpoint.
pub struct IntrospectionFamilies {
    calls: IntCounterVec,
    duration: HistogramVec,
    cache: IntCounterVec,
    suspended: IntGaugeVec,
    cache_entries: IntGaugeVec,
    cache_bytes: IntGaugeVec,
}

impl IntrospectionFamilies {
    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            calls: registrar.counters(
                "keygate_introspection_calls_total",
                "Calls to an issuer's introspection endpoint by result (active, inactive, refused, rejected, failure).",
                &["issuer", "result"],
            ),
            duration: registrar.histograms(
                "keygate_introspection_duration_seconds",
                "Time from a call to an issuer's introspection endpoint to the end of its answer.",
                "issuer",
            ),
            cache: registrar.counters(
                "keygate_introspection_cache_total",
                "Opaque tokens that an answer was remembered for (hit), or that their issuer had to be asked about (miss).",
                &["issuer", "result"],
            ),
            suspended: registrar.gauges(
                "keygate_introspection_suspended",
                "Whether an issuer's introspection endpoint failed so often that it is left alone for a while.",
                &["issuer"],
            ),
            cache_entries: registrar.gauges(
                "keygate_introspection_cache_entries",
                "Remembered answers of an issuer, that tokens are good (active) or not (refused).",
                &["issuer", "kind"],
            ),
            cache_bytes: registrar.gauges(
                "keygate_introspection_cache_bytes",
                "Memory that an issuer's remembered answers take, about.",
                &["issuer"],
            ),
        }
    }

    /// Returns the series of one issuer.
    pub fn of(&self, issuer: &str) -> IntrospectionMetrics {
        let calls = |result: CallResult| self.calls.with_label_values(&[issuer, result.as_str()]);
        let cache = |result| self.cache.with_label_values(&[issuer, result]);
        let entries = |kind| self.cache_entries.with_label_values(&[issuer, kind]);
        IntrospectionMetrics {
            calls: CallResult::ALL.map(calls),
            duration: self.duration.with_label_values(&[issuer]),
            hits: cache("hit"),
            misses: cache("miss"),
            suspended: self.suspended.with_label_values(&[issuer]),
            active_entries: entries("active"),
            refused_entries: entries("refused"),
            bytes: self.cache_bytes.with_label_values(&[issuer]),
        }
    }

    pub(super) fn forget_all_but(&self, issuers: &HashSet<&str>) {
        forget(&self.calls, "issuer", issuers);
        forget(&self.duration, "issuer", issuers);
        forget(&self.cache, "issuer", issuers);
        forget(&self.suspended, "issuer", issuers);
        forget(&self.cache_entries, "issuer", issuers);
        forget(&self.cache_bytes, "issuer", issuers);
    }
}

/// The outcome of a call to an introspection endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// The token is active, and the response meets the issuer's rules.
    Active,
    /// The response says that the token is not active.
    Inactive,
    /// The response says that the token is active, but other members do not meet the issuer's rules.
    Refused,
    /// The response is unusable: the status is not 200, or the body is too long or is not an introspection response.
    Rejected,
    /// No response, because of the network, TLS or a timeout.
    Failure,
}

impl CallResult {
    const ALL: [Self; 5] = [
        Self::Active,
        Self::Inactive,
        Self::Refused,
        Self::Rejected,
        Self::Failure,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Failure => "failure",
        }
    }
}

/// The metrics of introspection calls to one issuer and of its cached responses.
#[derive(Clone, Debug)]
pub struct IntrospectionMetrics {
    calls: [IntCounter; CallResult::ALL.len()],
    duration: Histogram,
    hits: IntCounter,
    misses: IntCounter,
    suspended: IntGauge,
    active_entries: IntGauge,
    refused_entries: IntGauge,
    bytes: IntGauge,
}

impl IntrospectionMetrics {
    /// Counts one call, and the time to the end of its response.
    pub fn count_call(&self, result: CallResult, duration: Duration) {
        self.calls[result as usize].inc();
        self.duration.observe(duration.as_secs_f64());
    }

    /// Counts one look-up of a token with a cached response.
    pub fn hit(&self) {
        self.hits.inc();
    }

    /// Counts one look-up of a token that must be introspected.
    pub fn count_miss(&self) {
        self.misses.inc();
    }

    /// Sets whether calls to the endpoint are suspended because of failures.
    pub fn set_suspended(&self, suspended: bool) {
        self.suspended.set(i64::from(suspended));
    }

    pub fn is_suspended(&self) -> bool {
        self.suspended.get() != 0
    }

    /// Sets the numbers of cached responses for active and for refused tokens, and their approximate size in bytes.
    pub fn set_cache_size(&self, active: usize, refused: usize, bytes: u64) {
        self.active_entries.set(count(active));
        self.refused_entries.set(count(refused));
        self.bytes.set(count(bytes));
    }
}
