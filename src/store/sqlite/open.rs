//! Which files is the store, who may read them, and are they ours and up to date?

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
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// How long a statement waits for whoever else has the database open, a backup program say.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read; requests that are forwarded need none of them.
const READERS: u32 = 4;
/// How long somebody who wants to read waits for one of them.
const READER_WAIT: Duration = Duration::from_secs(10);
/// The log keeps no more room than this once a long reader has let it grow.
const LOG_BYTES_KEPT: &str = "67108864";
/// Pages in the writer's memory, negative in KiB: ids are random, so every insert meets another page of the indexes.
const WRITER_CACHE: &str = "-16384";
/// "KGAT", as the first migration sets it.
const APPLICATION_ID: i64 = 1_262_960_980;

/// Applied in order at start, each in a transaction; never edited, which sqlx checks by their digests.
pub(crate) const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "records", include_str!("../migrations/0001_records.sql"))];

/// SQLite's result codes that say that the file is not what it should be (SQLITE_CORRUPT, SQLITE_NOTADB).
const DAMAGED: [i32; 2] = [11, 26];

/// The database and the lock beside it. SQLite's own two, `-wal` and `-shm`, get the database's mode from SQLite.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) database: PathBuf,
    lock: PathBuf,
}

impl Files {
    /// Makes what is missing, before SQLite does and with a mode of its choosing.
    pub(crate) fn prepare(path: &Path) -> Result<Self, StoreError> {
        // Absolute: SQLite reads a name that begins with `file:` as a URL and `:memory:` as no file at all.
        let database = std::path::absolute(path).map_err(|error| cannot("find", path, &error))?;
        let folder = database.parent().unwrap_or(Path::new("/"));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| cannot("make the folder", folder, &error))?;
        for name in [
            &database,
            &with_suffix(&database, "-wal"),
            &with_suffix(&database, "-shm"),
        ] {
            private(name)?;
        }
        create_private(&database).or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => Ok(()),
            _ => Err(cannot("make", &database, &error)),
        })?;
        Ok(Self {
            lock: with_suffix(&database, ".lock"),
            database,
        })
    }

    /// Keeps other processes away for as long as the file lives. It stays on disk: to remove it would be a race.
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

    /// What the database said, as the store's error.
    pub(crate) fn failed(&self, error: &sqlx::Error) -> StoreError {
        let damaged = error
            .as_database_error()
            .and_then(DatabaseError::code)
            .and_then(|code| code.parse::<i32>().ok())
            // The low byte is the kind, whatever else is said.
            .is_some_and(|code| DAMAGED.contains(&(code & 0xff)));
        match damaged {
            true => self.unreadable(&format!("{error}; put a backup in its place")),
            false => StoreError::Unavailable(format!("{}: {error}", self.database.display())),
        }
    }

    fn unreadable(&self, problem: &str) -> StoreError {
        StoreError::Unreadable {
            what: self.database.display().to_string(),
            problem: problem.to_owned(),
        }
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.database)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            // A file that somebody prepared calls no functions when it is read.
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON")
            .disable_statement_logging()
    }
}

/// The connection that writes, to a database that is ours and up to date.
pub(crate) async fn writer(files: &Files) -> Result<SqliteConnection, StoreError> {
    let options = files
        .options()
        .journal_mode(SqliteJournalMode::Wal)
        // With WAL, less would lose what was acknowledged when the power goes.
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", LOG_BYTES_KEPT)
        .pragma("cache_size", WRITER_CACHE);
    let mut connection = options.connect().await.map_err(|error| files.failed(&error))?;
    check_ours(files, &mut connection).await?;
    migrate(files, &mut connection).await?;
    Ok(connection)
}

pub(crate) async fn readers(files: &Files) -> Result<SqlitePool, StoreError> {
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READER_WAIT)
        // They are files: they do not go stale.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(files.options().read_only(true))
        .await;
    readers.map_err(|error| files.failed(&error))
}

/// Refuses a database that somebody else made: nothing of it is touched.
async fn check_ours(files: &Files, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let (application, tables): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_master)",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| files.failed(&error))?;
    match (application, tables) {
        (APPLICATION_ID, _) | (0, 0) => Ok(()),
        _ => Err(files.unreadable("it is not a database of Keygate's")),
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

/// Writes a copy of the whole database, as it is now, to a new file.
pub(crate) async fn backup(files: &Files, reader: &mut SqliteConnection, to: &Path) -> Result<(), StoreError> {
    let to = std::path::absolute(to).map_err(|error| cannot("find", to, &error))?;
    let name = to
        .to_str()
        .ok_or_else(|| StoreError::Unavailable(format!("{}: the name of a backup is UTF-8", to.display())))?;
    // Before SQLite makes it for everybody to read; it writes to an empty file as to none.
    create_private(&to).map_err(|error| cannot("make", &to, &error))?;
    let written = sqlx::query("VACUUM INTO $1").bind(name).execute(reader).await;
    let synced = match written {
        Ok(_) => sync(&to).map_err(|error| cannot("write", &to, &error)),
        Err(error) => Err(files.failed(&error)),
    };
    synced.inspect_err(|_| {
        // Half a backup is worse than none.
        let _ = std::fs::remove_file(&to);
    })
}

/// The file and its name are on disk.
fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn create_private(path: &Path) -> std::io::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop)
}

/// A file that is there already is for nobody else to read from now on: it may have been copied here.
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

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot {what} {}: {error}", path.display()))
}
