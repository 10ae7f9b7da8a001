//! What is known of tokens that only their issuer can read (RFC 7662), and who asks about the others?
//!
//! Answers are cached under the issuer's configuration that they were judged by: a changed one makes a new
//! [`Introspection`] that knows nothing. What is not known is asked by one task per issuer, which `fetch` runs.

mod response;

pub use response::IntrospectionRefusal;
pub use response::RESPONSE_BYTES_MAX;
pub use response::ResponseError;
pub use response::Verdict;
pub use response::read;

use crate::config;
use crate::gate::authenticate::Identity;
use crate::gate::authenticate::verified::TokenText;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use crate::model::clock::Timestamp;
use crate::model::reason::reasons;
use crate::model::secret::Secret;
use crate::observe::metrics::IntrospectionMetrics;
use aws_lc_rs::digest;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use quick_cache::sync::DefaultLifecycle;
use std::fmt;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// Why there is no verdict. Answered with 503: nothing is known against the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("the introspection endpoint gave no answer that can be used")]
    NoResponse,
    #[error("the introspection endpoint failed too often, and is left alone for a while")]
    Suspended,
    #[error("too many questions wait for the introspection endpoint")]
    Busy,
}

reasons! {
    Unavailable {
        Self::NoResponse => "introspection_unavailable",
        Self::Suspended => "introspection_suspended",
        Self::Busy => "introspection_busy",
    }
}

/// Whose a token is, or why it does not count; or that nobody can tell.
pub type IntrospectionOutcome = Result<Result<Arc<Identity>, IntrospectionRefusal>, Unavailable>;

/// What one issuer was asked for this very request: it counts even where there was no room to remember it.
#[derive(Clone, Debug)]
pub struct IssuerVerdict {
    /// Unique id of the state of the issuer that was asked.
    pub issuer: u64,
    pub outcome: IntrospectionOutcome,
}

/// A question on its way to the issuer. Its asker may be gone: then `reply` is closed.
pub struct IntrospectionRequest {
    pub token: Secret<String>,
    pub reply: oneshot::Sender<IntrospectionOutcome>,
}

/// Questions that may wait for the task that asks; it takes them at once, unless it is gone or hopelessly late.
const REQUESTS_MAX: usize = 4096;

/// One issuer that is asked, under one configuration.
pub struct Introspection {
    verdicts: Arc<VerdictCache>,
    requests: mpsc::Sender<IntrospectionRequest>,
    /// Taken by the task that asks.
    inbox: Mutex<Option<mpsc::Receiver<IntrospectionRequest>>>,
    timeout: Duration,
}

impl Introspection {
    pub fn new(settings: &config::Introspection, metrics: IntrospectionMetrics) -> Self {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        Self {
            verdicts: Arc::new(VerdictCache::new(settings, metrics)),
            requests,
            inbox: Mutex::new(Some(inbox)),
            timeout: settings.timeout,
        }
    }

    pub fn verdicts(&self) -> &Arc<VerdictCache> {
        &self.verdicts
    }

    /// For the task that asks, which there is one of: the requests. They end when the last request that could ask is gone,
    /// so the task outlives a reload for as long as requests of before are under way.
    pub fn take_inbox(&self) -> Option<mpsc::Receiver<IntrospectionRequest>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Asks the issuer about `token`, together with everyone who asks about the same one. Takes at most the issuer's
    /// `timeout`. Dropped before the question was sent, it is not sent; dropped later, the answer is still cached.
    ///
    /// # Errors
    /// No answer in time, or none that says anything.
    pub async fn introspect(&self, token: Secret<String>) -> IntrospectionOutcome {
        let (reply, outcome) = oneshot::channel();
        match self.requests.try_send(IntrospectionRequest { token, reply }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Unavailable::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Unavailable::NoResponse),
        }
        match tokio::time::timeout(self.timeout, outcome).await {
            Ok(Ok(outcome)) => outcome,
            // The time is over, or the call came to nothing in a way of its own.
            Ok(Err(_)) | Err(_) => Err(Unavailable::NoResponse),
        }
    }
}

/// Answers of one issuer. Good ones and the others have rooms of their own, so that a flood of invented tokens leaves the
/// good ones where they are (S061).
pub struct VerdictCache {
    active: Cache<TokenText, CachedIdentity, IdentityWeight, RandomState>,
    /// By SHA-256 of the token, so that long junk takes no more room than short.
    refused: Cache<[u8; 32], CachedRefusal, RefusalWeight, RandomState>,
    cache_ttl: Duration,
    negative_ttl: Duration,
    pub metrics: IntrospectionMetrics,
}

