//! How many access records and log lines are lost?

use crate::observe::metrics::registrar::Registrar;
use prometheus::IntCounter;

/// The metrics of access records and log lines.
pub struct LogMetrics {
    /// Records that were not written; see [`crate::observe::access::AccessLog`].
    pub access_records_dropped: IntCounter,
    /// Log lines that were not written; see [`crate::observe::line_queue::LineQueue`].
    pub lines_dropped: IntCounter,
}

impl LogMetrics {
    pub(super) fn new(registrar: &Registrar) -> Self {
        Self {
            access_records_dropped: registrar.counter(
                "keygate_access_records_dropped_total",
                "Access records that were not written because their reader is too slow or gone.",
            ),
            lines_dropped: registrar.counter(
                "keygate_log_lines_dropped_total",
                "Log lines that were not written because the reader of stderr is too slow or gone.",
            ),
        }
    }
}
