//! What both halves of the control side work on, and the one way a change takes: store, log of revocations, data side,
//! and only then the answer.

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

/// What the configuration says to the control side. Replaced whole when it is loaded again.
pub struct Settings {
    pub store: StoreSettings,
    pub token_endpoint: Option<TokenEndpoint>,
    /// By name, the built-in ones among them.
    pub plans: BTreeMap<Name, Plan>,
    /// `api_keys.prefix`.
    pub key_prefix: String,
    pub digester: Digester,
}

pub struct Control {
    pub store: Arc<dyn Store>,
    pub directory: Arc<Directory>,
    /// Every client, ready to be authenticated.
    pub clients: Clients,
    pub signing_keys: SigningKeys,
    pub revocations: RevocationLog,
    pub settings: ArcSwap<Settings>,
    pub clock: Arc<dyn Clock>,
}

impl Control {
    /// Makes a change: when this returns it is on disk and in force.
    ///
    /// # Errors
    /// Those of [`Store::commit`], and a log of revocations that cannot be written: then a revocation is in force, and
    /// whether it outlives a restored backup is not known.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let writes = batch.writes.clone();
        self.store.commit(batch).await?;
        // In force first: the log is for the day on which somebody puts an old database back.
        enforce::apply(&writes, &self.directory, &self.clients, self.clock.now().wall);
        self.revocations.note(&writes).await
    }
}
