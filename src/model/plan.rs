//! How much may be used? A quota: so many requests per period, with so much burst.

use std::num::NonZeroU32;
use std::time::Duration;

/// So many requests per `period`, refilled evenly (GCRA), at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    pub requests: NonZeroU32,
    pub period: Duration,
    pub burst: NonZeroU32,
}
