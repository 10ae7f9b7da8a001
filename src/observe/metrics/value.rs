//! How are counts and times converted to gauge values?

use crate::model::clock::Timestamp;

/// Returns `count` as a gauge value, at most [`i64::MAX`].
pub(super) fn count(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Returns `time` in seconds since 1970, with milliseconds as the fraction.
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_unix_millis() as f64 / 1000.0
}
