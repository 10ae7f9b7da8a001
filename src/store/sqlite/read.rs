//! How are records read? A single record, a page of them, a stored response, or the audit chain.

use crate::model::clock::Timestamp;
use crate::model::names::Name;
use crate::model::secret::Secret;
use crate::store::AuditFilter;
use crate::store::ChainState;
use crate::store::Filter;
use crate::store::Page;
use crate::store::StoreError;
use crate::store::StoredResponse;
use crate::store::Versioned;
use crate::store::record::AuditEvent;
use crate::store::record::LimitCounts;
use crate::store::record::audit::ChainCheck;
use crate::store::record::audit::LOCAL;
use crate::store::sqlite::batch;
use crate::store::sqlite::open::Files;
use crate::store::sqlite::rows;
use crate::store::sqlite::rows::Document;
use futures_util::TryStreamExt;
use sqlx::QueryBuilder;
use sqlx::Row;
use sqlx::Sqlite;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

const SELECT_EVENT: &str =
    "SELECT sequence, at, actor, origin, action, target, organization, details, previous_hash, hash FROM audit_event";

/// Returns the record of this id, if it exists.
pub(crate) async fn one<T: Document>(
    files: &Files,
    reader: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Versioned<T>>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(T::SELECT);
    query.push(" WHERE id = ").push_bind(id);
    let row = query.build().fetch_optional(reader).await;
    row.map_err(|error| files.failed(&error))?
        .map(|row| rows::versioned(&row))
        .transpose()
}

pub(crate) async fn page<T: Document>(
    files: &Files,
    reader: &mut SqliteConnection,
    filter: &Filter,
    page: &Page,
) -> Result<Vec<Versioned<T>>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(T::SELECT);
    // The empty text sorts before every id. Leave out the conditions that the filter does not set: the others can then
    // use an index.
    query
        .push(" WHERE id > ")
        .push_bind(page.after.as_deref().unwrap_or_default());
    if let Some(organization) = &filter.organization {
        query.push(" AND organization = ").push_bind(organization.as_str());
    }
    if let Some(subscription) = &filter.subscription {
        query
            .push(" AND ")
            .push(T::SUBSCRIPTION)
            .push(" = ")
            .push_bind(subscription.as_str());
    }
    query.push(" ORDER BY id LIMIT ").push_bind(i64::from(page.limit));
    let found = query.build().fetch_all(reader).await;
    found
        .map_err(|error| files.failed(&error))?
        .iter()
        .map(rows::versioned)
        .collect()
}

pub(crate) async fn stored_response(
    files: &Files,
    reader: &mut SqliteConnection,
    key: &str,
) -> Result<Option<StoredResponse>, StoreError> {
    let row: Option<(String, i64, String, i64)> =
        sqlx::query_as("SELECT request, status, body, at FROM idempotent_answer WHERE key = $1")
            .bind(key)
            .fetch_optional(reader)
            .await
            .map_err(|error| files.failed(&error))?;
    let Some((request, status, body, at)) = row else {
        return Ok(None);
    };
    let status = u16::try_from(status).map_err(|error| StoreError::Unreadable {
        what: "an idempotent answer".to_owned(),
        problem: error.to_string(),
    })?;
    Ok(Some(StoredResponse {
        key: key.to_owned(),
        request,
        status,
        body,
        at: rows::instant(at),
    }))
}

/// Returns the counts of all limits.
pub(crate) async fn limit_counts(files: &Files, reader: &mut SqliteConnection) -> Result<Vec<LimitCounts>, StoreError> {
    let query = sqlx::query_as::<_, (String, Vec<u8>, Vec<u8>)>(
        "SELECT name, hash_key, buckets FROM limit_counts ORDER BY name",
    );
    let rows = query.fetch_all(reader).await.map_err(|error| files.failed(&error))?;
    let read = |(name, hash_key, buckets): (String, _, _)| {
        let limit = name.parse().map_err(|_| StoreError::Unreadable {
            what: "the counts of a limit".to_owned(),
            problem: format!("its name {name:?} is none"),
        })?;
        Ok(LimitCounts {
            limit,
            hash_key: Secret::new(hash_key),
            buckets,
        })
    };
    rows.into_iter().map(read).collect()
}

