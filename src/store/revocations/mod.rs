//! How do revocations survive the restore of an older database (S078)? In a log of their own, which also has the end of the
//! audit chain, and the revocations that the store could not take.

mod entry;
mod set;
mod file;
mod backlog;

pub use backlog::BacklogCounts;
pub use backlog::Durability;
pub use backlog::Revocation;

use crate::model::clock::Timestamp;
use crate::store::AuditFilter;
use crate::store::Batch;
use crate::store::ChainState;
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
use crate::store::revocations::backlog::Backlog;
use crate::store::revocations::backlog::PendingRevocation;
use crate::store::revocations::entry::Entry;
use crate::store::revocations::file::LogFile;
use crate::store::revocations::file::PendingWrite;
use crate::store::revocations::set::RevocationSet;
use crate::store::within_store_wait;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

/// The log of revocations. Without a file (`default`) it keeps the entries as long as the process lives.
#[derive(Debug, Default)]
pub struct RevocationLog {
    set: Mutex<RevocationSet>,
    file: Option<LogFile>,
    backlog: Mutex<Backlog>,
    /// See [`Self::lock_order`].
    order: Mutex<()>,
    /// See [`Self::report`].
    report: OnceLock<ReconciliationReport>,
}

/// A revocation that the store lacks, and the log's file may not have yet.
pub struct NotedRevocation {
    /// Its number in the backlog.
    number: u64,
    entries: Vec<Entry>,
    /// `None` without a file.
    written: Option<PendingWrite>,
}

/// The most ids in the event of a store that lacked revocations, whose size is bounded so.
const RESTORED_IDS_MAX: usize = 1_000;

/// The number of revocations and events that a store lacked when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconciliationReport {
    /// The number of records and tokens that were revoked again.
    pub records: usize,
    /// The number of audit events that are missing.
    pub events_missing: u64,
}

