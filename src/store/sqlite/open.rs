//! Which files form the store, which users may read them, and is the database Keygate's and up to date?

use crate::store::StoreError;
use sqlx::ConnectOptions;
use sqlx::SqliteConnection;
use sqlx::SqlitePool;
use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::migrate::Migration;
use sqlx::migrate::MigrationType;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::sqlite::SqliteJournalMode;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::sqlite::SqliteSynchronous;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::fs::TryLockError;
use std::io::ErrorKind;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// The time that a statement waits for another user of the database, for example a backup program.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of connections for reading; forwarded requests need none.
const READERS: u32 = 4;
/// The time that a reader waits for a connection.
const READER_WAIT: Duration = Duration::from_secs(10);
/// The size in bytes to which the WAL is truncated after a long-running reader has let it grow.
const WAL_BYTES_KEPT: &str = "67108864";
/// The page cache of the writer: 16 MiB (a negative number is in
/// KiB). Ids are random, so each insert touches other index pages.
const WRITER_CACHE: &str = "-16384";
/// "KGAT", as the first migration sets it.
const APPLICATION_ID: i64 = 1_262_960_980;

/// The migrations (version, name, SQL), applied in order when the store is opened, each in a transaction. Never edit a
/// released migration: sqlx compares the digests.
pub(crate) const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "records", include_str!("../migrations/0001_records.sql")),
    (2, "limit counts", include_str!("../migrations/0002_limit_counts.sql")),
    (
        DIGEST_SCHEME_VERSION,
        "digest scheme",
        include_str!("../migrations/0003_digest_scheme.sql"),
    ),
    (4, "states", include_str!("../migrations/0004_states.sql")),
];
/// The migration since which the store has the scheme of its digests.
pub(crate) const DIGEST_SCHEME_VERSION: i64 = 3;

/// The first bytes of every SQLite database (SQLite file format, section 1.3.1).
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The header of a database, and the beginning of its schema.
const HEAD_BYTES: u64 = 105;
/// The first page of a database without tables: a leaf of a table, no free block, no cell (section 1.6).
const NO_TABLES: [u8; 5] = [13, 0, 0, 0, 0];
const NOT_OURS: &str = "it is not a database of Keygate's";

/// SQLite's result codes for a damaged file (SQLITE_CORRUPT, SQLITE_NOTADB).
const DAMAGED: [i32; 2] = [11, 26];

/// The database and its lock file. SQLite gives its own files `-wal` and `-shm` the mode of the database.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) database: PathBuf,
    pub(crate) lock: PathBuf,
}

