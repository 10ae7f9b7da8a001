//! How many requests of a fixed window are spent? A window is aligned to the clock (UTC). The value of a bucket is then the end
//! of its window and a count, in one number.

use crate::limit::bucket::Level;
use crate::limit::bucket::Mode;
use crate::limit::bucket::SpentRequest;
use crate::model::clock::Now;
use crate::model::plan::Quota;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A [`Quota`] of which nothing refills before the window ends. A window begins at each multiple of the period since
/// 1970-01-01T00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedQuota {
    requests: NonZeroU32,
    period_secs: u64,
}

/// Marks a count, which the refill time of another bucket would reach after 292 years of running. A refilling quota reads
/// a count as debt that it cuts, because it is more than any burst.
const COUNT: u64 = 1 << 63;
/// The bits of the end of a window, in seconds since 1970: differences of less than 34 years are unambiguous.
const END_MASK: u64 = (1 << 31) - 1;
const NANOS_PER_SEC: u64 = 1_000_000_000;
/// The wall clock is read in milliseconds, so a smaller difference is no step of the clock.
const STEP_NANOS_MIN: u64 = 1_000_000;

/// The requests spent in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WindowCount {
    end_secs: u64,
    spent: u32,
}

impl WindowCount {
    const fn write(self) -> u64 {
        COUNT | (self.end_secs & END_MASK) << 32 | self.spent as u64
    }

    /// Reads a count; `None` where the window has ended or `bucket` holds no count.
    const fn read(bucket: u64, utc_secs: u64) -> Option<Self> {
        let ahead = (bucket >> 32).wrapping_sub(utc_secs) & END_MASK;
        if bucket & COUNT == 0 || ahead == 0 || ahead > END_MASK / 2 {
            return None;
        }
        Some(Self {
            end_secs: utc_secs.saturating_add(ahead),
            spent: bucket as u32,
        })
    }
}

/// Returns the requests that `bucket` counts; `None` where it holds no count but the time at which it is full.
pub(super) const fn spent_of(bucket: u64) -> Option<u32> {
    if bucket & COUNT == 0 { None } else { Some(bucket as u32) }
}

/// Returns whether `bucket` holds a count of a window that has ended at `utc`, in nanoseconds; `None` where it holds no
/// count.
pub(super) const fn has_ended(bucket: u64, utc: u64) -> Option<bool> {
    if bucket & COUNT == 0 {
        return None;
    }
    Some(WindowCount::read(bucket, utc / NANOS_PER_SEC).is_none())
}

impl FixedQuota {
    pub fn compile(quota: &Quota) -> Self {
        Self {
            requests: quota.requests,
            period_secs: quota.period.as_secs().max(1),
        }
    }

    /// Returns the requests per window.
    pub const fn requests(&self) -> u32 {
        self.requests.get()
    }

    /// Returns the length of a window in seconds.
    pub const fn period_secs(&self) -> u64 {
        self.period_secs
    }

    /// Returns the count of `bucket` in the window of `utc`. A count of a longer window, or the debt of a quota that
    /// refills, is from before a reload: it stays spent, in this window.
    fn count(&self, bucket: u64, utc: u64, tick: u64) -> WindowCount {
        let utc_secs = utc / NANOS_PER_SEC;
        let end_secs = (utc_secs / self.period_secs)
            .saturating_add(1)
            .saturating_mul(self.period_secs);
        let requests = self.requests.get();
        let spent = match (spent_of(bucket), WindowCount::read(bucket, utc_secs)) {
            // Another thread, with a later reading of the clock, counts in the next window. Its count must not be lost.
            (Some(_), Some(next)) if next.end_secs > end_secs && next.end_secs - end_secs <= self.period_secs => {
                return next;
            }
            (Some(_), Some(count)) => count.spent.min(requests),
            (Some(_), None) => 0,
            (None, _) => {
                let interval = (self.period_secs.saturating_mul(NANOS_PER_SEC) / u64::from(requests)).max(1);
                let debt = bucket.saturating_sub(tick).div_ceil(interval);
                u32::try_from(debt).unwrap_or(u32::MAX).min(requests)
            }
        };
        WindowCount { end_secs, spent }
    }

    /// Spends one request of the bucket whose value is `bucket`.
    ///
    /// # Errors
    /// The quota of the window is spent: the time until the window ends.
    fn spend(&self, bucket: u64, utc: u64, tick: u64) -> Result<SpentRequest, Duration> {
        let count = self.count(bucket, utc, tick);
        let end_in = Duration::from_nanos(count.end_secs.saturating_mul(NANOS_PER_SEC).saturating_sub(utc));
        let remaining = self.requests.get().saturating_sub(count.spent).checked_sub(1);
        let remaining = remaining.ok_or(end_in)?;
        let spent = count.spent.saturating_add(1);
        Ok(SpentRequest {
            level: Level {
                remaining,
                refill_after: end_in,
            },
            value: WindowCount { spent, ..count }.write(),
        })
    }
}

/// Returns the outcome of a request that is spent from `bucket`, or would be. `utc` and `tick` are nanoseconds.
///
/// # Errors
/// The quota of the window is spent: the time until the window ends. A nanosecond less is not enough.
pub(super) fn measure(
    bucket: &AtomicU64,
    quota: &FixedQuota,
    utc: u64,
    tick: u64,
    mode: Mode,
) -> Result<SpentRequest, Duration> {
    let mut value = bucket.load(Ordering::Acquire);
    loop {
        let spent = quota.spend(value, utc, tick)?;
        match mode {
            Mode::Peek => return Ok(spent),
            Mode::Spend => {}
        }
        match bucket.compare_exchange_weak(value, spent.value, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(spent),
            Err(changed) => value = changed,
        }
    }
}

/// Refunds a request, unless its window has ended.
pub(super) fn refund(bucket: &AtomicU64, spent: SpentRequest) {
    // On failure, the bucket counts in another window: no refund.
    let _ = bucket.fetch_update(Ordering::AcqRel, Ordering::Acquire, |value| {
        let is_same_window = value >> 32 == spent.value >> 32;
        (is_same_window && value as u32 > 0).then(|| value - 1)
    });
}

/// Returns the nanoseconds from 1970 to tick zero by a reading of both clocks, where `known` is the last result.
///
/// The result never gets smaller. A wall clock that is set forward takes the windows with it. One that is set back does
/// not, because the quota of a window would be given twice, or a client would wait for longer than a window; the windows
/// keep their length, and are aligned again after a restart.
pub(super) fn utc_offset(now: Now, known: u64) -> u64 {
    let wall = now.wall.as_unix_millis().saturating_mul(1_000_000);
    let seen = wall.saturating_sub(now.tick.as_nanos());
    if seen >= known.saturating_add(STEP_NANOS_MIN) {
        seen
    } else {
        known
    }
}
