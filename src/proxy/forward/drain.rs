//! How much of a request body is read and dropped after an answer?

use std::time::Duration;

/// The largest request body in bytes that is read and dropped after an answer, so that the connection persists.
pub const BYTES_MAX: u64 = 64 * 1024;
/// The time in which such a body has to arrive.
pub const TIMEOUT: Duration = Duration::from_secs(2);
