//! How many requests may be made of a bucket that refills evenly? By the generic cell rate algorithm: the number of a bucket is
//! the [`Tick`] at which it is full again. `governor` does the arithmetic; this file is its state store.

use crate::limit::bucket::Level;
use crate::limit::bucket::Mode;
use crate::limit::bucket::SpentRequest;
use crate::limit::fixed;
use crate::limit::quota::CompiledQuota;
use crate::model::clock::Tick;
use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::NotKeyed;
use governor::state::StateStore;
use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The tolerated difference between the clock readings of two threads. A bucket that needs longer to refill than its
/// quota allows, by more than this, was spent under a larger quota, and is cut. A smaller excess is a clock difference,
/// which must not refill the bucket.
const CLOCK_SPREAD_NANOS: u64 = 1_000_000_000;

/// A single bucket outside a map: the [`Tick`] at which it is full again, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket(u64);

impl Bucket {
    /// Returns the time until one more request can be spent; `None` when it can be spent now.
    pub fn wait(self, quota: &CompiledQuota, now: Tick) -> Option<Duration> {
        let place = AtomicU64::new(self.0);
        measure(&place, quota, now, Mode::Peek).err()
    }

    /// Returns the bucket with one request fewer; unchanged when it is empty.
    #[must_use]
    pub fn spend(self, quota: &CompiledQuota, now: Tick) -> Self {
        let place = AtomicU64::new(self.0);
        // An empty bucket stays unchanged. The caller has called `wait` before.
        let _ = measure(&place, quota, now, Mode::Spend);
        Self(place.into_inner())
    }

    /// Returns whether the bucket is full. A full bucket is as good as a new one, so it need not be kept.
    pub const fn is_full(self, now: Tick) -> bool {
        self.0 <= now.as_nanos()
    }
}

/// Returns the outcome of a request that is spent from `bucket`, or would be.
///
/// Builds a limiter whose time zero is `now`. That costs a few nanoseconds. In return, the result depends only on `now` and
/// the bucket: there is no second clock, and nothing to reset on a reload.
///
/// # Errors
/// The bucket is empty: the time to wait.
pub(super) fn measure(
    bucket: &AtomicU64,
    quota: &CompiledQuota,
    now: Tick,
    mode: Mode,
) -> Result<SpentRequest, Duration> {
    let view = View {
        bucket,
        now: now.as_nanos(),
        quota,
        mode,
        full_in: Cell::new(0),
    };
    let limiter: RateLimiter<_, _, _, StateInformationMiddleware> =
        RateLimiter::new(quota.governor(), &view, ZeroClock);
    match limiter.check() {
        Ok(snapshot) => {
            let full_in = view.full_in.get();
            let remaining = snapshot.remaining_burst_capacity();
            let next = u64::from(remaining).saturating_add(1) * quota.interval_nanos();
            Ok(SpentRequest {
                level: Level {
                    remaining,
                    refill_after: Duration::from_nanos((full_in + next).saturating_sub(quota.full_nanos())),
                },
                value: view.now.saturating_add(full_in),
            })
        }
        Err(refusal) => Err(refusal.wait_time_from(Nanos::new(0))),
    }
}

/// Refunds a request, unless the bucket was used since: a refund after another request could allow more than the quota.
pub(super) fn refund(bucket: &AtomicU64, quota: &CompiledQuota, spent: SpentRequest) {
    let before = spent.value.saturating_sub(quota.interval_nanos());
    // On failure, the bucket was used since: no refund.
    let _ = bucket.compare_exchange(spent.value, before, Ordering::AcqRel, Ordering::Relaxed);
}

/// The state store of one call. `governor` receives the time from `now` until a bucket is full, and returns that time
/// after the request.
struct View<'a> {
    bucket: &'a AtomicU64,
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
}

impl StateStore for &View<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut full_at = self.bucket.load(Ordering::Acquire);
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
                && let Err(changed) =
                    self.bucket
                        .compare_exchange_weak(full_at, next, Ordering::AcqRel, Ordering::Acquire)
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

/// The clock of the limiter, always at zero: [`View`] counts from `now`.
struct ZeroClock;

impl Clock for ZeroClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::Quota;
    use std::num::NonZeroU32;

    #[test]
    fn a_single_bucket_is_spent_waits_and_is_full_again() {
        let two = NonZeroU32::new(2).unwrap();
        let quota = CompiledQuota::compile(&Quota {
            requests: two,
            period: Duration::from_secs(20),
            burst: two,
        });
        let at = |secs: u64| Tick::ZERO.saturating_add(Duration::from_secs(secs));
        let fresh = Bucket::default();
        assert!(fresh.is_full(at(1)) && fresh.wait(&quota, at(1)).is_none());
        let empty = fresh.spend(&quota, at(1)).spend(&quota, at(1));
        assert!(!empty.is_full(at(20)) && empty.is_full(at(21)));
        assert_eq!(empty.wait(&quota, at(1)), Some(Duration::from_secs(10)));
        assert_eq!(empty.wait(&quota, at(10)), Some(Duration::from_secs(1)));
        assert_eq!(empty.wait(&quota, at(11)), None);
        assert_eq!(empty.spend(&quota, at(10)), empty, "empty, so nothing is spent");
    }
}
