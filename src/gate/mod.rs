//! What decides: a request's way, in the order of its stages. Pure: memory in, answer out. `decide.rs` is the file to read first.

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
pub mod trail;
pub mod stop;
pub mod local;
pub mod decide;

use crate::gate::live::Live;
use crate::gate::snapshot::Current;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Clock;
use crate::observe::access::AccessLog;
use std::sync::Arc;

/// Everything a request is decided with and recorded in.
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
