//! By which time is old state forgotten? By the wall clock, but not by a jump of it: a clock that is two days ahead and is set
//! back would otherwise put revoked tokens and used assertions in force again.

use crate::model::clock::Now;
use crate::model::clock::Tick;
use crate::model::clock::Timestamp;
use std::time::Duration;

/// The time for which a jump ahead is not believed. A clock that was behind when the process started is right after the jump;
/// until it is believed, nothing is forgotten, which takes memory and does no harm.
const DOUBT: Duration = Duration::from_secs(3 * 86_400);
/// A larger difference between both clocks is a jump; a smaller one is the correction of a clock that runs a little slow.
const JUMP: Duration = Duration::from_secs(60);

/// Follows the wall clock back, and ahead no faster than the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SteadyTime {
    /// The last reading that is believed.
    believed: Now,
    /// The time since when the wall clock is ahead of the believed time.
    ahead_since: Option<Tick>,
}

impl SteadyTime {
    pub const fn new(now: Now) -> Self {
        Self {
            believed: now,
            ahead_since: None,
        }
    }

    /// Returns the instant up to which old state may be forgotten.
    pub fn at(&mut self, now: Now) -> Timestamp {
        let passed = now.tick.saturating_since(self.believed.tick);
        let expected = self.believed.wall.saturating_add(passed);
        if now.wall <= expected.saturating_add(JUMP) {
            *self = Self::new(now);
            return now.wall;
        }
        let since = *self.ahead_since.get_or_insert(now.tick);
        if now.tick.saturating_since(since) < DOUBT {
            return expected;
        }
        *self = Self::new(now);
        now.wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Returns a reading after `passed` on the monotonic clock, with the wall clock `ahead` of it.
    fn reading(passed: Duration, ahead: Duration) -> Now {
        Now {
            wall: start().saturating_add(passed + ahead),
            tick: Tick::ZERO.saturating_add(passed),
        }
    }

    fn start() -> Timestamp {
        Timestamp::from_unix_secs(1_800_000_000)
    }

    fn after(passed: Duration) -> Timestamp {
        start().saturating_add(passed)
    }

    #[test]
    fn a_jump_ahead_is_believed_after_three_days() {
        let mut time = SteadyTime::new(reading(Duration::ZERO, Duration::ZERO));
        let minute = Duration::from_secs(60);
        assert_eq!(time.at(reading(minute, Duration::ZERO)), after(minute));
        for passed in [minute * 2, DAY, minute * 2 + DAY * 3 - Duration::from_millis(1)] {
            assert_eq!(time.at(reading(passed, DAY * 2)), after(passed), "{passed:?}");
        }
        let passed = minute * 2 + DAY * 3;
        assert_eq!(time.at(reading(passed, DAY * 2)), after(passed + DAY * 2));
        assert_eq!(
            time.at(reading(passed + minute, DAY * 2)),
            after(passed + minute + DAY * 2)
        );
    }

    #[test]
    fn a_clock_that_is_set_back_is_believed_at_once_and_begins_a_new_doubt() {
        let mut time = SteadyTime::new(reading(Duration::ZERO, DAY));
        assert_eq!(time.at(reading(DAY, Duration::ZERO)), after(DAY));
        assert_eq!(time.at(reading(DAY * 2, DAY * 2)), after(DAY * 2));
        assert_eq!(time.at(reading(DAY * 3, Duration::ZERO)), after(DAY * 3));
        assert_eq!(time.at(reading(DAY * 5, DAY * 2)), after(DAY * 5));
        assert_eq!(time.at(reading(DAY * 7, DAY * 2)), after(DAY * 7));
        assert_eq!(time.at(reading(DAY * 8, DAY * 2)), after(DAY * 10));
    }

    #[test]
    fn a_clock_that_is_corrected_a_little_is_believed() {
        let mut time = SteadyTime::new(reading(Duration::ZERO, Duration::ZERO));
        for step in 1..100 {
            let (passed, ahead) = (DAY * step, JUMP * step);
            assert_eq!(time.at(reading(passed, ahead)), after(passed + ahead), "{step}");
        }
    }
}
