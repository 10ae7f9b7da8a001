//! How is a credential revoked while the store cannot be written? The records in memory change at once, then the log of
//! revocations gets the revocation, and the store as soon as it can be written.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::audit_fields::AuditFields;
use crate::control::registry::audit_fields::changes;
use crate::control::registry::audit_fields::changes_of_cancelled_subscription;
use crate::control::registry::audit_fields::changes_of_revoked_key;
use crate::model::api_key::KeyId;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::subscription::SubscriptionState;
use crate::store::Revision;
use crate::store::StoreError;
use crate::store::Versioned;
use crate::store::record::ApiKeyError;
use crate::store::record::ClientError;
use crate::store::record::ClientRecord;
use crate::store::record::NewAuditEvent;
use crate::store::record::SubscriptionError;
use crate::store::revocations::Durability;
use crate::store::revocations::Revocation;
use crate::store::within_store_wait;
use serde_json::Value;
use serde_json::json;

/// A revocation in force.
#[derive(Debug)]
pub enum RevocationOutcome<R> {
    /// The revocation is in the store.
    Stored(Versioned<R>),
    /// The store could not be written, and gets the revocation later.
    Pending { id: String, durability: Durability },
}

/// The number of attempts when a client is changed concurrently.
const ATTEMPTS: usize = 8;

impl Registry {
    /// Runs `with_store`, or `without_store` if the store fails. `without_store` returns the revocation and its audit
    /// event; `None` if memory does not have the record.
    ///
    /// # Errors
    /// An error of either that is not one of the store; the store's error if the revocation cannot be made in memory.
    pub(super) async fn revoke_always<R>(
        &self,
        id: &str,
        with_store: impl Future<Output = Result<Versioned<R>, RegistryError>> + Send,
        without_store: impl Fn() -> Result<Option<(Revocation, NewAuditEvent)>, RegistryError> + Send,
    ) -> Result<RevocationOutcome<R>, RegistryError> {
        let problem = match within_store_wait(with_store).await {
            Ok(stored) => return Ok(RevocationOutcome::Stored(stored)),
            Err(RegistryError::Store(problem)) => problem,
            Err(error) => return Err(error),
        };
        match &problem {
            StoreError::Conflict(_) => return Err(problem.into()),
            StoreError::Unreadable { .. } | StoreError::Unavailable(_) | StoreError::InUse(_) => {}
        }
        for _ in 0..ATTEMPTS {
            let Some((revocation, event)) = without_store()? else {
                break;
            };
            let made = self.control.revoke_without_store(&revocation, event, &problem);
            if let Some(durability) = made.await? {
                let id = id.to_owned();
                return Ok(RevocationOutcome::Pending { id, durability });
            }
        }
        Err(problem.into())
    }

    /// Returns the revocation of a key as it is in memory.
    ///
    /// # Errors
    /// The actor may not see the key, it is revoked already, or it does not have the expected revision.
    pub(super) fn revocation_of_key(
        &self,
        id: &KeyId,
        expected: Option<Revision>,
    ) -> Result<Option<(Revocation, NewAuditEvent)>, RegistryError> {
        let Some(key) = self.control.directory.get(id) else {
            return Ok(None);
        };
        let organization = key.organization().and_then(|organization| organization.parse().ok());
        let (Some(organization), Some(revision)) = (organization, key.stored_revision()) else {
            return Ok(None);
        };
        if !self.actor.sees(&organization) {
            return Err(RegistryError::NotFound("key"));
        }
        if expected.is_some_and(|expected| expected.0 != revision) {
            return Err(RegistryError::PreconditionFailed);
        }
        if key.is_revoked(self.now) {
            return Err(ApiKeyError::AlreadyRevoked.into());
        }
        let revocation = Revocation::ApiKey {
            id: *id,
            at: self.now,
            expires_at: key.expires_at(),
        };
        // Memory does not have the name.
        let details = json!({ "changes": changes_of_revoked_key(key.ends_at(), self.now) });
        let event = self.event("api_key.revoke", id.as_str(), Some(&organization), details);
        Ok(Some((revocation, event)))
    }

    /// Returns the cancellation of a subscription as it is in memory, with all credentials under it.
    ///
    /// # Errors
    /// The actor may not see the subscription, or it is cancelled already.
    pub(super) fn cancellation(
        &self,
        id: &SubscriptionId,
        action: &'static str,
    ) -> Result<Option<(Revocation, NewAuditEvent)>, RegistryError> {
        let Some(subscription) = self.control.directory.subscription(id) else {
            return Ok(None);
        };
        if !self.actor.sees(&subscription.organization) {
            return Err(RegistryError::NotFound("subscription"));
        }
        if subscription.state == SubscriptionState::Cancelled {
            return Err(SubscriptionError::AlreadyCancelled.into());
        }
        let keys = self.control.directory.keys_under(id);
        let mut clients = Vec::new();
        self.control.clients.for_each(|client| {
            if client.record.subscription == *id {
                clients.push(Versioned {
                    record: client.record.clone().revoke_tokens(self.now),
                    revision: client.revision,
                });
            }
        });
        let details = json!({
            "keys_revoked": keys.len(),
            "clients_ended": clients.len(),
            "changes": changes_of_cancelled_subscription(subscription.state),
        });
        let event = self.event(action, id.as_str(), Some(&subscription.organization), details);
        let revocation = Revocation::Subscription {
            id: id.clone(),
            keys,
            clients,
            at: self.now,
        };
        Ok(Some((revocation, event)))
    }

    /// Returns a revocation of a client as it is in memory: `change` returns its record afterwards, and the
    /// details of the audit event; the fields that differ are added to these.
    ///
    /// # Errors
    /// The actor may not see the client, it does not have the expected revision, or `change` fails.
    pub(super) fn revocation_of_client(
        &self,
        id: &ClientId,
        expected: Option<Revision>,
        action: &'static str,
        change: impl FnOnce(ClientRecord) -> Result<(ClientRecord, Value), ClientError>,
    ) -> Result<Option<(Revocation, NewAuditEvent)>, RegistryError> {
        let Some(client) = self.control.clients.get(id) else {
            return Ok(None);
        };
        if !self.actor.sees(&client.record.organization) {
            return Err(RegistryError::NotFound("client"));
        }
        if expected.is_some_and(|expected| expected != client.revision) {
            return Err(RegistryError::PreconditionFailed);
        }
        let (record, mut details) = change(client.record.clone())?;
        details["changes"] = changes(&client.record.audit_fields(), &record.audit_fields());
        let event = self.event(action, id.as_str(), Some(&record.organization), details);
        let revision = client.revision;
        let changed = Versioned { record, revision };
        Ok(Some((Revocation::Client(Box::new(changed)), event)))
    }
}
