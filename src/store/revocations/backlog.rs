//! Which revocations are in force on this gate and wait for the store or for the log's file?

use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::id::SubscriptionId;
use crate::store::AuditFilter;
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
use std::time::Duration;

/// A revocation that is made without the store, from the records in memory.
#[derive(Clone, Debug)]
pub enum Revocation {
    ApiKey {
        id: KeyId,
        at: Timestamp,
        expires_at: Option<Timestamp>,
    },
    /// The new record of a client that is deleted, or of which tokens or keys are revoked.
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

/// The place of a revocation that the store lacks.
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
    /// Adds a revocation and returns its number.
    pub(crate) fn push(&mut self, revocation: PendingRevocation) -> u64 {
        let number = self.next_number;
        self.revocations.insert(number, revocation);
        self.next_number += 1;
        number
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

/// Writes one revocation to the store, as a change of the stored records, and returns the writes.
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
    let is_recorded = is_recorded(store, &pending.event).await?;
    let batch = Batch {
        writes: writes.clone(),
        event: (!is_recorded).then_some(pending.event),
        ..Batch::default()
    };
    store.commit(batch).await?;
    Ok(writes)
}

/// Returns whether the audit log has this event: a store that hung may have done late what was given up.
async fn is_recorded(store: &dyn Store, event: &NewAuditEvent) -> Result<bool, StoreError> {
    let filter = AuditFilter {
        actor: Some(event.actor.clone()),
        action: Some(event.action.to_owned()),
        target: Some(event.target.clone()),
        since: Some(event.at),
        until: Some(event.at.saturating_add(Duration::from_millis(1))),
        ..AuditFilter::default()
    };
    let found = store.audit(&filter, 1).await?;
    Ok(!found.is_empty())
}
