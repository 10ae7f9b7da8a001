//! How long does a replaced credential stay valid beside its successor?
//! Not at all, or a requested time of at most a day.

use crate::model::clock::Timestamp;
use std::time::Duration;

/// A grace period of zero to 24 hours. Meanwhile a leaked credential still works, so a grace period must be requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Grace(Duration);

/// Why a grace period is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a grace is at most 24 hours")]
pub struct GraceTooLong;

impl Grace {
    /// The replaced credential is refused at once.
    pub const NONE: Self = Self(Duration::ZERO);
    pub const MAX: Self = Self(Duration::from_secs(86_400));

    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Returns whether a grace period that was begun by `now` may end at `at`. A later end is from when the clock was ahead.
    pub fn may_end_at(at: Timestamp, now: Timestamp) -> bool {
        at <= now.saturating_add(Self::MAX.0)
    }

    pub const fn is_none(self) -> bool {
        self.0.is_zero()
    }
}

impl TryFrom<Duration> for Grace {
    type Error = GraceTooLong;

    fn try_from(duration: Duration) -> Result<Self, GraceTooLong> {
        if duration <= Self::MAX.0 {
            Ok(Self(duration))
        } else {
            Err(GraceTooLong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_is_at_most_twenty_four_hours() {
        let day = Duration::from_secs(86_400);
        assert_eq!(Grace::try_from(Duration::ZERO), Ok(Grace::NONE));
        assert_eq!(Grace::try_from(day), Ok(Grace::MAX));
        assert_eq!(Grace::try_from(day + Duration::from_millis(1)), Err(GraceTooLong));
        assert_eq!(Grace::try_from(Duration::MAX), Err(GraceTooLong));
        assert!(Grace::default().is_none() && !Grace::MAX.is_none());
    }
}
