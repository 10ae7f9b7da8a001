//! Which data outlives the process?

pub mod record;
pub mod health;
pub mod wait;
pub mod sqlite;
#[cfg(test)]
mod conformance;
pub mod revocations;

pub use health::WriteHealth;
pub use record::audit::ChainState;
pub use wait::within_store_wait;

use crate::model::api_key::CredentialDigest;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::store::record::ApiKeyRecord;
use crate::store::record::AuditEvent;
use crate::store::record::ClientRecord;
use crate::store::record::LimitCounts;
use crate::store::record::NewAuditEvent;
use crate::store::record::OpaqueTokenRecord;
use crate::store::record::OrganizationRecord;
use crate::store::record::RevokedTokenRecord;
use crate::store::record::SubscriptionRecord;
use async_trait::async_trait;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The revision of a record: 1 for the first, then one more for each write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// In a write: the record must not exist yet.
    pub const NEW: Self = Self(0);

    /// Returns the next revision.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A record with its revision; in a write, the revision that it replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    pub record: T,
    pub revision: Revision,
}

impl<T> Versioned<T> {
    pub const fn new(record: T) -> Self {
        Self {
            record,
            revision: Revision::NEW,
        }
    }

    /// Returns the record as the store has it after this write.
    pub fn into_stored(self) -> Self {
        Self {
            revision: self.revision.next(),
            ..self
        }
    }

    /// Returns the record changed by `change`, to be written in its place.
    pub fn map(self, change: impl FnOnce(T) -> T) -> Self {
        Self {
            record: change(self.record),
            revision: self.revision,
        }
    }

    /// Returns the record changed by `change`, which may fail.
    ///
    /// # Errors
    /// An error of `change`.
    pub fn try_map<E>(self, change: impl FnOnce(T) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            record: change(self.record)?,
            revision: self.revision,
        })
    }
}

/// One record to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Organization(Versioned<OrganizationRecord>),
    Subscription(Versioned<SubscriptionRecord>),
    ApiKey(Versioned<ApiKeyRecord>),
    Client(Versioned<ClientRecord>),
    OpaqueToken(OpaqueTokenRecord),
    RevokedToken(RevokedTokenRecord),
}

/// The response to a create with an idempotency key. It is stored so that a repeated request creates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// The actor, the operation and the idempotency key: the same key from another actor is distinct.
    pub key: String,
    /// SHA-256 of the request, hexadecimal.
    pub request: String,
    pub status: u16,
    /// Without the secret that the first response contained.
    pub body: String,
    pub at: Timestamp,
}

/// A record that a decision depends on, but that is not written itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnchangedRecord {
    Subscription(SubscriptionId, Revision),
}

/// Writes that take effect together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub writes: Vec<Write>,
    /// Nothing is written unless these records still have their revisions, so that no key is made under a
    /// subscription that is cancelled concurrently. Two batches that only read the same record do not conflict.
    /// Where they must (the last free place for a key), write the record unchanged.
    pub unchanged: Vec<UnchangedRecord>,
    pub event: Option<NewAuditEvent>,
    pub response: Option<StoredResponse>,
}

/// The minimum time a response is stored, for clients that retry because they did not receive the first response.
pub const STORED_RESPONSES_KEPT: Duration = Duration::from_secs(86_400);

/// The record that an assertion was used (RFC 7523 section 3, `jti`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionMark {
    pub client: ClientId,
    /// SHA-256 of `jti`.
    pub id: CredentialDigest,
    /// The instant from which the assertion is refused as expired; the mark can then be forgotten.
    pub expires_at: Timestamp,
}

/// The conditions of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub organization: Option<Name>,
    pub subscription: Option<SubscriptionId>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The last id of the previous page; `None` for the first page. Lists are sorted by id.
    pub after: Option<String>,
    /// The maximum number of records, from 1.
    pub limit: u32,
}

/// The conditions of an audit query; the newest event is first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub organization: Option<Name>,
    /// The whole name; a local user's also without its uid (`local:alice`), and `local` for all of them.
    pub actor: Option<String>,
    pub action: Option<String>,
    pub target: Option<String>,
    /// Only events at this instant or later.
    pub since: Option<Timestamp>,
    /// Only events before this instant.
    pub until: Option<Timestamp>,
    /// Only events with a lower sequence number.
    pub before: Option<u64>,
}

/// The records that are held in memory: all of them, or a part.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub subscriptions: Vec<Versioned<SubscriptionRecord>>,
    pub api_keys: Vec<Versioned<ApiKeyRecord>>,
    pub clients: Vec<Versioned<ClientRecord>>,
    pub opaque_tokens: Vec<OpaqueTokenRecord>,
    pub revoked_tokens: Vec<RevokedTokenRecord>,
}

