//! How is one job of the writer done (a batch, a mark, key uses, a sweep)? By its statements, in a transaction of the
//! caller.

use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::store::AssertionMark;
use crate::store::Batch;
use crate::store::Revision;
use crate::store::StoredResponse;
use crate::store::UnchangedRecord;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::AuditEvent;
use crate::store::record::LimitCounts;
use crate::store::record::OpaqueTokenRecord;
use crate::store::record::RevokedTokenRecord;
use crate::store::record::audit::ChainHead;
use crate::store::sqlite::rows;
use crate::store::sqlite::rows::Document;
use sqlx::SqliteConnection;
use sqlx::error::ErrorKind;

/// Why a batch is not written.
pub(crate) enum Failure {
    /// Only this batch fails; the transaction continues without it.
    Conflict(String),
    /// The state of the transaction is unknown; it must end.
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().map(|error| error.kind()) {
            // A referenced record does not exist. SQLite has undone only this statement.
            Some(ErrorKind::ForeignKeyViolation) => Self::Conflict("what it belongs to is not there: it".to_owned()),
            _ => Self::Database(error),
        }
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Writes all of `batch`, and moves `head` to its event. On failure the caller must undo a partial write.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    batch: &Batch,
    head: &mut ChainHead,
) -> Result<(), Failure> {
    for unchanged in &batch.unchanged {
        check_unchanged(connection, unchanged).await?;
    }
    for write in &batch.writes {
        match write {
            Write::Organization(organization) => put(connection, organization).await,
            Write::Subscription(subscription) => put(connection, subscription).await,
            Write::ApiKey(key) => put(connection, key).await,
            Write::Client(client) => put(connection, client).await,
            Write::OpaqueToken(token) => put_opaque_token(connection, token).await,
            Write::RevokedToken(token) => put_revoked_token(connection, token).await,
        }?;
    }
    if let Some(response) = &batch.response {
        put_response(connection, response).await?;
    }
    if let Some(event) = &batch.event {
        put_event(connection, &head.append(event)).await?;
    }
    Ok(())
}

/// Runs `query`, which must change one row: otherwise another write was first, and the batch is in conflict.
async fn one_row(
    connection: &mut SqliteConnection,
    query: Query<'_>,
    what: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match query.execute(connection).await?.rows_affected() {
        0 => Err(Failure::Conflict(what())),
        _ => Ok(()),
    }
}

async fn check_unchanged(connection: &mut SqliteConnection, unchanged: &UnchangedRecord) -> Result<(), Failure> {
    let UnchangedRecord::Subscription(id, revision) = unchanged;
    let query = sqlx::query("SELECT 1 FROM subscription WHERE id = $1 AND revision = $2")
        .bind(id.as_str())
        .bind(rows::revision(*revision));
    match query.fetch_optional(connection).await? {
        Some(_) => Ok(()),
        None => Err(Failure::Conflict(id.to_string())),
    }
}

/// Writes a record in place of the revision that `revision` names.
async fn put<T: Document>(
    connection: &mut SqliteConnection,
    Versioned { record, revision }: &Versioned<T>,
) -> Result<(), Failure> {
    let sql = match *revision {
        Revision::NEW => T::INSERT,
        _ => T::UPDATE,
    };
    // A statement ignores the parameters that it does not name.
    let query = sqlx::query(sql)
        .bind(record.id())
        .bind(rows::revision(*revision))
        .bind(record.document())
        .bind(record.organization().as_str())
        .bind(record.subscription())
        .bind(record.last_used_at().map(rows::column));
    one_row(connection, query, || format!("{} {}", T::LABEL, record.id())).await
}

async fn put_opaque_token(connection: &mut SqliteConnection, token: &OpaqueTokenRecord) -> Result<(), Failure> {
    let query = sqlx::query(
        "INSERT INTO opaque_token (digest, client, expires_at, document) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (digest) DO NOTHING",
    )
    .bind(token.digest.to_hex())
    .bind(token.client.as_str())
    .bind(rows::column(token.expires_at))
    .bind(rows::to_document(token));
    one_row(connection, query, || "an opaque token".to_owned()).await
}

/// Revokes a token. A token may be revoked twice; it stays revoked until the later expiry.
async fn put_revoked_token(connection: &mut SqliteConnection, token: &RevokedTokenRecord) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO revoked_token (id, expires_at) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE \
         SET expires_at = excluded.expires_at WHERE excluded.expires_at > revoked_token.expires_at",
    )
    .bind(&token.id)
    .bind(rows::column(token.expires_at))
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_response(connection: &mut SqliteConnection, response: &StoredResponse) -> Result<(), Failure> {
    let query = sqlx::query(
        "INSERT INTO idempotent_answer (key, request, status, body, at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (key) DO NOTHING",
    )
    .bind(&response.key)
    .bind(&response.request)
    .bind(i64::from(response.status))
    .bind(&response.body)
    .bind(rows::column(response.at));
    one_row(connection, query, || {
        "what was made under this idempotency key".to_owned()
    })
    .await
}

