//! How often may a client do something? Quotas, and buckets that requests are spent from; only this module uses
//! `governor`.

pub mod quota;
pub mod bucket;
pub mod refilling;
pub mod fixed;
pub mod saved;
pub mod keyed;
pub mod key;

use crate::limit::bucket::Level;
use crate::limit::bucket::SpentRequest;
use crate::limit::keyed::BUCKETS_MAX;
use crate::limit::keyed::Buckets;
use crate::limit::quota::LimitQuota;
use crate::limit::saved::SavedBucket;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The buckets of one limit. `gate::live` keeps them over reloads, so that a reload refills nothing.
#[derive(Debug)]
pub struct LimitState {
    buckets: Buckets,
    outlives_process: AtomicBool,
}

impl LimitState {
    pub fn new() -> Self {
        Self {
            buckets: Buckets::new(BUCKETS_MAX),
            outlives_process: AtomicBool::new(false),
        }
    }

    /// Sets whether the buckets are to outlive the process.
    pub fn set_outlives_process(&self, outlives: bool) {
        self.outlives_process.store(outlives, Ordering::Relaxed);
    }

    /// Returns whether the buckets are to outlive the process.
    pub fn outlives_process(&self) -> bool {
        self.outlives_process.load(Ordering::Relaxed)
    }

    /// Returns the buckets in use, to be restored in another process.
    pub fn saved(&self, now: Now) -> Vec<SavedBucket> {
        self.buckets.saved(now)
    }

    /// Restores the buckets of an earlier process, unless they were used since the start.
    pub fn restore(&self, saved: &[SavedBucket], now: Now) {
        self.buckets.restore(saved, now);
    }

    /// Returns the level that [`Self::spend`] would leave. Spends nothing.
    ///
    /// # Errors
    /// Nothing is left: the time to wait.
    pub fn peek(&self, quota: &LimitQuota, key: u128, now: Now) -> Result<Level, Duration> {
        self.buckets.peek(quota, key, now)
    }

    /// Spends one request from the bucket of `key`.
    ///
    /// # Errors
    /// Nothing is left: the time to wait. A wait of exactly that time is enough; a nanosecond less is not.
    pub fn spend(&self, quota: &LimitQuota, key: u128, now: Now) -> Result<SpentRequest, Duration> {
        self.buckets.spend(quota, key, now)
    }

    /// Refunds a request, unless that could allow more than the quota.
    pub fn refund(&self, quota: &LimitQuota, key: u128, spent: SpentRequest) {
        self.buckets.refund(quota, key, spent);
    }

    /// Drops the buckets that are full again, to free memory. Call periodically.
    pub fn sweep(&self, now: Tick) {
        self.buckets.sweep(now);
    }

    /// Returns the number of buckets in use; at most [`BUCKETS_MAX`].
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    #[cfg(any(test, feature = "internals"))]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

impl Default for LimitState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::quota::CompiledQuota;
    use crate::model::clock::Clock;
    use crate::model::clock::ManualClock;
    use crate::model::clock::Timestamp;
    use crate::model::plan::Quota;
    use std::num::NonZeroU32;

    #[test]
    fn a_limit_counts_the_principals_whose_bucket_is_not_full() {
        let second = Duration::from_secs(1);
        let quota = LimitQuota::Refilling(CompiledQuota::compile(&Quota {
            requests: NonZeroU32::MIN,
            period: second,
            burst: NonZeroU32::MIN,
        }));
        let (limit, now) = (LimitState::new(), ManualClock::at(Timestamp::default()).now());
        assert!(limit.is_empty());
        for principal in 1..=3 {
            limit.spend(&quota, principal, now).unwrap();
        }
        assert_eq!((limit.len(), limit.is_empty()), (3, false));
        limit.sweep(now.tick.saturating_add(second - Duration::from_nanos(1)));
        assert_eq!(limit.len(), 3);
        limit.sweep(now.tick.saturating_add(second));
        assert_eq!((limit.len(), limit.is_empty()), (0, true));
    }
}
