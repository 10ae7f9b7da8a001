//! How is the key set behind a client's URL shown? Never with key material.

use crate::control::admin::time::Time;
use crate::control::token::client_jwks::JwksHealth;
use crate::control::token::client_jwks::JwksState;
use crate::jose::jwks::SkippedKey;
use serde::Serialize;
use utoipa::ToSchema;

/// How the keys behind a client's URL are; never key material.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientJwksHealth)]
pub(super) struct View {
    /// `ok`, `failing` (the last good set serves, if there was one), or `never_fetched`.
    #[schema(example = "ok")]
    state: &'static str,
    last_good_at: Option<Time>,
    last_attempt_at: Option<Time>,
    /// Of the last attempt; `null` once one has succeeded since.
    #[schema(example = json!(null))]
    last_error: Option<String>,
    /// Of the last good set.
    keys: Vec<Key>,
    /// Keys of the last good set that are never used.
    skipped: Vec<UnusableKey>,
}

/// A key that cannot be used.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientJwksUnusableKey)]
struct UnusableKey {
    #[schema(example = "2019-01")]
    kid: Option<String>,
    #[schema(example = "an RSA key shorter than 2048 bits")]
    reason: &'static str,
}

/// A key of the set.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientJwksKey)]
struct Key {
    #[schema(example = "2027-01")]
    kid: Option<String>,
    /// Of those that assertions may be signed with.
    #[schema(example = json!(["RS256", "PS256"]))]
    algorithms: Vec<&'static str>,
}

impl View {
    pub(super) fn of(health: JwksHealth) -> Self {
        Self {
            state: match health.state {
                JwksState::Ok => "ok",
                JwksState::Failing => "failing",
                JwksState::NeverFetched => "never_fetched",
            },
            last_good_at: health.last_good_at.map(Time),
            last_attempt_at: health.last_attempt_at.map(Time),
            last_error: health.last_error,
            keys: health
                .keys
                .into_iter()
                .map(|key| Key {
                    kid: key.kid,
                    algorithms: key.algorithms,
                })
                .collect(),
            skipped: health
                .skipped
                .into_iter()
                .map(|SkippedKey { kid, reason }| UnusableKey { kid, reason })
                .collect(),
        }
    }
}