impl Contents {
    #[cfg(any(test, feature = "internals"))]
    fn extend(&mut self, part: Self) {
        self.subscriptions.extend(part.subscriptions);
        self.api_keys.extend(part.api_keys);
        self.clients.extend(part.clients);
        self.opaque_tokens.extend(part.opaque_tokens);
        self.revoked_tokens.extend(part.revoked_tokens);
    }
}

/// Why a store operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another write changed a record of the batch concurrently, or created a record with the same
    /// id or idempotency key; or a record refers to a missing record. Nothing was written.
    #[error("{0} was changed at the same time")]
    Conflict(String),
    /// This version cannot read a record or a file.
    #[error("{what} in the store cannot be read: {problem}")]
    Unreadable { what: String, problem: String },
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Another process has the store open.
    #[error("{0} is in use by another process; ask the gate that runs on it instead")]
    InUse(String),
}

/// The operations of a backend. An acknowledged write survives a crash of the process and a power cut.
#[async_trait]
pub trait Store: Send + Sync {
    /// Writes all of `batch` or nothing, and appends its event to the audit chain.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the stored revision of a record is not the one that the batch names.
    async fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    async fn organization(&self, id: &Name) -> Result<Option<Versioned<OrganizationRecord>>, StoreError>;
    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Versioned<SubscriptionRecord>>, StoreError>;
    async fn api_key(&self, id: &KeyId) -> Result<Option<Versioned<ApiKeyRecord>>, StoreError>;
    async fn client(&self, id: &ClientId) -> Result<Option<Versioned<ClientRecord>>, StoreError>;

    async fn organizations(&self, page: &Page) -> Result<Vec<Versioned<OrganizationRecord>>, StoreError>;
    async fn subscriptions(
        &self,
        filter: &Filter,
        page: &Page,
    ) -> Result<Vec<Versioned<SubscriptionRecord>>, StoreError>;
    async fn api_keys(&self, filter: &Filter, page: &Page) -> Result<Vec<Versioned<ApiKeyRecord>>, StoreError>;
    async fn clients(&self, filter: &Filter, page: &Page) -> Result<Vec<Versioned<ClientRecord>>, StoreError>;

    /// Marks an assertion as used. Returns `true` the first time, then `false`, also across restarts,
    /// until [`Self::sweep`] forgets the expired mark.
    async fn mark_assertion(&self, mark: &AssertionMark) -> Result<bool, StoreError>;

    /// Returns the stored response for this key, if any.
    async fn stored_response(&self, key: &str) -> Result<Option<StoredResponse>, StoreError>;

    /// Returns the events that match `filter`, the newest first, at most `limit`.
    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEvent>, StoreError>;

    /// Verifies the entire audit chain, and returns the first event that was changed or removed, if any.
    async fn verify_audit(&self) -> Result<ChainState, StoreError>;

    /// Reads all records of [`Contents`] as of one instant, part by part, so that a million
    /// keys are never in memory twice. `take` receives revocations first, and subscriptions
    /// before the credentials under them. The parts are valid only if this returns `Ok`.
    async fn read(&self, take: &mut (dyn FnMut(Contents) + Send)) -> Result<(), StoreError>;

    /// Returns all parts of [`Self::read`] together, for a store that is known to be small.
    #[cfg(any(test, feature = "internals"))]
    async fn contents(&self) -> Result<Contents, StoreError> {
        let mut all = Contents::default();
        self.read(&mut |part| all.extend(part)).await?;
        Ok(all)
    }

    /// Records when keys were last used, never moving a time back. Called
    /// late and for many keys at once, because a loss is harmless.
    async fn record_key_use(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError>;

    /// Returns the counts of all limits, as last written.
    async fn limit_counts(&self) -> Result<Vec<LimitCounts>, StoreError>;

    /// Writes `counts` in the place of all counts of limits.
    async fn replace_limit_counts(&self, counts: Vec<LimitCounts>) -> Result<(), StoreError>;

    /// Returns the scheme of the digests in the store, as last written; `None` for a store of before.
    async fn digest_scheme(&self) -> Result<Option<String>, StoreError>;

    /// Records the scheme of the digests that are written from now on.
    async fn replace_digest_scheme(&self, scheme: String) -> Result<(), StoreError>;

    /// Forgets marks and tokens that have expired, and stored responses older than [`STORED_RESPONSES_KEPT`].
    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Writes a copy of the entire store, as of one instant, to a new file. The copy can replace the store.
    async fn backup(&self, to: &std::path::Path) -> Result<(), StoreError>;

    /// Returns whether the store can be written, as far as is known without a write.
    fn write_health(&self) -> WriteHealth;

    /// Writes to the disk, so that [`Self::write_health`] is known to be current. Changes no record.
    ///
    /// # Errors
    /// The store cannot be written.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Returns the lock that keeps other processes out, for a process that takes the store over; `None` where there is none.
    ///
    /// # Errors
    /// The store is closed.
    async fn share_lock(&self) -> Result<Option<OwnedFd>, StoreError> {
        Ok(None)
    }

    /// Finishes pending writes and closes the store.
    async fn close(&self);
}
