//! Which keys are behind a client's URL, and how is that URL? What the control side asks of whoever fetches.

use crate::jose::jwks::Jwks;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// There are no keys of this client to verify with, and nobody can tell whether there should be: its URL was never fetched
/// well, or not for longer than the last good set may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's keys cannot be fetched")]
pub struct Unavailable {
    /// When it is worth asking again.
    pub retry_after: Duration,
}

/// The key sets behind the URLs of clients, fetched in the background by the same rules as those of issuers.
pub trait ClientJwks: Send + Sync {
    /// The last good set. Where it was never fetched, or has no key called `kid`, one fetch is waited for, at most 500 ms
    /// and once per cooldown; what is known by then is the answer.
    fn keys<'a>(
        &'a self,
        client: &'a ClientId,
        url: &'a str,
        kid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Arc<Jwks>, Unavailable>>;

    /// For an assertion that names no key and that no key of `seen` has signed: a set that is newer than `seen`, if one can
    /// be had by the same rules.
    fn newer<'a>(&'a self, client: &'a ClientId, url: &'a str, seen: &'a Arc<Jwks>)
    -> BoxFuture<'a, Option<Arc<Jwks>>>;

    /// Fetches now, whatever the cooldown says, and tells how it went.
    fn validate<'a>(&'a self, client: &'a ClientId, url: &'a str) -> BoxFuture<'a, JwksHealth>;
}

/// How the key set of a client is; never key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksHealth {
    pub state: JwksState,
    pub last_good_at: Option<Timestamp>,
    pub last_attempt_at: Option<Timestamp>,
    /// Of the last attempt; `None` once one has succeeded since.
    pub last_error: Option<String>,
    pub keys: Vec<JwksKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwksState {
    Ok,
    /// The last attempt failed; the keys below, if there are any, are those of the last good one.
    Failing,
    NeverFetched,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksKey {
    pub kid: Option<String>,
    /// Of those that assertions may be signed with.
    pub algorithms: Vec<&'static str>,
}
