//! How is a file replaced so that a crash or a power cut leaves either the old content or the new, never a part?

use std::ffi::OsStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

/// A new file that replaces the file at `path` once its content is complete.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    /// The path of the new file until then, in the same folder.
    staged: PathBuf,
    file: File,
}

impl Replacement {
    /// Creates an empty file beside `path`, with the permission bits `mode` from the start. Removes the leftover of a
    /// failed attempt: the caller ensures that no other process replaces `path` at the same time.
    ///
    /// # Errors
    /// An I/O error of the system.
    pub fn create(path: &Path, mode: u32) -> io::Result<Self> {
        Self::create_as(path, "new", mode)
    }

    /// Creates an empty file for a `path` that several processes may
    /// replace at the same time. Each process has a new file of its own.
    ///
    /// # Errors
    /// An I/O error of the system.
    pub fn create_shared(path: &Path, mode: u32) -> io::Result<Self> {
        Self::create_as(path, &format!("{}.new", std::process::id()), mode)
    }

    fn create_as(path: &Path, ending: &str, mode: u32) -> io::Result<Self> {
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let mut staged = OsStr::new(".").to_owned();
        staged.push(name);
        staged.push(".");
        staged.push(ending);
        let staged = path.with_file_name(staged);
        remove_if_there(&staged)?;
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .append(true)
            .create_new(true)
            .mode(mode)
            .open(&staged)?;
        Ok(Self {
            path: path.to_owned(),
            staged,
            file,
        })
    }

    /// Returns the new file, so that the caller can set its owner.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Writes `content` to disk, moves the file into place, and returns it open for appending.
    ///
    /// # Errors
    /// An I/O error of the system; `path` then has its old content, unless only the sync of the folder failed.
    pub fn finish(mut self, content: &[u8]) -> io::Result<File> {
        self.file.write_all(content)?;
        self.file.sync_all()?;
        std::fs::rename(&self.staged, &self.path)?;
        sync_folder_of(&self.path)?;
        Ok(self.file)
    }
}

/// Replaces the file at `path`, or creates it, with the permission bits `mode`. See [`Replacement::create`].
///
/// # Errors
/// An I/O error of the system.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    Replacement::create(path, mode)?.finish(content).map(drop)
}

/// Removes the file at `path`, if there is one.
///
/// # Errors
/// An I/O error of the system.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Syncs the folder of `path` to disk: without it, a power cut could lose the new name of the file.
///
/// # Errors
/// An I/O error of the system.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_old_content_stays_until_the_new_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.yaml");
        replace(&path, b"old", 0o600).unwrap();
        let replacement = Replacement::create(&path, 0o640).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let mut file = replacement.finish(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        file.write_all(b"er").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"newer");
        assert_eq!(names(folder.path()), ["keys.yaml"]);
    }

    #[test]
    fn a_leftover_temporary_file_does_not_block_a_replacement() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        // Dropped before it is finished, as if the process had died.
        for replacement in [
            Replacement::create(&path, 0o600),
            Replacement::create_shared(&path, 0o600),
        ] {
            drop(replacement.unwrap());
        }
        assert_eq!(names(folder.path()).len(), 2);
        replace(&path, b"whole", 0o600).unwrap();
        Replacement::create_shared(&path, 0o600)
            .unwrap()
            .finish(b"again")
            .unwrap();
        assert_eq!(names(folder.path()), ["a"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"again");
    }

    #[test]
    fn processes_that_share_a_folder_write_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let shared = Replacement::create_shared(&path, 0o600).unwrap();
        replace(&path, b"another process", 0o600).unwrap();
        shared.finish(b"this process").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"this process");
    }

    #[test]
    fn a_failure_leaves_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&path, b"old", 0o600).unwrap();
        std::fs::create_dir(folder.path().join(".a.new")).unwrap();
        assert!(replace(&path, b"new", 0o600).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
}
