//! An issuer as the data side knows it: its rules, its keys, and a number that no other issuer ever had.

use crate::config;
use crate::model::names::Name;
use crate::proxy::authenticate::jwks_cache::IssuerKeys;
use crate::proxy::authenticate::token::TokenRules;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// One issuer under one configuration. A changed configuration makes a new one with a new [`IssuerState::uid`], so
/// tokens remembered under the old one are never believed under the new.
pub struct IssuerState {
    uid: u64,
    settings: config::Issuer,
    rules: TokenRules,
    keys: Arc<IssuerKeys>,
}

impl IssuerState {
    /// `keys` were made for `settings.keys`.
    pub fn new(settings: config::Issuer, keys: Arc<IssuerKeys>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            uid: NEXT.fetch_add(1, Ordering::Relaxed),
            rules: TokenRules::compile(&settings),
            keys,
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

    pub fn keys(&self) -> &Arc<IssuerKeys> {
        &self.keys
    }
}
