//! Which state do the admin API and the token endpoint share, and in which order does a change take effect? First on
//! disk, then in memory, then in the revocation log, and only then comes the response.

use crate::config::StoreSettings;
use crate::config::TokenEndpoint;
use crate::control::clients::Clients;
use crate::control::enforce;
use crate::control::signing_keys::SigningKeys;
use crate::model::api_key::Digester;
use crate::model::clock::Clock;
use crate::model::directory::Directory;
use crate::model::names::Name;
use crate::model::plan::Plan;
use crate::observe::log::ErrorChain;
use crate::store::Batch;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Write;
use crate::store::record::NewAuditEvent;
use crate::store::revocations::Durability;
use crate::store::revocations::Revocation;
use crate::store::revocations::RevocationLog;
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The configuration of the control side. A reload replaces it whole.
pub struct Settings {
    pub store: StoreSettings,
    pub token_endpoint: Option<TokenEndpoint>,
    /// By name, including the built-in plans.
    pub plans: BTreeMap<Name, Plan>,
    /// `api_keys.prefix`.
    pub key_prefix: String,
    pub digester: Digester,
}

pub struct Control {
    pub store: Arc<dyn Store>,
    pub directory: Arc<Directory>,
    /// Every client, with parsed keys.
    pub clients: Clients,
    pub signing_keys: SigningKeys,
    pub revocations: RevocationLog,
    pub settings: ArcSwap<Settings>,
    pub clock: Arc<dyn Clock>,
}

impl Control {
    /// Commits a change. When this returns, the change is on disk and in force. A revocation that the log cannot take is
    /// kept for it: it would only be missed if an older database were restored before the log can be written again.
    ///
    /// # Errors
    /// Those of [`Store::commit`].
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let writes = batch.writes.clone();
        self.store.commit(batch).await?;
        // In force first: the log is only needed after an older database is restored.
        let writes = self.put_in_force(writes);
        let _ = self.revocations.append_writes(&writes).await;
        Ok(())
    }

    /// Puts writes in force that the store has committed, and returns them with the revocations of their records that the store
    /// may lack.
    fn put_in_force(&self, writes: Vec<Write>) -> Vec<Write> {
        let now = self.clock.now().wall;
        // No revocation between both steps: the second would undo it.
        let _order = self.revocations.lock_order();
        let writes = self.revocations.amend_writes(writes, now);
        enforce::apply(&writes, &self.directory, &self.clients, now);
        writes
    }

    /// Puts a revocation in force that the store could not take, because of `problem`, and keeps it for the store. Returns
    /// where it is until then; `None` if its client was changed concurrently, and the revocation must be made anew.
    ///
    /// # Errors
    /// The revocation is in force, but this process ends and the log cannot be written.
    pub async fn revoke_without_store(
        &self,
        revocation: &Revocation,
        event: NewAuditEvent,
        problem: &StoreError,
    ) -> Result<Option<Durability>, StoreError> {
        let (action, target, actor) = (event.action, event.target.clone(), event.actor.clone());
        let noted = {
            let _order = self.revocations.lock_order();
            if !enforce::revoke(revocation, &self.directory, &self.clients) {
                return Ok(None);
            }
            self.revocations.note(revocation, event)
        };
        let durability = self.revocations.hold(noted).await?;
        tracing::error!(
            action,
            target,
            actor,
            kept_in = durability.as_str(),
            error = %ErrorChain(problem),
            "Revocation is in force, and not in the store yet"
        );
        Ok(Some(durability))
    }

    /// Writes the revocations that the store or the log lack, as far as the disk allows. Not to be called twice at a time.
    ///
    /// # Errors
    /// See [`RevocationLog::write_pending`].
    pub async fn write_pending_revocations(&self) -> Result<(), StoreError> {
        let now = self.clock.now().wall;
        let mut in_force = |writes| drop(self.put_in_force(writes));
        self.revocations.write_pending(&*self.store, now, &mut in_force).await
    }
}
