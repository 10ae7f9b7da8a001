//! When must a stream end because of its credential (S038)?

use crate::gate::Gate;
use crate::gate::authenticate::Principal;
use crate::gate::decide;
use crate::model::clock::Timestamp;
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// The end of a stream that a principal opened.
pub struct StreamEnd {
    /// The time at which the credential expires; `None` for an API key that never expires.
    pub expires_at: Option<Instant>,
    /// Returns `false` once the credential is revoked or its subscription has ended; does not check the expiry. `None`
    /// for a token of another issuer, which cannot be revoked at Keygate.
    pub still_valid: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl StreamEnd {
    /// Returns the end of a stream that `principal` opened.
    pub fn of(principal: &Principal, gate: &Arc<Gate>) -> Self {
        let identity = principal.identity();
        let left = |usable_until: Timestamp| usable_until.saturating_since(gate.clock.now().wall);
        let revocable = identity.api_key_id().is_some() || principal.binding().is_some();
        // The reference to the gate is weak: a stream must not keep the gate alive.
        let (opener, weak) = (principal.clone(), Arc::downgrade(gate));
        let is_valid = move || {
            weak.upgrade().is_some_and(|gate| {
                decide::is_still_valid(&opener, &gate.snapshot(), &gate.live, gate.clock.now().wall)
            })
        };
        let still_valid: Option<Box<dyn Fn() -> bool + Send + Sync>> =
            if revocable { Some(Box::new(is_valid)) } else { None };
        Self {
            expires_at: identity
                .usable_until
                .and_then(|until| Instant::now().checked_add(left(until))),
            still_valid,
        }
    }
}

impl fmt::Debug for StreamEnd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StreamEnd")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