impl Files {
    /// Creates the folder and the database if they are missing, before SQLite does with another mode, and makes existing
    /// files private. Rejects a file of another program before it changes anything at `path`.
    pub(crate) fn prepare(path: &Path) -> Result<Self, StoreError> {
        let files = Self::in_folder(path)?;
        let database = &files.database;
        check_file(database)?;
        for name in [database, &with_suffix(database, "-wal"), &with_suffix(database, "-shm")] {
            private(name)?;
        }
        create_private(database).or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => Ok(()),
            _ => Err(cannot("make", database, &error)),
        })?;
        Ok(files)
    }

    /// Names the files of a database, which may be missing. Creates its folder if that is missing.
    pub(crate) fn in_folder(path: &Path) -> Result<Self, StoreError> {
        // Make the path absolute: SQLite reads a name that begins with `file:` as a URL, and `:memory:` as no file.
        let database = std::path::absolute(path).map_err(|error| cannot("find", path, &error))?;
        let folder = database.parent().unwrap_or(Path::new("/"));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| cannot("make the folder", folder, &error))?;
        Self::named(database)
    }

    /// Names the files of a database that is there, and changes nothing.
    pub(crate) fn existing(path: &Path) -> Result<Self, StoreError> {
        let database = std::path::absolute(path).map_err(|error| cannot("find", path, &error))?;
        // SQLite says of every reason that it is "unable to open database file".
        File::open(&database).map_err(|error| cannot("read", &database, &error))?;
        Self::named(database)
    }

    /// Names the files of `database`. The lock is beside the file itself, also where the path is a symbolic link: two paths of one
    /// store have one lock.
    fn named(database: PathBuf) -> Result<Self, StoreError> {
        let itself =
            std::fs::canonicalize(&database).or_else(|error| match (database.parent(), database.file_name()) {
                // It is made there.
                (Some(folder), Some(name)) if error.kind() == ErrorKind::NotFound && !database.is_symlink() => {
                    Ok(std::fs::canonicalize(folder)?.join(name))
                }
                _ => Err(error),
            });
        let itself = itself.map_err(|error| cannot("find", &database, &error))?;
        Ok(Self {
            lock: with_suffix(&itself, ".lock"),
            database,
        })
    }

    /// Keeps other processes out until the returned file is closed. The lock
    /// file stays on disk, because its removal would be a race.
    pub(crate) fn lock(&self) -> Result<File, StoreError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.lock)
            .map_err(|error| cannot("open", &self.lock, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(self.database.display().to_string())),
            Err(TryLockError::Error(error)) => Err(cannot("lock", &self.lock, &error)),
        }
    }

    /// Checks that `lock` is the open lock file of this store.
    pub(crate) fn check_lock(&self, lock: &File) -> Result<(), StoreError> {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let failed = |error| cannot("read", &self.lock, &error);
        let shared = lock.metadata().map(identity).map_err(failed)?;
        let own = std::fs::metadata(&self.lock).map(identity).map_err(failed)?;
        if shared == own {
            Ok(())
        } else {
            Err(StoreError::InUse(self.database.display().to_string()))
        }
    }

    /// Returns the path of the write-ahead log, which holds the writes that are not in the database yet. SQLite puts it
    /// beside the file itself, also where the configured path is a symbolic link.
    ///
    /// # Errors
    /// The database is not there.
    pub(crate) fn wal(&self) -> std::io::Result<PathBuf> {
        Ok(with_suffix(&std::fs::canonicalize(&self.database)?, "-wal"))
    }

    /// Converts an error of the database.
    pub(crate) fn failed(&self, error: &sqlx::Error) -> StoreError {
        let damaged = error
            .as_database_error()
            .and_then(DatabaseError::code)
            .and_then(|code| code.parse::<i32>().ok())
            // The low byte is the primary result code.
            .is_some_and(|code| DAMAGED.contains(&(code & 0xff)));
        if damaged {
            unreadable(&self.database, &format!("{error}; put a backup in its place"))
        } else {
            StoreError::Unavailable(format!("{}: {error}", self.database.display()))
        }
    }

    fn unreadable(&self, problem: &str) -> StoreError {
        unreadable(&self.database, problem)
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.database)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            // A database crafted by an attacker must not call functions when it is read.
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON")
            .disable_statement_logging()
    }
}

/// Opens the connection for writing. Migrates the database, which must be Keygate's.
pub(crate) async fn writer(files: &Files) -> Result<SqliteConnection, StoreError> {
    let options = files
        .options()
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode, a lower level would lose acknowledged writes in a power cut.
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", WAL_BYTES_KEPT)
        .pragma("cache_size", WRITER_CACHE);
    let mut connection = options.connect().await.map_err(|error| files.failed(&error))?;
    check_ours(files, &mut connection).await?;
    migrate(files, &mut connection).await?;
    Ok(connection)
}

/// Opens the connections for reading.
pub(crate) async fn readers(files: &Files) -> Result<SqlitePool, StoreError> {
    let readers = SqlitePoolOptions::new()
        // All from the start, each with the WAL open: SQLite opens both by path, where later another file may be.
        .min_connections(READERS)
        .max_connections(READERS)
        .after_connect(|reader, _| {
            Box::pin(async move {
                sqlx::query("SELECT count(*) FROM sqlite_master")
                    .execute(reader)
                    .await?;
                Ok(())
            })
        })
        .acquire_timeout(READER_WAIT)
        // Connections to a file do not become stale: neither test nor replace them.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(files.options().read_only(true))
        .await;
    readers.map_err(|error| files.failed(&error))
}

/// Rejects the file at `path` if it is not a database of Keygate's, and not new either. Reads its first bytes alone: SQLite
/// changes a database that it opens for writing, and cannot always open one for reading, as after a crash.
fn check_file(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(unreadable(path, NOT_OURS)),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("read", path, &error)),
    }
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head))
        .map_err(|error| cannot("read", path, &error))?;
    if !head.is_empty() && !head.starts_with(MAGIC) {
        return Err(unreadable(
            path,
            "it is not an SQLite database; if it was the store, put a backup in its place",
        ));
    }
    if may_be_ours(&head) {
        Ok(())
    } else {
        Err(unreadable(path, NOT_OURS))
    }
}

