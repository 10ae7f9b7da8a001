//! How is the log's file written? Lines are appended, and synced before they are acknowledged, many at once.

use crate::model::replacement::Replacement;
use crate::model::replacement::sync_folder_of;
use crate::store::StoreError;
use crate::store::revocations::entry::Entry;
use rustix::fs::FallocateFlags;
use rustix::fs::fallocate;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use tokio::sync::oneshot;

/// The number of outdated lines that the file may have without a rewrite.
const OUTDATED_LINES: usize = 1_000;

/// The room on the disk that is taken ahead: some hundred revocations can be written while the disk is full.
const RESERVED_BYTES: u64 = 64 * 1024;

/// A request to the thread: a text to append, or the new content of the entire file.
struct Request {
    text: String,
    /// The number of lines in `text`.
    lines: usize,
    /// `true` if `text` replaces the file.
    whole: bool,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

/// The handle of the thread that writes the file and waits for the disk, so that no task has to.
#[derive(Debug)]
pub(crate) struct LogFile {
    requests: mpsc::Sender<Request>,
    state: Arc<FileState>,
}

/// The facts about the file that the thread keeps up to date.
#[derive(Debug, Default)]
struct FileState {
    /// The number of lines in the file.
    lines: AtomicUsize,
    /// `true` after the file was found deleted or replaced: entries that were on disk are then missing from the path.
    is_displaced: AtomicBool,
}

/// A write that the thread has not acknowledged yet.
pub(crate) struct PendingWrite(oneshot::Receiver<Result<(), StoreError>>);

impl PendingWrite {
    /// Waits until the write is on disk.
    pub(crate) async fn wait(self) -> Result<(), StoreError> {
        let gone = || StoreError::Unavailable("the log of revocations is closed".to_owned());
        self.0.await.map_err(|_| gone())?
    }
}

impl LogFile {
    /// Opens the file, and returns its entries.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Entry>), StoreError> {
        let mut file = Lines::open(path)?;
        let (entries, complete) = parse(path, &file.read()?)?;
        // Cut off a partial line, so that the next one does not continue it.
        file.truncate(complete)?;
        file.reserve();
        let state = Arc::new(FileState {
            lines: AtomicUsize::new(entries.len()),
            ..FileState::default()
        });
        let (requests, receiver) = mpsc::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("revocations".to_owned());
        let started = thread.spawn(move || run(&receiver, file, &shared));
        started.map_err(|error| StoreError::Unavailable(format!("no thread for {}: {error}", path.display())))?;
        Ok((Self { requests, state }, entries))
    }

    /// Returns a file on a disk that hangs until the second value is dropped.
    #[cfg(test)]
    pub(crate) fn that_hangs() -> (Self, impl Sized) {
        let (requests, receiver) = mpsc::channel();
        let state = Arc::default();
        (Self { requests, state }, receiver)
    }

    pub(crate) fn append(&self, entries: &[Entry]) -> PendingWrite {
        self.send(entries, false)
    }

    pub(crate) fn rewrite(&self, entries: Vec<Entry>) -> PendingWrite {
        self.send(&entries, true)
    }

    /// Returns whether the file was deleted or replaced, so that only [`Self::rewrite`] puts every entry at its path again.
    pub(crate) fn is_displaced(&self) -> bool {
        self.state.is_displaced.load(Ordering::Relaxed)
    }

    /// Returns whether more than [`OUTDATED_LINES`] and more than half of the lines are outdated, if `live` are not.
    pub(crate) fn is_worth_rewriting(&self, live: usize) -> bool {
        let lines = self.state.lines.load(Ordering::Relaxed);
        lines.saturating_sub(live) > OUTDATED_LINES.max(live)
    }

    fn send(&self, entries: &[Entry], whole: bool) -> PendingWrite {
        let mut text = String::new();
        for entry in entries {
            text.push_str(&serde_json::to_string(entry).expect("an entry is texts and numbers"));
            text.push('\n');
        }
        let (reply, receiver) = oneshot::channel();
        // If the thread has ended, `reply` is dropped with the request, and the waiting caller gets an error.
        let _ = self.requests.send(Request {
            text,
            lines: entries.len(),
            whole,
            reply,
        });
        PendingWrite(receiver)
    }
}

/// Returns the entries of the file at `path`; none if there is no file.
pub(crate) fn entries(path: &Path) -> Result<Vec<Entry>, StoreError> {
    match std::fs::read(path) {
        Ok(text) => parse(path, &text).map(|(entries, _)| entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::Unavailable(format!(
            "cannot read {}: {error}",
            path.display()
        ))),
    }
}