impl RevocationLog {
    /// Opens the log at `path`, or creates it with mode 0600. Drops a partial last line: it was never acknowledged.
    ///
    /// # Errors
    /// The log cannot be read or written, or has an entry that this version cannot read.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let (file, entries) = LogFile::open(path)?;
        let mut set = RevocationSet::default();
        entries.into_iter().for_each(|entry| set.add(entry));
        set.forget(now);
        Ok(Self {
            set: Mutex::new(set),
            file: Some(file),
            ..Self::default()
        })
    }

    /// Reads the log at `path`, where there is one, and leaves it as it is.
    ///
    /// # Errors
    /// The log cannot be read, or has an entry that this version cannot read.
    pub fn read(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let mut set = RevocationSet::default();
        file::entries(path)?.into_iter().for_each(|entry| set.add(entry));
        set.forget(now);
        Ok(Self {
            set: Mutex::new(set),
            ..Self::default()
        })
    }

    /// Appends the revocations in `writes` to the log. When this returns, they are on disk.
    ///
    /// # Errors
    /// The log cannot be written. [`Self::write_pending`] tries again.
    pub async fn append_writes(&self, writes: &[Write]) -> Result<(), StoreError> {
        self.append(writes.iter().flat_map(entry::of_write).collect()).await
    }

    /// Returns a new reconciliation with a store.
    pub fn reconcile(&self, now: Timestamp) -> Reconciliation<'_> {
        Reconciliation {
            log: self,
            now,
            writes: Vec::new(),
            missing: Vec::new(),
            tokens: HashSet::new(),
        }
    }

    /// Records the current end of the audit chain. An attacker who removes the chain's last events
    /// and corrects its head in the store does not thereby change this log (S154).
    ///
    /// # Errors
    /// An error of the store, or the log cannot be written.
    pub async fn record_audit_head(&self, store: &dyn Store) -> Result<(), StoreError> {
        let last = store.audit(&AuditFilter::default(), 1).await?;
        let Some(last) = last.into_iter().next() else {
            return Ok(());
        };
        if self
            .lock_set()
            .audit_head()
            .is_some_and(|(events, hash)| *events == last.sequence && *hash == last.hash)
        {
            return Ok(());
        }
        let entry = Entry::AuditHead {
            events: last.sequence,
            hash: last.hash,
        };
        self.append(vec![entry]).await
    }

    /// Verifies the audit chain of `store`, and that the chain still contains the event that was last recorded here as
    /// its end.
    ///
    /// # Errors
    /// An error of the store.
    pub async fn verify_audit(&self, store: &dyn Store) -> Result<ChainState, StoreError> {
        let state = store.verify_audit().await?;
        let anchor = self.lock_set().audit_head().cloned();
        let (ChainState::Whole { events, .. }, Some((expected, hash))) = (&state, anchor) else {
            return Ok(state);
        };
        if *events < expected {
            return Ok(ChainState::Broken {
                sequence: events + 1,
                problem: format!("the last {} events are missing", expected - events),
            });
        }
        if hash_of(store, expected).await? == Some(hash) {
            return Ok(state);
        }
        Ok(ChainState::Broken {
            sequence: expected,
            problem: "it was changed, and everything after it written anew".to_owned(),
        })
    }

    /// Forgets revocations that are no longer needed at `now`. Rewrites the file when most lines are outdated.
    ///
    /// # Errors
    /// The file cannot be rewritten.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let written = {
            let mut set = self.lock_set();
            set.forget(now);
            match &self.file {
                // Send the request under the lock, so that no append gets between the entries and their rewrite.
                Some(file) if file.is_worth_rewriting(set.len()) => file.rewrite(set.entries()),
                Some(_) | None => return Ok(()),
            }
        };
        written.wait().await
    }

    /// Returns what the store lacked when it was opened.
    pub fn report(&self) -> ReconciliationReport {
        self.report.get().copied().unwrap_or_default()
    }

    /// Returns the number of entries.
    #[cfg(any(test, feature = "internals"))]
    pub fn len(&self) -> usize {
        self.lock_set().len()
    }

    #[cfg(any(test, feature = "internals"))]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps other changes from taking effect in memory until the guard is dropped. A change reads the set and then memory, and a
    /// revocation without the store writes both.
    pub fn lock_order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a revocation that the store could not take for [`Self::write_pending`], and sends it to the file. The caller has put
    /// it in force, and passes the result to [`Self::hold`].
    pub fn note(&self, revocation: &Revocation, event: NewAuditEvent) -> NotedRevocation {
        let entries = revocation.entries();
        let written = self.send(&entries);
        let number = self.lock_backlog().push(PendingRevocation {
            entries: entries.clone(),
            event,
            durability: Durability::Memory,
        });
        NotedRevocation {
            number,
            entries,
            written,
        }
    }

    /// Waits for the file. Returns where the revocation is until the store has it.
    ///
    /// # Errors
    /// The file cannot be written, and [`Self::require_log`] was called.
    pub async fn hold(&self, noted: NotedRevocation) -> Result<Durability, StoreError> {
        let NotedRevocation {
            number,
            entries,
            written,
        } = noted;
        let logged = self.finish(entries, written).await;
        let durability = match &logged {
            Ok(()) if self.file.is_some() => Durability::Log,
            Ok(()) | Err(_) => Durability::Memory,
        };
        let mut backlog = self.lock_backlog();
        if backlog.requires_log && durability == Durability::Memory {
            backlog.revocations.remove(&number);
            let no_file = || StoreError::Unavailable("there is no log of revocations".to_owned());
            return Err(logged.err().unwrap_or_else(no_file));
        }
        // Otherwise the store has it by now.
        if let Some(pending) = backlog.revocations.get_mut(&number) {
            pending.durability = durability;
        }
        Ok(durability)
    }

    /// Keeps the revocations of the records in `writes`, which are in the file already, for [`Self::write_pending`].
    fn hold_writes(&self, writes: &[Write], event: NewAuditEvent) {
        let ids: HashSet<&str> = writes.iter().filter_map(revoked_id).collect();
        let mut entries = self.lock_set().entries();
        entries.retain(|entry| entry.id().is_some_and(|id| ids.contains(id)));
        self.lock_backlog().push(PendingRevocation {
            entries,
            event,
            durability: Durability::Log,
        });
    }

    /// Refuses, from now on, a revocation that only this process would know: the process is about to end.
    pub fn require_log(&self) {
        self.lock_backlog().requires_log = true;
    }

    /// Returns how many revocations wait for the disk.
    pub fn backlog(&self) -> BacklogCounts {
        self.lock_backlog().counts()
    }

    /// Returns the audit event's action and target of each revocation that the store lacks, with the place where it is.
    pub fn pending(&self) -> Vec<(&'static str, String, Durability)> {
        let backlog = self.lock_backlog();
        let revocations = backlog.revocations.values();
        revocations
            .map(|pending| (pending.event.action, pending.event.target.clone(), pending.durability))
            .collect()
    }

    /// Writes to the file and to the store the revocations that they lack, each with its audit event. Passes to `in_force` the
    /// writes that the store has committed. Not to be called twice at a time: an event would be written twice.
    ///
    /// # Errors
    /// The store or the file cannot be written. The rest stays for the next call.
    pub async fn write_pending(
        &self,
        store: &dyn Store,
        now: Timestamp,
        in_force: &mut (dyn FnMut(Vec<Write>) + Send),
    ) -> Result<(), StoreError> {
        let logged = self.write_unlogged().await;
        let numbers: Vec<u64> = self.lock_backlog().revocations.keys().copied().collect();
        let mut stored = Ok(());
        for number in numbers {
            let Some(pending) = self.lock_backlog().revocations.get(&number).cloned() else {
                continue;
            };
            match backlog::write(store, pending, now).await {
                Ok(writes) => {
                    in_force(writes.clone());
                    self.lock_backlog().revocations.remove(&number);
                    // The records may say that a revocation is needed for longer than memory knew. What the file does not take
                    // now waits for the next call.
                    let _ = self.append_missing(&writes).await;
                }
                // Only these records are affected: a damaged page, a concurrent change.
                Err(error @ (StoreError::Unreadable { .. } | StoreError::Conflict(_))) => stored = Err(error),
                Err(error @ (StoreError::Unavailable(_) | StoreError::InUse(_))) => return Err(error),
            }
        }
        stored.and(logged)
    }

    /// Appends the revocations in `writes` that the log lacks.
    async fn append_missing(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut entries: Vec<Entry> = writes.iter().flat_map(entry::of_write).collect();
        {
            let set = self.lock_set();
            entries.retain(|entry| !set.contains_entry(entry));
        }
        self.append(entries).await
    }

    /// Writes the entries that the file lacks.
    async fn write_unlogged(&self) -> Result<(), StoreError> {
        // A copy: the caller may stop waiting for a disk that hangs.
        let (entries, numbers) = {
            let backlog = self.lock_backlog();
            let numbers: Vec<u64> = backlog.revocations.keys().copied().collect();
            (backlog.unlogged.clone(), numbers)
        };
        if entries.is_empty() {
            return Ok(());
        }
        self.wait(self.send(&entries)).await?;
        let mut backlog = self.lock_backlog();
        // Later entries are behind these.
        backlog.unlogged.drain(..entries.len());
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

    /// Returns `writes` with the revocations of their clients and subscriptions that the store may lack: a change of a client does
    /// not put revoked tokens in force again.
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

    /// Adds `entries` to the set and to the file. When this returns, they are on disk.
    ///
    /// # Errors
    /// The file cannot be written. The entries are in the set, and wait for [`Self::write_pending`].
    async fn append(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let written = self.send(&entries);
        self.finish(entries, written).await
    }

    /// Adds `entries` to the set, and sends them to the file, if there is one.
    fn send(&self, entries: &[Entry]) -> Option<PendingWrite> {
        let mut set = self.lock_set();
        let written = self.file.as_ref().map(|file| file.append(entries));
        entries.iter().cloned().for_each(|entry| set.add(entry));
        written
    }

    /// Waits until `entries` are on disk.
    ///
    /// # Errors
    /// The file cannot be written. The entries wait for [`Self::write_pending`].
    async fn finish(&self, entries: Vec<Entry>, written: Option<PendingWrite>) -> Result<(), StoreError> {
        let waited = self.wait(written).await;
        waited.inspect_err(|_| self.lock_backlog().push_unlogged(entries))
    }

    /// Waits until entries are on disk, but not for ever: a disk may hang.
    ///
    /// # Errors
    /// The file cannot be written.
    async fn wait(&self, written: Option<PendingWrite>) -> Result<(), StoreError> {
        let (Some(file), Some(written)) = (&self.file, written) else {
            return Ok(());
        };
        let mut appended = within_store_wait(written.wait()).await;
        if appended.is_err() && file.is_displaced() {
            // Under the lock, so that no append gets between the entries and their rewrite.
            let written = {
                let set = self.lock_set();
                file.rewrite(set.entries())
            };
            appended = within_store_wait(written.wait()).await;
        }
        appended
    }

    /// Returns the number of events that the chain of `store` lacks up to its recorded end;
    /// 1 if the chain is long enough but differs.
    async fn events_missing(&self, store: &dyn Store) -> Result<u64, StoreError> {
        let Some((expected, hash)) = self.lock_set().audit_head().cloned() else {
            return Ok(0);
        };
        let last = store.audit(&AuditFilter::default(), 1).await?;
        let events = last.first().map_or(0, |last| last.sequence);
        if events < expected {
            return Ok(expected - events);
        }
        Ok(u64::from(hash_of(store, expected).await? != Some(hash)))
    }

    fn lock_backlog(&self) -> MutexGuard<'_, Backlog> {
        // Each change is one insertion or one assignment, so the backlog is consistent even after a panic.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_set(&self) -> MutexGuard<'_, RevocationSet> {
        // Entries are added one by one, so the set is consistent even after a panic.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reconciliation of the log with a store, part by part.
#[derive(Debug)]
pub struct Reconciliation<'a> {
    log: &'a RevocationLog,
    now: Timestamp,
    /// Writes that revoke records again.
    writes: Vec<Write>,
    /// Revocations that the log lacks.
    missing: Vec<Entry>,
    /// Revoked tokens that are both in the log and in the store.
    tokens: HashSet<String>,
}

