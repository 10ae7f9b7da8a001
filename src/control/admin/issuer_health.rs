//! Does an issuer work, and where do its keys come from? `runtime` provides the state.

use crate::control::admin::time::Time;
use crate::model::names::Name;
use serde::Serialize;
use std::pin::Pin;
use utoipa::ToSchema;

/// The issuers of the gate. `runtime` implements this trait.
pub trait Issuers: Send + Sync {
    /// Returns the issuers of the configuration in force, sorted by name.
    fn all(&self) -> Vec<IssuerHealth>;

    /// Returns the issuer of this name, if the configuration in force has one.
    fn one(&self, name: &Name) -> Option<IssuerHealth>;

    /// Fetches the issuer's keys now, regardless of its cooldown, or waits for the fetch that
    /// is already running. Returns the outcome.
    fn refresh<'a>(&'a self, name: &'a Name) -> Pin<Box<dyn Future<Output = RefreshOutcome> + Send + 'a>>;
}

/// No issuers, for a store without a running gate.
pub struct NoIssuers;

impl Issuers for NoIssuers {
    fn all(&self) -> Vec<IssuerHealth> {
        Vec::new()
    }

    fn one(&self, _: &Name) -> Option<IssuerHealth> {
        None
    }

    fn refresh<'a>(&'a self, _: &'a Name) -> Pin<Box<dyn Future<Output = RefreshOutcome> + Send + 'a>> {
        Box::pin(std::future::ready(RefreshOutcome::Unknown))
    }
}

/// The outcome of a refresh.
#[derive(Debug)]
pub enum RefreshOutcome {
    /// No such issuer.
    Unknown,
    /// There is nothing to fetch: the issuer's keys are in files or Keygate's own, or its tokens are introspected.
    NotFetched(IssuerHealth),
    Good(IssuerHealth),
    /// The fetch failed; the last good keys stay in use.
    Failed(IssuerHealth),
    /// The fetch still runs when the response is sent.
    Unfinished(IssuerHealth),
}

/// What operators see of one issuer; never key material.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct IssuerHealth {
    pub name: String,
    pub issuer: String,
    pub state: State,
    pub source: Source,
    /// How the keys in use came into this process; `None` without keys.
    pub keys_from: Option<KeysFrom>,
    /// When the keys in use were last fetched or confirmed, in this process or one before it.
    pub last_good_at: Option<Time>,
    pub age_seconds: Option<u64>,
    /// From then on they are too old (`max_stale`).
    pub usable_until: Option<Time>,
    pub last_attempt_at: Option<Time>,
    /// Of the last attempt; `None` once one has succeeded since.
    pub last_error: Option<String>,
    pub next_fetch_at: Option<Time>,
    pub consecutive_failures: u32,
    /// Since the process started.
    pub fetches_good: u64,
    pub fetches_failed: u64,
    pub keys: Vec<Key>,
    pub skipped: Vec<SkippedKey>,
}

/// How an issuer is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IssuerState)]
pub enum State {
    Ok,
    /// The last good keys serve, and the last attempt to get newer ones failed; or an issuer that is asked failed so often
    /// that it is left alone for a while.
    Failing,
    /// The last good keys are older than `max_stale`: tokens are answered with 503.
    Stale,
    /// There never were keys: tokens are answered with 503.
    NoKeys,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = IssuerSource)]
pub enum Source {
    JwksUrl {
        url: String,
    },
    Discovery {
        documents: Vec<String>,
        /// What the last good document said.
        jwks_uri: Option<String>,
    },
    JwksFile {
        path: String,
    },
    PublicKeyFiles {
        paths: Vec<String>,
    },
    /// No keys: the issuer is asked about each token.
    Introspection {
        url: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IssuerKeysFrom)]
pub enum KeysFrom {
    /// From where the configuration says, by this process.
    Source,
    /// From `state_dir`, where a process before this one kept them.
    Disk,
}

/// A key in use. `kid` is a stranger's text.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = IssuerKey)]
pub struct Key {
    pub kid: Option<String>,
    /// RFC 7638, SHA-256.
    pub thumbprint: String,
    pub algorithms: Vec<&'static str>,
}

/// A key of the set that is never used, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = IssuerSkippedKey)]
pub struct SkippedKey {
    pub kid: Option<String>,
    pub reason: &'static str,
}
