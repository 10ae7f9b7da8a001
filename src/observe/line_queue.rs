//! How are log lines and access records written without delaying the thread that has them? Each output has a bounded
//! queue and a thread that writes it.

use prometheus::IntCounter;
use std::io;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// Writes lines to one output on its own thread. [`Self::push`] only copies a line into memory. Lines are dropped and
/// counted if the output is too slow, or gone.
#[derive(Debug)]
pub struct LineQueue {
    shared: Arc<SharedQueue>,
    dropped: IntCounter,
}

/// The time for which the thread gathers lines. Waking the thread costs a request a system call and a thread switch, so
/// one wake-up must serve many requests.
const GATHER: Duration = Duration::from_millis(5);

/// The maximum number of pending bytes.
const PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug)]
struct SharedQueue {
    queue: Mutex<Queue>,
    /// Signals that lines are pending, or that the queue is closed.
    changed: Condvar,
    /// Signals that no line is pending or being written.
    idle: Condvar,
    pending_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Queue {
    pending: Vec<u8>,
    lines: u64,
    writing: bool,
    closed: bool,
}

impl LineQueue {
    /// Starts the writing thread, which is called `name`. Counts in `dropped` the lines that exceed
    /// [`PENDING_BYTES_MAX`] or that `out` rejects.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(name: &str, out: impl io::Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        Self::start_bounded(name, out, dropped, PENDING_BYTES_MAX)
    }

    pub(in crate::observe) fn start_bounded(
        name: &str,
        out: impl io::Write + Send + 'static,
        dropped: IntCounter,
        pending_bytes_max: usize,
    ) -> io::Result<Self> {
        let shared = Arc::new(SharedQueue {
            queue: Mutex::default(),
            changed: Condvar::new(),
            idle: Condvar::new(),
            pending_bytes_max,
        });
        let (writer, lost) = (shared.clone(), dropped.clone());
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || writer.write_until_closed(out, &lost))?;
        Ok(Self { shared, dropped })
    }

    /// Queues `line`, which ends with its line break, or drops it if too many bytes are pending. Never waits for the
    /// output.
    pub fn push(&self, line: &[u8]) {
        if !self.shared.push(line) {
            self.dropped.inc();
        }
    }

    /// Waits until no line is pending, but at most `patience`. Returns `false` if that time has passed.
    pub fn flush(&self, patience: Duration) -> bool {
        let busy = |queue: &mut Queue| queue.writing || !queue.pending.is_empty();
        let waited = self.shared.idle.wait_timeout_while(self.shared.lock(), patience, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for LineQueue {
    /// Tells the thread to write the pending lines and end. Does not wait for the thread: the output may block forever.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl SharedQueue {
    fn push(&self, line: &[u8]) -> bool {
        let mut queue = self.lock();
        if queue.pending.len() + line.len() > self.pending_bytes_max {
            return false;
        }
        let writer_waits = queue.pending.is_empty() && !queue.writing;
        queue.pending.extend_from_slice(line);
        queue.lines += 1;
        drop(queue);
        // A writer that writes or gathers finds new lines without a signal.
        if writer_waits {
            self.changed.notify_one();
        }
        true
    }

    fn write_until_closed(&self, mut out: impl io::Write, lost: &IntCounter) {
        // Swap two buffers, so that no side allocates once both have grown.
        let mut batch = Vec::new();
        loop {
            let lines = {
                let mut queue = self.lock();
                queue.writing = false;
                while queue.pending.is_empty() {
                    self.idle.notify_all();
                    if queue.closed {
                        return;
                    }
                    queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                // Wait for the full time unless the queue is closed: `push` does not signal a writer that gathers.
                let gathering = |queue: &mut Queue| !queue.closed;
                let gathered = self.changed.wait_timeout_while(queue, GATHER, gathering);
                queue = gathered.unwrap_or_else(PoisonError::into_inner).0;
                queue.writing = true;
                std::mem::swap(&mut queue.pending, &mut batch);
                std::mem::take(&mut queue.lines)
            };
            // Report the error in the counter only: the output is broken. The next batch may succeed.
            if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
                lost.inc_by(lines);
            }
            batch.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No critical section panics. After a panic, the bytes and counters would still be valid.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