impl Reconciliation<'_> {
    /// Revokes the records in `part`, a part of the store, as the log requires, as if [`Self::settle`] had written the
    /// changes already.
    pub fn apply(&mut self, part: &mut Contents) {
        let set = self.log.lock_set();
        self.writes.extend(set.apply(part, self.now));
        self.missing.extend(set.missing_entries(part, self.now));
        let tokens = part.revoked_tokens.iter().filter(|token| set.contains_token(&token.id));
        self.tokens.extend(tokens.map(|token| token.id.clone()));
    }

    /// Ends the reconciliation, after all parts, without a write. Returns the revoked tokens that the store lacks, which
    /// were in no part.
    pub fn forgotten(self) -> Vec<RevokedTokenRecord> {
        self.log.lock_set().tokens_missing_from(&self.tokens)
    }

    /// Ends the reconciliation, after all parts. Writes the revocations to the store, because the next change of a
    /// record builds on its stored content, and writes to the log the revocations that it lacks. If the store lacked
    /// any, that is one audit event: the store was restored from a backup, or modified by hand, or could not be written when
    /// they were made. While the disk takes no writes, [`RevocationLog::write_pending`] does both later.
    ///
    /// Returns a report, and the revoked tokens that the store lacked, which were in no part.
    ///
    /// # Errors
    /// The store cannot be read, or was changed concurrently.
    pub async fn settle(
        mut self,
        store: &dyn Store,
    ) -> Result<(ReconciliationReport, Vec<RevokedTokenRecord>), StoreError> {
        let forgotten = self.log.lock_set().tokens_missing_from(&self.tokens);
        self.writes.extend(forgotten.iter().cloned().map(Write::RevokedToken));
        let report = ReconciliationReport {
            records: self.writes.len(),
            events_missing: self.log.events_missing(store).await?,
        };
        // A log is reconciled with one store, once.
        let _ = self.log.report.set(report);
        if report != ReconciliationReport::default() {
            let event = NewAuditEvent {
                at: self.now,
                actor: "gate".to_owned(),
                from: None,
                action: "store.restored",
                target: "store".to_owned(),
                organization: None,
                details: serde_json::json!({
                    "revoked_again": report.records,
                    "ids": self.writes.iter().filter_map(revoked_id).take(RESTORED_IDS_MAX).collect::<Vec<_>>(),
                    "events_missing": report.events_missing,
                }),
            };
            let batch = Batch {
                writes: self.writes.clone(),
                event: Some(event.clone()),
                ..Batch::default()
            };
            match store.commit(batch).await {
                Ok(()) => {}
                Err(StoreError::Unavailable(_) | StoreError::InUse(_)) => self.log.hold_writes(&self.writes, event),
                Err(error @ (StoreError::Conflict(_) | StoreError::Unreadable { .. })) => return Err(error),
            }
            tracing::warn!(
                revoked_again = report.records,
                events_missing = report.events_missing,
                "Store is older than its log of revocations"
            );
        }
        // A log that cannot be written has said so, and is tried again.
        let _ = self.log.append(self.missing).await;
        let _ = self.log.record_audit_head(store).await;
        Ok((report, forgotten))
    }
}

/// Returns the id of the record or token that a write revokes.
fn revoked_id(write: &Write) -> Option<&str> {
    match write {
        Write::Subscription(subscription) => Some(subscription.record.id.as_str()),
        Write::ApiKey(key) => Some(key.record.id.as_str()),
        Write::Client(client) => Some(client.record.id.as_str()),
        Write::RevokedToken(token) => Some(&token.id),
        Write::Organization(_) | Write::OpaqueToken(_) => None,
    }
}

/// Returns the hash of one event of the chain; `None` if there is no such event.
async fn hash_of(store: &dyn Store, sequence: u64) -> Result<Option<String>, StoreError> {
    let filter = AuditFilter {
        before: Some(sequence + 1),
        ..AuditFilter::default()
    };
    let found = store.audit(&filter, 1).await?;
    Ok(found
        .into_iter()
        .next()
        .filter(|event| event.sequence == sequence)
        .map(|event| event.hash))
}

#[cfg(test)]
mod tests;
