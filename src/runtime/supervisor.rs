//! What does systemd learn of the process (sd_notify(3)): that it is ready, reloads, stops, and lives? Without systemd, nothing
//! is sent.

use crate::model::clock::Clock;
use crate::model::clock::Tick;
use crate::runtime::ticks::every;
use crate::runtime::workers::Heartbeats;
use sd_notify::NotifyState;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The status line of a gate that serves.
const SERVING: &str = "Serving";

/// Tells systemd that every listener accepts.
pub fn ready() {
    send(&[NotifyState::Ready, NotifyState::Status(SERVING)]);
}

/// Tells systemd that a reload has begun. [`reloaded`] ends it.
pub fn reloading() {
    let Ok(now) = NotifyState::monotonic_usec_now() else {
        return;
    };
    send(&[NotifyState::Reloading, now]);
}

/// Tells systemd that a reload has ended. `refusal` says why the configuration was refused; the one before goes on serving.
pub fn reloaded(refusal: Option<&str>) {
    let status = match refusal {
        // A status is one line.
        Some(refusal) => format!(
            "Configuration refused, the one before serves: {}",
            refusal.replace('\n', " | ")
        ),
        None => SERVING.to_owned(),
    };
    send(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Tells systemd that the process will end.
pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("Draining")]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        report(&error);
    }
}

fn report(error: &io::Error) {
    tracing::warn!(%error, "systemd could not be told the state of the process");
}

/// Tells systemd that the process lives, as often as it wants, for as long as every worker turns its event loop. A worker that is
/// stuck for the watchdog's time keeps it silent, and systemd restarts the process.
pub async fn watch(heartbeats: Heartbeats, clock: Arc<dyn Clock>) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    // sd_watchdog_enabled(3) recommends half of the time.
    let mut ticks = every((limit / 2).max(Duration::from_millis(1)));
    let mut observer = Observer::new(&heartbeats, clock.now().tick);
    loop {
        ticks.tick().await;
        if observer.has_stuck(&heartbeats, limit, clock.now().tick) {
            tracing::error!("A worker is stuck; systemd is not told that the process lives");
        } else {
            send(&[NotifyState::Watchdog]);
        }
    }
}

/// The heartbeats as they were last seen to change.
struct Observer(Vec<(u64, Tick)>);

impl Observer {
    fn new(heartbeats: &Heartbeats, now: Tick) -> Self {
        Self(heartbeats.read().map(|beat| (beat, now)).collect())
    }

    /// Returns whether a worker's heartbeat has not changed for `limit`.
    fn has_stuck(&mut self, heartbeats: &Heartbeats, limit: Duration, now: Tick) -> bool {
        for ((last, since), beat) in self.0.iter_mut().zip(heartbeats.read()) {
            if beat != *last {
                (*last, *since) = (beat, now);
            }
        }
        self.0.iter().any(|(_, since)| now.saturating_since(*since) >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_a_heartbeat_for_the_whole_time_is_stuck() {
        let limit = Duration::from_secs(10);
        let begin = Tick::from_nanos(1);
        let heartbeats = Heartbeats::new(2);
        let mut observer = Observer::new(&heartbeats, begin);
        let at = |secs| begin.saturating_add(Duration::from_secs(secs));
        assert!(!observer.has_stuck(&heartbeats, limit, at(9)));
        heartbeats.beat(0);
        assert!(observer.has_stuck(&heartbeats, limit, at(10)), "the second worker");
        heartbeats.beat(1);
        assert!(!observer.has_stuck(&heartbeats, limit, at(11)));
        heartbeats.beat(0);
        assert!(!observer.has_stuck(&heartbeats, limit, at(20)));
        assert!(
            observer.has_stuck(&heartbeats, limit, at(21)),
            "the second worker again"
        );
    }
}
