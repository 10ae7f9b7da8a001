//! How many client connections are open, and how many connections and heads are rejected?

use crate::observe::metrics::open::GaugeGuard;
use crate::observe::metrics::reasons::ReasonCounters;
use crate::observe::metrics::reasons::Reasons;
use crate::observe::metrics::registrar::Registrar;
use prometheus::IntGauge;

/// The metrics of client connections, and of connections and heads that were rejected before there was a request.
pub struct ConnectionMetrics {
    open: IntGauge,
    refused: ReasonCounters,
    heads_refused: ReasonCounters,
}

impl ConnectionMetrics {
    pub(super) fn new(registrar: &Registrar, reasons: &Reasons<'_>) -> Self {
        let refused = registrar.counters(
            "keygate_connections_refused_total",
            "Connections that were closed before a request was read.",
            &["reason"],
        );
        let heads_refused = registrar.counters(
            "keygate_heads_refused_total",
            "Request heads that were refused before a route was looked for.",
            &["reason"],
        );
        Self {
            open: registrar.gauge("keygate_connections_open", "Connections from clients that are open."),
            refused: ReasonCounters::new(&refused, reasons.connections),
            heads_refused: ReasonCounters::new(&heads_refused, reasons.heads),
        }
    }

    /// Counts one connection as open until the guard is dropped.
    pub fn open(&self) -> GaugeGuard {
        GaugeGuard::count(&self.open)
    }

    /// Counts one connection that was rejected before a request was read. `reason` is one of [`Reasons::connections`];
    /// any other word is counted as `other`.
    pub fn count_refused(&self, reason: &'static str) {
        self.refused.inc(reason);
    }

    /// Counts one rejected head. `reason` is one of [`Reasons::heads`]; any other word is counted as `other`.
    pub fn count_refused_head(&self, reason: &'static str) {
        self.heads_refused.inc(reason);
    }
}
