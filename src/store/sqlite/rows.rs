//! How is a record stored in a row? As a document, with separate columns for searches.

use crate::model::clock::Timestamp;
use crate::store::Revision;
use crate::store::StoreError;
use crate::store::Versioned;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ClientRecord;
use crate::store::record::OrganizationRecord;
use crate::store::record::Record;
use crate::store::record::SubscriptionRecord;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// Selects a part of a table as one row: the number of the part's last row, the number of its
/// records, and the records in sequence, in the form that [`part`] reads.
macro_rules! select_part {
    ($table:literal, $last_used:literal) => {
        concat!(
            "SELECT max(number), count(*), group_concat(record, '') FROM (SELECT rowid AS number, id || ' ' || revision || ' ' || ",
            $last_used,
            " || ' ' || octet_length(document) || ' ' || document AS record FROM ",
            $table,
            " WHERE rowid > $1 ORDER BY rowid LIMIT $2)"
        )
    };
}

/// A kind of record with revisions.
pub(crate) trait Document: Record + Serialize + DeserializeOwned + Send + 'static {
    /// The name of the kind in errors.
    const LABEL: &'static str = Self::KIND;
    /// `SELECT id, revision, document, last_used_at` of all records, to be continued with `WHERE`.
    const SELECT: &'static str;
    /// Selects the records after row `$1`, at most `$2`, as one row.
    const PART: &'static str;
    /// The column that contains the subscription's id.
    const SUBSCRIPTION: &'static str = "subscription";

    /// Inserts a new record; `put` in [`super::batch`] binds the parameters.
    const INSERT: &'static str;
    /// Replaces the revision `$2` of a record. The organization and the subscription cannot change.
    const UPDATE: &'static str;

    /// Returns the id for the column `subscription`; `None` for a table without this column.
    fn subscription(&self) -> Option<&str> {
        None
    }

    /// Returns the record as JSON, without the fields that have a column of their own.
    fn document(&self) -> String {
        to_document(self)
    }

    /// Returns the time of the last use, which has its own column because it is written alone.
    fn last_used_at(&self) -> Option<Timestamp> {
        None
    }

    /// Sets the time of the last use, which is not in the document.
    fn with_last_used(self, last_used_at: Option<Timestamp>) -> Self {
        let _ = last_used_at;
        self
    }
}

impl Document for OrganizationRecord {
    const SELECT: &'static str = "SELECT id, revision, document, NULL FROM organization";
    const PART: &'static str = select_part!("organization", "''");
    const INSERT: &'static str =
        "INSERT INTO organization (id, revision, document) VALUES ($1, $2 + 1, $3) ON CONFLICT (id) DO NOTHING";
    const UPDATE: &'static str =
        "UPDATE organization SET revision = revision + 1, document = $3 WHERE id = $1 AND revision = $2";
}

impl Document for SubscriptionRecord {
    const SELECT: &'static str = "SELECT id, revision, document, NULL FROM subscription";
    const PART: &'static str = select_part!("subscription", "''");
    const SUBSCRIPTION: &'static str = "id";
    const INSERT: &'static str = "INSERT INTO subscription (id, revision, document, organization) VALUES ($1, $2 + 1, $3, $4) \
         ON CONFLICT (id) DO NOTHING";
    const UPDATE: &'static str = "UPDATE subscription SET revision = revision + 1, document = $3 \
         WHERE id = $1 AND revision = $2 AND organization = $4";
}

impl Document for ApiKeyRecord {
    const LABEL: &'static str = "API key";
    const SELECT: &'static str = "SELECT id, revision, document, last_used_at FROM api_key";
    const PART: &'static str = select_part!("api_key", "ifnull(last_used_at, '')");
    const INSERT: &'static str = "INSERT INTO api_key (id, revision, document, organization, subscription, last_used_at) \
         VALUES ($1, $2 + 1, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING";
    // Does not write `last_used_at`: the column may be newer than the value in the changed record.
    const UPDATE: &'static str = "UPDATE api_key SET revision = revision + 1, document = $3 \
         WHERE id = $1 AND revision = $2 AND organization = $4 AND subscription = $5";

    fn subscription(&self) -> Option<&str> {
        Some(self.subscription.as_str())
    }

    fn document(&self) -> String {
        to_document(&self.clone().with_last_used(None))
    }

    fn last_used_at(&self) -> Option<Timestamp> {
        self.last_used_at
    }

    fn with_last_used(self, last_used_at: Option<Timestamp>) -> Self {
        Self { last_used_at, ..self }
    }
}

