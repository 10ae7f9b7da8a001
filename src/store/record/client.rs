//! What is kept of a client (RFC 6749 section 2), and what may become of it?

use crate::model::algorithm::Algorithm;
use crate::model::api_key::KeyDigest;
use crate::model::api_key::KeyEnvironment;
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
    pub environment: KeyEnvironment,
    pub name: String,
    pub description: String,
    pub authentication: ClientAuthentication,
    /// The widest its tokens can have, and what they have when none are asked for.
    #[serde(with = "text")]
    pub scopes: ScopeSet,
    #[serde(with = "text")]
    pub token_ttl: TokenTtl,
    #[serde(with = "text")]
    pub token_format: TokenFormat,
    #[serde(with = "text")]
    pub state: ClientState,
    /// Its tokens that were issued before this do not count (`revoke_tokens`).
    #[serde(with = "text::optional_millis")]
    pub tokens_not_before: Option<Timestamp>,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    #[serde(with = "text::millis")]
    pub changed_at: Timestamp,
}

/// How a client proves itself; chosen when it is made, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// Those that count, newest first: more than one only while a grace runs.
    ClientSecret { secrets: Vec<ClientSecret> },
    /// With the keys behind its URL (RFC 7517 section 5). Https, except where the configuration allows less.
    JwksUrl { url: String },
    /// With keys that were uploaded or made here.
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

/// What is kept of a client secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSecret {
    #[serde(with = "text::digest")]
    pub digest: KeyDigest,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    /// The first instant at which it is refused; `None` until it is rotated.
    #[serde(with = "text::optional_millis")]
    pub ends_at: Option<Timestamp>,
}

/// A public key of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKey {
    /// The RFC 7638 SHA-256 thumbprint, which is the fingerprint as well.
    pub kid: String,
    /// A `PUBLIC KEY` block.
    pub public_pem: String,
    /// What it signs with, the first being the one to use.
    #[serde(with = "text::list")]
    pub algorithms: Vec<Algorithm>,
    /// Its pair was made here; the private half was given away once.
    pub generated: bool,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    #[serde(with = "text::optional_millis")]
    pub revoked_at: Option<Timestamp>,
}

/// How long a client's tokens are good for.
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

    pub const fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }
}

/// What a client's tokens look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TokenFormat {
    /// RFC 9068.
    #[default]
    Jwt,
    /// Random text that only Keygate understands.
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

/// Whether a client gets tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientState {
    Active,
    /// Gets none until it is enabled again.
    Disabled,
    /// Gets none ever again. Its tokens that are out stay good until they expire.
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

/// Keys of one client at a time, those that were revoked not counted: each is tried where an assertion names none.
pub const CLIENT_KEYS_MAX: usize = 10;
