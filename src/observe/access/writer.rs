//! How does an access record become a line of the access log?

use crate::observe::access::AccessRecord;
use crate::observe::access::line::Second;
use crate::observe::line_queue::LineQueue;
use crate::observe::log::Format;
use prometheus::IntCounter;
use std::cell::RefCell;
use std::io;
use std::time::Duration;

/// Writes access records to one output through a [`LineQueue`], so that a request only formats its record.
#[derive(Debug)]
pub struct AccessLog {
    lines: LineQueue,
    format: Format,
}

/// The name of the writing thread.
const THREAD: &str = "access-log";

impl AccessLog {
    /// Starts the writing thread. Counts the records that are not written in `dropped`.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(out: impl io::Write + Send + 'static, format: Format, dropped: IntCounter) -> io::Result<Self> {
        let lines = LineQueue::start(THREAD, out, dropped)?;
        Ok(Self { lines, format })
    }

    #[cfg(test)]
    pub(in crate::observe::access) fn start_bounded(
        out: impl io::Write + Send + 'static,
        format: Format,
        dropped: IntCounter,
        pending_bytes_max: usize,
    ) -> io::Result<Self> {
        let lines = LineQueue::start_bounded(THREAD, out, dropped, pending_bytes_max)?;
        Ok(Self { lines, format })
    }

    /// Queues one record, or drops it if too many bytes are pending. Never waits for the output.
    pub fn write(&self, record: &AccessRecord<'_>) {
        thread_local! {
            static LINE: RefCell<(Vec<u8>, Second)> = RefCell::default();
        }
        LINE.with_borrow_mut(|(line, second)| {
            line.clear();
            record.push_line(line, self.format, second);
            self.lines.push(line);
        });
    }

    /// Waits until no record is pending, but at most `patience`. Returns `false` if that time has passed.
    pub fn flush(&self, patience: Duration) -> bool {
        self.lines.flush(patience)
    }
}