impl Document for ClientRecord {
    const SELECT: &'static str = "SELECT id, revision, document, NULL FROM client";
    const PART: &'static str = select_part!("client", "''");
    const INSERT: &'static str = "INSERT INTO client (id, revision, document, organization, subscription) \
         VALUES ($1, $2 + 1, $3, $4, $5) ON CONFLICT (id) DO NOTHING";
    const UPDATE: &'static str = "UPDATE client SET revision = revision + 1, document = $3 \
         WHERE id = $1 AND revision = $2 AND organization = $4 AND subscription = $5";

    fn subscription(&self) -> Option<&str> {
        Some(self.subscription.as_str())
    }
}

/// Returns the record of a row of `T::SELECT`.
///
/// # Errors
/// The document is not a `T`.
pub(crate) fn versioned<T: Document>(row: &SqliteRow) -> Result<Versioned<T>, StoreError> {
    let id: &str = row.try_get(0).unwrap_or_default();
    let column = |error: sqlx::Error| unreadable::<T>(id, error.to_string());
    record(Columns {
        id,
        revision: row.try_get(1).map_err(column)?,
        document: row.try_get(2).map_err(column)?,
        last_used_at: row.try_get(3).map_err(column)?,
    })
}

/// Returns the records of a part that `T::PART` selected. Each has its id, revision, last use, length of
/// the document in bytes, and document; a space follows each of the first four.
///
/// # Errors
/// A document is not a `T`, or a record is missing: none is skipped silently.
pub(crate) fn part<T: Document>(row: &SqliteRow) -> Result<Vec<Versioned<T>>, StoreError> {
    let column = |error: sqlx::Error| unreadable::<T>("in one of its rows", error.to_string());
    let count: i64 = row.try_get(1).map_err(column)?;
    let mut text: &str = row.try_get(2).map_err(column)?;
    let mut records = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    while !text.is_empty() {
        let Some((row, rest)) = first_row(text) else {
            let id = text.split(' ').next().unwrap_or_default();
            return Err(unreadable::<T>(id, "its row is broken".to_owned()));
        };
        records.push(record(row)?);
        text = rest;
    }
    if i64::try_from(records.len()) != Ok(count) {
        let problem = format!("{} of {count} rows can be read", records.len());
        return Err(unreadable::<T>("in one of its rows", problem));
    }
    Ok(records)
}

/// The columns of a row.
struct Columns<'a> {
    id: &'a str,
    revision: i64,
    last_used_at: Option<i64>,
    document: &'a str,
}

/// Returns the first row of a part, and the rest.
fn first_row(text: &str) -> Option<(Columns<'_>, &str)> {
    let (id, text) = text.split_once(' ')?;
    let (revision, text) = text.split_once(' ')?;
    let (last_used_at, text) = text.split_once(' ')?;
    let (length, text) = text.split_once(' ')?;
    let (document, rest) = text.split_at_checked(length.parse().ok()?)?;
    let columns = Columns {
        id,
        revision: revision.parse().ok()?,
        last_used_at: match last_used_at {
            "" => None,
            at => Some(at.parse().ok()?),
        },
        document,
    };
    Some((columns, rest))
}

fn record<T: Document>(row: Columns<'_>) -> Result<Versioned<T>, StoreError> {
    let record: T = serde_json::from_str(row.document).map_err(|error| unreadable::<T>(row.id, error.to_string()))?;
    Ok(Versioned {
        record: record.with_last_used(row.last_used_at.map(instant)),
        revision: Revision(row.revision.unsigned_abs()),
    })
}

fn unreadable<T: Document>(id: &str, problem: String) -> StoreError {
    StoreError::Unreadable {
        what: format!("{} {id}", T::LABEL),
        problem,
    }
}

/// Returns the document of a row that has no other columns.
///
/// # Errors
/// The document is not a `T`.
pub(crate) fn document<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Unreadable {
        what: kind.to_owned(),
        problem: error.to_string(),
    })
}

pub(crate) fn to_document(record: &impl Serialize) -> String {
    serde_json::to_string(record).expect("records are texts, numbers and lists")
}

/// Returns an instant as a column value, in milliseconds since 1970; an instant beyond the year 292 million becomes the
/// last one that fits.
pub(crate) fn column(at: Timestamp) -> i64 {
    i64::try_from(at.as_unix_millis()).unwrap_or(i64::MAX)
}

pub(crate) const fn instant(column: i64) -> Timestamp {
    Timestamp::from_unix_millis(column.unsigned_abs())
}

/// Returns a revision as a column value. No revision comes near the maximum.
pub(crate) fn revision(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}
