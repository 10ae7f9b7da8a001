//! An issuer as the data side knows it: its rules, what its tokens are proved by, and a number that no other issuer ever
//! had.

use crate::config;
use crate::config::KeySource;
use crate::gate::authenticate::introspection::Introspection;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::token::TokenRules;
use crate::model::names::Name;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// One issuer under one configuration. A changed configuration makes a new one with a new [`IssuerState::uid`], so
/// tokens remembered under the old one are never believed under the new.
pub struct IssuerState {
    uid: u64,
    settings: config::Issuer,
    rules: TokenRules,
    proof: Proof,
}

/// What proves an issuer's tokens.
pub enum Proof {
    /// A signature, by one of these.
    Keys(Arc<IssuerKeys>),
    /// The issuer's own word, each time it is needed.
    Introspection(Introspection),
}

impl IssuerState {
    /// `proof` was made for `settings.keys`.
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

    /// Whether it is the gate itself.
    pub fn is_own(&self) -> bool {
        self.settings.keys == KeySource::Own
    }

    /// `None` for an issuer that is asked.
    pub fn keys(&self) -> Option<&Arc<IssuerKeys>> {
        match &self.proof {
            Proof::Keys(keys) => Some(keys),
            Proof::Introspection(_) => None,
        }
    }

    /// `None` for an issuer with keys.
    pub fn introspection(&self) -> Option<&Introspection> {
        match &self.proof {
            Proof::Keys(_) => None,
            Proof::Introspection(introspection) => Some(introspection),
        }
    }
}
