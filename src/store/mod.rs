//! What outlives the process.

pub mod record;
pub mod sqlite;
#[cfg(test)]
mod conformance;
pub mod revocations;

pub use record::audit::ChainState;

use crate::model::api_key::KeyDigest;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::store::record::ApiKeyRecord;
use crate::store::record::AuditEvent;
use crate::store::record::ClientRecord;
use crate::store::record::NewAuditEvent;
use crate::store::record::OpaqueTokenRecord;
use crate::store::record::OrganizationRecord;
use crate::store::record::RevokedTokenRecord;
use crate::store::record::SubscriptionRecord;
use async_trait::async_trait;
use std::time::Duration;

/// Which writing of a record is meant: 1 for its first, one more for each after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// There must be no such record yet.
    pub const NEW: Self = Self(0);

    /// Returns the revision of what is written in this one's place.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A record, and which writing of it this is; of one that is to be written, which writing it replaces.
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

    /// Returns what the store holds once this was written.
    pub fn written(self) -> Self {
        Self {
            revision: self.revision.next(),
            ..self
        }
    }

    /// What `change` makes of it, to be written in its place.
    pub fn map(self, change: impl FnOnce(T) -> T) -> Self {
        Self {
            record: change(self.record),
            revision: self.revision,
        }
    }

    /// The same for a change that may be refused.
    ///
    /// # Errors
    /// Those of `change`.
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

/// The answer to a create that named an idempotency key, kept so that the same request again makes nothing twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// Who asked and what for, and the key: the same key of somebody else is another.
    pub key: String,
    /// SHA-256 of what was asked, hexadecimal.
    pub request: String,
    pub status: u16,
    /// Without the secret that the first answer showed.
    pub body: String,
    pub at: Timestamp,
}

/// A record that a decision was made from and that is not written itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnchangedRecord {
    Subscription(SubscriptionId, Revision),
}

/// Writes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub writes: Vec<Write>,
    /// Nothing is written unless these are still at their revisions: a key is not made under a subscription that is
    /// cancelled at the same time. Two batches that only read the same record do not keep each other from being written;
    /// where they must (the last free place for a key), write the record itself, as it is.
    pub unchanged: Vec<UnchangedRecord>,
    pub event: Option<NewAuditEvent>,
    pub answer: Option<StoredResponse>,
}

/// How long an answer is kept at least, for whoever asks again because it did not hear the first time.
pub const IDEMPOTENT_ANSWERS_KEPT: Duration = Duration::from_secs(86_400);

/// That an assertion was used (RFC 7523 section 3, `jti`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionMark {
    pub client: ClientId,
    /// SHA-256 of `jti`.
    pub id: KeyDigest,
    /// When the assertion counts no more, so that the mark can be forgotten.
    pub expires_at: Timestamp,
}

/// What a list holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub organization: Option<Name>,
    pub subscription: Option<SubscriptionId>,
}

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The last id of the page before; `None` for the first page. Lists are sorted by id.
    pub after: Option<String>,
    /// At most so many, from 1.
    pub limit: u32,
}

/// What an audit query asks for; the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub organization: Option<Name>,
    pub actor: Option<String>,
    pub action: Option<String>,
    pub target: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Only events before this one.
    pub before: Option<u64>,
}

/// What the data side reads: all of it, or a part.
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

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote a record of the batch in the meantime, or made one with the same id. Nothing was written.
    #[error("{0} was changed at the same time")]
    Conflict(String),
    /// A record holds what this version cannot read.
    #[error("{what} in the store cannot be read: {problem}")]
    Unreadable { what: String, problem: String },
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Another process works on it.
    #[error("{0} is in use by another process; ask the gate that runs on it instead")]
    InUse(String),
}

/// What a backend must do. What it has acknowledged survives the process and the machine's power.
#[async_trait]
pub trait Store: Send + Sync {
    /// Writes all of `batch` or nothing, and appends its event to the audit chain.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a record's revision is not the stored one.
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

    /// Marks an assertion as used. `true` the first time, also over restarts; `false` every time after that.
    async fn mark_assertion(&self, mark: &AssertionMark) -> Result<bool, StoreError>;

    /// The answer that was kept under this key, if one was.
    async fn idempotent_answer(&self, key: &str) -> Result<Option<StoredResponse>, StoreError>;

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEvent>, StoreError>;

    /// Reads the whole chain and says whether any event of it was changed or removed.
    async fn verify_audit(&self) -> Result<ChainState, StoreError>;

    /// Everything at one instant, a part after another, so that a million keys never stand in memory twice. `take` is given
    /// what ends something first, then subscriptions before what is under them. What it was given counts for nothing until
    /// this has returned well.
    async fn read(&self, take: &mut (dyn FnMut(Contents) + Send)) -> Result<(), StoreError>;

    /// The same at once, for a store that is known to be small.
    #[cfg(any(test, feature = "internals"))]
    async fn contents(&self) -> Result<Contents, StoreError> {
        let mut all = Contents::default();
        self.read(&mut |part| all.extend(part)).await?;
        Ok(all)
    }

    /// Notes when keys were last used. Late and in one go, because it is worth little.
    async fn keys_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError>;

    /// Forgets marks, tokens and idempotent answers that are over.
    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;

    /// A copy of the whole store that can be put in its place, written to a file that is not there yet.
    async fn backup(&self, to: &std::path::Path) -> Result<(), StoreError>;

    /// Writes what is under way and lets go of the store.
    async fn close(&self);
}
