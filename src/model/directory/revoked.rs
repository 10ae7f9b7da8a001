//! Which tokens were revoked before they expired?

use crate::model::clock::Timestamp;
use dashmap::DashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Revoked tokens, by `jti`.
#[derive(Debug)]
pub(in crate::model::directory) struct RevokedTokens {
    until: DashMap<Box<str>, Timestamp>,
    /// The number of tokens, or more. Usually it is 0, and then no hash is needed.
    count: AtomicUsize,
}

/// Time that a revocation is kept past the token's expiry: for the
/// permitted clock skew, and for a clock that is set back.
const MARGIN: Duration = Duration::from_secs(3_600);

impl RevokedTokens {
    pub(in crate::model::directory) fn new(until: DashMap<Box<str>, Timestamp>) -> Self {
        Self {
            until,
            count: AtomicUsize::new(0),
        }
    }

    pub(in crate::model::directory) fn insert(&self, jti: &str, until: Timestamp) {
        // Count first: a concurrent reader then finds the count or the token.
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.until.insert(jti.into(), until).is_some() {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(in crate::model::directory) fn contains(&self, jti: &str) -> bool {
        self.count.load(Ordering::SeqCst) > 0 && self.until.contains_key(jti)
    }

    #[cfg(test)]
    pub(in crate::model::directory) fn len(&self) -> usize {
        self.until.len()
    }

    pub(in crate::model::directory) fn sweep(&self, now: Timestamp) {
        self.until.retain(|_, until| {
            let keep = now < until.saturating_add(MARGIN);
            if !keep {
                self.count.fetch_sub(1, Ordering::SeqCst);
            }
            keep
        });
    }
}
