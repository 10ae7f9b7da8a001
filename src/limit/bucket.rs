//! What does a request leave in a bucket? A bucket is one number, whose meaning the kind of the quota decides.

use std::time::Duration;

/// The level of a bucket after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The number of requests that could be made now, all at once.
    pub remaining: u32,
    /// The time until `remaining + 1` requests could be made at once.
    pub refill_after: Duration,
}

/// A spent request that can be refunded.
#[derive(Clone, Copy, Debug)]
pub struct SpentRequest {
    pub level: Level,
    /// The value of the bucket after the request.
    pub(super) value: u64,
}

/// The treatment of a bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Peek,
    Spend,
}
