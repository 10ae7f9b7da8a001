//! When must a stream end that goes on for as long as somebody listens (S038)?

use crate::gate::Gate;
use crate::gate::authenticate::Principal;
use crate::gate::decide;
use crate::model::clock::Timestamp;
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// When a stream ends, however long its ends would go on.
pub struct StreamEnd {
    /// When its credential expires; `None` for a key that never does.
    pub at: Option<Instant>,
    /// Returns whether its credential is still valid: revoked, or its subscription over, it ends the stream too. `None` for a
    /// credential that cannot be revoked here.
    pub still_valid: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

/// When a stream must end that `principal` opened.
pub fn of(principal: &Principal, gate: &Arc<Gate>) -> StreamEnd {
    let identity = principal.identity();
    let left = |usable_until: Timestamp| usable_until.saturating_since(gate.clock.now().wall);
    // Only a credential that can be revoked here has to be looked at again. Not through the gate itself: a stream must
    // not keep it from ending.
    let revocable = identity.api_key_id().is_some() || principal.binding().is_some();
    let (held, weak) = (principal.clone(), Arc::downgrade(gate));
    let is_valid = move || {
        weak.upgrade()
            .is_some_and(|gate| decide::is_still_valid(&held, &gate.snapshot(), &gate.live, gate.clock.now().wall))
    };
    let still_valid: Option<Box<dyn Fn() -> bool + Send + Sync>> =
        if revocable { Some(Box::new(is_valid)) } else { None };
    StreamEnd {
        at: identity
            .usable_until
            .and_then(|until| Instant::now().checked_add(left(until))),
        still_valid,
    }
}

impl fmt::Debug for StreamEnd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StreamEnd")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
