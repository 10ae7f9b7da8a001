//! How much may be used? A quota: so many requests per period, with so much burst.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// So many requests per `period`, refilled evenly (GCRA), at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    pub requests: NonZeroU32,
    pub period: Duration,
    pub burst: NonZeroU32,
}

/// `500/min, burst 50`.
impl fmt::Display for Quota {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/", self.requests)?;
        match self.period.as_secs() {
            1 => out.write_str("s")?,
            60 => out.write_str("min")?,
            3_600 => out.write_str("hour")?,
            86_400 => out.write_str("day")?,
            2_592_000 => out.write_str("month")?,
            _ => write!(out, "{:?}", self.period)?,
        }
        write!(out, ", burst {}", self.burst)
    }
}
