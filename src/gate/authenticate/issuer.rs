//! How does the data side represent an issuer? By its rules, the means to validate its tokens, and a unique number.

use crate::config;
use crate::config::KeySource;
use crate::gate::authenticate::introspection::Introspection;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::token::TokenRules;
use crate::model::names::Name;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// An issuer under one configuration. A changed configuration gets a new state with a new [`IssuerState::uid`], so no
/// token cached under the old configuration is accepted under the new one.
pub struct IssuerState {
    uid: u64,
    settings: config::Issuer,
    rules: TokenRules,
    proof: Proof,
}

/// The means to validate an issuer's tokens.
pub enum Proof {
    /// A signature by one of these keys.
    Keys(Arc<IssuerKeys>),
    /// An introspection by the issuer itself.
    Introspection(Introspection),
}

impl IssuerState {
    /// Returns a new state; `proof` must be made for `settings.keys`.
    pub fn new(settings: config::Issuer, proof: Proof) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            uid: NEXT.fetch_add(1, Ordering::Relaxed),
            rules: TokenRules::compile(&settings),
            proof,
            settings,
        }
    }

    pub fn uid(&self) -> u64 {
        self.uid
    }

    pub fn name(&self) -> &Name {
        &self.settings.name
    }

    pub fn settings(&self) -> &config::Issuer {
        &self.settings
    }

    pub fn rules(&self) -> &TokenRules {
        &self.rules
    }

    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Returns whether the issuer is Keygate's own token endpoint.
    pub fn is_own(&self) -> bool {
        self.settings.keys == KeySource::Own
    }

    /// Returns the keys; `None` for an issuer that introspects its tokens.
    pub fn keys(&self) -> Option<&Arc<IssuerKeys>> {
        match &self.proof {
            Proof::Keys(keys) => Some(keys),
            Proof::Introspection(_) => None,
        }
    }

    /// Returns the introspection; `None` for an issuer with keys.
    pub fn introspection(&self) -> Option<&Introspection> {
        match &self.proof {
            Proof::Keys(_) => None,
            Proof::Introspection(introspection) => Some(introspection),
        }
    }
}
