//! Can the store be written? The watch reports this in `/readyz` and in the metrics, and writes the revocations that wait for
//! the store. A store that cannot be written never makes the gate unready: the gate serves what it knows, and one full disk must
//! not take every gate out of its load balancer.

use crate::control::Control;
use crate::gate::Gate;
use crate::observe::log::ErrorChain;
use crate::observe::metrics::StoreStatus;
use crate::observe::ready::Condition;
use crate::observe::ready::Readiness;
use crate::observe::ready::STORE;
use crate::runtime::ticks::every;
use crate::store::StoreError;
use crate::store::WriteHealth;
use crate::store::revocations::BacklogCounts;
use crate::store::revocations::ReconciliationReport;
use crate::store::within_store_wait;
use std::sync::Arc;
use std::time::Duration;

/// The interval of the check for deleted files, and of the attempts to write after a failure.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The interval of the probes while there is nothing to write: a full disk should be known before a write needs room.
const PROBE_INTERVAL: Duration = Duration::from_secs(60);

/// Watches the store. Runs until aborted.
pub async fn watch(control: Arc<Control>, gate: Arc<Gate>, readiness: Arc<Readiness>) {
    let watch = StoreWatch {
        control,
        gate,
        readiness,
    };
    let (mut checks, mut probes) = (every(CHECK_INTERVAL), every(PROBE_INTERVAL));
    let mut commits = 0;
    loop {
        tokio::select! {
            _ = checks.tick() => watch.check().await,
            _ = probes.tick() => {
                let before = std::mem::replace(&mut commits, watch.control.store.write_health().commits);
                if before == commits {
                    watch.report(within_store_wait(watch.control.store.probe()).await);
                    commits = watch.control.store.write_health().commits;
                }
            }
        }
    }
}

struct StoreWatch {
    control: Arc<Control>,
    gate: Arc<Gate>,
    readiness: Arc<Readiness>,
}

impl StoreWatch {
    /// Writes the pending revocations, or probes a store whose last write failed.
    async fn check(&self) {
        let control = &self.control;
        let attempt = if control.revocations.backlog() != BacklogCounts::default() {
            within_store_wait(control.write_pending_revocations()).await
        } else if control.store.write_health().problem.is_some() {
            within_store_wait(control.store.probe()).await
        } else {
            Ok(())
        };
        self.report(attempt);
    }

    fn report(&self, attempt: Result<(), StoreError>) {
        let mut health = self.control.store.write_health();
        let backlog = self.control.revocations.backlog();
        // A store that hangs has recorded no failure.
        if let Err(error) = attempt {
            health.problem.get_or_insert_with(|| ErrorChain(&error).to_string());
        }
        let (condition, detail) = condition(&health, backlog, self.control.revocations.report());
        self.readiness.set(STORE, condition, detail);
        let status = StoreStatus {
            is_writable: health.problem.is_none(),
            commits: health.commits,
            failures: health.failures,
            commit_time: health.commit_time,
            waiting: health.waiting as u64,
            pending_in_log: backlog.in_log as u64,
            pending_in_memory: backlog.in_memory as u64,
        };
        self.gate.live.metrics.store.set(&status, self.gate.clock.now().wall);
    }
}

/// Returns the condition of `/readyz`, with a text for people.
fn condition(health: &WriteHealth, backlog: BacklogCounts, opened: ReconciliationReport) -> (Condition, String) {
    let mut parts = Vec::new();
    if let Some(problem) = &health.problem {
        parts.push(format!("cannot be written: {problem}"));
    }
    if backlog.pending() > 0 {
        let waiting = backlog.pending();
        parts.push(match backlog.in_memory {
            0 => format!("{waiting} revocations are in force and wait for it"),
            lost => format!("{waiting} revocations are in force and wait for it, {lost} of them in memory alone"),
        });
    }
    if backlog.unlogged > 0 {
        parts.push("the log of revocations cannot be written".to_owned());
    }
    let condition = if parts.is_empty() {
        Condition::Ok
    } else {
        Condition::Degraded
    };
    let ReconciliationReport {
        records,
        events_missing,
    } = opened;
    if (records, events_missing) != (0, 0) {
        parts.push(format!(
            "older than its log of revocations when it was opened: {records} revocations came from the log, {events_missing} audit \
             events are missing"
        ));
    }
    (condition, parts.join("; "))
}

/// Waits until [`watch`] has written every revocation to the store, at most `limit`.
pub async fn wait_for_pending(control: &Control, limit: Duration) {
    if control.revocations.backlog().pending() == 0 {
        return;
    }
    tracing::warn!("Revocations wait for the store; so does the end of the drain");
    let mut ticks = every(CHECK_INTERVAL);
    let written = async {
        while control.revocations.backlog().pending() > 0 {
            ticks.tick().await;
        }
    };
    // `report_pending` logs the rest.
    let _ = tokio::time::timeout(limit, written).await;
}

/// Logs each revocation that the store lacks at the end of the process, which loses those in memory alone.
pub fn report_pending(control: &Control) {
    for (action, target, durability) in control.revocations.pending() {
        let kept_in = durability.as_str();
        if durability.survives_restart() {
            tracing::error!(
                action,
                target,
                kept_in,
                "Revocation is not in the store; the next start takes it from the log of revocations"
            );
        } else {
            tracing::error!(
                action,
                target,
                kept_in,
                "Revocation is lost: neither the store nor the log of revocations could be written; revoke it again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(problem: Option<&str>, backlog: BacklogCounts, expected: (Condition, &str)) {
        let health = WriteHealth {
            problem: problem.map(str::to_owned),
            ..WriteHealth::default()
        };
        let (found, detail) = condition(&health, backlog, ReconciliationReport::default());
        assert_eq!((found, detail.as_str()), expected);
    }

    #[test]
    fn a_store_that_cannot_be_written_is_degraded_and_never_failing() {
        let none = BacklogCounts::default();
        check(None, none, (Condition::Ok, ""));
        check(
            Some("disk full"),
            none,
            (Condition::Degraded, "cannot be written: disk full"),
        );
        let backlog = BacklogCounts {
            in_log: 2,
            in_memory: 1,
            unlogged: 1,
        };
        check(
            None,
            backlog,
            (
                Condition::Degraded,
                "3 revocations are in force and wait for it, 1 of them in memory alone; the log of revocations cannot \
                 be written",
            ),
        );
    }

    #[test]
    fn a_store_that_was_restored_is_ok_and_says_so() {
        let opened = ReconciliationReport {
            records: 2,
            events_missing: 3,
        };
        let (found, detail) = condition(&WriteHealth::default(), BacklogCounts::default(), opened);
        assert_eq!(found, Condition::Ok);
        assert_eq!(
            detail,
            "older than its log of revocations when it was opened: 2 revocations came from the log, 3 audit events are missing"
        );
    }
}
