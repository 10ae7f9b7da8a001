//! Which bucket has each principal? A bounded number of buckets, each of which is one number; [`refilling`] and [`fixed`] say
//! what it means.

use crate::limit::bucket::Level;
use crate::limit::bucket::Mode;
use crate::limit::bucket::SpentRequest;
use crate::limit::fixed;
use crate::limit::quota::LimitQuota;
use crate::limit::refilling;
use crate::limit::saved::SavedBucket;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use dashmap::DashMap;
use dashmap::Entry;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Maximum number of buckets per limit; 63 MB of resident memory when full (measured).
pub const BUCKETS_MAX: usize = 1_000_000;

/// The number of buckets that newcomers share while the map is full.
const SHARED_BUCKETS: usize = 1024;

/// The minimum time between two sweeps of a full map. A sweep of a million buckets takes about 10 ms.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The two halves of a bucket key, not one `u128`, whose alignment would cost a third more memory.
type BucketKey = [u64; 2];

/// The buckets of one limit; every thread spends from them.
///
/// When `entries_max` buckets are in use, those that have refilled are dropped. If none has, a newcomer uses one of
/// `SHARED_BUCKETS` shared buckets: memory stays bounded, no principal loses its bucket (eviction would give it a
/// fresh burst), and no newcomer is unlimited. Newcomers share a quota only until buckets refill.
#[derive(Debug)]
pub struct Buckets {
    map: DashMap<BucketKey, AtomicU64, BuildHasherDefault<IdentityHasher>>,
    /// The number of buckets in `map`. `DashMap::len` would lock every shard.
    len: AtomicUsize,
    entries_max: usize,
    shared: Box<[AtomicU64]>,
    /// The last sweep, in nanoseconds of [`Tick`]; 0 before the first sweep.
    swept_at: AtomicU64,
    /// The nanoseconds from 1970 to [`Tick::ZERO`]; 0 before the first use with a fixed window. Never gets smaller.
    utc_offset: AtomicU64,
}

