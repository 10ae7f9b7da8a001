//! How are many batches written at once? By one task with one connection: what waits goes into one transaction, and is
//! acknowledged when that is on disk. A disk writes a thousand small transactions a second, or a hundred times as much.

use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::store::AssertionMark;
use crate::store::Batch;
use crate::store::IDEMPOTENT_ANSWERS_KEPT;
use crate::store::StoreError;
use crate::store::record::audit::ChainHead;
use crate::store::sqlite::batch;
use crate::store::sqlite::batch::Failure;
use crate::store::sqlite::open::Files;
use sqlx::Connection;
use sqlx::SqliteConnection;
use std::fs::File;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// Jobs that wait for the writer; whoever has one more waits to hand it over.
const QUEUE: usize = 1_024;
/// Jobs in one transaction: as long as they take, nobody else is answered.
const GROUP: usize = 256;

/// What came of a job. Of a mark: whether nobody had used the assertion; of a sweep: whether there may be more to forget.
type JobReply = oneshot::Sender<Result<bool, StoreError>>;

/// What the writer is asked. Whoever asked may have gone when it is done: it is done all the same.
pub(crate) enum Job {
    Commit(Box<Batch>),
    Mark(AssertionMark),
    KeysUsed(Vec<(KeyId, Timestamp)>),
    /// At most so many rows of each kind.
    Sweep(Timestamp, u32),
}

/// What is put into the writer's letter box.
pub(crate) enum Letter {
    Job(Job, JobReply),
    Close(oneshot::Sender<()>),
}

/// The writer's letter box. When all of it is dropped the writer finishes what is in it, and goes.
#[derive(Debug)]
pub(crate) struct Writer(mpsc::Sender<Letter>);

impl Writer {
    /// `lock` keeps other processes away for as long as there is a connection that writes.
    pub(crate) fn start(connection: SqliteConnection, lock: File, files: Files) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(run(receiver, connection, lock, files));
        Self(sender)
    }

    pub(crate) async fn send(&self, letter: Letter) -> Result<(), ()> {
        self.0.send(letter).await.map_err(|_| ())
    }
}

async fn run(mut letters: mpsc::Receiver<Letter>, mut connection: SqliteConnection, lock: File, files: Files) {
    let mut group = Vec::with_capacity(GROUP);
    let closed = loop {
        group.clear();
        if letters.recv_many(&mut group, GROUP).await == 0 {
            break None;
        }
        // What was handed over before the end is still done.
        let mut closed = None;
        let jobs: Vec<(Job, JobReply)> = group
            .drain(..)
            .filter_map(|letter| match letter {
                Letter::Job(job, done) => Some((job, done)),
                Letter::Close(done) => {
                    closed = Some(done);
                    None
                }
            })
            .collect();
        if !jobs.is_empty() {
            write_group(&mut connection, jobs, &files).await;
        }
        if closed.is_some() {
            break closed;
        }
    };
    if let Err(error) = connection.close().await {
        tracing::warn!(path = %files.database.display(), %error, "Store not closed cleanly; the next start reads its log");
    }
    drop(lock);
    if let Some(closed) = closed {
        let _ = closed.send(());
    }
}

async fn write_group(connection: &mut SqliteConnection, jobs: Vec<(Job, JobReply)>, files: &Files) {
    let (jobs, dones): (Vec<Job>, Vec<JobReply>) = jobs.into_iter().unzip();
    match write_all(connection, jobs).await {
        Ok(results) => {
            for (done, result) in dones.into_iter().zip(results) {
                let _ = done.send(result);
            }
        }
        Err(error) => {
            // What is not committed is gone, also what went well: nobody hears that it did.
            let _ = sqlx::query("ROLLBACK").execute(connection).await;
            tracing::error!(path = %files.database.display(), %error, "Store not written");
            for done in dones {
                let _ = done.send(Err(files.failed(&error)));
            }
        }
    }
}

/// Does all jobs in one transaction, and returns what came of each.
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
            Job::KeysUsed(used) => Ok(batch::keys_used(connection, &used).await.map(|()| true)?),
            Job::Sweep(now, rows) => {
                let answers_before = now.saturating_sub(IDEMPOTENT_ANSWERS_KEPT);
                Ok(batch::sweep(connection, now, answers_before, rows).await?)
            }
        });
    }
    if head != before {
        batch::set_head(connection, &head).await?;
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(results)
}

async fn begin(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    // `IMMEDIATE`: to find out at the end that somebody else writes would be too late.
    let Err(_) = sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await else {
        return Ok(());
    };
    // The end of the one before may have failed half-way.
    let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    sqlx::query("BEGIN IMMEDIATE").execute(connection).await?;
    Ok(())
}

/// Writes one batch among others: a conflict undoes it alone.
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
