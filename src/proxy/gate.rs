//! Everything a request is decided with and recorded in.

use crate::model::clock::Clock;
use crate::observe::access::AccessLog;
use crate::proxy::live::Live;
use crate::proxy::snapshot::Current;
use crate::proxy::snapshot::Snapshot;
use std::sync::Arc;

pub struct Gate {
    pub current: Current,
    pub live: Arc<Live>,
    pub clock: Arc<dyn Clock>,
    pub access: AccessLog,
}

impl Gate {
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load()
    }
}
