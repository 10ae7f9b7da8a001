//! How is the entire store read at the start of the gate? Part by part.

use crate::store::Contents;
use crate::store::StoreError;
use crate::store::Versioned;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ClientRecord;
use crate::store::record::OpaqueTokenRecord;
use crate::store::record::RevokedTokenRecord;
use crate::store::record::SubscriptionRecord;
use crate::store::sqlite::open::Files;
use crate::store::sqlite::rows;
use crate::store::sqlite::rows::Document;
use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

/// The number of records in a part: a few hundred kilobytes.
const PART: usize = 1_000;

type Sink<'a> = &'a mut (dyn FnMut(Contents) + Send);

/// Reads all records of [`Contents`], in the order that [`crate::store::Store::read`] requires.
pub(crate) async fn read(files: &Files, reader: &mut SqliteConnection, take: Sink<'_>) -> Result<(), StoreError> {
    let revoked = "SELECT id, expires_at FROM revoked_token";
    in_rows(files, reader, revoked, revoked_token, &mut |revoked_tokens| {
        take(Contents {
            revoked_tokens,
            ..Contents::default()
        });
    })
    .await?;
    documents::<SubscriptionRecord>(files, reader, &mut |subscriptions| {
        take(Contents {
            subscriptions,
            ..Contents::default()
        });
    })
    .await?;
    documents::<ApiKeyRecord>(files, reader, &mut |api_keys| {
        take(Contents {
            api_keys,
            ..Contents::default()
        });
    })
    .await?;
    documents::<ClientRecord>(files, reader, &mut |clients| {
        take(Contents {
            clients,
            ..Contents::default()
        });
    })
    .await?;
    let opaque = "SELECT document FROM opaque_token";
    in_rows(files, reader, opaque, opaque_token, &mut |opaque_tokens| {
        take(Contents {
            opaque_tokens,
            ..Contents::default()
        });
    })
    .await
}

/// Reads all records of a kind, and passes them to `take` in parts.
///
/// Each part is one row with a thousand records: passing a row from the database's thread to this
/// task costs as much as parsing a record. While the database collects a part, another thread
/// parses the previous part, and `take` receives the part before that.
async fn documents<T: Document>(
    files: &Files,
    reader: &mut SqliteConnection,
    take: &mut (dyn FnMut(Vec<Versioned<T>>) + Send),
) -> Result<(), StoreError> {
    let mut part = part_after(T::PART, files, reader, i64::MIN).await?;
    let mut records = Vec::new();
    loop {
        let last: Option<i64> = part.try_get(0).map_err(|error| files.failed(&error))?;
        let Some(last) = last else {
            take(records);
            return Ok(());
        };
        let parsed = tokio::task::spawn_blocking(move || rows::part(&part));
        let handed_over = async { take(records) };
        let (next, parsed, ()) = tokio::join!(part_after(T::PART, files, reader, last), parsed, handed_over);
        // The thread ends early if it panics, or if the runtime has ended.
        records = parsed.map_err(|error| StoreError::Unavailable(error.to_string()))??;
        part = next?;
    }
}

/// Returns the part after row `last`, from a statement like [`Document::PART`]; an empty part after the last row.
async fn part_after(
    sql: &'static str,
    files: &Files,
    reader: &mut SqliteConnection,
    last: i64,
) -> Result<SqliteRow, StoreError> {
    let part = sqlx::query(sql)
        .bind(last)
        .bind(i64::try_from(PART).unwrap_or(i64::MAX))
        .fetch_one(reader)
        .await;
    part.map_err(|error| files.failed(&error))
}

/// Runs `sql`, converts each row with `read`, and passes the results to `take` in parts.
async fn in_rows<T>(
    files: &Files,
    reader: &mut SqliteConnection,
    sql: &'static str,
    read: fn(&SqliteRow) -> Result<T, StoreError>,
    take: &mut (dyn FnMut(Vec<T>) + Send),
) -> Result<(), StoreError> {
    let mut found = sqlx::query(sql).fetch(reader);
    let mut part = Vec::with_capacity(PART);
    while let Some(row) = found.try_next().await.map_err(|error| files.failed(&error))? {
        part.push(read(&row)?);
        if part.len() == PART {
            take(std::mem::replace(&mut part, Vec::with_capacity(PART)));
        }
    }
    take(part);
    Ok(())
}

fn opaque_token(row: &SqliteRow) -> Result<OpaqueTokenRecord, StoreError> {
    rows::document("an opaque token", row.try_get(0).unwrap_or_default())
}

fn revoked_token(row: &SqliteRow) -> Result<RevokedTokenRecord, StoreError> {
    let unreadable = |error: sqlx::Error| StoreError::Unreadable {
        what: "a revoked token".to_owned(),
        problem: error.to_string(),
    };
    Ok(RevokedTokenRecord {
        id: row.try_get(0).map_err(unreadable)?,
        expires_at: rows::instant(row.try_get(1).map_err(unreadable)?),
    })
}
