//! Can a store be written, and how long do its writes take?

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// The state of the writes of a store since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteHealth {
    /// Why the last transaction failed, or why the next one would; `None` while the store can be written.
    pub problem: Option<String>,
    /// The number of transactions on disk, and the sum of their durations.
    pub commits: u64,
    pub commit_time: Duration,
    /// The number of transactions that failed.
    pub failures: u64,
    /// The number of writes that wait for their transaction.
    pub waiting: usize,
}

/// The [`WriteHealth`] that a writer records and others read.
#[derive(Debug, Default)]
pub(crate) struct WriteRecorder(Mutex<WriteHealth>);

impl WriteRecorder {
    /// Records a transaction on disk. Returns whether the one before had failed.
    pub(crate) fn succeed(&self, duration: Duration) -> bool {
        let mut health = self.lock();
        health.commits += 1;
        health.commit_time += duration;
        health.problem.take().is_some()
    }

    /// Records a transaction that failed. Returns whether the one before had succeeded.
    pub(crate) fn fail(&self, problem: String) -> bool {
        let mut health = self.lock();
        health.failures += 1;
        health.problem.replace(problem).is_none()
    }

    pub(crate) fn read(&self) -> WriteHealth {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, WriteHealth> {
        // Each change is a few assignments, so the state is consistent even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
