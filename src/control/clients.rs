//! Which clients are there, and what do they prove themselves with? In memory, so that no token waits for the database.

use crate::model::id::ClientId;
use crate::store::Versioned;
use crate::store::record::ClientRecord;
use dashmap::DashMap;
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Clients {
    by_id: DashMap<ClientId, Arc<Versioned<ClientRecord>>>,
}

impl Clients {
    pub fn get(&self, id: &ClientId) -> Option<Arc<Versioned<ClientRecord>>> {
        self.by_id.get(id).map(|client| Arc::clone(&client))
    }

    /// Takes a client as it was written, unless a later writing of it is known already.
    pub fn put(&self, client: Versioned<ClientRecord>) {
        let id = client.record.id.clone();
        let newer = Arc::new(client);
        self.by_id
            .entry(id)
            .and_modify(|known| {
                if known.revision < newer.revision {
                    *known = Arc::clone(&newer);
                }
            })
            .or_insert(newer);
    }
}
