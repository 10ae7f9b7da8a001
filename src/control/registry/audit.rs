//! Which changes were made, and is the log intact? An organization
//! reads its own events; operators read all, and verify the chain.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::store::AuditFilter;
use crate::store::ChainState;
use crate::store::record::AuditEvent;

impl Registry {
    /// Returns the events that match `filter`, the newest first, at most `limit`.
    ///
    /// # Errors
    /// The filter names an organization that the actor may not see.
    pub async fn audit(&self, mut filter: AuditFilter, limit: u32) -> Result<Vec<AuditEvent>, RegistryError> {
        filter.organization = self.narrow(filter.organization)?;
        Ok(self.control.store.audit(&filter, limit).await?)
    }

    /// Reads the whole chain and returns whether an event was changed or removed (S154).
    ///
    /// # Errors
    /// The actor is not an operator.
    pub async fn verify_audit(&self) -> Result<ChainState, RegistryError> {
        self.actor.operators_only()?;
        // The revocation log remembers the end of the chain: without it, a truncated database would look intact.
        Ok(self.control.revocations.verify_audit(&*self.control.store).await?)
    }
}
