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

type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked. Whoever asked may have gone when it is done: it is done all the same.
pub(crate) enum Job {
    Commit(Box<Batch>, Done<()>),
    Mark(AssertionMark, Done<bool>),
    KeysUsed(Vec<(KeyId, Timestamp)>, Done<()>),
    /// At most so many rows of each kind; answers whether there may be more.
    Sweep(Timestamp, u32, Done<bool>),
    Close(oneshot::Sender<()>),
}

/// The writer's letter box. When all of it is dropped the writer finishes what is in it, and goes.
#[derive(Debug)]
pub(crate) struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// `lock` keeps other processes away for as long as there is a connection that writes.
    pub(crate) fn start(connection: SqliteConnection, lock: File, files: Files) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(run(receiver, connection, lock, files));
        Self(sender)
    }

    pub(crate) async fn send(&self, job: Job) -> Result<(), ()> {
        self.0.send(job).await.map_err(|_| ())
    }
}

async fn run(mut jobs: mpsc::Receiver<Job>, mut connection: SqliteConnection, lock: File, files: Files) {
    let mut group = Vec::with_capacity(GROUP);
    let closed = loop {
        group.clear();
        if jobs.recv_many(&mut group, GROUP).await == 0 {
            break None;
        }
        // What was handed over before the end is still done.
        let mut closed = None;
        let todo: Vec<Job> = group
            .drain(..)
            .filter_map(|job| match job {
                Job::Close(done) => {
                    closed = Some(done);
                    None
                }
                job => Some(job),
            })
            .collect();
        if !todo.is_empty() {
            write_group(&mut connection, todo, &files).await;
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

/// What has been written and not yet said.
enum Answer {
    Unit(Done<()>, Result<(), StoreError>),
    Bool(Done<bool>, Result<bool, StoreError>),
}

impl Answer {
    fn send(self) {
        match self {
            Self::Unit(done, result) => drop(done.send(result)),
            Self::Bool(done, result) => drop(done.send(result)),
        }
    }

    /// Nothing of it was written: whoever was told yes in thought is told no.
    fn fail(self, error: StoreError) {
        match self {
            Self::Unit(done, _) => drop(done.send(Err(error))),
            Self::Bool(done, _) => drop(done.send(Err(error))),
        }
    }
}

async fn write_group(connection: &mut SqliteConnection, jobs: Vec<Job>, files: &Files) {
    let mut answers = Vec::with_capacity(jobs.len());
    let mut left = jobs.into_iter();
    let written = write_all(connection, &mut left, &mut answers).await;
    let Err(error) = written else {
        answers.into_iter().for_each(Answer::send);
        return;
    };
    // What is not committed is gone, also what went well: nobody hears that it did.
    let _ = sqlx::query("ROLLBACK").execute(connection).await;
    tracing::error!(path = %files.database.display(), %error, "Store not written");
    for answer in answers {
        answer.fail(files.failed(&error));
    }
    for job in left {
        match job {
            Job::Commit(_, done) | Job::KeysUsed(_, done) => drop(done.send(Err(files.failed(&error)))),
            Job::Mark(_, done) | Job::Sweep(_, _, done) => drop(done.send(Err(files.failed(&error)))),
            Job::Close(_) => {}
        }
    }
}

async fn write_all(
    connection: &mut SqliteConnection,
    jobs: &mut std::vec::IntoIter<Job>,
    answers: &mut Vec<Answer>,
) -> Result<(), sqlx::Error> {
    begin(connection).await?;
    let before = batch::head(connection).await?;
    let mut head = before.clone();
    for job in jobs {
        let failed = match job {
            Job::Commit(batch, done) => match commit(connection, &batch, &mut head).await {
                Ok(result) => {
                    answers.push(Answer::Unit(done, result));
                    None
                }
                Err(error) => Some((error, Answer::Unit(done, Ok(())))),
            },
            Job::Mark(mark, done) => match batch::mark(connection, &mark).await {
                Ok(first) => {
                    answers.push(Answer::Bool(done, Ok(first)));
                    None
                }
                Err(error) => Some((error, Answer::Bool(done, Ok(false)))),
            },
            Job::KeysUsed(used, done) => match batch::keys_used(connection, &used).await {
                Ok(()) => {
                    answers.push(Answer::Unit(done, Ok(())));
                    None
                }
                Err(error) => Some((error, Answer::Unit(done, Ok(())))),
            },
            Job::Sweep(now, rows, done) => {
                let answers_before = now.saturating_sub(IDEMPOTENT_ANSWERS_KEPT);
                match batch::sweep(connection, now, answers_before, rows).await {
                    Ok(more) => {
                        answers.push(Answer::Bool(done, Ok(more)));
                        None
                    }
                    Err(error) => Some((error, Answer::Bool(done, Ok(false)))),
                }
            }
            Job::Close(_) => None,
        };
        if let Some((error, answer)) = failed {
            answers.push(answer);
            return Err(error);
        }
    }
    if head != before {
        batch::set_head(connection, &head).await?;
    }
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(())
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
