//! Can the store be written? `/readyz` and the metrics say so, and the revocations that wait for the store are written as soon
//! as it can. A store that cannot be written makes no gate unready: the gate serves what it knows, and one full disk must not
//! take every gate out of its load balancer.

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
use crate::store::within_store_wait;
use std::sync::Arc;
use std::time::Duration;

/// The interval at which deleted files are noticed, and a store that could not be written is tried again.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The interval at which a store is written that has nothing to write: a full disk must be known before it is needed.
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
    /// Writes what waits, and tries a store again that could not be written.
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
        // A store that does not answer has recorded no failure.
        if let Err(error) = attempt {
            health.problem.get_or_insert_with(|| ErrorChain(&error).to_string());
        }
        let (condition, detail) = condition(&health, backlog);
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
fn condition(health: &WriteHealth, backlog: BacklogCounts) -> (Condition, String) {
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
    if parts.is_empty() {
        (Condition::Ok, String::new())
    } else {
        (Condition::Degraded, parts.join("; "))
    }
}

/// Waits until the store has every revocation, at most `limit`. [`watch`] writes them meanwhile.
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
    // `report_pending` says which are not.
    let _ = tokio::time::timeout(limit, written).await;
}

/// Logs the revocations that the store never got: those in memory alone end with the process.
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
        let (found, detail) = condition(&health, backlog);
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
}
