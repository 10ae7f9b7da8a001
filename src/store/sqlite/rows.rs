//! How does a record stand in a row? As a document, beside the columns that are searched.

use crate::model::clock::Timestamp;
use crate::store::Revision;
use crate::store::StoreError;
use crate::store::Versioned;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ClientRecord;
use crate::store::record::OrganizationRecord;
use crate::store::record::SubscriptionRecord;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// A kind of record with revisions.
pub(crate) trait Document: Serialize + DeserializeOwned {
    /// For errors.
    const KIND: &'static str;
    /// `SELECT id, revision, document, last_used_at` of all of them, to be continued with `WHERE`.
    const SELECT: &'static str;
    /// The column that says under which subscription it is.
    const SUBSCRIPTION: &'static str = "subscription";

    /// Takes what is not in the document.
    fn with_last_used(self, last_used_at: Option<Timestamp>) -> Self {
        let _ = last_used_at;
        self
    }
}

impl Document for OrganizationRecord {
    const KIND: &'static str = "organization";
    const SELECT: &'static str = "SELECT id, revision, document, NULL FROM organization";
}

impl Document for SubscriptionRecord {
    const KIND: &'static str = "subscription";
    const SELECT: &'static str = "SELECT id, revision, document, NULL FROM subscription";
    const SUBSCRIPTION: &'static str = "id";
}

impl Document for ApiKeyRecord {
    const KIND: &'static str = "API key";
    const SELECT: &'static str = "SELECT id, revision, document, last_used_at FROM api_key";

    fn with_last_used(self, last_used_at: Option<Timestamp>) -> Self {
        Self { last_used_at, ..self }
    }
}

impl Document for ClientRecord {
    const KIND: &'static str = "client";
    const SELECT: &'static str = "SELECT id, revision, document, NULL FROM client";
}

/// The record of a row that `T::SELECT` gave.
///
/// # Errors
/// A document that is not a `T`.
pub(crate) fn versioned<T: Document>(row: &SqliteRow) -> Result<Versioned<T>, StoreError> {
    let unreadable = |problem: String| {
        let id: String = row.try_get(0).unwrap_or_default();
        StoreError::Unreadable {
            what: format!("{} {id}", T::KIND),
            problem,
        }
    };
    let column = |error: sqlx::Error| unreadable(error.to_string());
    let revision: i64 = row.try_get(1).map_err(column)?;
    let document: &str = row.try_get(2).map_err(column)?;
    let last_used_at: Option<i64> = row.try_get(3).map_err(column)?;
    let record: T = serde_json::from_str(document).map_err(|error| unreadable(error.to_string()))?;
    Ok(Versioned {
        record: record.with_last_used(last_used_at.map(instant)),
        revision: Revision(revision.unsigned_abs()),
    })
}

/// The document of a row that has nothing else to it.
///
/// # Errors
/// A document that is not a `T`.
pub(crate) fn document<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Unreadable {
        what: kind.to_owned(),
        problem: error.to_string(),
    })
}

pub(crate) fn to_document(record: &impl Serialize) -> String {
    serde_json::to_string(record).expect("records are texts, numbers and lists")
}

/// An instant as a column: those beyond the year 292 million are the last one.
pub(crate) fn column(at: Timestamp) -> i64 {
    i64::try_from(at.as_unix_millis()).unwrap_or(i64::MAX)
}

pub(crate) const fn instant(column: i64) -> Timestamp {
    Timestamp::from_unix_millis(column.unsigned_abs())
}

/// A revision as a column; none comes near the end of the numbers.
pub(crate) fn revision(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}
