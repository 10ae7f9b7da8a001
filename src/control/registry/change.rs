//! How is a record found, changed and written? In the same way for each kind: a record that the actor may not see looks
//! absent, a change replaces the revision that it was made from, and its audit event is in the same transaction.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::audit_fields::AuditFields;
use crate::control::registry::audit_fields::changes;
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

/// A function that returns the response to store with a new record, for a repeated request with the same idempotency
/// key. The response holds no secret.
pub type StoredResponseFn<'a, R> = &'a (dyn Fn(&R) -> Option<StoredResponse> + Send + Sync);

/// The maximum number of attempts per operation when concurrent changes conflict.
const ATTEMPTS: usize = 8;
/// Records per query when a whole list is read.
const CHUNK: u32 = 500;

/// Runs `attempt`, and repeats it after each conflict with a concurrent change; at most [`ATTEMPTS`] runs in all.
///
/// Takes a closure that returns a future, not an async closure: the compiler cannot prove yet that the futures of an
/// `AsyncFn` are `Send` for every lifetime, as axum requires of handlers.
pub(super) async fn retry_on_conflict<T, F>(attempt: impl Fn() -> F) -> Result<T, RegistryError>
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

/// Reads a list page by page and passes each record to `visit` until `visit` breaks.
pub(super) async fn for_each_record<R: Record, F>(
    list: impl Fn(Page) -> F,
    mut visit: impl FnMut(Versioned<R>) -> ControlFlow<()>,
) -> Result<(), RegistryError>
where
    F: Future<Output = Result<Vec<Versioned<R>>, StoreError>>,
{
    let mut after = None;
    loop {
        let part = list(Page { after, limit: CHUNK }).await?;
        let is_last = part.len() < CHUNK as usize;
        after = part.last().map(|last| last.record.id().to_owned());
        if part.into_iter().try_for_each(&mut visit).is_break() || is_last {
            return Ok(());
        }
    }
}

/// A condition on records that the store cannot search for.
pub type Condition<'a, R> = &'a (dyn Fn(&R) -> bool + Send + Sync);

/// Reads the page of a list with only the records that meet `condition`. Without one it is one query; with one, records are
/// read until the page is full, at worst all of the list.
pub(super) async fn page_of<R: Record, F>(
    list: impl Fn(Page) -> F,
    page: &Page,
    condition: Option<Condition<'_, R>>,
) -> Result<Vec<Versioned<R>>, RegistryError>
where
    F: Future<Output = Result<Vec<Versioned<R>>, StoreError>>,
{
    let Some(condition) = condition else {
        return Ok(list(page.clone()).await?);
    };
    let (mut kept, mut after) = (Vec::new(), page.after.clone());
    loop {
        let part = list(Page { after, limit: CHUNK }).await?;
        let is_last = part.len() < CHUNK as usize;
        after = part.last().map(|last| last.record.id().to_owned());
        kept.extend(part.into_iter().filter(|found| condition(&found.record)));
        if is_last || kept.len() >= page.limit as usize {
            kept.truncate(page.limit as usize);
            return Ok(kept);
        }
    }
}

/// Returns `found` if it has the expected revision, or if none is expected (`If-Match`, RFC 9110 section 13.1.1).
///
/// # Errors
/// [`RegistryError::PreconditionFailed`] if the record was changed since.
pub(super) fn check_revision<R>(
    found: Versioned<R>,
    expected: Option<Revision>,
) -> Result<Versioned<R>, RegistryError> {
    match expected {
        Some(expected) if expected != found.revision => Err(RegistryError::PreconditionFailed),
        Some(_) | None => Ok(found),
    }
}

/// A record that ends, and the new record in its place.
pub(super) struct Succession<R> {
    pub(super) old: Versioned<R>,
    pub(super) new: R,
}

impl Registry {
    /// Returns an audit event by the actor, at the time of the request.
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