pub(crate) async fn audit(
    files: &Files,
    reader: &mut SqliteConnection,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Vec<AuditEvent>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(SELECT_EVENT);
    let before = filter
        .before
        .and_then(|before| i64::try_from(before).ok())
        .unwrap_or(i64::MAX);
    query.push(" WHERE sequence < ").push_bind(before);
    for (column, wanted) in [
        (" AND organization = ", filter.organization.as_ref().map(Name::as_str)),
        (" AND action = ", filter.action.as_deref()),
        (" AND target = ", filter.target.as_deref()),
    ] {
        if let Some(wanted) = wanted {
            query.push(column).push_bind(wanted);
        }
    }
    if let Some(actor) = &filter.actor {
        query.push(" AND (actor = ").push_bind(actor);
        // `:` follows `9`, and `;` follows `:`.
        let mut ranges = vec![(format!("{actor} (uid "), format!("{actor} (uid :"))];
        if actor == LOCAL {
            ranges.push((format!("{LOCAL}:"), format!("{LOCAL};")));
        }
        for (first, end) in ranges {
            query.push(" OR (actor >= ").push_bind(first);
            query.push(" AND actor < ").push_bind(end).push(")");
        }
        query.push(")");
    }
    if let Some(since) = filter.since {
        query.push(" AND at >= ").push_bind(rows::column(since));
    }
    if let Some(until) = filter.until {
        query.push(" AND at < ").push_bind(rows::column(until));
    }
    query.push(" ORDER BY sequence DESC LIMIT ").push_bind(i64::from(limit));
    let found = query.build().fetch_all(reader).await;
    let found = found.map_err(|error| files.failed(&error))?;
    let read = |row| {
        event(row).map_err(|problem| StoreError::Unreadable {
            what: "an audit event".to_owned(),
            problem,
        })
    };
    found.iter().map(read).collect()
}

/// Returns the event of a row, or the reason why the row cannot be read.
fn event(row: &SqliteRow) -> Result<AuditEvent, String> {
    let text = |index: usize| row.try_get::<String, _>(index).map_err(|error| error.to_string());
    let maybe = |index: usize| row.try_get::<Option<&str>, _>(index).map_err(|error| error.to_string());
    let number = |index: usize| {
        let number = row.try_get::<i64, _>(index).map_err(|error| error.to_string())?;
        u64::try_from(number).map_err(|error| error.to_string())
    };
    Ok(AuditEvent {
        sequence: number(0)?,
        at: Timestamp::from_unix_millis(number(1)?),
        actor: text(2)?,
        from: maybe(3)?
            .map(str::parse)
            .transpose()
            .map_err(|_| "its origin is not an address".to_owned())?,
        action: text(4)?,
        target: text(5)?,
        organization: maybe(6)?
            .map(str::parse)
            .transpose()
            .map_err(|_| "its organization is not a name".to_owned())?,
        details: serde_json::from_str(&text(7)?).map_err(|error| error.to_string())?,
        previous_hash: text(8)?,
        hash: text(9)?,
    })
}

pub(crate) async fn digest_scheme(files: &Files, reader: &mut SqliteConnection) -> Result<Option<String>, StoreError> {
    let found = sqlx::query_scalar("SELECT scheme FROM digest_scheme WHERE one = 1");
    found.fetch_optional(reader).await.map_err(|error| files.failed(&error))
}

pub(crate) async fn verify_audit(files: &Files, reader: &mut SqliteConnection) -> Result<ChainState, StoreError> {
    let failed = |error| files.failed(&error);
    let head = batch::head(reader).await.map_err(failed)?;
    let mut query = QueryBuilder::<Sqlite>::new(SELECT_EVENT);
    query.push(" ORDER BY sequence");
    let query = query.build();
    let mut found = query.fetch(reader);
    let mut check = ChainCheck::start();
    while let Some(row) = found.try_next().await.map_err(failed)? {
        let read = event(&row).map_err(|problem| ChainState::Broken {
            sequence: check.next_sequence(),
            problem: format!("it was changed: {problem}"),
        });
        if let Err(broken) = read.and_then(|event| check.next(&event)) {
            return Ok(broken);
        }
    }
    Ok(check.finish(&head))
}
