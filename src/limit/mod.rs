//! How often may something happen? Quotas, and buckets that are spent from; `governor`'s home.

pub mod key;
pub mod keyed;
pub mod quota;

use crate::limit::keyed::BUCKETS_MAX;
use crate::limit::keyed::Buckets;
use crate::model::clock::Tick;

/// What one limit has counted. Kept by limit name across reloads, so that a reload refills nothing.
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

    /// Forgets who has not been seen for long enough to have everything again. To be called now and then.
    pub fn sweep(&self, now: Tick) {
        self.buckets.sweep(now);
    }

    /// Principals counted at the moment; at most [`BUCKETS_MAX`].
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
