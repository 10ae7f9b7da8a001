//! How is a client stored (RFC 6749 section 2)?

use crate::model::algorithm::Algorithm;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::CredentialDigest;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::plan::CredentialKind;
use crate::model::scope::ScopeSet;
use crate::store::record::text;
use serde::Deserialize;
use serde::Serialize;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    #[serde(with = "text")]
    pub id: ClientId,
    #[serde(with = "text")]
    pub organization: Name,
    #[serde(with = "text")]
    pub subscription: SubscriptionId,
    #[serde(with = "text")]
    pub environment: ApiKeyEnvironment,
    pub name: String,
    pub description: String,
    pub authentication: ClientAuthentication,
    /// The maximum scopes of its tokens, and the scopes of a token request that names none.
    #[serde(with = "text")]
    pub scopes: ScopeSet,
    #[serde(with = "text")]
    pub token_ttl: TokenTtl,
    #[serde(with = "text")]
    pub token_format: TokenFormat,
    #[serde(with = "text")]
    pub state: ClientState,
    /// Tokens issued before this instant are revoked (`revoke_tokens`).
    #[serde(with = "text::optional_millis")]
    pub tokens_not_before: Option<Timestamp>,
    /// The series of the client's next tokens; those of earlier ones are revoked. A revocation begins a new series where the
    /// clock was set back since the one before.
    #[serde(default, skip_serializing_if = "is_first_series")]
    pub token_series: u32,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    #[serde(with = "text::millis")]
    pub changed_at: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) const fn is_first_series(series: &u32) -> bool {
    *series == 0
}

/// The client's authentication method, with its secrets, URL or
/// keys. The method is chosen at creation and never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// With a secret. Newest first; an older secret ends with its grace period, and stays here until the next rotation.
    ClientSecret { secrets: Vec<ClientSecret> },
    /// With the keys at a URL (RFC 7517 section 5). Https, unless the configuration allows http.
    JwksUrl { url: String },
    /// With registered keys, which were uploaded or generated here.
    Keys { keys: Vec<ClientKey> },
}

impl ClientAuthentication {
    pub const fn kind(&self) -> CredentialKind {
        match self {
            Self::ClientSecret { .. } => CredentialKind::ClientSecret,
            Self::JwksUrl { .. } | Self::Keys { .. } => CredentialKind::PrivateKeyJwt,
        }
    }
}

/// A client secret, as its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSecret {
    #[serde(with = "text::digest")]
    pub digest: CredentialDigest,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    /// The first instant at which the secret is refused; `None` until it is rotated.
    #[serde(with = "text::optional_millis")]
    pub ends_at: Option<Timestamp>,
    /// The obfuscated form, with the last characters alone; empty for a secret of an earlier version.
    #[serde(default)]
    pub hint: String,
}

/// A public key of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKey {
    /// The RFC 7638 SHA-256 thumbprint; also shown as the fingerprint.
    pub kid: String,
    /// A `PUBLIC KEY` block (RFC 7468 section 13).
    pub public_pem: String,
    /// The algorithms for its signatures; the first is preferred.
    #[serde(with = "text::list")]
    pub algorithms: Vec<Algorithm>,
    /// `true` if Keygate generated the key pair. The private key was returned once and is not stored.
    pub generated: bool,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    #[serde(with = "text::optional_millis")]
    pub revoked_at: Option<Timestamp>,
}

/// The lifetime of a client's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TokenTtl {
    Minute,
    FiveMinutes,
    #[default]
    Hour,
    Day,
}

impl TokenTtl {
    pub const ALL: [Self; 4] = [Self::Minute, Self::FiveMinutes, Self::Hour, Self::Day];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "60s",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "24h",
        }
    }

    /// Returns the lifetime that is as long as `duration`; `None` if there is none.
    pub fn of(duration: Duration) -> Option<Self> {
        Self::ALL.into_iter().find(|ttl| ttl.duration() == duration)
    }

    pub const fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }
}

/// The form of a client's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TokenFormat {
    /// RFC 9068.
    #[default]
    Jwt,
    /// Random text that only Keygate can look up.
    Opaque,
}

impl TokenFormat {
    pub const ALL: [Self; 2] = [Self::Jwt, Self::Opaque];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Opaque => "opaque",
        }
    }
}

/// The state of a client, which decides whether it gets tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientState {
    Active,
    /// Gets no tokens until it is enabled again.
    Disabled,
    /// Never gets tokens again. Its issued tokens remain valid until they expire or are revoked.
    Deleted,
}

impl ClientState {
    pub const ALL: [Self; 3] = [Self::Active, Self::Disabled, Self::Deleted];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }
}

crate::model::id::words!(TokenTtl, TokenFormat, ClientState);

/// The maximum number of unrevoked keys of one client: each is tried for an assertion without `kid`.
pub const CLIENT_KEYS_MAX: usize = 10;
