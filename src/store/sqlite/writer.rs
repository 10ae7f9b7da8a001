//! How are many batches written at once? By one task with one connection: all waiting jobs share
//! one transaction, and are acknowledged once the transaction is on disk. A disk writes a thousand
//! transactions a second, and a hundred times as many jobs if they share transactions.

use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::store::AssertionMark;
use crate::store::Batch;
use crate::store::STORED_RESPONSES_KEPT;
use crate::store::StoreError;
use crate::store::health::WriteRecorder;
use crate::store::record::LimitCounts;
use crate::store::record::audit::ChainHead;
use crate::store::sqlite::batch;
use crate::store::sqlite::batch::Failure;
use crate::store::sqlite::open::Files;
use crate::store::sqlite::placement::Placement;
use sqlx::Connection;
use sqlx::SqliteConnection;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// The number of messages in the queue; a further sender waits for a place.
const QUEUE: usize = 1_024;
/// The maximum number of jobs in one transaction; no job is acknowledged before the last of them is written.
const GROUP: usize = 256;

/// The receiver of a job's result. For a mark: `true` if the assertion is used for the first time;
/// for a sweep: `true` if there may be more to delete; otherwise always `true`.
type JobReply = oneshot::Sender<Result<bool, StoreError>>;

/// A job of the writer. It is done even if the sender no longer waits for the result.
pub(crate) enum Job {
    Commit(Box<Batch>),
    Mark(AssertionMark),
    KeysUsed(Vec<(KeyId, Timestamp)>),
    LimitCounts(Vec<LimitCounts>),
    DigestScheme(String),
    /// At most this number of rows of each kind.
    Sweep(Timestamp, u32),
    Probe,
}

/// A message to the writer.
pub(crate) enum Message {
    Job(Job, JobReply),
    ShareLock(oneshot::Sender<io::Result<File>>),
    Close(oneshot::Sender<()>),
}

/// The sender of messages to the writer. When it is dropped, the
/// writer finishes the remaining jobs and ends.
#[derive(Debug)]
pub(crate) struct Writer(mpsc::Sender<Message>);

/// The files that the writer writes, and its record of success.
pub(crate) struct Target {
    pub(crate) files: Files,
    pub(crate) placement: Placement,
    pub(crate) health: Arc<WriteRecorder>,
}

impl Writer {
    /// Starts the writer. `lock` keeps other processes out until the connection is closed.
    pub(crate) fn start(connection: SqliteConnection, lock: File, target: Target) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(run(receiver, connection, lock, target));
        Self(sender)
    }

    /// Returns the number of messages that the writer has not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        QUEUE.saturating_sub(self.0.capacity())
    }

    pub(crate) async fn send(&self, message: Message) -> Result<(), ()> {
        self.0.send(message).await.map_err(|_| ())
    }
}

async fn run(mut messages: mpsc::Receiver<Message>, mut connection: SqliteConnection, lock: File, target: Target) {
    let mut group = Vec::with_capacity(GROUP);
    let closed = loop {
        group.clear();
        if messages.recv_many(&mut group, GROUP).await == 0 {
            break None;
        }
        // Jobs that arrive together with a close are still done.
        let mut closed = None;
        let jobs: Vec<(Job, JobReply)> = group
            .drain(..)
            .filter_map(|message| match message {
                Message::Job(job, reply) => Some((job, reply)),
                Message::ShareLock(reply) => {
                    let _ = reply.send(lock.try_clone());
                    None
                }
                Message::Close(reply) => {
                    closed = Some(reply);
                    None
                }
            })
            .collect();
        if !jobs.is_empty() {
            write_group(&mut connection, jobs, &target).await;
        }
        if closed.is_some() {
            break closed;
        }
    };
    if let Err(error) = connection.close().await {
        tracing::warn!(path = %target.files.database.display(), %error, "Store not closed cleanly; the next start reads its log");
    }
    drop(lock);
    if let Some(closed) = closed {
        let _ = closed.send(());
    }
}

