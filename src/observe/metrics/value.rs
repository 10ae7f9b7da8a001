//! How are counts and times written as gauge values?

use crate::model::clock::Timestamp;

/// Returns `count` as a gauge takes it, at most [`i64::MAX`].
pub(super) fn count(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Returns the seconds since 1970 that `time` is.
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_unix_millis() as f64 / 1000.0
}