/// Returns whether a file that begins with `head` may be the store: it is marked as such, or has no mark and no table. Until
/// the first checkpoint, mark and tables of a new store are in its WAL.
fn may_be_ours(head: &[u8]) -> bool {
    let application = head.get(68..).and_then(|rest| rest.first_chunk());
    let tables = head.get(100..).and_then(|rest| rest.first_chunk());
    match (application, tables) {
        (None, _) => head.is_empty(),
        (Some([0, 0, 0, 0]), tables) => tables == Some(&NO_TABLES),
        (Some(application), _) => i64::from(u32::from_be_bytes(*application)) == APPLICATION_ID,
    }
}

/// Opens one connection for reading a database that another process may have open, and makes no file beside it. Returns the
/// connection and the newest migration of the database.
pub(crate) async fn reader(files: &Files) -> Result<(SqliteConnection, i64), StoreError> {
    // A process that writes has a WAL. Without one nobody writes, and SQLite would make the files of a WAL to read.
    let has_writer = files.wal().is_ok_and(|wal| wal.exists());
    let options = files.options().read_only(true).immutable(!has_writer);
    let mut connection = options.connect().await.map_err(|error| files.failed(&error))?;
    check_ours(files, &mut connection).await?;
    let newest: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(&mut connection)
        .await
        .map_err(|error| files.failed(&error))?;
    let known = MIGRATIONS.map(|(version, _, _)| version).into_iter().max();
    match newest {
        Some(version) if Some(version) > known => Err(files.unreadable(&format!(
            "a later version of Keygate has worked on it (its migration {version} is not known here)"
        ))),
        Some(version) => Ok((connection, version)),
        None => Err(files.unreadable("nothing is in it yet")),
    }
}

/// Rejects a database of another program, before anything is written to its tables. [`check_file`] has not seen what is in its
/// WAL. Connecting has set its journal mode.
async fn check_ours(files: &Files, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let (application, tables): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_master)",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| files.failed(&error))?;
    match (application, tables) {
        (APPLICATION_ID, _) | (0, 0) => Ok(()),
        _ => Err(files.unreadable(NOT_OURS)),
    }
}

async fn migrate(files: &Files, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sqlx::SqlSafeStr::into_sql_str(sql),
            false,
        )
    });
    let migrator = Migrator::with_migrations(migrations.into());
    let migrated = migrator.run_direct(None, connection, false).await;
    migrated.map_err(|error| match error {
        MigrateError::VersionMissing(version) => files.unreadable(&format!(
            "a later version of Keygate has worked on it (its migration {version} is not known here); run that version, \
             or put a backup in its place"
        )),
        MigrateError::VersionMismatch(version) => files.unreadable(&format!(
            "its migration {version} is not the one of this version of Keygate"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => files.failed(&error),
        other => files.unreadable(&other.to_string()),
    })
}

/// Writes a copy of the current database to a new file.
pub(crate) async fn backup(files: &Files, reader: &mut SqliteConnection, to: &Path) -> Result<(), StoreError> {
    let to = std::path::absolute(to).map_err(|error| cannot("find", to, &error))?;
    let name = to
        .to_str()
        .ok_or_else(|| StoreError::Unavailable(format!("{}: the name of a backup is UTF-8", to.display())))?;
    // Create the file first, because SQLite would make it readable for everybody. `VACUUM INTO` accepts an empty file.
    create_private(&to).map_err(|error| cannot("make", &to, &error))?;
    let written = sqlx::query("VACUUM INTO $1").bind(name).execute(reader).await;
    let synced = match written {
        Ok(_) => sync(&to).map_err(|error| cannot("write", &to, &error)),
        Err(error) => Err(files.failed(&error)),
    };
    synced.inspect_err(|_| {
        // Remove a partial backup: it could be taken for a complete one.
        let _ = std::fs::remove_file(&to);
    })
}

/// Syncs the file and its name to disk.
pub(crate) fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn unreadable(path: &Path, problem: &str) -> StoreError {
    StoreError::Unreadable {
        what: path.display().to_string(),
        problem: problem.to_owned(),
    }
}

fn create_private(path: &Path) -> std::io::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop)
}

/// Makes a file private, if it exists: it may have been copied here with another mode.
fn private(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            let changed = std::fs::set_permissions(path, Permissions::from_mode(0o600));
            changed.map_err(|error| cannot("make private", path, &error))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot("read", path, &error)),
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

pub(crate) fn cannot(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot {what} {}: {error}", path.display()))
}
