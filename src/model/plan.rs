//! What does a plan give, and how much may be used? A quota: so many requests per period, with so much burst.

use crate::model::names::Name;
use crate::model::scope::ScopeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// So many requests per `period`, refilled evenly (GCRA), at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    pub requests: NonZeroU32,
    pub period: Duration,
    pub burst: NonZeroU32,
}

/// `500/min, burst 50`.
impl fmt::Display for Quota {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/", self.requests)?;
        match self.period.as_secs() {
            1 => out.write_str("s")?,
            60 => out.write_str("min")?,
            3_600 => out.write_str("hour")?,
            86_400 => out.write_str("day")?,
            2_592_000 => out.write_str("month")?,
            _ => write!(out, "{:?}", self.period)?,
        }
        write!(out, ", burst {}", self.burst)
    }
}

/// What a credential is made of. The plan says which, not the developer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CredentialKind {
    ApiKey,
    /// A client with a secret (`client_secret_basic`, `client_secret_post`).
    ClientSecret,
    /// A client with keys of its own (RFC 7523).
    PrivateKeyJwt,
}

impl CredentialKind {
    pub const ALL: [Self; 3] = [Self::ApiKey, Self::ClientSecret, Self::PrivateKeyJwt];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::ClientSecret => "client_secret",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }
}

crate::model::id::words!(CredentialKind);

/// Some of the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CredentialKinds {
    pub api_key: bool,
    pub client_secret: bool,
    pub private_key_jwt: bool,
}

impl CredentialKinds {
    pub const ANY: Self = Self {
        api_key: true,
        client_secret: true,
        private_key_jwt: true,
    };

    pub const fn contains(self, kind: CredentialKind) -> bool {
        match kind {
            CredentialKind::ApiKey => self.api_key,
            CredentialKind::ClientSecret => self.client_secret,
            CredentialKind::PrivateKeyJwt => self.private_key_jwt,
        }
    }
}

/// Whether live credentials wait for money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payment {
    None,
    Required,
}

/// Whether a subscription is active from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Approval {
    Automatic,
    /// It is pending until somebody approves it.
    Manual,
}

/// What subscriptions under it get. Plans stand in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub name: Name,
    pub credentials: CredentialKinds,
    /// The widest scopes of its credentials; `None`: whatever is asked for.
    pub scopes: Option<ScopeSet>,
    /// Limits of the configuration, spent beside those of the route.
    pub limits: Vec<Name>,
    pub payment: Payment,
    /// `false`: sandbox credentials only.
    pub released: bool,
    pub approval: Approval,
    /// API keys that one subscription may have at a time, those in grace not counted; `None`: as many as it likes.
    pub keys_max: Option<u32>,
}

impl Plan {
    /// One that asks for nothing and gives everything.
    pub const fn open(name: Name, credentials: CredentialKinds) -> Self {
        Self {
            name,
            credentials,
            scopes: None,
            limits: Vec::new(),
            payment: Payment::None,
            released: true,
            approval: Approval::Automatic,
            keys_max: None,
        }
    }
}

/// The plan and the organization that are there without being configured or made.
pub const DEFAULT: &str = "default";
/// The organization, and its plan, of those who administer the whole gate.
pub const OPERATORS: &str = "operators";
