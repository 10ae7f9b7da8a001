//! How are the key sets behind the URLs of clients? Counts over all clients: their number has no bound.

use crate::observe::metrics::issuers::FetchResult;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::value::count;
use prometheus::IntCounterVec;
use prometheus::IntGaugeVec;

/// The numbers of key sets by the outcome of their last fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientKeySetCounts {
    pub ok: u64,
    pub failing: u64,
    pub never_fetched: u64,
}

/// The metrics of clients' key sets.
#[derive(Clone, Debug)]
pub struct ClientKeyMetrics {
    fetches: IntCounterVec,
    sets: IntGaugeVec,
}

impl ClientKeyMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        let metrics = Self {
            fetches: registrar.counters(
                "keygate_client_key_fetches_total",
                "Attempts to fetch the keys behind a client's URL by result (success, rejected, private_parts, failure).",
                &["result"],
            ),
            sets: registrar.gauges(
                "keygate_client_key_sets",
                "Key sets behind the URLs of clients that have signed in lately, by state (ok, failing, never_fetched).",
                &["state"],
            ),
        };
        for result in FetchResult::ALL {
            metrics.fetches.with_label_values(&[result.as_str()]);
        }
        metrics.set(ClientKeySetCounts::default());
        metrics
    }

    /// Counts one attempt to fetch a set.
    pub fn count_fetch(&self, result: FetchResult) {
        self.fetches.with_label_values(&[result.as_str()]).inc();
    }

    pub fn set(&self, counts: ClientKeySetCounts) {
        for (state, sets) in [
            ("ok", counts.ok),
            ("failing", counts.failing),
            ("never_fetched", counts.never_fetched),
        ] {
            self.sets.with_label_values(&[state]).set(count(sets));
        }
    }
}