impl Buckets {
    pub fn new(entries_max: usize) -> Self {
        Self {
            map: DashMap::default(),
            len: AtomicUsize::new(0),
            entries_max,
            shared: (0..SHARED_BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            swept_at: AtomicU64::new(0),
            utc_offset: AtomicU64::new(0),
        }
    }

    /// Returns the level that [`Self::spend`] would leave. Spends nothing.
    ///
    /// # Errors
    /// Nothing is left: the time to wait.
    pub fn peek(&self, quota: &LimitQuota, key: u128, now: Now) -> Result<Level, Duration> {
        let spent = self.with_bucket(split(key), |bucket| self.measure(bucket, quota, now, Mode::Peek));
        spent.map(|spent| spent.level)
    }

    /// Spends one request from the bucket of `key`.
    ///
    /// # Errors
    /// Nothing is left: the time to wait. A wait of exactly that time is enough; a nanosecond less is not.
    pub fn spend(&self, quota: &LimitQuota, key: u128, now: Now) -> Result<SpentRequest, Duration> {
        self.with_own_bucket(split(key), now.tick.as_nanos(), |bucket| {
            self.measure(bucket, quota, now, Mode::Spend)
        })
    }

    /// Refunds a request, unless that could allow more than the quota.
    pub fn refund(&self, quota: &LimitQuota, key: u128, spent: SpentRequest) {
        self.with_bucket(split(key), |bucket| match quota {
            LimitQuota::Refilling(quota) => refilling::refund(bucket, quota, spent),
            LimitQuota::Fixed(_) => fixed::refund(bucket, spent),
        });
    }

    /// Returns the outcome of a request that is spent from `bucket`, or would be.
    fn measure(&self, bucket: &AtomicU64, quota: &LimitQuota, now: Now, mode: Mode) -> Result<SpentRequest, Duration> {
        match quota {
            LimitQuota::Refilling(quota) => refilling::measure(bucket, quota, now.tick, mode),
            LimitQuota::Fixed(quota) => fixed::measure(bucket, quota, self.utc(now), now.tick.as_nanos(), mode),
        }
    }

    /// Returns the time since 1970-01-01T00:00Z in nanoseconds, which never goes back; see [`fixed::utc_offset`].
    fn utc(&self, now: Now) -> u64 {
        let known = self.utc_offset.load(Ordering::Relaxed);
        let offset = fixed::utc_offset(now, known);
        let offset = if offset > known {
            self.utc_offset.fetch_max(offset, Ordering::Relaxed).max(offset)
        } else {
            known
        };
        now.tick.as_nanos().saturating_add(offset)
    }

    /// Drops the buckets that are full again, and the counts of windows that have ended.
    pub fn sweep(&self, now: Tick) {
        self.swept_at.store(now.as_nanos(), Ordering::Relaxed);
        let utc = now.as_nanos().saturating_add(self.utc_offset.load(Ordering::Relaxed));
        self.map.retain(|_, bucket| {
            let keep = !is_full(*bucket.get_mut(), now, utc);
            if !keep {
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
            keep
        });
        // Release memory after a flood, but do not resize at every fluctuation.
        if self.map.capacity() / 4 > self.len() {
            self.map.shrink_to_fit();
        }
    }

    /// Returns the buckets that are not full, without the shared buckets.
    pub fn saved(&self, now: Now) -> Vec<SavedBucket> {
        let utc = now
            .tick
            .as_nanos()
            .saturating_add(self.utc_offset.load(Ordering::Relaxed));
        let in_use = self.map.iter().filter_map(|entry| {
            let value = entry.load(Ordering::Acquire);
            (!is_full(value, now.tick, utc)).then(|| SavedBucket::save(join(*entry.key()), value, now))
        });
        in_use.collect()
    }

    /// Puts `saved` buckets of an earlier process in the place of those that were not used since the start, as long as there
    /// is room.
    pub fn restore(&self, saved: &[SavedBucket], now: Now) {
        let utc = self.utc(now);
        for bucket in saved {
            let value = bucket.restore(now);
            if is_full(value, now.tick, utc) {
                continue;
            }
            if let Entry::Vacant(entry) = self.map.entry(split(bucket.key))
                && self.reserve()
            {
                entry.insert(AtomicU64::new(value));
            }
        }
    }

    /// Returns the number of buckets in use, without the shared buckets.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    #[cfg(any(test, feature = "internals"))]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `f` with the bucket of `key`; where `key` has no bucket, with its shared bucket.
    fn with_bucket<T>(&self, key: BucketKey, f: impl FnOnce(&AtomicU64) -> T) -> T {
        match self.map.get(&key) {
            Some(bucket) => f(&bucket),
            None => f(self.shared_bucket(key)),
        }
    }

    /// Calls `f` with the bucket of `key`, which is created if it is missing. Where the map is full, calls `f` with the
    /// shared bucket of `key`.
    fn with_own_bucket<T>(&self, key: BucketKey, now: u64, f: impl FnOnce(&AtomicU64) -> T) -> T {
        if let Some(bucket) = self.map.get(&key) {
            return f(&bucket);
        }
        if self.len() >= self.entries_max {
            self.sweep_now_and_then(now);
        }
        match self.map.entry(key) {
            Entry::Occupied(entry) => f(entry.get()),
            Entry::Vacant(entry) => {
                let shared = self.shared_bucket(key);
                if self.reserve() {
                    // A principal that spent from a shared bucket gets no fresh burst.
                    let bucket = entry.insert(AtomicU64::new(shared.load(Ordering::Acquire)));
                    f(bucket.value())
                } else {
                    f(shared)
                }
            }
        }
    }

    fn reserve(&self) -> bool {
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| {
                (len < self.entries_max).then_some(len + 1)
            })
            .is_ok()
    }

    fn sweep_now_and_then(&self, now: u64) {
        let last = self.swept_at.load(Ordering::Relaxed);
        let due = last == 0 || Tick::from_nanos(now).saturating_since(Tick::from_nanos(last)) >= SWEEP_INTERVAL;
        // One thread sweeps; the others do not wait for it.
        if due
            && self
                .swept_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.sweep(Tick::from_nanos(now));
        }
    }

    fn shared_bucket(&self, key: BucketKey) -> &AtomicU64 {
        // By the second half of the key, because the first half selects the place in the map.
        &self.shared[(key[1] % SHARED_BUCKETS as u64) as usize]
    }
}

const fn split(key: u128) -> BucketKey {
    [(key >> 64) as u64, key as u64]
}

const fn join(key: BucketKey) -> u128 {
    (key[0] as u128) << 64 | key[1] as u128
}

/// Returns whether a bucket with `value` is full, or counts in a window that has ended; `utc` in nanoseconds.
fn is_full(value: u64, now: Tick, utc: u64) -> bool {
    fixed::has_ended(value, utc).unwrap_or(value <= now.as_nanos())
}

/// A hasher that returns the first half of a bucket key: the key is a hash already.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // An array of integers is hashed in one call, as its bytes. The first eight bytes are the first half.
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    // Ignores the length of the array, which is the same for every key.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod fixed_window_tests;
#[cfg(test)]
mod tests;
