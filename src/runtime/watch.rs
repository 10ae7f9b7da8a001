//! Has a file changed? Compares fingerprints at intervals, because notifications miss changes: editors replace files,
//! Kubernetes swaps a symbolic link within the path, and network file systems send no notifications.

use crate::config::Includes;
use crate::fetch::file::Fingerprint;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// The interval at which files are checked.
pub const CHECK_INTERVAL: Duration = Duration::from_millis(250);

fn fingerprint(path: &Path) -> Option<Fingerprint> {
    // `metadata` follows symbolic links, as reading the file does. A pipe has no content to compare.
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(Fingerprint::of(&metadata))
}

/// A set of files and their last fingerprints.
#[derive(Debug, Default)]
pub struct WatchedFiles {
    files: Vec<WatchedFile>,
    included: Option<IncludedFiles>,
}

#[derive(Debug)]
struct WatchedFile {
    path: PathBuf,
    /// `None` if there was no file.
    last: Option<Fingerprint>,
    /// `true` if the file is in `last` and was missing in the previous check.
    vanished: bool,
    change: Change,
}

/// A change of a file that is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Content,
    /// The file appears or disappears.
    Presence,
}

/// The files that match the includes. A file that appears or disappears is a change too.
#[derive(Debug)]
struct IncludedFiles {
    includes: Includes,
    last: Vec<PathBuf>,
    /// The files of the previous check, if some of `last` were missing in that check.
    shrunk: Option<Vec<PathBuf>>,
}

impl WatchedFiles {
    #[cfg(test)]
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut watched = Self::default();
        watched.add(paths);
        watched
    }

    /// Adds `paths` with their current fingerprints.
    pub fn add(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let files = paths.into_iter().map(|path| WatchedFile::new(path, Change::Content));
        self.files.extend(files);
    }

    /// Adds `path`, whose content another task watches: it changes when it appears or disappears.
    pub fn add_presence(&mut self, path: PathBuf) {
        self.files.push(WatchedFile::new(path, Change::Presence));
    }

    /// Adds the files `matched`, which match `includes` now, and watches for other matches.
    pub fn include(&mut self, includes: &Includes, matched: &[PathBuf]) {
        self.add(matched.to_vec());
        self.included = Some(IncludedFiles {
            includes: includes.clone(),
            last: matched.to_vec(),
            shrunk: None,
        });
    }

    /// Returns whether a file has changed since the last check. A removed file is a change when it is missing in two
    /// consecutive checks, because some editors remove a file before they write its new content.
    pub fn changed(&mut self) -> bool {
        let mut changed = self.included.as_mut().is_some_and(IncludedFiles::changed);
        for file in &mut self.files {
            changed |= file.changed();
        }
        changed
    }
}

impl WatchedFile {
    fn new(path: PathBuf, change: Change) -> Self {
        Self {
            last: fingerprint(&path),
            vanished: false,
            path,
            change,
        }
    }

    fn changed(&mut self) -> bool {
        let current = fingerprint(&self.path);
        let appeared = current.is_some() && self.last.is_none();
        let changed = match current {
            None if self.last.is_some() && !self.vanished => {
                self.vanished = true;
                return false;
            }
            None => self.last.is_some(),
            Some(_) => appeared || (self.change == Change::Content && current != self.last),
        };
        self.last = current;
        self.vanished = false;
        changed
    }
}

impl IncludedFiles {
    fn changed(&mut self) -> bool {
        let files = self.includes.files();
        if files == self.last {
            self.shrunk = None;
            return false;
        }
        let is_subset = files.iter().all(|file| self.last.contains(file));
        if is_subset && self.shrunk.as_ref() != Some(&files) {
            self.shrunk = Some(files);
            return false;
        }
        self.last = files;
        self.shrunk = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaced_or_rewritten_has_changed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut watched = WatchedFiles::new([path.clone()]);
        assert!(!watched.changed());
        std::fs::write(&path, "longer").unwrap();
        assert!(watched.changed());
        assert!(!watched.changed());
        let other = folder.path().join("b.yaml");
        std::fs::write(&other, "secret").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(watched.changed(), "same length, another file");
    }

    #[test]
    fn a_file_that_is_gone_for_a_moment_has_changed_when_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut watched = WatchedFiles::new([path.clone()]);
        std::fs::remove_file(&path).unwrap();
        assert!(!watched.changed());
        std::fs::write(&path, "other").unwrap();
        assert!(watched.changed());
    }

    #[test]
    fn a_removed_file_has_changed_once_at_the_second_check() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut watched = WatchedFiles::new([path.clone()]);
        std::fs::remove_file(&path).unwrap();
        let checks: Vec<bool> = (0..4).map(|_| watched.changed()).collect();
        assert_eq!(checks, [false, true, false, false]);
        std::fs::write(&path, "one").unwrap();
        assert!(watched.changed(), "it is back");
        assert!(!watched.changed());
    }

    #[test]
    fn a_file_that_was_never_there_has_changed_when_it_appears() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        let mut watched = WatchedFiles::new([path.clone()]);
        assert!(!watched.changed() && !watched.changed() && !watched.changed());
        std::fs::write(&path, "one").unwrap();
        assert!(watched.changed());
    }

    #[test]
    fn a_file_of_another_task_has_changed_when_it_disappears_or_appears() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        std::fs::write(&path, "one").unwrap();
        let mut watched = WatchedFiles::default();
        watched.add_presence(path.clone());
        std::fs::write(&path, "longer").unwrap();
        assert!(!watched.changed());
        std::fs::remove_file(&path).unwrap();
        assert!(!watched.changed());
        assert!(watched.changed());
        std::fs::write(&path, "one").unwrap();
        assert!(watched.changed());
    }

    #[test]
    fn a_swapped_symbolic_link_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new, link) = (
            folder.path().join("1"),
            folder.path().join("2"),
            folder.path().join("link"),
        );
        std::fs::write(&old, "same").unwrap();
        std::fs::write(&new, "same").unwrap();
        std::os::unix::fs::symlink(&old, &link).unwrap();
        let mut watched = WatchedFiles::new([link.clone()]);
        let staged = folder.path().join("staged");
        std::os::unix::fs::symlink(&new, &staged).unwrap();
        std::fs::rename(&staged, &link).unwrap();
        assert!(watched.changed());
    }
}