async fn put_event(connection: &mut SqliteConnection, event: &AuditEvent) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO audit_event \
         (sequence, at, actor, origin, action, target, organization, details, previous_hash, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(i64::try_from(event.sequence).unwrap_or(i64::MAX))
    .bind(rows::column(event.at))
    .bind(&event.actor)
    .bind(event.from.map(|from| from.to_string()))
    .bind(&event.action)
    .bind(&event.target)
    .bind(event.organization.as_ref().map(|organization| organization.as_str()))
    .bind(event.details.to_string())
    .bind(&event.previous_hash)
    .bind(&event.hash)
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the stored head of the audit chain.
pub(crate) async fn head(connection: &mut SqliteConnection) -> Result<ChainHead, sqlx::Error> {
    let (events, hash): (i64, String) = sqlx::query_as("SELECT events, hash FROM audit_head WHERE one = 1")
        .fetch_one(connection)
        .await?;
    Ok(ChainHead {
        events: events.unsigned_abs(),
        hash,
    })
}

pub(crate) async fn set_head(connection: &mut SqliteConnection, head: &ChainHead) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE audit_head SET events = $1, hash = $2 WHERE one = 1")
        .bind(i64::try_from(head.events).unwrap_or(i64::MAX))
        .bind(&head.hash)
        .execute(connection)
        .await?;
    Ok(())
}

/// Marks the assertion as used; returns whether this is the first time.
pub(crate) async fn mark(connection: &mut SqliteConnection, mark: &AssertionMark) -> Result<bool, sqlx::Error> {
    let marked = sqlx::query(
        "INSERT INTO assertion_mark (client, id, expires_at) VALUES ($1, $2, $3) ON CONFLICT (client, id) DO NOTHING",
    )
    .bind(mark.client.as_str())
    .bind(mark.id.to_hex())
    .bind(rows::column(mark.expires_at))
    .execute(connection)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// Writes and deletes a row, so that a page goes to the disk although nothing changes. An update to the same value would not
/// do: SQLite leaves out pages with the same content.
pub(crate) async fn probe(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for sql in [
        "INSERT INTO assertion_mark (client, id, expires_at) VALUES ('', '', 0) ON CONFLICT (client, id) DO NOTHING",
        "DELETE FROM assertion_mark WHERE client = '' AND id = ''",
    ] {
        sqlx::query(sql).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Records the last use of keys; a recorded time never moves back.
pub(crate) async fn record_key_use(
    connection: &mut SqliteConnection,
    used: &[(KeyId, Timestamp)],
) -> Result<(), sqlx::Error> {
    for (id, at) in used {
        sqlx::query(
            "UPDATE api_key SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
        )
        .bind(id.as_str())
        .bind(rows::column(*at))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Writes `counts` in the place of all counts of limits.
pub(crate) async fn replace_limit_counts(
    connection: &mut SqliteConnection,
    counts: Vec<LimitCounts>,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM limit_counts")
        .execute(&mut *connection)
        .await?;
    for LimitCounts {
        limit,
        hash_key,
        buckets,
    } in counts
    {
        sqlx::query("INSERT INTO limit_counts (name, hash_key, buckets) VALUES ($1, $2, $3)")
            .bind(limit.as_str())
            .bind(&hash_key.expose()[..])
            .bind(buckets)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Writes the scheme of the digests in the place of the one before.
pub(crate) async fn replace_digest_scheme(connection: &mut SqliteConnection, scheme: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO digest_scheme (one, scheme) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET scheme = excluded.scheme",
    )
    .bind(scheme)
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the marks and tokens that have expired at `now`, and the responses from before
/// `responses_before`, at most `rows` of each kind. Returns whether there may be more.
pub(crate) async fn sweep(
    connection: &mut SqliteConnection,
    now: Timestamp,
    responses_before: Timestamp,
    rows: u32,
) -> Result<bool, sqlx::Error> {
    let mut more = false;
    for (sql, end) in [
        (
            "DELETE FROM assertion_mark WHERE (client, id) IN \
             (SELECT client, id FROM assertion_mark WHERE expires_at <= $1 LIMIT $2)",
            now,
        ),
        (
            "DELETE FROM opaque_token WHERE digest IN \
             (SELECT digest FROM opaque_token WHERE expires_at <= $1 LIMIT $2)",
            now,
        ),
        (
            "DELETE FROM revoked_token WHERE id IN (SELECT id FROM revoked_token WHERE expires_at <= $1 LIMIT $2)",
            now,
        ),
        (
            "DELETE FROM idempotent_answer WHERE key IN (SELECT key FROM idempotent_answer WHERE at < $1 LIMIT $2)",
            responses_before,
        ),
    ] {
        let query = sqlx::query(sql).bind(rows::column(end)).bind(i64::from(rows));
        more |= query.execute(&mut *connection).await?.rows_affected() >= u64::from(rows);
    }
    Ok(more)
}
