//! Is a request allowed? The stages of a decision, in order; none of them does I/O. Read `decide.rs` first.

pub mod stage;
pub mod accept;
pub mod intake;
pub mod authenticate;
pub mod authorize;
pub mod admit;
pub mod denial;
pub mod answer;
pub mod identity_token;
pub mod live;
pub mod snapshot;
pub mod decision_trace;
pub mod stop;
pub mod local;
pub mod decide;

use crate::gate::live::LiveState;
use crate::gate::snapshot::CurrentSnapshot;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Clock;
use crate::observe::access::AccessLog;
use std::sync::Arc;
use std::time::Duration;

/// The state for deciding and recording requests.
pub struct Gate {
    pub(crate) current: CurrentSnapshot,
    pub(crate) live: Arc<LiveState>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) access: AccessLog,
}

impl Gate {
    /// Returns a gate with `snapshot` in force.
    pub fn new(snapshot: Snapshot, live: Arc<LiveState>, clock: Arc<dyn Clock>, access: AccessLog) -> Arc<Self> {
        Arc::new(Self {
            current: CurrentSnapshot::new(snapshot),
            live,
            clock,
            access,
        })
    }

    /// Waits up to `patience` until all access records so far are written. Returns `false` when the time runs out.
    pub fn flush_records(&self, patience: Duration) -> bool {
        self.access.flush(patience)
    }

    /// Returns the configuration in force. A request keeps the snapshot that it began with.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load()
    }
}
