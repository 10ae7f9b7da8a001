//! How many client connections are open, and how many are refused before their first request?

use crate::observe::metrics::open::GaugeGuard;
use crate::observe::metrics::reasons::ReasonCounters;
use crate::observe::metrics::reasons::Reasons;
use crate::observe::metrics::registrar::Registrar;
use prometheus::IntGauge;

/// Open connections from clients, and connections and heads that were refused before there was a request.
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

    /// Counts one connection that was closed before a request was read. `reason`
    /// is one of [`Reasons::connections`]; any other word counts as `other`.
    pub fn count_refused(&self, reason: &'static str) {
        self.refused.inc(reason);
    }

    /// Counts one refused head. `reason` is one of [`Reasons::heads`]; any other word counts as `other`.
    pub fn count_refused_head(&self, reason: &'static str) {
        self.heads_refused.inc(reason);
    }
}
