//! How often does background work recur?

use std::time::Duration;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;

/// Returns ticks of `period`, the first at once. A late tick delays the following ones; missed ticks are skipped.
pub fn every(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
