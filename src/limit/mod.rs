//! How often may a client do something? Quotas, and buckets that requests are spent from; only this module uses
//! `governor`.

pub mod key;
pub mod keyed;
pub mod quota;

use crate::limit::keyed::BUCKETS_MAX;
use crate::limit::keyed::Buckets;
use crate::model::clock::Tick;

/// The buckets of one limit. `gate::live` keeps them over reloads, so that a reload refills nothing.
#[derive(Debug)]
pub struct LimitState {
    pub(crate) buckets: Buckets,
}

impl LimitState {
    pub fn new() -> Self {
        Self {
            buckets: Buckets::new(BUCKETS_MAX),
        }
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
    use crate::model::plan::Quota;
    use std::num::NonZeroU32;
    use std::time::Duration;

    #[test]
    fn a_limit_counts_the_principals_whose_bucket_is_not_full() {
        let second = Duration::from_secs(1);
        let quota = CompiledQuota::compile(&Quota {
            requests: NonZeroU32::MIN,
            period: second,
            burst: NonZeroU32::MIN,
        });
        let (limit, now) = (LimitState::new(), Tick::ZERO);
        assert!(limit.is_empty());
        for principal in 1..=3 {
            limit.buckets.spend(&quota, principal, now).unwrap();
        }
        assert_eq!((limit.len(), limit.is_empty()), (3, false));
        limit.sweep(now.saturating_add(second - Duration::from_nanos(1)));
        assert_eq!(limit.len(), 3);
        limit.sweep(now.saturating_add(second));
        assert_eq!((limit.len(), limit.is_empty()), (0, true));
    }
}
