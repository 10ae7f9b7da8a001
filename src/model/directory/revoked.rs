//! Which tokens were revoked before they expired?

use crate::model::clock::Timestamp;
use dashmap::DashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Revoked tokens.
#[derive(Debug)]
pub(in crate::model::directory) struct RevokedTokens {
    /// The expiry of each token, by `jti`.
    expiries: DashMap<Box<str>, Timestamp>,
    /// At least the number of tokens. It is usually 0, and then `contains` computes no hash.
    count: AtomicUsize,
}

/// Time that a revocation is kept past the token's expiry: for the
/// permitted clock skew, and for a clock that is set back.
const MARGIN: Duration = Duration::from_secs(3_600);

impl RevokedTokens {
    pub(in crate::model::directory) fn new(expiries: DashMap<Box<str>, Timestamp>) -> Self {
        Self {
            expiries,
            count: AtomicUsize::new(0),
        }
    }

    pub(in crate::model::directory) fn insert(&self, jti: &str, expires_at: Timestamp) {
        // Count first: a concurrent reader then finds the count or the token.
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.expiries.insert(jti.into(), expires_at).is_some() {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(in crate::model::directory) fn contains(&self, jti: &str) -> bool {
        self.count.load(Ordering::SeqCst) > 0 && self.expiries.contains_key(jti)
    }

    #[cfg(test)]
    pub(in crate::model::directory) fn len(&self) -> usize {
        self.expiries.len()
    }

    pub(in crate::model::directory) fn sweep(&self, now: Timestamp) {
        self.expiries.retain(|_, expires_at| {
            let keep = now < expires_at.saturating_add(MARGIN);
            if !keep {
                self.count.fetch_sub(1, Ordering::SeqCst);
            }
            keep
        });
    }
}
