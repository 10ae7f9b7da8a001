//! How is a record found, changed and written? The same way for each kind: what the actor cannot see is not there, a change
//! replaces the revision that it was made from, and its audit event is written with it.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::model::names::Name;
use crate::store::Batch;
use crate::store::Page;
use crate::store::Revision;
use crate::store::StoreError;
use crate::store::StoredResponse;
use crate::store::Versioned;
use crate::store::record::NewAuditEvent;
use crate::store::record::Record;
use serde_json::Value;
use std::ops::ControlFlow;

/// What is kept with a new record, so that the same request again makes nothing twice: the answer without its secret.
pub type Keep<'a, R> = &'a (dyn Fn(&R) -> Option<StoredResponse> + Send + Sync);

/// How often an operation is tried when somebody else changes the same record at the same time.
const ATTEMPTS: usize = 8;
/// What one look at the store brings when all of a list is wanted.
const CHUNK: u32 = 500;

/// Runs `attempt` again when the records were changed between being read and being written.
///
/// A closure that returns a future, not an async closure: the compiler cannot prove yet that the futures of an `AsyncFn` are
/// `Send` for every lifetime, which axum asks of handlers.
pub(super) async fn settle<T, F>(attempt: impl Fn() -> F) -> Result<T, RegistryError>
where
    F: Future<Output = Result<T, RegistryError>>,
{
    let mut attempts = 1;
    loop {
        match attempt().await {
            Err(RegistryError::Store(StoreError::Conflict(_))) if attempts < ATTEMPTS => attempts += 1,
            outcome => return outcome,
        }
    }
}

/// Reads a list, a part after another, and gives each record to `take` until that breaks off.
pub(super) async fn each<R: Record, F>(
    list: impl Fn(Page) -> F,
    mut take: impl FnMut(Versioned<R>) -> ControlFlow<()>,
) -> Result<(), RegistryError>
where
    F: Future<Output = Result<Vec<Versioned<R>>, StoreError>>,
{
    let mut after = None;
    loop {
        let part = list(Page { after, limit: CHUNK }).await?;
        let is_last = part.len() < CHUNK as usize;
        after = part.last().map(|last| last.record.id().to_owned());
        if part.into_iter().try_for_each(&mut take).is_break() || is_last {
            return Ok(());
        }
    }
}

/// Returns what was found, unless it was changed since the reader's revision (`If-Match`, RFC 9110 section 13.1.1).
pub(super) fn unchanged<R>(found: Versioned<R>, expected: Option<Revision>) -> Result<Versioned<R>, RegistryError> {
    match expected {
        Some(expected) if expected != found.revision => Err(RegistryError::PreconditionFailed),
        Some(_) | None => Ok(found),
    }
}

impl Registry {
    pub(super) fn event(
        &self,
        action: &'static str,
        target: &str,
        organization: Option<&Name>,
        details: Value,
    ) -> NewAuditEvent {
        NewAuditEvent {
            at: self.now,
            actor: self.actor.name().to_owned(),
            from: self.actor.from(),
            action,
            target: target.to_owned(),
            organization: organization.cloned(),
            details,
        }
    }

    /// Returns what was found, if there is any for this actor.
    pub(super) fn seen<R: Record>(&self, found: Option<Versioned<R>>) -> Result<Versioned<R>, RegistryError> {
        found
            .filter(|found| self.actor.sees(found.record.organization()))
            .ok_or(RegistryError::NotFound(R::KIND))
    }

    /// Writes a new record with its event and with what `batch` holds already, and returns it as it was written.
    pub(super) async fn insert_in<R: Record + Clone>(
        &self,
        mut batch: Batch,
        action: &'static str,
        record: R,
        details: Value,
        keep: Keep<'_, R>,
    ) -> Result<Versioned<R>, RegistryError> {
        batch.event = Some(self.event(action, record.id(), Some(record.organization()), details));
        batch.response = keep(&record);
        let new = Versioned::new(record);
        batch.writes.push(R::write(new.clone()));
        self.control.commit(batch).await?;
        Ok(new.into_stored())
    }

    /// Writes a changed record in the place of what it was made from, with its event, and returns it as it was written.
    pub(super) async fn replace<R: Record + Clone>(
        &self,
        action: &'static str,
        changed: Versioned<R>,
        details: Value,
    ) -> Result<Versioned<R>, RegistryError> {
        self.replace_in(Batch::default(), action, changed, details).await
    }

    /// The same with what `batch` holds already.
    pub(super) async fn replace_in<R: Record + Clone>(
        &self,
        mut batch: Batch,
        action: &'static str,
        changed: Versioned<R>,
        details: Value,
    ) -> Result<Versioned<R>, RegistryError> {
        let record = &changed.record;
        batch.event = Some(self.event(action, record.id(), Some(record.organization()), details));
        // Before the writes that are there: whoever applies a cancelled subscription's one by one refuses from the first on.
        batch.writes.insert(0, R::write(changed.clone()));
        self.control.commit(batch).await?;
        Ok(changed.into_stored())
    }

    /// Writes a new record beside what became of the one that it takes the place of, with the old one's event and with what
    /// `batch` holds already, and returns both as they were written: the old one, and the new one.
    pub(super) async fn succeed_in<R: Record + Clone>(
        &self,
        mut batch: Batch,
        action: &'static str,
        old: Versioned<R>,
        new: R,
        details: Value,
        keep: Keep<'_, R>,
    ) -> Result<(Versioned<R>, Versioned<R>), RegistryError> {
        batch.event = Some(self.event(action, old.record.id(), Some(new.organization()), details));
        batch.response = keep(&new);
        let new = Versioned::new(new);
        batch.writes.push(R::write(old.clone()));
        batch.writes.push(R::write(new.clone()));
        self.control.commit(batch).await?;
        Ok((old.into_stored(), new.into_stored()))
    }

    /// Writes an event of something that is not in the store.
    pub(super) async fn note(&self, action: &'static str, target: &str, details: Value) -> Result<(), RegistryError> {
        let batch = Batch {
            event: Some(self.event(action, target, None, details)),
            ..Batch::default()
        };
        Ok(self.control.commit(batch).await?)
    }
}