#[derive(Clone)]
struct CachedIdentity {
    identity: Arc<Identity>,
    ends: Timestamp,
    until: Tick,
    weight: u64,
}

impl CachedIdentity {
    /// `ends` is looked at on each hit, not only when the answer came (S060).
    fn holds(&self, now: Now) -> bool {
        now.tick < self.until && now.wall < self.ends
    }
}

#[derive(Clone)]
struct CachedRefusal {
    refused: IntrospectionRefusal,
    until: Tick,
}

impl VerdictCache {
    fn new(settings: &config::Introspection, metrics: IntrospectionMetrics) -> Self {
        let bytes_max = settings.cache_bytes_max;
        let (for_refused, for_active) = (bytes_max / 4, bytes_max - bytes_max / 4);
        let items = |bytes: u64, usual: u64| usize::try_from(bytes / usual).unwrap_or(usize::MAX).max(1);
        Self {
            active: Cache::with(
                items(for_active, IDENTITY_WEIGHT + 1024),
                for_active,
                IdentityWeight,
                RandomState::new(),
                DefaultLifecycle::default(),
            ),
            refused: Cache::with(
                items(for_refused, REFUSAL_WEIGHT),
                for_refused,
                RefusalWeight,
                RandomState::new(),
                DefaultLifecycle::default(),
            ),
            cache_ttl: settings.cache_ttl,
            negative_ttl: settings.negative_ttl,
            metrics,
        }
    }

    /// What is cached of `token` and still holds at `now`.
    pub fn get(&self, token: &str, now: Now) -> Option<Result<Arc<Identity>, IntrospectionRefusal>> {
        if let Some(cached) = self.active.get(token) {
            if cached.holds(now) {
                return Some(Ok(cached.identity));
            }
            self.active.remove_if(token, |entry| !entry.holds(now));
        }
        let key = sha256(token);
        let cached = self.refused.get(&key)?;
        if now.tick < cached.until {
            return Some(Err(cached.refused));
        }
        self.refused.remove_if(&key, |entry| now.tick >= entry.until);
        None
    }

    /// Remembers what was said of `token` in an answer of `response_bytes`, for as long as the configuration allows from
    /// `asked` on, when the question was sent: what the issuer learned since is not in its answer.
    pub fn remember(&self, token: &str, verdict: &Verdict, response_bytes: usize, sent: Now) {
        let key = sha256(token);
        match verdict {
            Verdict::Active(active) => {
                self.refused.remove(&key);
                let cached = CachedIdentity {
                    identity: Arc::clone(&active.identity),
                    ends: active.ends,
                    until: sent.tick.saturating_add(self.cache_ttl),
                    // What was read of the answer stands twice, as texts and as header values.
                    weight: IDENTITY_WEIGHT + (token.len() + 2 * response_bytes) as u64,
                };
                self.active.insert(TokenText::new(token), cached);
            }
            Verdict::Refused(refused) => {
                // Revoked since it was good.
                self.active.remove(token);
                let cached = CachedRefusal {
                    refused: refused.clone(),
                    until: sent.tick.saturating_add(self.negative_ttl),
                };
                self.refused.insert(key, cached);
            }
        }
    }

    /// Remembered answers: that tokens are good, and the others.
    pub fn entries(&self) -> (usize, usize) {
        (self.active.len(), self.refused.len())
    }

    /// Estimated bytes in use, in the same order.
    pub fn bytes(&self) -> (u64, u64) {
        (self.active.weight(), self.refused.weight())
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Introspection")
            .field("entries", &self.verdicts.entries())
            .finish_non_exhaustive()
    }
}

/// The entry in the table, the `Identity` with its allocations' overhead.
const IDENTITY_WEIGHT: u64 = 1024;
const REFUSAL_WEIGHT: u64 = 160;

#[derive(Clone)]
struct IdentityWeight;

impl Weighter<TokenText, CachedIdentity> for IdentityWeight {
    fn weight(&self, _: &TokenText, cached: &CachedIdentity) -> u64 {
        cached.weight
    }
}

#[derive(Clone)]
struct RefusalWeight;

impl Weighter<[u8; 32], CachedRefusal> for RefusalWeight {
    fn weight(&self, _: &[u8; 32], _: &CachedRefusal) -> u64 {
        REFUSAL_WEIGHT
    }
}

fn sha256(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

#[cfg(test)]
mod tests;
