//! How often does background work recur?

use std::time::Duration;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;

/// Returns an interval of `period` with an immediate first tick. A late tick delays all later ticks, so that ticks
/// never come in a burst.
pub fn every(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
