//! Who changed what? An organization reads of itself; operators read everything, and whether the chain is whole.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::store::AuditFilter;
use crate::store::ChainState;
use crate::store::record::AuditEvent;

impl Registry {
    /// Events that `filter` asks for, the newest first, at most `limit`.
    ///
    /// # Errors
    /// An organization that is not there for this actor.
    pub async fn audit(&self, mut filter: AuditFilter, limit: u32) -> Result<Vec<AuditEvent>, RegistryError> {
        filter.organization = self.narrow(filter.organization)?;
        Ok(self.control.store.audit(&filter, limit).await?)
    }

    /// Reads the whole chain and says whether an event of it was changed or removed (S154).
    ///
    /// # Errors
    /// Not an operator.
    pub async fn verify_audit(&self) -> Result<ChainState, RegistryError> {
        self.actor.operators_only()?;
        // With the log's memory of where the chain ended: who can change the database can shorten it.
        Ok(self.control.revocations.verify_audit(&*self.control.store).await?)
    }
}
