//! What is left to do when no request is in flight?

use crate::gate::Gate;
use crate::runtime::workers::Workers;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long access records may take to be written.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// How long background work may take to end.
const BACKGROUND_END_MAX: Duration = Duration::from_secs(1);

/// No request is in flight, and the store is closed. Operators are still answered.
pub struct Drained {
    pub(super) workers: Workers,
    pub(super) gate: Arc<Gate>,
    pub(super) background: Runtime,
}

impl Drained {
    /// Writes the access records that are queued, and ends all threads.
    pub fn end(self) {
        if !self.gate.flush_records(FLUSH_MAX) {
            tracing::warn!("Some access records were not written");
        }
        self.workers.end();
        self.background.shutdown_timeout(BACKGROUND_END_MAX);
        tracing::info!("Stopped");
    }
}
