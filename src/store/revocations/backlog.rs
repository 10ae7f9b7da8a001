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
use crate::store::record::ApiKeyRecord;
use crate::store::record::ClientRecord;
use crate::store::record::NewAuditEvent;
use crate::store::record::RevokedTokenRecord;
use crate::store::record::SubscriptionRecord;
use crate::store::revocations::RevocationLog;
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
    fn entries(&self) -> Vec<Entry> {
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
    pub const ALL: [Self; 2] = [Self::Log, Self::Memory];

    /// Returns the label value of metrics.
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
struct PendingRevocation {
    entries: Vec<Entry>,
    event: NewAuditEvent,
    durability: Durability,
}

/// The revocations that wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// The revocations that the store lacks, by their number, in the order in which they were made.
    revocations: BTreeMap<u64, PendingRevocation>,
    next_number: u64,
    /// The entries that the file lacks.
    unlogged: Vec<Entry>,
    /// Whether a revocation that only this process would know is refused.
    requires_log: bool,
}

impl Backlog {
    fn push(&mut self, revocation: PendingRevocation) {
        self.revocations.insert(self.next_number, revocation);
        self.next_number += 1;
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

impl RevocationLog {
    /// Takes a revocation that is in force and that the store could not take. Writes it to the file, if possible, and keeps it
    /// for [`Self::write_pending`]. Returns where the revocation is until then.
    ///
    /// # Errors
    /// The file cannot be written, and [`Self::require_log`] was called.
    pub async fn hold(&self, revocation: &Revocation, event: NewAuditEvent) -> Result<Durability, StoreError> {
        let entries = revocation.entries();
        let logged = self.append(entries.clone()).await;
        let durability = match &logged {
            Ok(()) if self.file.is_some() => Durability::Log,
            Ok(()) | Err(_) => Durability::Memory,
        };
        let mut backlog = self.lock_backlog();
        if backlog.requires_log && durability == Durability::Memory {
            return Err(logged.err().unwrap_or_else(no_file));
        }
        backlog.push(PendingRevocation {
            entries,
            event,
            durability,
        });
        Ok(durability)
    }

    /// Keeps the revocations in `writes`, which are in the file already, for [`Self::write_pending`].
    pub(super) fn hold_writes(&self, writes: &[Write], event: NewAuditEvent) {
        let entries = writes.iter().flat_map(|write| match write {
            // All revocations of the client: the record says nothing about which of them are new.
            Write::Client(client) => entry::of_client(&client.record),
            Write::Organization(_)
            | Write::Subscription(_)
            | Write::ApiKey(_)
            | Write::OpaqueToken(_)
            | Write::RevokedToken(_) => entry::of_write(write),
        });
        let revocation = PendingRevocation {
            entries: entries.collect(),
            event,
            durability: Durability::Log,
        };
        self.lock_backlog().push(revocation);
    }

    /// From now on, refuses a revocation that only this process would know: the process is about to end.
    pub fn require_log(&self) {
        self.lock_backlog().requires_log = true;
    }

    /// Returns how many revocations wait for the disk.
    pub fn backlog(&self) -> BacklogCounts {
        let backlog = self.lock_backlog();
        let in_log = backlog
            .revocations
            .values()
            .filter(|revocation| revocation.durability.survives_restart())
            .count();
        BacklogCounts {
            in_log,
            in_memory: backlog.revocations.len() - in_log,
            unlogged: backlog.unlogged.len(),
        }
    }

    /// Returns the audit event's action and target of each revocation that the store lacks, with the place where it is.
    pub fn pending(&self) -> Vec<(&'static str, String, Durability)> {
        let backlog = self.lock_backlog();
        let revocations = backlog.revocations.values();
        revocations
            .map(|pending| (pending.event.action, pending.event.target.clone(), pending.durability))
            .collect()
    }

    /// Writes to the file and to the store the revocations that they lack, each with its audit event. Calls `in_force` with the
    /// writes that the store has committed. Not to be called twice at a time: an event would be written twice.
    ///
    /// # Errors
    /// The store or the file cannot be written. The rest stays for the next call.
    pub async fn write_pending(
        &self,
        store: &dyn Store,
        now: Timestamp,
        in_force: &mut (dyn FnMut(&[Write]) + Send),
    ) -> Result<(), StoreError> {
        let logged = self.write_unlogged().await;
        let numbers: Vec<u64> = self.lock_backlog().revocations.keys().copied().collect();
        let mut stored = Ok(());
        for number in numbers {
            let Some(pending) = self.lock_backlog().revocations.get(&number).cloned() else {
                continue;
            };
            match write(store, pending, now).await {
                Ok(writes) => {
                    in_force(&writes);
                    self.lock_backlog().revocations.remove(&number);
                }
                // Only these records are affected: a damaged page, a concurrent change.
                Err(error @ (StoreError::Unreadable { .. } | StoreError::Conflict(_))) => stored = Err(error),
                Err(error @ (StoreError::Unavailable(_) | StoreError::InUse(_))) => return Err(error),
            }
        }
        stored.and(logged)
    }

    /// Writes the entries that the file lacks.
    async fn write_unlogged(&self) -> Result<(), StoreError> {
        let (entries, numbers) = {
            let mut backlog = self.lock_backlog();
            let entries = std::mem::take(&mut backlog.unlogged);
            let numbers: Vec<u64> = backlog.revocations.keys().copied().collect();
            (entries, numbers)
        };
        if entries.is_empty() {
            return Ok(());
        }
        // On failure, `append` puts the entries back.
        self.append(entries).await?;
        let mut backlog = self.lock_backlog();
        for number in numbers {
            if let Some(pending) = backlog.revocations.get_mut(&number) {
                pending.durability = Durability::Log;
            }
        }
        Ok(())
    }

    /// Returns the key with its revocation, if the log has one: the store may lack it.
    pub fn amend_key(&self, mut key: Versioned<ApiKeyRecord>) -> Versioned<ApiKeyRecord> {
        if let Some(revoked) = self.lock_set().apply_to_key(&key.record) {
            key.record = revoked;
        }
        key
    }

    /// Returns the client with its revocations in the log: the store may lack them.
    pub fn amend_client(&self, mut client: Versioned<ClientRecord>, now: Timestamp) -> Versioned<ClientRecord> {
        let set = self.lock_set();
        if set.has_client(client.record.id.as_str()) {
            client.record = set.apply_to_client(client.record, now);
        }
        client
    }

    /// Returns the subscription as cancelled, if the log says so: the store may not.
    pub fn amend_subscription(
        &self,
        mut subscription: Versioned<SubscriptionRecord>,
        now: Timestamp,
    ) -> Versioned<SubscriptionRecord> {
        if let Some(cancelled) = self.lock_set().apply_to_subscription(&subscription.record, now) {
            subscription.record = cancelled;
        }
        subscription
    }

    /// Returns `writes` with the revocations of their clients and subscriptions that the store may lack: a change of a client does not put
    /// revoked tokens in force again.
    pub fn amend_writes(&self, writes: Vec<Write>, now: Timestamp) -> Vec<Write> {
        if self.lock_backlog().revocations.is_empty() {
            return writes;
        }
        let amend = |write| match write {
            Write::Client(client) => Write::Client(self.amend_client(client, now)),
            Write::Subscription(subscription) => Write::Subscription(self.amend_subscription(subscription, now)),
            // Keys and tokens stay revoked in memory, whatever is put there.
            Write::Organization(_) | Write::ApiKey(_) | Write::OpaqueToken(_) | Write::RevokedToken(_) => write,
        };
        writes.into_iter().map(amend).collect()
    }
}

fn no_file() -> StoreError {
    StoreError::Unavailable("there is no log of revocations".to_owned())
}

/// Writes one revocation to the store, on the records as they are there, and returns the writes.
async fn write(store: &dyn Store, pending: PendingRevocation, now: Timestamp) -> Result<Vec<Write>, StoreError> {
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
