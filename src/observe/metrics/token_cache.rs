//! How many verified tokens are cached, and how often is the cache hit?

use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::value::count;
use prometheus::IntCounter;
use prometheus::IntGauge;

/// Hits and misses of the token cache, and its size.
pub struct TokenCacheMetrics {
    pub hits: IntCounter,
    pub misses: IntCounter,
    entries: IntGauge,
    bytes: IntGauge,
}

impl TokenCacheMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            hits: registrar.counter(
                "keygate_token_cache_hits_total",
                "Tokens that were verified before and are remembered.",
            ),
            misses: registrar.counter("keygate_token_cache_misses_total", "Tokens that had to be verified."),
            entries: registrar.gauge("keygate_token_cache_entries", "Verified tokens that are remembered."),
            bytes: registrar.gauge(
                "keygate_token_cache_bytes",
                "Memory that remembered tokens take, about.",
            ),
        }
    }

    /// Sets the number of cached tokens and their approximate size in bytes.
    pub fn set_cache_size(&self, entries: usize, bytes: u64) {
        self.entries.set(count(entries));
        self.bytes.set(count(bytes));
    }
}
