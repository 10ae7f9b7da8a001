//! How often may something happen? Quotas, and the buckets they are spent from; only this module uses `governor`.

pub mod key;
pub mod keyed;
pub mod quota;

use crate::limit::keyed::BUCKETS_MAX;
use crate::limit::keyed::Buckets;
use crate::model::clock::Tick;

/// The counts of one limit. Found by limit name across reloads, so that a reload refills nothing.
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

    /// Forgets principals whose bucket is full again. To be called periodically.
    pub fn sweep(&self, now: Tick) {
        self.buckets.sweep(now);
    }

    /// Returns the number of principals with a bucket; at most [`BUCKETS_MAX`].
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
