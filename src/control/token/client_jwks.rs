//! Which keys are at a client's JWKS URL, and can they be fetched? The interface of the control side to the fetcher.

use crate::jose::current_jwks::CurrentJwks;
use crate::jose::current_jwks::JwksUnavailable;
use crate::jose::jwks::Jwks;
use crate::jose::jwks::SkippedKey;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use std::pin::Pin;
use std::sync::Arc;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The key sets at the clients' URLs, fetched on demand by the same rules as those of issuers.
pub trait ClientJwks: Send + Sync {
    /// Returns the last good set. If there is none, or it has no key `kid`, waits for one fetch, at most 500 ms and
    /// once per cooldown, and returns the set known then.
    ///
    /// # Errors
    /// See [`JwksUnavailable`].
    fn keys<'a>(
        &'a self,
        client: &'a ClientId,
        url: &'a str,
        kid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<CurrentJwks, JwksUnavailable>>;

    /// Returns the latest set, if it is another than `seen` already or the same rules allow a fetch. For an assertion
    /// without `kid` that no key of `seen` verifies.
    ///
    /// # Errors
    /// See [`JwksUnavailable`].
    fn newer<'a>(
        &'a self,
        client: &'a ClientId,
        url: &'a str,
        seen: &'a Arc<Jwks>,
    ) -> BoxFuture<'a, Result<Arc<Jwks>, JwksUnavailable>>;

    /// Returns the health of the set at `url` as this gate knows it, without fetching.
    fn health(&self, client: &ClientId, url: &str) -> JwksHealth;

    /// Fetches the set now, regardless of the cooldown, and returns its health afterwards.
    fn validate<'a>(&'a self, client: &'a ClientId, url: &'a str) -> BoxFuture<'a, JwksHealth>;
}

/// The health of a client's key set; never key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksHealth {
    pub state: JwksState,
    pub last_good_at: Option<Timestamp>,
    pub last_attempt_at: Option<Timestamp>,
    /// The error of the last attempt; `None` after a success.
    pub last_error: Option<String>,
    pub keys: Vec<JwksKey>,
    /// The keys of the last good set that cannot be used.
    pub skipped: Vec<SkippedKey>,
}

impl JwksHealth {
    /// Returns the health of a set that this gate has not fetched.
    pub const fn unknown() -> Self {
        Self {
            state: JwksState::NeverFetched,
            last_good_at: None,
            last_attempt_at: None,
            last_error: None,
            keys: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwksState {
    Ok,
    /// The last attempt failed; any keys are those of the last good set.
    Failing,
    NeverFetched,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksKey {
    pub kid: Option<String>,
    /// The key's algorithms that assertions may use.
    pub algorithms: Vec<&'static str>,
}
