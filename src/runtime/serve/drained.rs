//! Which work remains after the drain?

use crate::gate::Gate;
use crate::runtime::workers::Workers;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The time limit for writing access records.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// The time limit for ending background work.
const BACKGROUND_END_MAX: Duration = Duration::from_secs(1);

/// A process after the drain: the store is closed, and the admin listener still responds. Requests that outlasted the
/// drain are still in flight.
pub struct Drained {
    pub(super) workers: Workers,
    pub(super) gate: Arc<Gate>,
    pub(super) background: Runtime,
}

impl Drained {
    /// Ends the workers, writes the queued access records, and then ends all other threads.
    pub fn end(self) {
        // Before the records are written: a request that is cut here has one too.
        self.workers.end();
        if !self.gate.flush_records(FLUSH_MAX) {
            tracing::warn!("Some access records were not written");
        }
        self.background.shutdown_timeout(BACKGROUND_END_MAX);
        tracing::info!("Stopped");
    }
}
