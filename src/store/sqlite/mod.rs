//! How is the store kept in an SQLite file? One writer commits many batches at once, and a few readers run beside it.

mod open;
mod placement;
mod rows;
mod batch;
mod writer;
mod read;
mod all;
pub mod restore;

use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::store::AssertionMark;
use crate::store::AuditFilter;
use crate::store::Batch;
use crate::store::ChainState;
use crate::store::Contents;
use crate::store::Filter;
use crate::store::Page;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::StoredResponse;
use crate::store::Versioned;
use crate::store::WriteHealth;
use crate::store::health::WriteRecorder;
use crate::store::record::ApiKeyRecord;
use crate::store::record::AuditEvent;
use crate::store::record::ClientRecord;
use crate::store::record::LimitCounts;
use crate::store::record::OrganizationRecord;
use crate::store::record::SubscriptionRecord;
use crate::store::sqlite::open::Files;
use crate::store::sqlite::placement::Placement;
use crate::store::sqlite::writer::Job;
use crate::store::sqlite::writer::Message;
use crate::store::sqlite::writer::Target;
use crate::store::sqlite::writer::Writer;
use async_trait::async_trait;
use sqlx::SqliteConnection;
use sqlx::SqlitePool;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The rows of each kind in one sweep transaction: other writes wait behind it for milliseconds, not for seconds.
const SWEEP_ROWS: u32 = 5_000;
/// The key uses in one transaction, limited for the same reason.
const USED_KEYS: usize = 500;

/// Reads the database at `path` and passes its contents to `take`, in the order of [`Store::read`]. Returns the scheme of its
/// digests, as [`Store::digest_scheme`] does. Takes no lock and changes nothing: a gate may have the database open.
///
/// # Errors
/// The database cannot be read, is damaged, or is of another program or of a later version.
pub async fn read_only(path: &Path, take: &mut (dyn FnMut(Contents) + Send)) -> Result<Option<String>, StoreError> {
    let files = Files::existing(path)?;
    let (mut reader, version) = open::reader(&files).await?;
    let scheme = if version >= open::DIGEST_SCHEME_VERSION {
        read::digest_scheme(&files, &mut reader).await?
    } else {
        None
    };
    all::read(&files, &mut reader, take).await?;
    Ok(scheme)
}