/// Returns the entries of complete lines, and the length of these lines in bytes.
fn parse(path: &Path, text: &[u8]) -> Result<(Vec<Entry>, usize), StoreError> {
    let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines = text[..complete].split_inclusive(|byte| *byte == b'\n').enumerate();
    let entries = lines.map(|(index, line)| {
        serde_json::from_slice(line).map_err(|error| StoreError::Unreadable {
            what: format!("line {} of {}", index + 1, path.display()),
            problem: format!("{error}; without it something that was revoked could count again"),
        })
    });
    Ok((entries.collect::<Result<_, _>>()?, complete))
}

fn run(requests: &mpsc::Receiver<Request>, mut file: Lines, state: &FileState) {
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        // A rewrite is not combined with other requests.
        while !group.last().is_some_and(|request| request.whole) {
            match requests.try_recv() {
                Ok(next) if next.whole => {
                    write_group(&mut file, group, state);
                    group = vec![next];
                }
                Ok(next) => group.push(next),
                Err(_) => break,
            }
        }
        write_group(&mut file, group, state);
    }
}

fn write_group(file: &mut Lines, group: Vec<Request>, state: &FileState) {
    let whole = group.iter().any(|request| request.whole);
    let text: String = group.iter().map(|request| request.text.as_str()).collect();
    let written = if whole { file.rewrite(&text) } else { file.append(&text) };
    let path = file.path.display();
    match &written {
        Ok(()) => {
            let added = group.iter().map(|request| request.lines).sum();
            if whole {
                state.lines.store(added, Ordering::Relaxed);
                state.is_displaced.store(false, Ordering::Relaxed);
            } else {
                state.lines.fetch_add(added, Ordering::Relaxed);
            }
            if file.has_failed {
                tracing::info!(%path, "Log of revocations can be written again");
            }
        }
        Err(error) => {
            if error.kind() == io::ErrorKind::NotFound {
                state.is_displaced.store(true, Ordering::Relaxed);
            }
            // Once, not at every attempt.
            if !file.has_failed {
                tracing::error!(%path, %error, "Log of revocations cannot be written");
            }
        }
    }
    file.has_failed = written.is_err();
    for request in group {
        let result = written.as_ref().copied().map_err(|error| file.failed(error));
        let _ = request.reply.send(result);
    }
}

/// The open file, on the thread.
struct Lines {
    path: PathBuf,
    file: File,
    /// The length of the complete lines in bytes; anything after them was not acknowledged.
    complete: u64,
    /// The length up to which the file has room on the disk.
    reserved: u64,
    /// `true` if the last write failed.
    has_failed: bool,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let cannot = |error: io::Error| StoreError::Unavailable(format!("cannot open {}: {error}", path.display()));
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(cannot)?;
        file.set_permissions(Permissions::from_mode(0o600)).map_err(cannot)?;
        sync_folder_of(path).map_err(cannot)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            complete: 0,
            reserved: 0,
            has_failed: false,
        })
    }

    fn read(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut text = Vec::new();
        let read = self.file.read_to_end(&mut text);
        read.map(|_| text).map_err(|error| self.failed(&error))
    }

    /// Removes everything after the first `complete` bytes.
    fn truncate(&mut self, complete: usize) -> Result<(), StoreError> {
        self.complete = complete as u64;
        let truncated = self.file.set_len(self.complete).and_then(|()| self.file.sync_all());
        truncated.map_err(|error| self.failed(&error))
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        // A deleted file can still be written, but is lost with the process. `NotFound` also where the path has another file.
        let at_path = std::fs::metadata(&self.path)?;
        if (at_path.dev(), at_path.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another file is in its place"));
        }
        if metadata.len() != self.complete {
            // Remove the part that a failed write left behind.
            self.file.set_len(self.complete)?;
        }
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()?;
        self.complete += text.len() as u64;
        self.reserve();
        Ok(())
    }

    /// Takes room on the disk ahead, once half of it is used. Where the file system cannot, or has none left, the next
    /// revocations may find no room.
    fn reserve(&mut self) {
        if self.reserved < self.complete + RESERVED_BYTES / 2 {
            let until = self.complete + RESERVED_BYTES;
            if fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, until).is_ok() {
                self.reserved = until;
            }
        }
    }

    /// Replaces the file by a new one with this content. The new file is complete before it takes the place of the old.
    fn rewrite(&mut self, text: &str) -> io::Result<()> {
        self.file = Replacement::create(&self.path, 0o600)?.finish(text.as_bytes())?;
        self.complete = text.len() as u64;
        self.reserved = 0;
        self.reserve();
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> StoreError {
        StoreError::Unavailable(format!("cannot write {}: {error}", self.path.display()))
    }
}