    /// Returns `found` if the actor may see it.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] otherwise.
    pub(super) fn visible<R: Record>(&self, found: Option<Versioned<R>>) -> Result<Versioned<R>, RegistryError> {
        found
            .filter(|found| self.actor.sees(found.record.organization()))
            .ok_or(RegistryError::NotFound(R::KIND))
    }

    /// Commits `batch` with a new record and its event added, and returns the record as written. The event shows every
    /// field of the record.
    pub(super) async fn insert_in_batch<R: AuditFields + Clone>(
        &self,
        mut batch: Batch,
        action: &'static str,
        record: R,
        stored_response: StoredResponseFn<'_, R>,
    ) -> Result<Versioned<R>, RegistryError> {
        let details = Value::Object(record.audit_fields());
        batch.event = Some(self.event(action, record.id(), Some(record.organization()), details));
        batch.response = stored_response(&record);
        let new = Versioned::new(record);
        batch.writes.push(R::into_write(new.clone()));
        self.control.commit(batch).await?;
        Ok(new.into_stored())
    }

    /// Commits a changed record and its event, and returns the record as written. The event shows every field that
    /// differs from `before`, beside `details`.
    pub(super) async fn replace<R: AuditFields + Clone>(
        &self,
        action: &'static str,
        before: &R,
        changed: Versioned<R>,
        details: Value,
    ) -> Result<Versioned<R>, RegistryError> {
        self.replace_in_batch(Batch::default(), action, before, changed, details)
            .await
    }

    /// Commits `batch` with a changed record and its event added, as [`Self::replace`] does.
    pub(super) async fn replace_in_batch<R: AuditFields + Clone>(
        &self,
        mut batch: Batch,
        action: &'static str,
        before: &R,
        changed: Versioned<R>,
        mut details: Value,
    ) -> Result<Versioned<R>, RegistryError> {
        let record = &changed.record;
        details["changes"] = changes(&before.audit_fields(), &record.audit_fields());
        batch.event = Some(self.event(action, record.id(), Some(record.organization()), details));
        // Insert the record before the other writes: when a cancelled subscription's writes are applied one by one, its
        // credentials are refused from the first write on.
        batch.writes.insert(0, R::into_write(changed.clone()));
        self.control.commit(batch).await?;
        Ok(changed.into_stored())
    }

    /// Commits `batch` with a record, its successor and the event of the old record added. The event shows every field
    /// of the new record, and in `changes` those of the old one that differ from `before`, beside `details`. Returns
    /// the old and the new record as written.
    pub(super) async fn insert_successor<R: AuditFields + Clone>(
        &self,
        mut batch: Batch,
        action: &'static str,
        before: &R,
        successor: Succession<R>,
        details: Value,
        stored_response: StoredResponseFn<'_, R>,
    ) -> Result<(Versioned<R>, Versioned<R>), RegistryError> {
        let Succession { old, new } = successor;
        let mut fields = new.audit_fields();
        fields.extend(details.as_object().cloned().unwrap_or_default());
        fields.insert("replaced_by".to_owned(), new.id().into());
        let changes = changes(&before.audit_fields(), &old.record.audit_fields());
        fields.insert("changes".to_owned(), changes);
        let details = Value::Object(fields);
        batch.event = Some(self.event(action, old.record.id(), Some(new.organization()), details));
        batch.response = stored_response(&new);
        let new = Versioned::new(new);
        batch.writes.push(R::into_write(old.clone()));
        batch.writes.push(R::into_write(new.clone()));
        self.control.commit(batch).await?;
        Ok((old.into_stored(), new.into_stored()))
    }

    /// Commits an event alone: its target is no record of the store.
    pub(super) async fn write_event(
        &self,
        action: &'static str,
        target: &str,
        details: Value,
    ) -> Result<(), RegistryError> {
        let batch = Batch {
            event: Some(self.event(action, target, None, details)),
            ..Batch::default()
        };
        Ok(self.control.commit(batch).await?)
    }
}
