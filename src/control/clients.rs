//! Which clients are there, and how do they authenticate? In memory, so that no token request waits for the database.

use crate::jose::jwk::VerifyingKey;
use crate::model::id::ClientId;
use crate::store::Revision;
use crate::store::Versioned;
use crate::store::record::ClientRecord;
use crate::store::record::client::CLIENT_KEYS_MAX;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientKey;
use dashmap::DashMap;
use std::sync::Arc;

/// The clients of the store, by id.
#[derive(Debug, Default)]
pub struct Clients {
    by_id: DashMap<ClientId, Arc<Client>>,
}

/// The latest revision of a client, with its keys parsed once.
#[derive(Debug)]
pub struct Client {
    pub record: ClientRecord,
    pub revision: Revision,
    /// The registered keys that are valid, in the order of the record; empty for a client with a secret or a JWKS URL.
    keys: Vec<VerifyingKey>,
}

impl Client {
    fn new(client: Versioned<ClientRecord>) -> Self {
        let keys = match &client.record.authentication {
            ClientAuthentication::Keys { keys } => keys
                .iter()
                .filter(|key| key.is_valid())
                .filter_map(|key| parse_key(&client.record.id, key))
                .collect(),
            ClientAuthentication::ClientSecret { .. } | ClientAuthentication::JwksUrl { .. } => Vec::new(),
        };
        Self {
            record: client.record,
            revision: client.revision,
            keys,
        }
    }

    /// Returns the registered keys that are valid, at most [`CLIENT_KEYS_MAX`].
    pub fn keys(&self) -> impl Iterator<Item = &VerifyingKey> + Clone {
        self.keys.iter().take(CLIENT_KEYS_MAX)
    }
}

/// Parses a registered key. Logs a key that does not parse, and returns `None`: the
/// key was checked when it was registered, so somebody has edited the store.
fn parse_key(client: &ClientId, key: &ClientKey) -> Option<VerifyingKey> {
    match VerifyingKey::from_pem(&key.kid, &key.public_pem, &key.algorithms) {
        Ok(verifying) => Some(verifying),
        Err(problem) => {
            tracing::error!(
                client_id = client.as_str(),
                kid = key.kid,
                problem,
                "A client's key cannot be read"
            );
            None
        }
    }
}

impl Clients {
    pub fn get(&self, id: &ClientId) -> Option<Arc<Client>> {
        self.by_id.get(id).map(|client| Arc::clone(&client))
    }

    /// Calls `work` with each client.
    pub fn for_each(&self, mut work: impl FnMut(&Client)) {
        for entry in &self.by_id {
            work(&entry);
        }
    }

    /// Puts a record in the place of the one with the same revision. Returns whether that revision was still present.
    pub fn amend(&self, client: Versioned<ClientRecord>) -> bool {
        let Some(mut known) = self.by_id.get_mut(&client.record.id) else {
            return false;
        };
        let is_present = known.revision == client.revision;
        if is_present {
            *known = Arc::new(Client::new(client));
        }
        is_present
    }

    /// Inserts a client, unless the same or a later revision is present.
    pub fn put(&self, client: Versioned<ClientRecord>) {
        let id = client.record.id.clone();
        let newer = Arc::new(Client::new(client));
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
