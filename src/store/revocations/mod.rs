//! What was ever revoked, in a file of its own: a database put back from before a revocation must not undo it (S078).

mod entry;
mod known;
mod file;

use crate::model::clock::Timestamp;
use crate::store::AuditFilter;
use crate::store::Batch;
use crate::store::ChainState;
use crate::store::Contents;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Write;
use crate::store::record::NewAuditEvent;
use crate::store::record::RevokedTokenRecord;
use crate::store::revocations::entry::Entry;
use crate::store::revocations::file::LogFile;
use crate::store::revocations::known::RevocationSet;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// The log. Without a file (`default`) it holds what is noted for as long as the process lives.
#[derive(Debug, Default)]
pub struct RevocationLog {
    known: Mutex<RevocationSet>,
    file: Option<LogFile>,
}

/// What a store did not know any more when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconciliationReport {
    /// Records that were revoked once and are so again.
    pub records: usize,
    /// Audit events that were written once and are gone.
    pub events_missing: u64,
}

impl RevocationLog {
    /// Opens the log at `path`, or makes it, of mode 0600. A line that was not written to its end is dropped: nobody was
    /// told that it was.
    ///
    /// # Errors
    /// It cannot be read or written, or holds what this version cannot read.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let (file, entries) = LogFile::open(path)?;
        let mut known = RevocationSet::default();
        entries.into_iter().for_each(|entry| known.add(entry));
        known.forget(now);
        Ok(Self {
            known: Mutex::new(known),
            file: Some(file),
        })
    }

    /// Notes, on disk, the revocations among `writes`.
    ///
    /// # Errors
    /// The log cannot be written.
    pub async fn note(&self, writes: &[Write]) -> Result<(), StoreError> {
        self.append(writes.iter().flat_map(entry::of_write).collect()).await
    }

    /// Begins to hold the log against a store.
    pub fn holding(&self, now: Timestamp) -> Reconciliation<'_> {
        Reconciliation {
            log: self,
            now,
            writes: Vec::new(),
            unknown: Vec::new(),
            tokens: HashSet::new(),
        }
    }

    /// Notes where the audit chain ends now. Whoever removes its last events and mends the store's own memory of them
    /// does not reach this file by the same way (S154).
    ///
    /// # Errors
    /// Those of the store, and a log that cannot be written.
    pub async fn anchor(&self, store: &dyn Store) -> Result<(), StoreError> {
        let last = store.audit(&AuditFilter::default(), 1).await?;
        let Some(last) = last.into_iter().next() else {
            return Ok(());
        };
        if self
            .known()
            .anchor()
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

    /// Whether the audit chain is whole, and still holds the event that it ended with when that was last noted here.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn verify_audit(&self, store: &dyn Store) -> Result<ChainState, StoreError> {
        let state = store.verify_audit().await?;
        let anchor = self.known().anchor().cloned();
        let (ChainState::Whole { events, .. }, Some((expected, hash))) = (&state, anchor) else {
            return Ok(state);
        };
        if *events < expected {
            return Ok(ChainState::Broken {
                sequence: events + 1,
                problem: format!("the last {} events are missing", expected - events),
            });
        }
        match hash_of(store, expected).await? == Some(hash) {
            true => Ok(state),
            false => Ok(ChainState::Broken {
                sequence: expected,
                problem: "it was changed, and everything after it written anew".to_owned(),
            }),
        }
    }

    /// Forgets what is over at `now`: what was revoked and would have expired since. Rewrites the file when most of it is.
    ///
    /// # Errors
    /// The log cannot be written; then it stays as it is.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let written = {
            let mut known = self.known();
            known.forget(now);
            match &self.file {
                // Under the lock, so that nothing is noted between what is counted and what is written.
                Some(file) if file.is_worth_rewriting(known.len()) => file.rewrite(known.entries()),
                Some(_) | None => return Ok(()),
            }
        };
        written.wait().await
    }

    /// Entries that are held.
    #[cfg(any(test, feature = "internals"))]
    pub fn len(&self) -> usize {
        self.known().len()
    }

    #[cfg(any(test, feature = "internals"))]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    async fn append(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let written = {
            let mut known = self.known();
            let written = self.file.as_ref().map(|file| file.append(&entries));
            entries.into_iter().for_each(|entry| known.add(entry));
            written
        };
        match written {
            Some(written) => written.wait().await,
            None => Ok(()),
        }
    }

    /// Events between where the chain of `store` ends and where it once ended; one where it goes another way.
    async fn events_missing(&self, store: &dyn Store) -> Result<u64, StoreError> {
        let Some((expected, hash)) = self.known().anchor().cloned() else {
            return Ok(0);
        };
        let last = store.audit(&AuditFilter::default(), 1).await?;
        let events = last.first().map_or(0, |last| last.sequence);
        if events < expected {
            return Ok(expected - events);
        }
        Ok(u64::from(hash_of(store, expected).await? != Some(hash)))
    }

    fn known(&self) -> MutexGuard<'_, RevocationSet> {
        // Entries are added one after another, each whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log, being held against what a store says, a part after another.
#[derive(Debug)]
pub struct Reconciliation<'a> {
    log: &'a RevocationLog,
    now: Timestamp,
    /// What is revoked again.
    writes: Vec<Write>,
    /// What the log does not know yet.
    unknown: Vec<Entry>,
    /// Revoked tokens that the log and the store know.
    tokens: HashSet<String>,
}

impl Reconciliation<'_> {
    /// Makes `part`, which the store holds, agree with the log: what was revoked is revoked again, as if that were written
    /// already.
    pub fn hold(&mut self, part: &mut Contents) {
        let known = self.log.known();
        self.writes.extend(known.hold(part, self.now));
        self.unknown.extend(known.unknown_of(part, self.now));
        let tokens = part
            .revoked_tokens
            .iter()
            .filter(|token| known.is_token_known(&token.id));
        self.tokens.extend(tokens.map(|token| token.id.clone()));
    }

    /// Once every part was held: writes to the store what is revoked again, because the next change of a record begins with
    /// what stands there, and to the log what it did not know. When a store has forgotten something, that is one audit
    /// event: it was put back from a backup, or somebody worked on it.
    ///
    /// Returns what the store had forgotten, and of it the tokens, which were in no part.
    ///
    /// # Errors
    /// Those of the store, and a log that cannot be written.
    pub async fn settle(
        mut self,
        store: &dyn Store,
    ) -> Result<(ReconciliationReport, Vec<RevokedTokenRecord>), StoreError> {
        let forgotten = self.log.known().tokens_beside(&self.tokens);
        self.writes.extend(forgotten.iter().cloned().map(Write::RevokedToken));
        let held = ReconciliationReport {
            records: self.writes.len(),
            events_missing: self.log.events_missing(store).await?,
        };
        if held != ReconciliationReport::default() {
            let event = NewAuditEvent {
                at: self.now,
                actor: "gate".to_owned(),
                from: None,
                action: "store.restored",
                target: "store".to_owned(),
                organization: None,
                details: serde_json::json!({
                    "revoked_again": held.records,
                    "events_missing": held.events_missing,
                }),
            };
            let batch = Batch {
                writes: self.writes,
                event: Some(event),
                ..Batch::default()
            };
            store.commit(batch).await?;
            tracing::warn!(
                revoked_again = held.records,
                events_missing = held.events_missing,
                "Store is older than its log of revocations"
            );
        }
        self.log.append(self.unknown).await?;
        self.log.anchor(store).await?;
        Ok((held, forgotten))
    }
}

/// The hash of one event of the chain.
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
