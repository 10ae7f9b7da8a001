//! Who changed what? An organization reads of itself; operators read everything, and whether the chain is whole.

use crate::control::registry::Refused;
use crate::control::registry::Registry;
use crate::control::registry::actor::Reach;
use crate::store::AuditFilter;
use crate::store::ChainState;
use crate::store::record::AuditEvent;

impl Registry {
    /// Events that `filter` asks for, the newest first, at most `limit`.
    ///
    /// # Errors
    /// An organization that is not there for this actor.
    pub async fn audit(&self, mut filter: AuditFilter, limit: u32) -> Result<Vec<AuditEvent>, Refused> {
        if let Reach::Organization(own) = self.actor.reach() {
            match &filter.organization {
                Some(asked) if asked != own => return Err(Refused::NotFound("organization")),
                Some(_) | None => filter.organization = Some(own.clone()),
            }
        }
        Ok(self.control.store.audit(&filter, limit).await?)
    }

    /// Reads the whole chain and says whether an event of it was changed or removed (S154).
    ///
    /// # Errors
    /// Not an operator.
    pub async fn verify_audit(&self) -> Result<ChainState, Refused> {
        self.operators_only()?;
        // With the log's memory of where the chain ended: who can change the database can shorten it.
        Ok(self.control.revocations.verify_audit(&*self.control.store).await?)
    }
}
