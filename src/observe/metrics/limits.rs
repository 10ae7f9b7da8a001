//! How many requests do limits allow and reject, and how many buckets do they have?

use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::registrar::forget;
use crate::observe::metrics::value::count;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use std::collections::HashSet;

/// The families with a series for each limit.
pub struct LimitFamilies {
    decisions: IntCounterVec,
    stand_ins: IntCounterVec,
    buckets: IntGaugeVec,
}

impl LimitFamilies {
    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            decisions: registrar.counters(
                "keygate_limit_decisions_total",
                "Requests that a limit let through or refused, by outcome (allow, deny, would_deny); would_deny was allowed.",
                &["limit", "outcome"],
            ),
            stand_ins: registrar.counters(
                "keygate_limit_stand_ins_total",
                "Requests that a limit counted by another property, because the principal does not have the one that it names.",
                &["limit"],
            ),
            buckets: registrar.gauges("keygate_limit_buckets", "Buckets a limit keeps in memory.", &["limit"]),
        }
    }

    /// Returns the series of one limit.
    pub fn of(&self, limit: &str) -> LimitMetrics {
        LimitMetrics {
            allowed: self.decisions.with_label_values(&[limit, "allow"]),
            denied: self.decisions.with_label_values(&[limit, "deny"]),
            would_denied: self.decisions.with_label_values(&[limit, "would_deny"]),
            stand_ins: self.stand_ins.with_label_values(&[limit]),
            buckets: self.buckets.with_label_values(&[limit]),
        }
    }

    pub(super) fn forget_all_but(&self, limits: &HashSet<&str>) {
        forget(&self.decisions, "limit", limits);
        forget(&self.stand_ins, "limit", limits);
        forget(&self.buckets, "limit", limits);
    }
}

/// The metrics of the decisions of one limit and of its buckets.
#[derive(Clone, Debug)]
pub struct LimitMetrics {
    allowed: IntCounter,
    denied: IntCounter,
    would_denied: IntCounter,
    stand_ins: IntCounter,
    buckets: IntGauge,
}

impl LimitMetrics {
    /// Counts one admitted request that was within the limit.
    pub fn count_allowed(&self) {
        self.allowed.inc();
    }

    /// Counts one request that the limit rejected.
    pub fn count_denied(&self) {
        self.denied.inc();
    }

    /// Counts one request that was beyond the limit and was admitted because the limit is in shadow mode.
    pub fn count_would_deny(&self) {
        self.would_denied.inc();
    }

    /// Counts one request whose principal does not have what the limit counts by.
    pub fn count_stand_in(&self) {
        self.stand_ins.inc();
    }

    /// Sets the number of buckets in memory.
    pub fn set_buckets(&self, buckets: usize) {
        self.buckets.set(count(buckets));
    }
}
