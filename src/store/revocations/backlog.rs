//! Which revocations are in force here, and not yet in the store or in the log's file? They are written as soon as the disk
//! allows.

use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::id::SubscriptionId;
use crate::store::Batch;
use crate::store::Contents;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::ClientRecord;
use crate::store::record::NewAuditEvent;
use crate::store::record::RevokedTokenRecord;
use crate::store::revocations::entry;
use crate::store::revocations::entry::Entry;
use crate::store::revocations::set::RevocationSet;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// A revocation that is made without the store: of records as this process knows them.
#[derive(Clone, Debug)]
pub enum Revocation {
    ApiKey {
        id: KeyId,
        at: Timestamp,
        expires_at: Option<Timestamp>,
    },
    /// A client that is deleted, or with tokens or keys that are revoked, as its record should become.
    Client(Box<Versioned<ClientRecord>>),
    Token(RevokedTokenRecord),
    /// A cancelled subscription, with the keys and the clients under it.
    Subscription {
        id: SubscriptionId,
        keys: Vec<(KeyId, Option<Timestamp>)>,
        clients: Vec<Versioned<ClientRecord>>,
        at: Timestamp,
    },
}

impl Revocation {
    pub(crate) fn entries(&self) -> Vec<Entry> {
        match self {
            Self::ApiKey { id, at, expires_at } => vec![Entry::Key {
                id: id.to_string(),
                at: *at,
                expires_at: *expires_at,
            }],
            Self::Client(client) => entry::of_write(&Write::Client(Versioned::clone(client))),
            Self::Token(token) => entry::of_write(&Write::RevokedToken(token.clone())),
            Self::Subscription { id, keys, clients, at } => {
                let keys = keys.iter().map(|(id, expires_at)| Entry::Key {
                    id: id.to_string(),
                    at: *at,
                    expires_at: *expires_at,
                });
                let clients = clients.iter().cloned().map(Write::Client);
                let clients = clients.flat_map(|client| entry::of_write(&client));
                let id = id.to_string();
                std::iter::once(Entry::Subscription { id })
                    .chain(keys)
                    .chain(clients)
                    .collect()
            }
        }
    }
}

/// The place where a revocation is until the store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The log's file. The next start puts the revocation in force.
    Log,
    /// The memory of this process alone.
    Memory,
}

impl Durability {
    /// Returns the word of log lines, which is also the label value of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Memory => "memory",
        }
    }

    pub const fn survives_restart(self) -> bool {
        matches!(self, Self::Log)
    }
}

/// A revocation that the store lacks.
#[derive(Clone, Debug)]
pub(crate) struct PendingRevocation {
    pub(crate) entries: Vec<Entry>,
    pub(crate) event: NewAuditEvent,
    pub(crate) durability: Durability,
}

/// The revocations that wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// The revocations that the store lacks, by their number, in the order in which they were made.
    pub(crate) revocations: BTreeMap<u64, PendingRevocation>,
    next_number: u64,
    /// The entries that the file lacks.
    pub(crate) unlogged: Vec<Entry>,
    /// `true` once a revocation that only this process would know is refused.
    pub(crate) requires_log: bool,
}

impl Backlog {
    pub(crate) fn push(&mut self, revocation: PendingRevocation) {
        self.revocations.insert(self.next_number, revocation);
        self.next_number += 1;
    }

    pub(crate) fn counts(&self) -> BacklogCounts {
        let revocations = self.revocations.values();
        let in_log = revocations
            .filter(|revocation| revocation.durability.survives_restart())
            .count();
        BacklogCounts {
            in_log,
            in_memory: self.revocations.len() - in_log,
            unlogged: self.unlogged.len(),
        }
    }

    /// Adds entries that the file could not take.
    pub(crate) fn push_unlogged(&mut self, entries: Vec<Entry>) {
        // The end of the audit chain is recorded anew every few minutes.
        let revocations = entries
            .into_iter()
            .filter(|entry| !matches!(entry, Entry::AuditHead { .. }));
        self.unlogged.extend(revocations);
    }
}

/// The numbers of revocations that wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BacklogCounts {
    /// Revocations that the store lacks and the log's file has.
    pub in_log: usize,
    /// Revocations that only this process knows.
    pub in_memory: usize,
    /// Entries that the log's file lacks: those in memory, and those that the store has already.
    pub unlogged: usize,
}

impl BacklogCounts {
    /// Returns the number of revocations that the store lacks.
    pub const fn pending(self) -> usize {
        self.in_log + self.in_memory
    }
}

/// Writes one revocation to the store, on the records as they are there, and returns the writes.
pub(crate) async fn write(
    store: &dyn Store,
    pending: PendingRevocation,
    now: Timestamp,
) -> Result<Vec<Write>, StoreError> {
    let mut set = RevocationSet::default();
    let (mut contents, mut clients, mut writes) = (Contents::default(), BTreeSet::new(), Vec::new());
    for entry in pending.entries {
        match &entry {
            Entry::Key { id, .. } => {
                if let Ok(id) = id.parse() {
                    contents.api_keys.extend(store.api_key(&id).await?);
                }
            }
            Entry::Subscription { id } => {
                if let Ok(id) = id.parse() {
                    contents.subscriptions.extend(store.subscription(&id).await?);
                }
            }
            Entry::Client { id: client }
            | Entry::Tokens { client, .. }
            | Entry::Secrets { client, .. }
            | Entry::ClientKey { client, .. } => {
                clients.insert(client.clone());
            }
            Entry::Token { id, until } => writes.push(Write::RevokedToken(RevokedTokenRecord {
                id: id.clone(),
                expires_at: *until,
            })),
            Entry::AuditHead { .. } => {}
        }
        set.add(entry);
    }
    for client in clients {
        if let Ok(id) = client.parse() {
            contents.clients.extend(store.client(&id).await?);
        }
    }
    writes.extend(set.apply(&mut contents, now));
    let batch = Batch {
        writes: writes.clone(),
        event: Some(pending.event),
        ..Batch::default()
    };
    store.commit(batch).await?;
    Ok(writes)
}
