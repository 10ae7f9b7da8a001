//! How does the limiter count a configured quota, and which values does `RateLimit-Policy` have for it?

use crate::model::plan::Quota;
use std::num::NonZeroU32;
use std::time::Duration;

/// A [`Quota`] as the limiter counts it: one request refills every `interval_nanos`, at most `burst` accumulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompiledQuota {
    interval_nanos: u64,
    burst: NonZeroU32,
    policy_requests: u32,
    policy_window_secs: u64,
}

/// The maximum time to refill a bucket, about 146 years, so that no sum in the limiter exceeds 64 bits.
const FULL_NANOS_MAX: u64 = u64::MAX / 4;

impl CompiledQuota {
    /// Compiles `quota`. The interval is rounded up to whole nanoseconds, so that rounding never raises the rate. A
    /// burst that takes longer than `FULL_NANOS_MAX` to refill is cut to the burst that refills in that time.
    pub fn compile(quota: &Quota) -> Self {
        let period_nanos = u64::try_from(quota.period.as_nanos()).unwrap_or(FULL_NANOS_MAX);
        let interval_nanos = period_nanos
            .div_ceil(u64::from(quota.requests.get()))
            .clamp(1, FULL_NANOS_MAX);
        let burst_max = u32::try_from(FULL_NANOS_MAX / interval_nanos).unwrap_or(u32::MAX);
        let burst = quota.burst.min(NonZeroU32::new(burst_max).unwrap_or(NonZeroU32::MIN));
        // With a burst above `requests`, `r` of `RateLimit` could exceed `q`. Then report the same rate over a longer
        // window: the time in which the whole burst refills.
        let (policy_requests, window) = if burst <= quota.requests {
            (quota.requests.get(), quota.period)
        } else {
            (
                burst.get(),
                Duration::from_nanos(interval_nanos.saturating_mul(u64::from(burst.get()))),
            )
        };
        Self {
            interval_nanos,
            burst,
            policy_requests,
            policy_window_secs: secs_rounded_up(window).max(1),
        }
    }

    /// Returns `q` of `RateLimit-Policy`: requests per window.
    pub const fn policy_requests(&self) -> u32 {
        self.policy_requests
    }

    /// Returns `w` of `RateLimit-Policy`: seconds, at least 1.
    pub const fn policy_window_secs(&self) -> u64 {
        self.policy_window_secs
    }

    #[cfg(test)]
    pub const fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// Returns the time in which one request refills, in nanoseconds.
    pub const fn interval_nanos(&self) -> u64 {
        self.interval_nanos
    }

    /// Returns the time in which an empty bucket refills, in nanoseconds.
    pub const fn full_nanos(&self) -> u64 {
        // Cannot overflow: `compile` bounds the product by `FULL_NANOS_MAX`.
        self.interval_nanos * self.burst.get() as u64
    }

    pub(super) fn governor(&self) -> governor::Quota {
        governor::Quota::with_period(Duration::from_nanos(self.interval_nanos))
            .expect("an interval is at least 1 ns")
            .allow_burst(self.burst)
    }
}

/// Returns `duration` in whole seconds, rounded up, so that a wait of that length is long enough.
pub(crate) fn secs_rounded_up(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(requests: u32, period: Duration, burst: u32) -> CompiledQuota {
        CompiledQuota::compile(&Quota {
            requests: NonZeroU32::new(requests).unwrap(),
            period,
            burst: NonZeroU32::new(burst).unwrap(),
        })
    }

    #[test]
    fn a_quota_refills_evenly_over_its_period() {
        let quota = compile(500, Duration::from_secs(60), 50);
        assert_eq!(quota.interval_nanos(), 120_000_000);
        assert_eq!(quota.full_nanos(), 6_000_000_000);
        assert_eq!((quota.policy_requests(), quota.policy_window_secs()), (500, 60));
    }

    #[test]
    fn rounding_never_raises_the_rate() {
        let quota = compile(7, Duration::from_secs(60), 7);
        assert!(quota.interval_nanos() * 7 >= 60_000_000_000);
        assert!((quota.interval_nanos() - 1) * 7 < 60_000_000_000);
    }

    #[test]
    fn a_burst_above_the_requests_of_a_period_is_written_as_the_same_rate_over_a_longer_window() {
        let quota = compile(1, Duration::from_secs(1), 50);
        assert_eq!((quota.policy_requests(), quota.policy_window_secs()), (50, 50));
    }

    #[test]
    fn a_window_is_never_zero_seconds() {
        assert_eq!(compile(10, Duration::from_millis(100), 10).policy_window_secs(), 1);
        assert_eq!(compile(10, Duration::ZERO, 10).policy_window_secs(), 1);
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (duration, secs) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_secs(1), 1),
            (Duration::new(1, 1), 2),
            (Duration::MAX, u64::MAX),
        ] {
            assert_eq!(secs_rounded_up(duration), secs, "{duration:?}");
        }
    }

    #[test]
    fn the_largest_quota_overflows_nothing() {
        for (requests, period, burst) in [
            (1, Duration::MAX, u32::MAX),
            (1, Duration::from_secs(30 * 86_400), u32::MAX),
            (u32::MAX, Duration::from_nanos(1), u32::MAX),
        ] {
            let quota = compile(requests, period, burst);
            assert!(quota.full_nanos() <= FULL_NANOS_MAX);
            assert_eq!(quota.governor().burst_size(), quota.burst());
        }
    }
}
