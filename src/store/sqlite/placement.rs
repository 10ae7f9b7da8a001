//! Are the files that the gate has open still those at the store's path? To delete an open file removes its name alone: writes
//! continue to succeed, and are lost with the process.

use crate::store::StoreError;
use crate::store::sqlite::open::Files;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// The files that hold acknowledged writes, and the lock that keeps other writers out, as they were when the store was opened.
#[derive(Clone, Debug)]
pub(crate) struct Placement(Arc<[PlacedFile]>);

#[derive(Debug)]
struct PlacedFile {
    path: PathBuf,
    identity: FileIdentity,
}

/// The device and the inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity(u64, u64);

impl FileIdentity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self(metadata.dev(), metadata.ino()))
    }
}

impl Placement {
    /// Returns the files of a store that is open for writing: the database, its WAL and its lock.
    ///
    /// # Errors
    /// One of them is not there.
    pub(crate) fn of(files: &Files) -> Result<Self, StoreError> {
        let wal = files.wal();
        let wal = wal.map_err(|error| displaced(&files.database, &error.to_string()))?;
        let place = |path: PathBuf| match FileIdentity::of(&path) {
            Ok(identity) => Ok(PlacedFile { path, identity }),
            Err(error) => Err(displaced(&path, &error.to_string())),
        };
        let (database, lock) = (files.database.clone(), files.lock.clone());
        Ok(Self(Arc::new([place(database)?, place(wal)?, place(lock)?])))
    }

    /// Checks that the paths still name the files that were opened.
    ///
    /// # Errors
    /// One of the files was deleted, moved or replaced.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for PlacedFile { path, identity } in &*self.0 {
            match FileIdentity::of(path) {
                Ok(found) if found == *identity => {}
                Ok(_) => return Err(displaced(path, "another file is in its place")),
                Err(error) => return Err(displaced(path, &error.to_string())),
            }
        }
        Ok(())
    }
}

fn displaced(path: &Path, problem: &str) -> StoreError {
    StoreError::Unavailable(format!(
        "{} is not the file any more that the gate opened ({problem}); stop the gate, put the file or a backup in its \
         place (a lock file needs none), and start it",
        path.display()
    ))
}
