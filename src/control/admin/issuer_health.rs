//! How is an issuer, and where are its keys? As `runtime` tells it.

use crate::control::admin::time::Time;
use crate::model::names::Name;
use serde::Serialize;
use std::pin::Pin;
use utoipa::ToSchema;

/// The issuers of the gate, as `runtime` shows them.
pub trait Issuers: Send + Sync {
    /// All that the configuration in force names, sorted by name.
    fn all(&self) -> Vec<IssuerHealth>;

    fn one(&self, name: &Name) -> Option<IssuerHealth>;

    /// Fetches the issuer's keys now, whatever its cooldown says, or waits for the fetch that is under way.
    fn refresh<'a>(&'a self, name: &'a Name) -> Pin<Box<dyn Future<Output = RefreshOutcome> + Send + 'a>>;
}

/// No issuers: how issuers are doing is known only to a gate that runs.
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

/// What came of asking for newer keys.
#[derive(Debug)]
pub enum RefreshOutcome {
    /// No such issuer.
    Unknown,
    /// Its keys are not fetched: they are in files.
    NotFetched(IssuerHealth),
    Good(IssuerHealth),
    /// The fetch failed; what was good before still serves.
    Failed(IssuerHealth),
    /// The fetch goes on, and the answer does not wait for it any longer.
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
