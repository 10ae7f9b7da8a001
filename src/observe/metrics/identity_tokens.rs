//! How many identity tokens are signed for upstreams, and how large is their cache?

use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::value::count;
use prometheus::IntCounter;
use prometheus::IntGauge;

/// The metrics of signed identity tokens and their cache.
pub struct IdentityTokenMetrics {
    pub signed: IntCounter,
    cache_entries: IntGauge,
    cache_bytes: IntGauge,
}

impl IdentityTokenMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            signed: registrar.counter(
                "keygate_identity_tokens_signed_total",
                "Identity tokens that were signed for upstreams; the others were remembered.",
            ),
            cache_entries: registrar.gauge(
                "keygate_identity_token_cache_entries",
                "Identity tokens that are remembered.",
            ),
            cache_bytes: registrar.gauge(
                "keygate_identity_token_cache_bytes",
                "Memory that remembered identity tokens take, about.",
            ),
        }
    }

    /// Sets the number of cached tokens and their approximate size in bytes.
    pub fn set_cache_size(&self, entries: usize, bytes: u64) {
        self.cache_entries.set(count(entries));
        self.cache_bytes.set(count(bytes));
    }
}
