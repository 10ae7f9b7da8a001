//! How many requests has each principal spent? A bounded number of buckets of the generic cell rate algorithm. A bucket
//! is one number: the [`Tick`] at which it is full again. `governor` does the arithmetic; this file is its state store.
//! In the buckets of a limit with a fixed window, the number is a count; see [`fixed`].

use crate::limit::fixed;
use crate::limit::fixed::FixedQuota;
use crate::limit::fixed::SpentCount;
use crate::limit::quota::CompiledQuota;
use crate::limit::saved::SavedBucket;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use dashmap::DashMap;
use dashmap::Entry;
use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use std::cell::Cell;
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

/// The tolerated difference between the clock readings of two threads. A bucket that needs longer to refill than its
/// quota allows, by more than this, was spent under a larger quota, and is cut. A smaller excess is a clock difference,
/// which must not refill the bucket.
const CLOCK_SPREAD_NANOS: u64 = 1_000_000_000;

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
    full_at: u64,
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

    /// Returns the level that [`Buckets::spend`] would leave. Spends nothing.
    ///
    /// # Errors
    /// The bucket is empty: the time to wait.
    pub fn peek(&self, quota: &CompiledQuota, key: u128, now: Tick) -> Result<Level, Duration> {
        self.measure(quota, key, now, Mode::Peek).map(|spending| spending.level)
    }

    /// Spends one request from the bucket of `key`.
    ///
    /// # Errors
    /// The bucket is empty: the time to wait. A wait of exactly that time is enough; a nanosecond less is not.
    pub fn spend(&self, quota: &CompiledQuota, key: u128, now: Tick) -> Result<SpentRequest, Duration> {
        self.measure(quota, key, now, Mode::Spend)
    }

    /// Refunds a request, unless the bucket was used since: a refund after another request could allow more than the
    /// quota.
    pub fn refund(&self, quota: &CompiledQuota, key: u128, spending: SpentRequest) {
        self.with_bucket(split(key), |bucket| {
            let before = spending.full_at.saturating_sub(quota.interval_nanos());
            // On failure, the bucket was used since: no refund.
            let _ = bucket.compare_exchange(spending.full_at, before, Ordering::AcqRel, Ordering::Relaxed);
        });
    }

    /// Returns the level that [`Buckets::spend_fixed`] would leave. Spends nothing.
    ///
    /// # Errors
    /// The quota of the window is spent: the time until the window ends.
    pub fn peek_fixed(&self, quota: &FixedQuota, key: u128, now: Now) -> Result<Level, Duration> {
        let (utc, tick) = (self.utc(now), now.tick.as_nanos());
        let value = self.with_bucket(split(key), |bucket| bucket.load(Ordering::Acquire));
        quota.spend(value, utc, tick).map(level_of)
    }

    /// Spends one request of the window of `now` from the bucket of `key`.
    ///
    /// # Errors
    /// The quota of the window is spent: the time until the window ends. A nanosecond less is not enough.
    pub fn spend_fixed(&self, quota: &FixedQuota, key: u128, now: Now) -> Result<SpentRequest, Duration> {
        let (utc, tick) = (self.utc(now), now.tick.as_nanos());
        self.with_own_bucket(split(key), tick, |bucket| {
            let mut value = bucket.load(Ordering::Acquire);
            loop {
                let spent = quota.spend(value, utc, tick)?;
                match bucket.compare_exchange_weak(value, spent.bucket, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        return Ok(SpentRequest {
                            level: level_of(spent),
                            full_at: spent.bucket,
                        });
                    }
                    Err(changed) => value = changed,
                }
            }
        })
    }

    /// Refunds a request, unless its window has ended.
    pub fn refund_fixed(&self, key: u128, spending: SpentRequest) {
        self.with_bucket(split(key), |bucket| {
            // On failure, the bucket counts in another window: no refund.
            let _ = bucket.fetch_update(Ordering::AcqRel, Ordering::Acquire, |value| {
                fixed::refunded(value, spending.full_at)
            });
        });
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

    fn measure(&self, quota: &CompiledQuota, key: u128, now: Tick, mode: Mode) -> Result<SpentRequest, Duration> {
        measure(BucketPlace::Map(self), quota, key, now, mode)
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

/// A single bucket outside a map: the [`Tick`] at which it is full again, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket(u64);

impl Bucket {
    /// Returns the time until one more request can be spent; `None` when it can be spent now.
    pub fn wait(self, quota: &CompiledQuota, now: Tick) -> Option<Duration> {
        let place = AtomicU64::new(self.0);
        measure(BucketPlace::Single(&place), quota, 0, now, Mode::Peek).err()
    }

    /// Returns the bucket with one request fewer; unchanged when it is empty.
    #[must_use]
    pub fn spend(self, quota: &CompiledQuota, now: Tick) -> Self {
        let place = AtomicU64::new(self.0);
        // An empty bucket stays unchanged. The caller has called `wait` before.
        let _ = measure(BucketPlace::Single(&place), quota, 0, now, Mode::Spend);
        Self(place.into_inner())
    }

    /// Returns whether the bucket is full. A full bucket is as good as a new one, so it need not be kept.
    pub const fn is_full(self, now: Tick) -> bool {
        self.0 <= now.as_nanos()
    }
}

/// Builds a limiter whose time zero is `now`, and peeks or spends with it. That costs a few nanoseconds. In return, the
/// result depends only on `now` and the bucket: there is no second clock, and nothing to reset on a reload.
fn measure(
    place: BucketPlace<'_>,
    quota: &CompiledQuota,
    key: u128,
    now: Tick,
    mode: Mode,
) -> Result<SpentRequest, Duration> {
    let view = View {
        place,
        now: now.as_nanos(),
        quota,
        mode,
        full_in: Cell::new(0),
    };
    let limiter: RateLimiter<_, _, _, StateInformationMiddleware> =
        RateLimiter::new(quota.governor(), &view, ZeroClock);
    match limiter.check_key(&split(key)) {
        Ok(snapshot) => {
            let full_in = view.full_in.get();
            let remaining = snapshot.remaining_burst_capacity();
            let next = u64::from(remaining).saturating_add(1) * quota.interval_nanos();
            Ok(SpentRequest {
                level: Level {
                    remaining,
                    refill_after: Duration::from_nanos((full_in + next).saturating_sub(quota.full_nanos())),
                },
                full_at: view.now.saturating_add(full_in),
            })
        }
        Err(refusal) => Err(refusal.wait_time_from(Nanos::new(0))),
    }
}

/// The location of a bucket.
#[derive(Clone, Copy)]
enum BucketPlace<'a> {
    Map(&'a Buckets),
    Single(&'a AtomicU64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Peek,
    Spend,
}

/// The state store of one call. `governor` receives the time from `now` until a bucket is full, and returns that time
/// after the request.
struct View<'a> {
    place: BucketPlace<'a>,
    now: u64,
    quota: &'a CompiledQuota,
    mode: Mode,
    full_in: Cell<u64>,
}

impl View<'_> {
    /// Returns the time at which a bucket is full that holds more debt than this quota allows: `most`, or less where
    /// `bucket` is a count of a fixed window from before a reload, whose requests refill one by one.
    fn debt(&self, bucket: u64, most: u64) -> u64 {
        match fixed::spent_of(bucket) {
            Some(spent) => {
                let debt = u64::from(spent).saturating_mul(self.quota.interval_nanos());
                self.now.saturating_add(debt).min(most)
            }
            None => most,
        }
    }

    fn measure_bucket<T, F, E>(&self, bucket: &AtomicU64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut full_at = bucket.load(Ordering::Acquire);
        loop {
            // A bucket that was spent under a larger quota before a reload can need longer to refill than this quota
            // allows. Without the cap, a client that had spent 1000/h would be locked out for an hour after the limit
            // became 10/s (S115).
            let most = self.now.saturating_add(self.quota.full_nanos());
            let capped = if full_at > most.saturating_add(CLOCK_SPREAD_NANOS) {
                self.debt(full_at, most)
            } else {
                full_at
            };
            let decision = f(Some(Nanos::new(capped.saturating_sub(self.now))));
            let next = match (&decision, self.mode) {
                (Ok((_, full_in)), Mode::Spend) => self.now.saturating_add(full_in.as_u64()),
                (Ok(_), Mode::Peek) | (Err(_), Mode::Peek | Mode::Spend) => capped,
            };
            if next != full_at
                && let Err(changed) = bucket.compare_exchange_weak(full_at, next, Ordering::AcqRel, Ordering::Acquire)
            {
                full_at = changed;
                continue;
            }
            return decision.map(|(outcome, full_in)| {
                self.full_in.set(full_in.as_u64());
                outcome
            });
        }
    }
}

impl StateStore for &View<'_> {
    type Key = BucketKey;

    fn measure_and_replace<T, F, E>(&self, key: &BucketKey, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        match (self.place, self.mode) {
            (BucketPlace::Map(buckets), Mode::Peek) => {
                buckets.with_bucket(*key, |bucket| self.measure_bucket(bucket, f))
            }
            (BucketPlace::Map(buckets), Mode::Spend) => {
                buckets.with_own_bucket(*key, self.now, |bucket| self.measure_bucket(bucket, f))
            }
            (BucketPlace::Single(bucket), Mode::Peek | Mode::Spend) => self.measure_bucket(bucket, f),
        }
    }
}

/// The clock of the limiter, always at zero: [`View`] counts from `now`.
struct ZeroClock;

impl Clock for ZeroClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}

const fn level_of(spent: SpentCount) -> Level {
    Level {
        remaining: spent.remaining,
        refill_after: spent.end_in,
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
