//! How does a record stand in a row? As a document, beside the columns that are searched.

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

/// `SELECT`s a part of a table: the number of the last row in it, how many there are, and their records one after another,
/// each as [`part`] reads it.
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
    /// For errors.
    const LABEL: &'static str = Self::KIND;
    /// `SELECT id, revision, document, last_used_at` of all of them, to be continued with `WHERE`.
    const SELECT: &'static str;
    /// Those behind the row `$1`, `$2` at most.
    const PART: &'static str;
    /// The column that says under which subscription it is.
    const SUBSCRIPTION: &'static str = "subscription";

    /// Writes the first of a record; see [`super::batch`] for what is bound.
    const INSERT: &'static str;
    /// Writes another in the place of the revision `$2`. Whose a record is does not change.
    const UPDATE: &'static str;

    /// Returns the subscription that it is under, where that is in a column.
    fn subscription(&self) -> Option<&str> {
        None
    }

    fn document(&self) -> String {
        to_document(self)
    }

    /// Returns what is in a column of its own because it is written without the rest.
    fn last_used_at(&self) -> Option<Timestamp> {
        None
    }

    /// Takes what is not in the document.
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
    // When it was last used is known better here than to whoever changes it.
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

/// The record of a row that `T::SELECT` gave.
///
/// # Errors
/// A document that is not a `T`.
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

/// The records of a part that `T::PART` gave: each as its id, revision and last use, how many bytes its document has, and
/// the document, with a space behind each of the first four.
///
/// # Errors
/// A document that is not a `T`, or a record that is not among them: none is passed over.
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

/// What a row says.
struct Columns<'a> {
    id: &'a str,
    revision: i64,
    last_used_at: Option<i64>,
    document: &'a str,
}

/// The first row of a part, and the rest of it.
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
