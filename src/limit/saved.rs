//! How do the buckets of a limit outlive the process? Written with times of the wall clock, because the clock that counts
//! begins anew with each process.

use crate::limit::fixed;
use crate::model::clock::Now;

/// A bucket outside the process that counts in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedBucket {
    /// The bucket key; see [`bucket_key`](crate::limit::key::bucket_key).
    pub key: u128,
    /// The nanoseconds from 1970 to the time at which the bucket is full; or the count of a fixed window, which has its
    /// end in seconds since 1970.
    value: u64,
}

/// The bytes of a bucket: key and value, the first byte first.
const BUCKET_BYTES: usize = 16 + 8;

impl SavedBucket {
    /// Returns the bucket of `key`. The time in `value` is on the clock of this process.
    pub(super) fn save(key: u128, value: u64, now: Now) -> Self {
        let value = match fixed::spent_of(value) {
            Some(_) => value,
            None => value.saturating_add(offset(now)),
        };
        Self { key, value }
    }

    /// Returns the value of the bucket on the clock of this process.
    pub(super) fn restore(self, now: Now) -> u64 {
        match fixed::spent_of(self.value) {
            Some(_) => self.value,
            None => self.value.saturating_sub(offset(now)),
        }
    }
}

/// Returns the nanoseconds from 1970 to tick zero.
fn offset(now: Now) -> u64 {
    let wall = now.wall.as_unix_millis().saturating_mul(1_000_000);
    wall.saturating_sub(now.tick.as_nanos())
}

/// Writes `buckets` one after the other.
pub fn to_bytes(buckets: &[SavedBucket]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(buckets.len() * BUCKET_BYTES);
    for bucket in buckets {
        bytes.extend_from_slice(&bucket.key.to_be_bytes());
        bytes.extend_from_slice(&bucket.value.to_be_bytes());
    }
    bytes
}

/// Reads what [`to_bytes`] wrote; `None` if it did not write `bytes`.
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<SavedBucket>> {
    let (buckets, []) = bytes.as_chunks::<BUCKET_BYTES>() else {
        return None;
    };
    let read = |bucket: &[u8; BUCKET_BYTES]| {
        let (key, value) = bucket.split_first_chunk()?;
        Some(SavedBucket {
            key: u128::from_be_bytes(*key),
            value: u64::from_be_bytes(*value.first_chunk()?),
        })
    };
    buckets.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::LimitState;
    use crate::limit::fixed::FixedQuota;
    use crate::limit::keyed::Buckets;
    use crate::limit::quota::CompiledQuota;
    use crate::limit::quota::LimitQuota;
    use crate::model::clock::Tick;
    use crate::model::clock::Timestamp;
    use crate::model::plan::Quota;
    use std::num::NonZeroU32;
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR: Duration = Duration::from_secs(3_600);
    /// Midnight in UTC.
    const MIDNIGHT: Timestamp = Timestamp::from_unix_secs(20_000 * 86_400);

    fn quotas() -> [LimitQuota; 2] {
        let quota = Quota {
            requests: NonZeroU32::new(4).unwrap(),
            period: DAY,
            burst: NonZeroU32::new(4).unwrap(),
        };
        [
            LimitQuota::Refilling(CompiledQuota::compile(&quota)),
            LimitQuota::Fixed(FixedQuota::compile(&quota)),
        ]
    }

    /// Returns the time `after` midnight, at which the clock of the process is at `tick`.
    fn at(after: Duration, tick: Duration) -> Now {
        Now {
            wall: MIDNIGHT.saturating_add(after),
            tick: Tick::ZERO.saturating_add(tick),
        }
    }

    fn restart(state: &LimitState, saved_at: Now, restored_at: Now) -> LimitState {
        let bytes = to_bytes(&state.saved(saved_at));
        let restored = LimitState::new();
        restored.restore(&from_bytes(&bytes).unwrap(), restored_at);
        restored
    }

    #[test]
    fn requests_of_before_a_restart_stay_spent_for_as_long_as_without_it() {
        for quota in quotas() {
            let state = LimitState::new();
            let before = at(HOUR, Duration::from_secs(7));
            for _ in 0..3 {
                state.spend(&quota, 1, before).unwrap();
            }
            let same = |after: Duration| {
                let restarted = restart(&state, before, at(HOUR, DAY * 400));
                // The other process goes on for as long, so that both have the same time.
                let (here, there) = (
                    at(after, Duration::from_secs(7) + after - HOUR),
                    at(after, DAY * 400 + after - HOUR),
                );
                let expected = state.peek(&quota, 1, here);
                assert_eq!(restarted.peek(&quota, 1, there), expected, "{after:?} {quota:?}");
                expected
            };
            assert_eq!(same(HOUR).unwrap().remaining, 0, "{quota:?}");
            for hours in [5, 7, 24] {
                let _ = same(HOUR * hours);
            }
            assert_eq!(same(DAY + HOUR).unwrap().remaining, 3, "{quota:?}");
        }
    }

    #[test]
    fn a_spent_quota_is_spent_after_a_restart_and_also_after_a_sweep() {
        for quota in quotas() {
            let state = LimitState::new();
            let before = at(HOUR, HOUR);
            while state.spend(&quota, 1, before).is_ok() {}
            let after = at(HOUR + Duration::from_secs(5), Duration::ZERO);
            let restarted = restart(&state, before, after);
            restarted.sweep(after.tick);
            assert_eq!(restarted.len(), 1, "{quota:?}");
            assert!(restarted.spend(&quota, 1, after).is_err(), "{quota:?}");
            assert!(restarted.spend(&quota, 2, after).is_ok(), "{quota:?}");
        }
    }

    #[test]
    fn a_bucket_that_is_full_again_is_neither_saved_nor_restored() {
        for quota in quotas() {
            let state = LimitState::new();
            state.spend(&quota, 1, at(HOUR, HOUR)).unwrap();
            assert_eq!(state.saved(at(HOUR, HOUR)).len(), 1);
            assert_eq!(state.saved(at(DAY + HOUR, DAY + HOUR)).len(), 0, "{quota:?}");
            let restarted = restart(&state, at(HOUR, HOUR), at(DAY * 2, Duration::ZERO));
            assert!(restarted.is_empty(), "{quota:?}");
        }
    }

    #[test]
    fn a_bucket_that_was_used_since_the_start_and_a_full_map_are_left_as_they_are() {
        let [quota, _] = quotas();
        let now = at(HOUR, HOUR);
        let state = LimitState::new();
        for key in 0..3 {
            while state.spend(&quota, key, now).is_ok() {}
        }
        let saved = state.saved(now);
        let used = Buckets::new(2);
        used.spend(&quota, 0, now).unwrap();
        used.restore(&saved, now);
        assert_eq!(used.len(), 2);
        assert!(used.spend(&quota, 0, now).is_ok());
    }

    #[test]
    fn bytes_that_are_cut_are_no_buckets() {
        let bytes = to_bytes(&[SavedBucket { key: 7, value: 9 }; 2]);
        assert_eq!(bytes.len(), 48);
        assert_eq!(from_bytes(&bytes), Some(vec![SavedBucket { key: 7, value: 9 }; 2]));
        assert_eq!(from_bytes(&[]), Some(Vec::new()));
        assert_eq!(from_bytes(&bytes[1..]), None);
    }
}
