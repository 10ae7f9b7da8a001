//! How do the counts of limits outlive a restart? Those of periods of a day and longer are in the store, as of the last
//! minute or of the end of the process.

use crate::gate::Gate;
use crate::gate::live::LiveState;
use crate::limit::LimitState;
use crate::limit::key;
use crate::limit::saved;
use crate::model::clock::Clock;
use crate::model::clock::Now;
use crate::model::names::Name;
use crate::model::secret::Secret;
use crate::observe::log::ErrorChain;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::record::LimitCounts;
use std::sync::Arc;

/// Puts the counts of `store` in force. Call this before the first request: a bucket that is in use by then stays as it is,
/// and the keys of all buckets are hashes with a key from the store.
///
/// # Errors
/// The store cannot be read. Without its counts, a spent quota would be given again.
pub async fn restore(store: &dyn Store, live: &LiveState, now: Now) -> Result<(), StoreError> {
    let lasting = lasting(live);
    for counts in store.limit_counts().await? {
        // A limit that the configuration no longer has, or that became shorter.
        let Some((name, limit)) = lasting.iter().find(|(name, _)| *name == counts.limit) else {
            continue;
        };
        let unreadable = |problem: &str| StoreError::Unreadable {
            what: format!("the counts of limit `{name}`"),
            problem: problem.to_owned(),
        };
        let hash_key = counts.hash_key.expose().as_slice().try_into().map(Secret::new);
        let hash_key = hash_key.map_err(|_| unreadable("their key has another length"))?;
        if !key::install_hash_key(hash_key) {
            tracing::warn!(limit = %name, "Counts of before the start are lost: this process has counted with another key already");
            continue;
        }
        let buckets = saved::from_bytes(&counts.buckets)
            .ok_or_else(|| unreadable("they are cut; put a backup of the store in its place"))?;
        limit.restore(&buckets, now);
    }
    Ok(())
}

/// Writes the counts into the store.
pub struct LimitCountWriter {
    store: Arc<dyn Store>,
    live: Arc<LiveState>,
    clock: Arc<dyn Clock>,
    /// `false` once the store is known to have no counts: without a limit of a day or longer, nothing is written.
    may_have_counts: bool,
}

impl LimitCountWriter {
    pub fn new(store: &Arc<dyn Store>, gate: &Gate) -> Self {
        Self {
            store: Arc::clone(store),
            live: Arc::clone(&gate.live),
            clock: Arc::clone(&gate.clock),
            may_have_counts: true,
        }
    }

    /// Writes the present counts in the place of those before. A crash or a failed write loses the requests since the last
    /// write.
    pub async fn write(&mut self) {
        let (live, now) = (Arc::clone(&self.live), self.clock.now());
        // A million buckets take tens of milliseconds, for which no thread of the runtime must be blocked.
        let Ok(counts) = tokio::task::spawn_blocking(move || counts(&live, now)).await else {
            return;
        };
        let has_counts = !counts.is_empty();
        if !has_counts && !self.may_have_counts {
            return;
        }
        match self.store.replace_limit_counts(counts).await {
            Ok(()) => self.may_have_counts = has_counts,
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "Counts of limits not stored; a restart now would lose the newest");
            }
        }
    }
}

fn counts(live: &LiveState, now: Now) -> Vec<LimitCounts> {
    let counts = lasting(live).into_iter().map(|(limit, state)| LimitCounts {
        limit,
        hash_key: Secret::new(key::hash_key().expose().to_vec()),
        buckets: saved::to_bytes(&state.saved(now)),
    });
    counts.collect()
}

/// Returns the limits whose counts outlive the process.
fn lasting(live: &LiveState) -> Vec<(Name, Arc<LimitState>)> {
    let mut limits = live.limits();
    limits.retain(|(_, limit)| limit.outlives_process());
    limits
}
