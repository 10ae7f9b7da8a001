//! Which tokens were introspected (RFC 7662), with which result? A changed configuration of an issuer starts with an
//! empty cache. For each issuer, a task in `fetch` introspects the tokens that are not in the cache.

mod response;

pub use response::IntrospectionRefusal;
pub use response::RESPONSE_BYTES_MAX;
pub use response::RefusedToken;
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

/// Why there is no verdict. Answered with 503, because the token may be valid.
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

/// The identity of a valid token or the reason for its refusal; or the reason why neither is known.
pub type IntrospectionOutcome = Result<Result<Arc<Identity>, RefusedToken>, Unavailable>;

/// The verdict of an issuer about the token of one request. The verdict applies to that request even if the cache had
/// no room.
#[derive(Clone, Debug)]
pub struct IssuerVerdict {
    /// The unique id of the issuer's state.
    pub issuer: u64,
    pub outcome: IntrospectionOutcome,
}

/// A request to introspect a token. `reply` is closed where the requester is gone.
pub struct IntrospectionRequest {
    pub token: Secret<String>,
    pub reply: oneshot::Sender<IntrospectionOutcome>,
}

/// The number of requests that may wait in the channel. The introspecting task takes them out at once, unless the task
/// has ended or is far behind.
const REQUESTS_MAX: usize = 4096;

/// The introspection of one issuer under one configuration.
pub struct Introspection {
    verdicts: Arc<VerdictCache>,
    requests: mpsc::Sender<IntrospectionRequest>,
    /// Taken by the introspecting task.
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

    /// Returns the receiver of the requests, for the one introspecting task; `None` if the receiver was taken before.
    /// The channel closes when this introspection is dropped, so the task outlives a reload while older requests are in
    /// progress.
    pub fn take_inbox(&self) -> Option<mpsc::Receiver<IntrospectionRequest>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Introspects `token` at its issuer and returns the outcome. Concurrent requests for the same token share one
    /// call. Takes at most the issuer's `timeout`. If all their futures are dropped before the call, no call is made;
    /// if later, the verdict is still cached.
    ///
    /// # Errors
    /// Too many requests wait, the issuer is suspended, or there was no usable response in time.
    pub async fn introspect(&self, token: Secret<String>) -> IntrospectionOutcome {
        let (reply, outcome) = oneshot::channel();
        match self.requests.try_send(IntrospectionRequest { token, reply }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Unavailable::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Unavailable::NoResponse),
        }
        match tokio::time::timeout(self.timeout, outcome).await {
            Ok(Ok(outcome)) => outcome,
            // The timeout has passed, or the task dropped the request.
            Ok(Err(_)) | Err(_) => Err(Unavailable::NoResponse),
        }
    }
}

/// The cached verdicts of one issuer. Active and refused tokens have separate room, so that a flood of invented
/// tokens does not evict active ones (S061).
pub struct VerdictCache {
    active: Cache<TokenText, CachedIdentity, IdentityWeight, RandomState>,
    /// Keyed by the SHA-256 of the token, so that a long invented token takes no more room than a short one.
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
    /// Returns whether the entry is still valid. `ends` is checked on each hit, not only when the response came (S060).
    fn holds(&self, now: Now) -> bool {
        now.tick < self.until && now.wall < self.ends
    }
}

#[derive(Clone)]
struct CachedRefusal {
    refused: RefusedToken,
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

    /// Returns the cached verdict for `token`, if it is still valid at `now`.
    pub fn get(&self, token: &str, now: Now) -> Option<Result<Arc<Identity>, RefusedToken>> {
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

    /// Caches the verdict for `token` from a response of `response_bytes`. The configured time begins at `sent`, when
    /// the request was sent, because the response may not contain a change that the issuer made later.
    pub fn remember(&self, token: &str, verdict: &Verdict, response_bytes: usize, sent: Now) {
        let key = sha256(token);
        match verdict {
            Verdict::Active(active) => {
                self.refused.remove(&key);
                let cached = CachedIdentity {
                    identity: Arc::clone(&active.identity),
                    ends: active.ends,
                    until: sent.tick.saturating_add(self.cache_ttl),
                    // The identity holds parts of the response twice, as strings and as header values.
                    weight: IDENTITY_WEIGHT + (token.len() + 2 * response_bytes) as u64,
                };
                self.active.insert(TokenText::new(token), cached);
            }
            Verdict::Refused(refused) => {
                // The token may have been active before.
                self.active.remove(token);
                let cached = CachedRefusal {
                    refused: refused.clone(),
                    until: sent.tick.saturating_add(self.negative_ttl),
                };
                self.refused.insert(key, cached);
            }
        }
    }

    /// Returns the number of cached active tokens and of cached refusals.
    pub fn entries(&self) -> (usize, usize) {
        (self.active.len(), self.refused.len())
    }

    /// Returns an estimate of the bytes in use, in the same order.
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

/// The weight in bytes of an entry in the table and an `Identity`, with the overhead of its allocations.
const IDENTITY_WEIGHT: u64 = 1024;
const REFUSAL_WEIGHT: u64 = 160;
/// The names of an owner have up to 512 bytes each; most have few.
const OWNER_WEIGHT: u64 = 1024;

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
    fn weight(&self, _: &[u8; 32], cached: &CachedRefusal) -> u64 {
        REFUSAL_WEIGHT + cached.refused.owner.as_ref().map_or(0, |_| OWNER_WEIGHT)
    }
}

fn sha256(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

#[cfg(test)]
mod tests;
