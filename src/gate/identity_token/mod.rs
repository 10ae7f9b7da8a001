//! Which signed token tells an upstream the principal of a request? A token is signed for the first request of a
//! principal to an audience, and cached for half its lifetime.

pub mod published;
pub mod signer;

pub use published::PublishedKeys;
pub use signer::Signer;

use crate::gate::authenticate::Identity;
use crate::gate::identity_token::signer::TokenLifetime;
use crate::jose::sign::SignError;
use crate::model::clock::Timestamp;
use crate::observe::metrics::Metrics;
use http::HeaderValue;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use quick_cache::sync::DefaultLifecycle;
use std::fmt;
use std::hash::RandomState;
use std::sync::Arc;

/// The cached identity tokens, and the published keys that verify them. Outlives a reload.
pub struct IdentityTokens {
    pub published: PublishedKeys,
    cache: Cache<Key, CachedToken, Weight, RandomState>,
    metrics: Arc<Metrics>,
}

/// The principal and the audience of a cached token. `identity` is the address of an [`Identity`]. The cache entry
/// holds that identity, so no other identity has the same address while the entry exists.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    identity: usize,
    audience: Arc<str>,
}

#[derive(Clone)]
struct CachedToken {
    identity: Arc<Identity>,
    /// The unique id of the signer, which a reload may replace.
    signer: u64,
    value: HeaderValue,
    lifetime: TokenLifetime,
}

impl IdentityTokens {
    /// Enough for about 8 000 tokens of usual length.
    pub const DEFAULT_BYTES_MAX: u64 = 32 * 1024 * 1024;

    /// Returns an empty cache of at most about `bytes_max` bytes.
    pub fn new(metrics: Arc<Metrics>, bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / USUAL_WEIGHT).unwrap_or(usize::MAX);
        Self {
            published: PublishedKeys::default(),
            cache: Cache::with(
                items,
                bytes_max,
                Weight,
                RandomState::new(),
                DefaultLifecycle::default(),
            ),
            metrics,
        }
    }

    /// Returns a token for `audience` that describes `identity`, as a sensitive header value.
    ///
    /// At least half of the signer's `ttl` is left, unless the credential expires before: a token never outlives its
    /// credential. A cached token costs no signature and no allocation.
    ///
    /// # Errors
    /// The cryptographic library cannot sign. The caller must not forward the request: the upstream would take it for a
    /// request without a principal.
    pub fn token(
        &self,
        signer: &Signer,
        identity: &Arc<Identity>,
        audience: &Arc<str>,
        now: Timestamp,
    ) -> Result<HeaderValue, SignError> {
        let key = Key {
            identity: Arc::as_ptr(identity).addr(),
            audience: Arc::clone(audience),
        };
        if let Some(cached) = self.cache.get(&key)
            && Arc::ptr_eq(&cached.identity, identity)
            && cached.signer == signer.uid()
            && cached.lifetime.may_be_sent_at(now)
        {
            return Ok(cached.value);
        }
        let lifetime = signer.lifetime(identity, now);
        let token = signer.sign(identity, audience, &lifetime)?;
        let mut value = HeaderValue::from_str(&token).map_err(|_| SignError::Library)?;
        value.set_sensitive(true);
        self.metrics.identity_tokens.signed.inc();
        let cached = CachedToken {
            identity: Arc::clone(identity),
            signer: signer.uid(),
            value: value.clone(),
            lifetime,
        };
        self.cache.insert(key, cached);
        Ok(value)
    }

    /// Drops expired tokens with their identities, and retired keys whose last token has expired.
    pub fn sweep(&self, now: Timestamp) {
        self.cache.retain(|_, cached| !cached.lifetime.is_over_at(now));
        self.published.sweep(now);
    }

    /// Returns the number of cached tokens.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    #[cfg(any(test, feature = "internals"))]
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    /// Returns an estimate of the bytes in use.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}

/// Prints only the number of tokens: a token is a credential for its upstream.
impl fmt::Debug for IdentityTokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("IdentityTokens")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Estimates the size of a cache entry in bytes.
#[derive(Clone)]
struct Weight;

/// The size of an entry in the table, and of its `Identity`, which the entry may be the last to hold.
const FIXED_WEIGHT: u64 = 3 * 1024;
const USUAL_WEIGHT: u64 = 1024 + FIXED_WEIGHT;

impl Weighter<Key, CachedToken> for Weight {
    fn weight(&self, key: &Key, cached: &CachedToken) -> u64 {
        // Twice the token: the identity holds the claims too, as strings and header values.
        FIXED_WEIGHT + key.audience.len() as u64 + 2 * (cached.value.len() as u64)
    }
}

#[cfg(test)]
mod tests;
