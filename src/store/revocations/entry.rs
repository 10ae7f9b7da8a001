//! Which revocation does one line of the log contain, and when may the line be forgotten?

use crate::model::clock::Timestamp;
use crate::model::subscription::SubscriptionState;
use crate::store::Revision;
use crate::store::Write;
use crate::store::record::ClientRecord;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientState;
use crate::store::record::client::TokenTtl;
use crate::store::record::client::is_first_series;
use crate::store::record::text;
use serde::Deserialize;
use serde::Serialize;
use std::time::Duration;

/// A line: a JSON object with one member. Ids are plain texts, because they are only compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Entry {
    /// An API key, from `at`, which may be the end of a grace period.
    Key {
        id: String,
        #[serde(with = "text::millis")]
        at: Timestamp,
        #[serde(with = "text::optional_millis", default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    /// A cancelled subscription.
    Subscription { id: String },
    /// A deleted client.
    Client { id: String },
    /// A client's tokens that were issued before an instant, or are of a series before this one.
    Tokens {
        client: String,
        #[serde(with = "text::millis")]
        before: Timestamp,
        #[serde(default, skip_serializing_if = "is_first_series")]
        series: u32,
    },
    /// A client's secrets that were created before an instant, from `at`.
    Secrets {
        client: String,
        #[serde(with = "text::millis")]
        before: Timestamp,
        #[serde(with = "text::millis")]
        at: Timestamp,
    },
    /// A key of a client, from `at`.
    ClientKey {
        client: String,
        kid: String,
        #[serde(with = "text::millis")]
        at: Timestamp,
    },
    /// One token that would have expired at `until`.
    Token {
        id: String,
        #[serde(with = "text::millis")]
        until: Timestamp,
    },
    /// Not a revocation: the end of the audit chain.
    AuditHead { events: u64, hash: String },
}

/// The time until tokens issued before a revocation have expired: the maximum
/// lifetime, and the same again for clock differences.
const TOKENS_KEPT: Duration = TokenTtl::Day.duration().saturating_mul(2);

impl Entry {
    /// Returns the id of the revoked record or token, or of the client whose credentials are revoked.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Key { id, .. } | Self::Subscription { id } | Self::Client { id } | Self::Token { id, .. } => Some(id),
            Self::Tokens { client, .. } | Self::Secrets { client, .. } | Self::ClientKey { client, .. } => Some(client),
            Self::AuditHead { .. } => None,
        }
    }

    /// Returns whether the revoked credential would be refused at `now` even without the revocation.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        match self {
            Self::Key { expires_at, .. } => expires_at.is_some_and(|at| now >= at),
            // Tokens of an earlier series may have any time of issue: the clock was ahead.
            Self::Tokens { before, series, .. } => *series == 0 && now >= before.saturating_add(TOKENS_KEPT),
            Self::Token { until, .. } => now >= *until,
            // Needed at any time: a restored backup would make these credentials valid again.
            Self::Subscription { .. }
            | Self::Client { .. }
            | Self::Secrets { .. }
            | Self::ClientKey { .. }
            | Self::AuditHead { .. } => false,
        }
    }
}

/// Returns the revocations in `write`. For the tokens, secrets and keys of a client only the new
/// revocations: the client's record repeats the earlier ones at every change.
pub(crate) fn of_write(write: &Write) -> Vec<Entry> {
    match write {
        Write::Organization(_) | Write::OpaqueToken(_) => Vec::new(),
        Write::Subscription(subscription) => match subscription.record.state {
            SubscriptionState::Cancelled => vec![Entry::Subscription {
                id: subscription.record.id.to_string(),
            }],
            SubscriptionState::Pending | SubscriptionState::Active | SubscriptionState::ProvisioningFailed => {
                Vec::new()
            }
        },
        Write::ApiKey(key) => {
            let revoked = key.record.revoked_at.map(|at| Entry::Key {
                id: key.record.id.to_string(),
                at,
                // A backup may have a later expiry than the record.
                expires_at: key.record.expires_at.filter(|_| !key.record.was_shortened),
            });
            revoked.into_iter().collect()
        }
        // A new client revokes nothing.
        Write::Client(client) if client.revision == Revision::NEW => Vec::new(),
        Write::Client(client) => {
            let changed_at = client.record.changed_at;
            of_client(&client.record)
                .into_iter()
                .filter(|entry| match entry {
                    Entry::Tokens { before, .. } | Entry::Secrets { before, .. } => *before >= changed_at,
                    Entry::ClientKey { at, .. } => *at >= changed_at,
                    Entry::Key { .. }
                    | Entry::Subscription { .. }
                    | Entry::Client { .. }
                    | Entry::Token { .. }
                    | Entry::AuditHead { .. } => true,
                })
                .collect()
        }
        Write::RevokedToken(token) => vec![Entry::Token {
            id: token.id.clone(),
            until: token.expires_at,
        }],
    }
}

/// Returns all revocations in a client's record.
pub(crate) fn of_client(record: &ClientRecord) -> Vec<Entry> {
    let id = record.id.as_str();
    let mut entries = Vec::new();
    if record.state == ClientState::Deleted {
        entries.push(Entry::Client { id: id.to_owned() });
    }
    if let Some(before) = record.tokens_not_before {
        entries.push(Entry::Tokens {
            client: id.to_owned(),
            before,
            series: record.token_series,
        });
    }
    match &record.authentication {
        // Revoke by creation time: the older secrets may no longer be in the record.
        ClientAuthentication::ClientSecret { secrets } => {
            let newest = secrets.first().filter(|newest| newest.created_at > record.created_at);
            entries.extend(newest.map(|newest| {
                Entry::Secrets {
                    client: id.to_owned(),
                    before: newest.created_at,
                    // If the clock was ahead when an earlier secret was created, so is the time of the newest.
                    at: secrets
                        .iter()
                        .find_map(|secret| secret.ends_at)
                        .unwrap_or(newest.created_at.min(record.changed_at)),
                }
            }));
        }
        ClientAuthentication::Keys { keys } => {
            entries.extend(keys.iter().filter_map(|key| {
                Some(Entry::ClientKey {
                    client: id.to_owned(),
                    kid: key.kid.clone(),
                    at: key.revoked_at?,
                })
            }));
        }
        ClientAuthentication::JwksUrl { .. } => {}
    }
    entries
}