/// A store in an SQLite file. Its writer is a task of the tokio runtime in which the store was opened.
#[derive(Debug)]
pub struct SqliteStore {
    files: Files,
    placement: Placement,
    health: Arc<WriteRecorder>,
    writer: Writer,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the database at `path`, or creates it: a file of mode 0600, in a folder of mode
    /// 0700 if the folder is missing as well. Migrates the database of an older version.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has the store open;
    /// [`StoreError::Unreadable`] for a file that is damaged, of another program or of a
    /// later version; [`StoreError::Unavailable`] where the file cannot be read or written.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let files = Files::prepare(path)?;
        let lock = files.lock()?;
        let connection = open::writer(&files).await?;
        Self::start(files, lock, connection).await
    }

    /// Opens the database at `path` beside a process that has it open, writes nothing any more, and shares its `lock`.
    ///
    /// # Errors
    /// Those of [`Self::open`]; [`StoreError::InUse`] if `lock` is the lock of another store.
    pub async fn open_shared(path: &Path, lock: File) -> Result<Self, StoreError> {
        let files = Files::prepare(path)?;
        files.check_lock(&lock)?;
        let connection = open::writer(&files).await?;
        Self::start(files, lock, connection).await
    }

    /// Returns the store that `connection` writes.
    async fn start(files: Files, lock: File, connection: SqliteConnection) -> Result<Self, StoreError> {
        let readers = open::readers(&files).await?;
        let placement = Placement::of(&files)?;
        let health = Arc::new(WriteRecorder::default());
        let target = Target {
            files: files.clone(),
            placement: placement.clone(),
            health: Arc::clone(&health),
        };
        let writer = Writer::start(connection, lock, target);
        Ok(Self {
            files,
            placement,
            health,
            writer,
            readers,
        })
    }

    /// Sends a job to the writer, waits until its effect is on
    /// disk, and returns its result; see `JobReply` in [`writer`].
    async fn write(&self, job: Job) -> Result<bool, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let closed = || StoreError::Unavailable(format!("{} is closed", self.files.database.display()));
        let sent = self.writer.send(Message::Job(job, sender)).await;
        sent.map_err(|_| closed())?;
        receiver.await.map_err(|_| closed())?
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.write(Job::Commit(Box::new(batch))).await.map(drop)
    }

    async fn organization(&self, id: &Name) -> Result<Option<Versioned<OrganizationRecord>>, StoreError> {
        let mut reader = self.reader().await?;
        read::one(&self.files, &mut reader, id.as_str()).await
    }

    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Versioned<SubscriptionRecord>>, StoreError> {
        let mut reader = self.reader().await?;
        read::one(&self.files, &mut reader, id.as_str()).await
    }

    async fn api_key(&self, id: &KeyId) -> Result<Option<Versioned<ApiKeyRecord>>, StoreError> {
        let mut reader = self.reader().await?;
        read::one(&self.files, &mut reader, id.as_str()).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Versioned<ClientRecord>>, StoreError> {
        let mut reader = self.reader().await?;
        read::one(&self.files, &mut reader, id.as_str()).await
    }

    async fn organizations(&self, page: &Page) -> Result<Vec<Versioned<OrganizationRecord>>, StoreError> {
        let mut reader = self.reader().await?;
        read::page(&self.files, &mut reader, &Filter::default(), page).await
    }

    async fn subscriptions(
        &self,
        filter: &Filter,
        page: &Page,
    ) -> Result<Vec<Versioned<SubscriptionRecord>>, StoreError> {
        let mut reader = self.reader().await?;
        read::page(&self.files, &mut reader, filter, page).await
    }

    async fn api_keys(&self, filter: &Filter, page: &Page) -> Result<Vec<Versioned<ApiKeyRecord>>, StoreError> {
        let mut reader = self.reader().await?;
        read::page(&self.files, &mut reader, filter, page).await
    }

    async fn clients(&self, filter: &Filter, page: &Page) -> Result<Vec<Versioned<ClientRecord>>, StoreError> {
        let mut reader = self.reader().await?;
        read::page(&self.files, &mut reader, filter, page).await
    }

    async fn mark_assertion(&self, mark: &AssertionMark) -> Result<bool, StoreError> {
        self.write(Job::Mark(mark.clone())).await
    }

    async fn stored_response(&self, key: &str) -> Result<Option<StoredResponse>, StoreError> {
        let mut reader = self.reader().await?;
        read::stored_response(&self.files, &mut reader, key).await
    }

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEvent>, StoreError> {
        let mut reader = self.reader().await?;
        read::audit(&self.files, &mut reader, filter, limit).await
    }

    async fn verify_audit(&self) -> Result<ChainState, StoreError> {
        // Read in one transaction: a concurrent event is then in neither the chain nor its head.
        let mut snapshot = self.snapshot().await?;
        read::verify_audit(&self.files, &mut snapshot).await
    }

    async fn read(&self, take: &mut (dyn FnMut(Contents) + Send)) -> Result<(), StoreError> {
        let mut snapshot = self.snapshot().await?;
        all::read(&self.files, &mut snapshot, take).await
    }

    async fn record_key_use(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        for used in used.chunks(USED_KEYS) {
            self.write(Job::KeysUsed(used.to_vec())).await?;
        }
        Ok(())
    }

    async fn limit_counts(&self) -> Result<Vec<LimitCounts>, StoreError> {
        let mut reader = self.reader().await?;
        read::limit_counts(&self.files, &mut reader).await
    }

    async fn replace_limit_counts(&self, counts: Vec<LimitCounts>) -> Result<(), StoreError> {
        self.write(Job::LimitCounts(counts)).await.map(drop)
    }

    async fn digest_scheme(&self) -> Result<Option<String>, StoreError> {
        let mut reader = self.reader().await?;
        read::digest_scheme(&self.files, &mut reader).await
    }

    async fn replace_digest_scheme(&self, scheme: String) -> Result<(), StoreError> {
        self.write(Job::DigestScheme(scheme)).await.map(drop)
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        while self.write(Job::Sweep(now, SWEEP_ROWS)).await? {}
        Ok(())
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let mut reader = self.reader().await?;
        open::backup(&self.files, &mut reader, to).await
    }

    fn write_health(&self) -> WriteHealth {
        let health = WriteHealth {
            waiting: self.writer.waiting(),
            ..self.health.read()
        };
        // Files that were deleted or replaced are noticed without a write: it could be hours until the next one.
        match self.placement.check() {
            Ok(()) => health,
            Err(displaced) => WriteHealth {
                problem: Some(displaced.to_string()),
                ..health
            },
        }
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.write(Job::Probe).await.map(drop)
    }

    async fn share_lock(&self) -> Result<Option<OwnedFd>, StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        let (sender, receiver) = oneshot::channel();
        self.writer
            .send(Message::ShareLock(sender))
            .await
            .map_err(|()| closed())?;
        let lock = receiver.await.map_err(|_| closed())?;
        let lock = lock.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Some(lock.into()))
    }

    async fn close(&self) {
        // Close the readers first: the last connection to close, the writer's, moves the WAL into the database.
        self.readers.close().await;
        let (sender, receiver) = oneshot::channel();
        if self.writer.send(Message::Close(sender)).await.is_ok() {
            let _ = receiver.await;
        }
    }
}

impl SqliteStore {
    /// Returns a connection for reading, once one is free.
    async fn reader(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(|error| self.files.failed(&error))
    }

    /// Returns a transaction for reading, which sees one state of the store until it is dropped.
    async fn snapshot(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        self.readers.begin().await.map_err(|error| self.files.failed(&error))
    }
}

#[cfg(test)]
mod tests;
