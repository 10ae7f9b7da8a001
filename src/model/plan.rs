//! How much does a plan allow (credentials, scopes, limits), and how much a quota (requests per period, with a burst)?

use crate::model::algorithm::Algorithm;
use crate::model::names::Name;
use crate::model::scope::ScopeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// A number of requests per `period`, refilled evenly (GCRA), at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    pub requests: NonZeroU32,
    pub period: Duration,
    pub burst: NonZeroU32,
}

impl Quota {
    /// Returns the rate as text: `500/min`.
    pub fn rate_text(&self) -> String {
        let requests = self.requests;
        match self.period.as_secs() {
            1 => format!("{requests}/s"),
            60 => format!("{requests}/min"),
            3_600 => format!("{requests}/hour"),
            86_400 => format!("{requests}/day"),
            2_592_000 => format!("{requests}/month"),
            _ => format!("{requests}/{:?}", self.period),
        }
    }
}

/// Prints the quota as `500/min, burst 50`.
impl fmt::Display for Quota {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, burst {}", self.rate_text(), self.burst)
    }
}

/// The form of a credential. The plan decides the allowed kinds, not the developer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CredentialKind {
    ApiKey,
    /// A client with a secret (`client_secret_basic`, `client_secret_post`).
    ClientSecret,
    /// A client with its own key pair (RFC 7523).
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

/// The kinds of credential that a plan allows.
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

/// The payment that a plan requires for live credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payment {
    None,
    Required,
}

/// The approval that a new subscription needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Approval {
    Automatic,
    /// A subscription is pending until an administrator approves it.
    Manual,
}

/// The place of the keys of clients that prove themselves with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientKeyPlace {
    /// Behind a JWKS URL, or registered here.
    Any,
    /// Behind a JWKS URL alone.
    JwksUrl,
}

/// The terms of the subscriptions under this plan. Plans are part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub name: Name,
    pub credentials: CredentialKinds,
    /// The scopes that credentials under this plan can have at most; `None` for no bound.
    pub scopes: Option<ScopeSet>,
    /// Names of limits in the configuration, spent in addition to those of the route.
    pub limits: Vec<Name>,
    pub payment: Payment,
    /// `false` where the plan allows sandbox credentials only.
    pub released: bool,
    pub approval: Approval,
    /// The number of API keys that a subscription may have at a time, without those in grace; `None` for no maximum.
    pub keys_max: Option<u32>,
    /// The algorithms of assertions; `None` for all that Keygate takes.
    pub assertion_algorithms: Option<Vec<Algorithm>>,
    pub client_keys: ClientKeyPlace,
}

impl Plan {
    /// Returns a plan that requires nothing and allows everything.
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
            assertion_algorithms: None,
            client_keys: ClientKeyPlace::Any,
        }
    }

    /// Returns whether assertions may be signed with `algorithm`.
    pub fn allows_assertions(&self, algorithm: Algorithm) -> bool {
        let algorithms = self.assertion_algorithms.as_ref();
        algorithms.is_none_or(|algorithms| algorithms.contains(&algorithm))
    }
}

/// The name of the plan that exists without being configured, and of the organization
/// that exists without being created.
pub const DEFAULT: &str = "default";
/// The name of the organization that administers Keygate, and of its plan.
pub const OPERATORS: &str = "operators";
