//! Can the store be written, how long do its writes take, and what waits for it?

use crate::model::clock::Timestamp;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::value::count;
use crate::observe::metrics::value::seconds;
use prometheus::Counter;
use prometheus::Gauge;
use prometheus::IntCounter;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use std::time::Duration;

/// The state of the store's writes; the counts are since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    pub is_writable: bool,
    pub commits: u64,
    pub failures: u64,
    pub commit_time: Duration,
    /// The number of writes that wait for their transaction.
    pub waiting: u64,
    /// The revocations that the store lacks: those that the log of revocations has, and those that only the process knows.
    pub pending_in_log: u64,
    pub pending_in_memory: u64,
}

/// The metrics of the store. Without a store, no series says whether it can be written.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    writable: IntGaugeVec,
    commits: IntCounter,
    failures: IntCounter,
    commit_seconds: Counter,
    last_failure: Gauge,
    waiting: IntGauge,
    pending_in_log: IntGauge,
    pending_in_memory: IntGauge,
}

impl StoreMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        let commits = registrar.counters(
            "keygate_store_commits_total",
            "Transactions of the store by result (success, failure).",
            &["result"],
        );
        let pending = registrar.gauges(
            "keygate_store_pending_revocations",
            "Revocations that are in force and not in the store yet, by where they are (log: on the disk; memory: lost with the process).",
            &["kept_in"],
        );
        Self {
            writable: registrar.gauges(
                "keygate_store_writable",
                "Whether the store can be written; absent without a store.",
                &[],
            ),
            commits: commits.with_label_values(&["success"]),
            failures: commits.with_label_values(&["failure"]),
            commit_seconds: registrar.float_counter(
                "keygate_store_commit_seconds_total",
                "Time that the transactions of keygate_store_commits_total{result=\"success\"} took.",
            ),
            last_failure: registrar.float_gauge(
                "keygate_store_last_failure_timestamp_seconds",
                "When a transaction of the store last failed; 0 when none has.",
            ),
            waiting: registrar.gauge(
                "keygate_store_waiting_writes",
                "Writes that wait for a transaction of the store.",
            ),
            pending_in_log: pending.with_label_values(&["log"]),
            pending_in_memory: pending.with_label_values(&["memory"]),
        }
    }

    /// Sets the metrics to `status`, as of `now`. Do not call this concurrently: both calls would add the same
    /// transactions.
    pub fn set(&self, status: &StoreStatus, now: Timestamp) {
        let none: &[&str] = &[];
        self.writable.with_label_values(none).set(status.is_writable.into());
        // A counter cannot be set, so add the difference.
        self.commits.inc_by(status.commits.saturating_sub(self.commits.get()));
        let failures = status.failures.saturating_sub(self.failures.get());
        self.failures.inc_by(failures);
        let duration = status.commit_time.as_secs_f64() - self.commit_seconds.get();
        self.commit_seconds.inc_by(duration.max(0.0));
        if failures > 0 {
            self.last_failure.set(seconds(now));
        }
        self.waiting.set(count(status.waiting));
        self.pending_in_log.set(count(status.pending_in_log));
        self.pending_in_memory.set(count(status.pending_in_memory));
    }
}
