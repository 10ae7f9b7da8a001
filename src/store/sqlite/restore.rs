//! How does a backup take the place of the database? Under the lock of the store, by a rename, and nothing that stood there is
//! deleted.

use crate::store::StoreError;
use crate::store::sqlite::open;
use crate::store::sqlite::open::Files;
use crate::store::sqlite::open::cannot;
use crate::store::sqlite::open::with_suffix;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;

/// The treatment of a database that stands where the backup goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingDatabase {
    /// Nothing is restored.
    Keep,
    /// It gets another name.
    MoveAside,
}

/// Why a backup does not take the place of the database. Unless the error is of a rename, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(
        "a database stands at {}; say --replace, and it is moved aside and can be put back",
        .0.display()
    )]
    Exists(PathBuf),
    #[error("{0} is in use by another process; stop the gate that runs on it first")]
    InUse(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Puts a copy of `backup` at `path`, and returns the new name of the database that stood there.
///
/// # Errors
/// Another process has the store open; `backup` cannot be read, is damaged, is no database of Keygate's or of a later
/// version; a database stands at `path`; or a file cannot be written.
pub async fn restore(backup: &Path, path: &Path, existing: ExistingDatabase) -> Result<Option<PathBuf>, RestoreError> {
    let files = Files::in_folder(path)?;
    // Until the end: no gate starts meanwhile.
    let _lock = files.lock().map_err(|error| match error {
        StoreError::InUse(path) => RestoreError::InUse(path),
        other => RestoreError::Store(other),
    })?;
    // Where the path is a link, the file it leads to is replaced, as SQLite writes to that one.
    let database = fs::canonicalize(&files.database).unwrap_or_else(|_| files.database.clone());
    let copy = with_suffix(&database, ".restoring");
    // An attempt before this one may have been interrupted.
    remove(&copy)?;
    copy_checked(backup, &copy).await?;
    let moved = replace(&database, &copy, existing);
    if moved.is_err() {
        let _ = fs::remove_file(&copy);
    }
    moved
}

/// Writes a copy of `backup` to the new file `copy`, and checks the backup.
async fn copy_checked(backup: &Path, copy: &Path) -> Result<(), StoreError> {
    let files = Files::existing(backup)?;
    let (mut reader, _) = open::reader(&files).await?;
    let checked: Result<String, _> = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut reader).await;
    match checked.map_err(|error| files.failed(&error))?.as_str() {
        "ok" => {}
        problem => {
            return Err(StoreError::Unreadable {
                what: backup.display().to_string(),
                problem: format!("it is damaged ({problem})"),
            });
        }
    }
    // Through the database, not byte by byte: a file that another process has open is more than its bytes.
    open::backup(&files, &mut reader, copy).await
}

fn replace(database: &Path, copy: &Path, existing: ExistingDatabase) -> Result<Option<PathBuf>, RestoreError> {
    let stands = fs::metadata(database).is_ok_and(|metadata| metadata.len() > 0);
    let aside = match (stands, existing) {
        (true, ExistingDatabase::Keep) => return Err(RestoreError::Exists(database.to_owned())),
        (true, ExistingDatabase::MoveAside) | (false, _) => free_name(database),
    };
    // The write-ahead log first. Beside another database, SQLite would write its content into that one.
    let wal = |path: &Path| with_suffix(path, "-wal");
    rename_if_there(&wal(database), &wal(&aside))?;
    remove(&with_suffix(database, "-shm"))?;
    if stands {
        rename_if_there(database, &aside)?;
    }
    fs::rename(copy, database).map_err(|error| cannot("make", database, &error))?;
    open::sync(database).map_err(|error| cannot("write", database, &error))?;
    Ok(stands.then_some(aside))
}

/// Returns the first name `<database>.replaced`, `<database>.replaced-2`, … that no file has.
fn free_name(database: &Path) -> PathBuf {
    let names = std::iter::once(".replaced".to_owned()).chain((2_u32..).map(|number| format!(".replaced-{number}")));
    let is_free = |path: &Path| {
        [path.to_owned(), with_suffix(path, "-wal")]
            .iter()
            .all(|path| path.symlink_metadata().is_err())
    };
    names
        .map(|suffix| with_suffix(database, &suffix))
        .find(|path| is_free(path))
        .unwrap_or_else(|| with_suffix(database, ".replaced"))
}

fn rename_if_there(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(cannot("move", from, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(cannot("remove", path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
