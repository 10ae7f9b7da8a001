//! Which keys are at a client's JWKS URL, and can they be fetched? The interface of the control side to the fetcher.

use crate::jose::jwks::Jwks;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// No usable set is known for this client, or the set lacks the requested
/// `kid` and the URL could not be fetched to look for that key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's keys cannot be fetched")]
pub struct Unavailable {
    /// The time until another attempt may succeed.
    pub retry_after: Duration,
}

/// The key sets at the clients' URLs, fetched on demand by the same rules as those of issuers.
pub trait ClientJwks: Send + Sync {
    /// Returns the last good set. If there is none, or it has no key `kid`, waits for one fetch, at most 500 ms and
    /// once per cooldown, and returns the set known then.
    ///
    /// # Errors
    /// See [`Unavailable`].
    fn keys<'a>(
        &'a self,
        client: &'a ClientId,
        url: &'a str,
        kid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Arc<Jwks>, Unavailable>>;

    /// Returns a set other than `seen`, if there is one already or the same rules allow a fetch. For an assertion
    /// without `kid` that no key of `seen` verifies.
    fn newer<'a>(&'a self, client: &'a ClientId, url: &'a str, seen: &'a Arc<Jwks>)
    -> BoxFuture<'a, Option<Arc<Jwks>>>;

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
