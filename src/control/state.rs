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
use crate::store::Batch;
use crate::store::Store;
use crate::store::StoreError;
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
    /// Commits a change. When this returns, the change is on disk and in force.
    ///
    /// # Errors
    /// Those of [`Store::commit`], or a revocation log that cannot be written. In the second case the change is in
    /// force, but a revocation in it may be lost when an older database is restored.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let writes = batch.writes.clone();
        self.store.commit(batch).await?;
        // In force first: the log is only needed after an older database is restored.
        enforce::apply(&writes, &self.directory, &self.clients, self.clock.now().wall);
        self.revocations.append_writes(&writes).await
    }
}