async fn write_group(connection: &mut SqliteConnection, jobs: Vec<(Job, JobReply)>, target: &Target) {
    let path = target.files.database.display();
    let (jobs, replies): (Vec<Job>, Vec<JobReply>) = jobs.into_iter().unzip();
    let started = Instant::now();
    match write_in_place(connection, jobs, target).await {
        Ok(results) => {
            if target.health.succeed(started.elapsed()) {
                tracing::info!(%path, "Store can be written again");
            }
            for (reply, result) in replies.into_iter().zip(results) {
                let _ = reply.send(result);
            }
        }
        Err(error) => {
            // Undo all jobs of the transaction, including those that succeeded; none was acknowledged.
            let _ = sqlx::query("ROLLBACK").execute(connection).await;
            // Once, not at every attempt: on a full disk, the log would fill it further.
            if target.health.fail(error.to_string()) {
                tracing::error!(%path, %error, "Store cannot be written");
            }
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

/// Does all jobs in one transaction, and returns the result of each.
///
/// # Errors
/// The database cannot be written, or its files were deleted: what is written then is lost with the process.
async fn write_in_place(
    connection: &mut SqliteConnection,
    jobs: Vec<Job>,
    target: &Target,
) -> Result<Vec<Result<bool, StoreError>>, StoreError> {
    target.placement.check()?;
    let results = write_all(connection, jobs).await;
    let results = results.map_err(|error| target.files.failed(&error))?;
    // Again, because nothing may be acknowledged that went into a file which was deleted meanwhile.
    target.placement.check()?;
    Ok(results)
}

async fn write_all(
    connection: &mut SqliteConnection,
    jobs: Vec<Job>,
) -> Result<Vec<Result<bool, StoreError>>, sqlx::Error> {
    begin(connection).await?;
    let before = batch::head(connection).await?;
    let mut head = before.clone();
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        results.push(match job {
            Job::Commit(batch) => commit(connection, &batch, &mut head).await?.map(|()| true),
            Job::Mark(mark) => Ok(batch::mark(connection, &mark).await?),
            Job::KeysUsed(used) => Ok(batch::record_key_use(connection, &used).await.map(|()| true)?),
            Job::LimitCounts(counts) => Ok(batch::replace_limit_counts(connection, counts).await.map(|()| true)?),
            Job::DigestScheme(scheme) => Ok(batch::replace_digest_scheme(connection, &scheme).await.map(|()| true)?),
            Job::Sweep(now, rows) => {
                let responses_before = now.saturating_sub(STORED_RESPONSES_KEPT);
                Ok(batch::sweep(connection, now, responses_before, rows).await?)
            }
            Job::Probe => Ok(batch::probe(connection).await.map(|()| true)?),
        });
    }
    if head != before {
        batch::set_head(connection, &head).await?;
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(results)
}

async fn begin(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    // `IMMEDIATE`: detect another writer at the start, not at the end.
    let Err(_) = sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await else {
        return Ok(());
    };
    // The previous transaction may still be open, because its `ROLLBACK` failed.
    let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    sqlx::query("BEGIN IMMEDIATE").execute(connection).await?;
    Ok(())
}

/// Writes one batch among others; a conflict undoes only this batch.
async fn commit(
    connection: &mut SqliteConnection,
    batch: &Batch,
    head: &mut ChainHead,
) -> Result<Result<(), StoreError>, sqlx::Error> {
    let before = head.clone();
    sqlx::query("SAVEPOINT batch").execute(&mut *connection).await?;
    let result = match batch::write(connection, batch, head).await {
        Ok(()) => Ok(()),
        Err(Failure::Conflict(what)) => {
            *head = before;
            sqlx::query("ROLLBACK TO batch").execute(&mut *connection).await?;
            Err(StoreError::Conflict(what))
        }
        Err(Failure::Database(error)) => return Err(error),
    };
    sqlx::query("RELEASE batch").execute(connection).await?;
    Ok(result)
}
