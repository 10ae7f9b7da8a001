//! How does the limiter count a configured quota, and which values does `RateLimit-Policy` have for it?

use crate::limit::fixed::FixedQuota;
use crate::model::plan::Quota;
use std::num::NonZeroU32;
use std::time::Duration;

/// A [`Quota`] as the limiter counts it: one request refills every `interval_nanos`, at most `burst` accumulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompiledQuota {
    interval_nanos: u64,
    burst: NonZeroU32,
    policy_window_secs: u64,
}

/// A quota with the way in which a limit counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitQuota {
    /// Refills evenly.
    Refilling(CompiledQuota),
    /// Begins anew with each window of the clock.
    Fixed(FixedQuota),
}

impl LimitQuota {
    /// Returns `q` of `RateLimit-Policy`: the number that `r` of `RateLimit` counts down from.
    pub const fn policy_requests(&self) -> u32 {
        match self {
            Self::Refilling(quota) => quota.policy_requests(),
            Self::Fixed(quota) => quota.requests(),
        }
    }

    /// Returns `w` of `RateLimit-Policy`: seconds, at least 1.
    pub const fn policy_window_secs(&self) -> u64 {
        match self {
            Self::Refilling(quota) => quota.policy_window_secs(),
            Self::Fixed(quota) => quota.period_secs(),
        }
    }
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
        // Exact, and not from the rounded interval: 7 in 60 s are 7 in 60 s, not in 60 s and 4 ns.
        let window_nanos = (quota.period.as_nanos().saturating_mul(u128::from(burst.get())))
            .div_ceil(u128::from(quota.requests.get()));
        let window_secs = u64::try_from(window_nanos.div_ceil(1_000_000_000)).unwrap_or(u64::MAX);
        Self {
            interval_nanos,
            burst,
            policy_window_secs: window_secs.max(1),
        }
    }

    /// Returns `q` of `RateLimit-Policy`: the burst, which `r` of `RateLimit` counts down from.
    pub const fn policy_requests(&self) -> u32 {
        self.burst.get()
    }

    /// Returns `w` of `RateLimit-Policy`: the seconds in which the burst refills, rounded up, at least 1.
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
    }

    #[test]
    fn rounding_never_raises_the_rate() {
        let quota = compile(7, Duration::from_secs(60), 7);
        assert!(quota.interval_nanos() * 7 >= 60_000_000_000);
        assert!((quota.interval_nanos() - 1) * 7 < 60_000_000_000);
    }

    #[test]
    fn the_policy_is_the_burst_in_the_time_in_which_it_refills() {
        for (requests, secs, burst, policy) in [
            (5, 60, 5, (5, 60)),
            (500, 60, 50, (50, 6)),
            (7, 60, 7, (7, 60)),
            (7, 60, 3, (3, 26)),
            (1, 1, 50, (50, 50)),
            (500, 60, 1, (1, 1)),
        ] {
            let quota = compile(requests, Duration::from_secs(secs), burst);
            assert_eq!((quota.policy_requests(), quota.policy_window_secs()), policy);
        }
    }

    #[test]
    fn a_window_is_never_zero_seconds() {
        assert_eq!(compile(10, Duration::from_millis(100), 10).policy_window_secs(), 1);
        assert_eq!(compile(10, Duration::ZERO, 10).policy_window_secs(), 1);
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
