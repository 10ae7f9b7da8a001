//! Which time is it? This file alone reads the wall clock; other code receives `now`. Timers of `proxy` read `Instant`.

#[cfg(any(test, feature = "internals"))]
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// Wall-clock time in milliseconds since the Unix epoch. Compared with `exp`, `nbf` and expiry dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last representable instant; stands for "never expires" in comparisons.
    pub const MAX: Self = Self(u64::MAX);

    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the start of the second `secs`; saturates at the last representable millisecond.
    pub const fn from_unix_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    pub const fn as_unix_millis(self) -> u64 {
        self.0
    }

    /// Returns the whole seconds since the Unix epoch, rounded down.
    pub const fn as_unix_secs(self) -> u64 {
        self.0 / 1000
    }

    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// Returns the time from `earlier` to `self`; zero when `self` is not later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Monotonic time in nanoseconds since the [`Clock`] was created. Limits and cooldowns use it. It never goes
/// back, so an operator who sets the wall clock back neither refills a limit nor locks a client out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    pub const ZERO: Self = Self(0);

    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns the time from `earlier` to `self`; zero when `self` is not later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Returns `wait` in whole seconds, rounded up and at least 1, as for `Retry-After`: a wait of exactly that long is enough.
pub fn wait_secs(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// One reading of both clocks, taken once per request and passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub wall: Timestamp,
    pub tick: Tick,
}

/// The source of `now`.
pub trait Clock: Send + Sync {
    fn now(&self) -> Now;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        // `.clippy.toml` rejects every other call of this function.
        #[expect(clippy::disallowed_methods, reason = "model/clock.rs is the reader of system time")]
        let system = SystemTime::now();
        // A clock set before 1970 reads as 1970: every token is then not yet valid, which fails closed.
        let wall = system.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now {
            wall: Timestamp::from_unix_millis(millis(wall)),
            tick: Tick::ZERO.saturating_add(self.started.elapsed()),
        }
    }
}

/// A clock that moves only when it is set; for tests and benches.
#[cfg(any(test, feature = "internals"))]
#[derive(Debug)]
pub struct ManualClock(Mutex<Now>);

#[cfg(any(test, feature = "internals"))]
impl ManualClock {
    pub fn at(wall: Timestamp) -> Self {
        Self(Mutex::new(Now { wall, tick: Tick::ZERO }))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.lock();
        now.wall = now.wall.saturating_add(duration);
        now.tick = now.tick.saturating_add(duration);
    }

    /// Sets the wall clock alone, as an operator might.
    pub fn set_wall(&self, wall: Timestamp) {
        self.lock().wall = wall;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        // `Now` is plain data: a thread that panicked while holding the lock cannot have left it partly written.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(any(test, feature = "internals"))]
impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds_and_never_zero() {
        for (wait, secs) in [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1), 1),
            (Duration::from_secs(1), 1),
            (Duration::new(1, 1), 2),
            (Duration::from_millis(59_999), 60),
            (Duration::MAX, u64::MAX),
        ] {
            assert_eq!(wait_secs(wait), secs, "{wait:?}");
        }
    }

    #[test]
    fn setting_the_wall_clock_back_leaves_the_monotonic_clock_alone() {
        let clock = ManualClock::at(Timestamp::from_unix_secs(1_000));
        clock.advance(Duration::from_secs(10));
        clock.set_wall(Timestamp::from_unix_secs(5));
        let now = clock.now();
        assert_eq!(now.wall, Timestamp::from_unix_secs(5));
        assert_eq!(now.tick, Tick::from_nanos(10_000_000_000));
    }

    #[test]
    fn time_saturates_instead_of_wrapping() {
        assert_eq!(Timestamp::MAX.saturating_add(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::from_unix_secs(u64::MAX), Timestamp::MAX);
        assert_eq!(
            Timestamp::from_unix_secs(1).saturating_since(Timestamp::from_unix_secs(2)),
            Duration::ZERO
        );
        assert_eq!(
            Timestamp::from_unix_secs(1)
                .saturating_sub(Duration::from_secs(2))
                .as_unix_millis(),
            0
        );
    }
}
