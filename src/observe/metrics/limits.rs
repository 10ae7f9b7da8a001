//! Limits: what they let through, and the buckets they keep.

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
            buckets: registrar.gauges("keygate_limit_buckets", "Buckets a limit keeps in memory.", &["limit"]),
        }
    }

    /// Returns the series of one limit.
    pub fn of(&self, limit: &str) -> LimitMetrics {
        LimitMetrics {
            allowed: self.decisions.with_label_values(&[limit, "allow"]),
            denied: self.decisions.with_label_values(&[limit, "deny"]),
            would_denied: self.decisions.with_label_values(&[limit, "would_deny"]),
            buckets: self.buckets.with_label_values(&[limit]),
        }
    }

    pub(super) fn forget_all_but(&self, limits: &HashSet<&str>) {
        forget(&self.decisions, "limit", limits);
        forget(&self.buckets, "limit", limits);
    }
}

/// Requests that one limit decided about, and its buckets.
#[derive(Clone, Debug)]
pub struct LimitMetrics {
    allowed: IntCounter,
    denied: IntCounter,
    would_denied: IntCounter,
    buckets: IntGauge,
}

impl LimitMetrics {
    /// Counts one request that was within the limit.
    pub fn allowed(&self) {
        self.allowed.inc();
    }

    /// Counts one request that was refused.
    pub fn denied(&self) {
        self.denied.inc();
    }

    /// Counts one request that was let through and would have been refused, were the limit enforced.
    pub fn would_denied(&self) {
        self.would_denied.inc();
    }

    /// Sets how many buckets are in memory.
    pub fn set_buckets(&self, buckets: usize) {
        self.buckets.set(count(buckets));
    }
}
