use super::*;
use crate::limit::quota::CompiledQuota;
use crate::model::clock::Timestamp;
use crate::model::plan::Quota;
use proptest::prelude::*;
use std::hash::BuildHasher;
use std::num::NonZeroU32;

fn quota(requests: u32, period: Duration, burst: u32) -> LimitQuota {
    LimitQuota::Refilling(compiled(requests, period, burst))
}

fn compiled(requests: u32, period: Duration, burst: u32) -> CompiledQuota {
    CompiledQuota::compile(&Quota {
        requests: NonZeroU32::new(requests).unwrap(),
        period,
        burst: NonZeroU32::new(burst).unwrap(),
    })
}

/// Returns a reading of both clocks at `tick`. A quota that refills does not read the wall clock.
fn at(tick: Tick) -> Now {
    Now {
        wall: Timestamp::default(),
        tick,
    }
}

/// Returns a key that is evenly distributed, like the keyed hashes that are keys in production.
fn key(number: u64) -> u128 {
    let mut state = number;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    u128::from(next()) << 64 | u128::from(next())
}

fn secs(secs: u64) -> Tick {
    Tick::ZERO.saturating_add(Duration::from_secs(secs))
}

#[test]
fn s113_buckets_are_bounded_and_newcomers_are_limited_all_the_same() {
    let buckets = Buckets::new(100);
    let quota = quota(1, Duration::from_secs(3600), 1);
    for number in 0..100 {
        assert!(buckets.spend(&quota, key(number), at(Tick::ZERO)).is_ok());
    }
    // Ten thousand newcomers use the shared buckets; each shared bucket lets at most one request pass.
    let passed = (100..10_100)
        .filter(|number| buckets.spend(&quota, key(*number), at(Tick::ZERO)).is_ok())
        .count();
    assert!((1..=SHARED_BUCKETS).contains(&passed), "{passed}");
    assert_eq!(buckets.len(), 100);
    // The first hundred principals kept their buckets, which are empty.
    for number in 0..100 {
        assert!(buckets.spend(&quota, key(number), at(Tick::ZERO)).is_err());
    }
}

#[test]
fn s113_a_full_map_drops_full_buckets_for_a_newcomer() {
    let buckets = Buckets::new(100);
    let quota = quota(1, Duration::from_secs(10), 1);
    for number in 0..100 {
        buckets.spend(&quota, key(number), at(Tick::ZERO)).unwrap();
    }
    buckets.spend(&quota, key(100), at(secs(11))).unwrap();
    assert_eq!(buckets.len(), 1);
}

#[test]
fn leaving_a_shared_bucket_brings_no_fresh_burst() {
    let buckets = Buckets::new(1);
    let slow = quota(1, Duration::from_secs(3600), 1);
    let fast = quota(1, Duration::from_secs(1), 1);
    buckets.spend(&fast, key(1), at(Tick::ZERO)).unwrap();
    buckets.spend(&slow, key(2), at(Tick::ZERO)).unwrap();
    // The bucket of key 1 is full again and is dropped. Key 2 gets a bucket, with the level of its shared bucket.
    assert!(buckets.spend(&slow, key(2), at(secs(10))).is_err());
    assert_eq!(buckets.len(), 1);
    assert!(buckets.spend(&slow, key(2), at(secs(3600))).is_ok());
}

#[test]
fn a_sweep_drops_only_full_buckets() {
    let buckets = Buckets::new(100);
    let quota = quota(1, Duration::from_secs(10), 1);
    buckets.spend(&quota, key(1), at(Tick::ZERO)).unwrap();
    buckets.spend(&quota, key(2), at(secs(5))).unwrap();
    buckets.sweep(secs(10));
    assert_eq!(buckets.len(), 1);
    assert!(buckets.spend(&quota, key(2), at(secs(10))).is_err());
    assert!(buckets.spend(&quota, key(1), at(secs(10))).is_ok());
}

#[test]
fn a_sweep_releases_the_memory_of_a_flood_and_not_that_of_a_fluctuation() {
    let buckets = Buckets::new(10_000);
    let quota = quota(1, Duration::from_secs(10), 1);
    for number in 0..10_000 {
        let tick = if number % 2 == 0 { Tick::ZERO } else { secs(5) };
        buckets.spend(&quota, key(number), at(tick)).unwrap();
    }
    let capacity = buckets.map.capacity();
    buckets.sweep(secs(10));
    assert_eq!(buckets.len(), 5_000);
    // The map's capacity does not count the places of removed entries before they are used again.
    assert!(buckets.map.capacity() > capacity / 4 * 3, "{}", buckets.map.capacity());
    buckets.sweep(secs(15));
    assert_eq!(buckets.len(), 0);
    assert!(buckets.map.capacity() < capacity / 4, "{}", buckets.map.capacity());
}

#[test]
fn s113_newcomers_to_a_full_map_cause_one_sweep_a_second() {
    let buckets = Buckets::new(2);
    let quota = quota(10, Duration::from_secs(1), 1);
    let len_after = |number: u64, millis: u64| {
        let now = Tick::ZERO.saturating_add(Duration::from_millis(millis));
        buckets.spend(&quota, key(number), at(now)).unwrap();
        buckets.len()
    };
    assert_eq!([len_after(1, 10_000), len_after(2, 10_000)], [1, 2]);
    // All buckets are full again at each step below.
    assert_eq!(
        [len_after(3, 10_200), len_after(4, 10_200)],
        [1, 2],
        "never swept before"
    );
    assert_eq!(len_after(5, 11_199), 2, "swept 999 ms ago, so it shares a bucket");
    assert_eq!(len_after(6, 11_200), 1);
}

#[test]
fn s115_debt_under_a_larger_quota_is_cut_once_clocks_cannot_explain_it() {
    let now = Tick::ZERO;
    let new = quota(1, Duration::from_secs(1), 1);
    for (debt, wait) in [
        (Duration::from_secs(2), Duration::from_secs(2)),
        (Duration::from_secs(2) + Duration::from_nanos(1), Duration::from_secs(1)),
        (Duration::from_secs(3_600), Duration::from_secs(1)),
    ] {
        let buckets = Buckets::new(100);
        buckets.spend(&quota(1, debt, 1), key(1), at(now)).unwrap();
        assert_eq!(buckets.spend(&new, key(1), at(now)).unwrap_err(), wait, "{debt:?}");
    }
}

#[test]
fn both_halves_of_a_key_tell_principals_apart_and_the_first_spreads_them() {
    let buckets = Buckets::new(100);
    let quota = quota(1, Duration::from_secs(10), 1);
    for (high, low) in [(1, 5), (2, 5), (1, 6)] {
        let key = high << 64 | low;
        assert!(buckets.spend(&quota, key, at(Tick::ZERO)).is_ok(), "{high} {low}");
    }
    let hash = |key: u128| BuildHasherDefault::<IdentityHasher>::default().hash_one(split(key));
    assert_eq!(hash(7 << 64 | 9), 7);
}

#[test]
fn a_refund_gives_back_exactly_one_request() {
    let buckets = Buckets::new(100);
    let quota = quota(60, Duration::from_secs(60), 2);
    let now = secs(100);
    buckets.spend(&quota, key(1), at(now)).unwrap();
    let spending = buckets.spend(&quota, key(1), at(now)).unwrap();
    buckets.refund(&quota, key(1), spending);
    buckets.refund(&quota, key(1), spending);
    assert_eq!(buckets.spend(&quota, key(1), at(now)).unwrap().level.remaining, 0);
    assert!(buckets.spend(&quota, key(1), at(now)).is_err());
}

#[test]
fn a_refund_after_others_spent_changes_nothing() {
    let buckets = Buckets::new(100);
    let quota = quota(60, Duration::from_secs(60), 2);
    let first = buckets.spend(&quota, key(1), at(Tick::ZERO)).unwrap();
    buckets.spend(&quota, key(1), at(Tick::ZERO)).unwrap();
    buckets.refund(&quota, key(1), first);
    assert!(buckets.spend(&quota, key(1), at(Tick::ZERO)).is_err());
}

#[test]
fn s115_the_last_tick_overflows_nothing_and_locks_nobody_out() {
    let buckets = Buckets::new(100);
    let compiled = compiled(1, Duration::MAX, u32::MAX);
    let quota = LimitQuota::Refilling(compiled);
    let end = Tick::from_nanos(u64::MAX);
    let interval = Duration::from_nanos(compiled.interval_nanos());
    for _ in 0..10 {
        // The bucket would be full after the last tick, so it is full at the last tick.
        let level = buckets.spend(&quota, key(1), at(end)).unwrap().level;
        assert_eq!((level.remaining, level.refill_after), (0, interval));
        // A clock that was set back to its start waits for one request and not for the last tick.
        assert_eq!(buckets.peek(&quota, key(1), at(Tick::ZERO)), Err(interval));
    }
}

#[test]
fn s115_a_thread_whose_clock_reading_is_older_forgives_nothing() {
    let buckets = Buckets::new(100);
    let quota = quota(1, Duration::from_millis(100), 1);
    let now = Tick::from_nanos(1_000_000_000);
    buckets.spend(&quota, key(1), at(now)).unwrap();
    let older = Tick::from_nanos(1_000_000_000 - 1_000_000);
    assert!(buckets.spend(&quota, key(1), at(older)).is_err());
    let wait = buckets.spend(&quota, key(1), at(now)).unwrap_err();
    assert_eq!(wait, Duration::from_millis(100));
}

prop_compose! {
    fn any_quota()(requests in 1_u32..2_000, period_ms in 1_u64..4_000_000, burst in 1_u32..20) -> CompiledQuota {
        compiled(requests, Duration::from_millis(period_ms), burst)
    }
}

proptest! {
    #[test]
    fn waiting_exactly_as_long_as_told_is_enough_and_one_tick_less_is_not(
        compiled in any_quota(),
        steps in prop::collection::vec(0_u64..10_000_000_000, 1..60),
    ) {
        let (buckets, quota) = (Buckets::new(10), LimitQuota::Refilling(compiled));
        let mut now = Tick::ZERO;
        for step in steps {
            if let Err(wait) = buckets.spend(&quota, key(1), at(now)) {
                prop_assert!(wait > Duration::ZERO);
                let enough = now.saturating_add(wait);
                let less = Tick::from_nanos(enough.as_nanos() - 1);
                prop_assert!(buckets.peek(&quota, key(1), at(less)).is_err());
                prop_assert!(buckets.peek(&quota, key(1), at(enough)).is_ok());
            }
            now = now.saturating_add(Duration::from_nanos(step));
        }
    }

    #[test]
    fn peek_foretells_spend_and_refill_is_when_one_more_is_left(
        compiled in any_quota(),
        steps in prop::collection::vec(0_u64..1_000_000_000, 1..60),
    ) {
        let (buckets, quota) = (Buckets::new(10), LimitQuota::Refilling(compiled));
        let mut now = Tick::ZERO;
        for step in steps {
            let foretold = buckets.peek(&quota, key(1), at(now));
            let spent = buckets.spend(&quota, key(1), at(now)).map(|spending| spending.level);
            prop_assert_eq!(foretold, spent);
            if let Ok(level) = spent {
                prop_assert!(level.remaining < compiled.burst().get());
                prop_assert!(level.refill_after > Duration::ZERO);
                // `peek` returns the level after one more request.
                let left = |now| buckets.peek(&quota, key(1), at(now)).map_or(0, |level| level.remaining + 1);
                let refilled = now.saturating_add(level.refill_after);
                prop_assert_eq!(left(refilled), level.remaining + 1);
                prop_assert_eq!(left(Tick::from_nanos(refilled.as_nanos() - 1)), level.remaining);
            }
            now = now.saturating_add(Duration::from_nanos(step));
        }
    }

    #[test]
    fn no_window_lets_more_through_than_burst_and_rate_allow(
        compiled in any_quota(),
        steps in prop::collection::vec(0_u64..2_000_000_000, 1..200),
    ) {
        let (buckets, quota) = (Buckets::new(10), LimitQuota::Refilling(compiled));
        let mut now = 0_u64;
        let mut passed = Vec::new();
        for step in steps {
            if buckets.spend(&quota, key(1), at(Tick::from_nanos(now))).is_ok() {
                passed.push(now);
            }
            now += step;
        }
        for (first, start) in passed.iter().enumerate() {
            for (last, end) in passed.iter().enumerate().skip(first) {
                let most = u64::from(compiled.burst().get()) + (end - start) / compiled.interval_nanos();
                prop_assert!((last - first + 1) as u64 <= most);
            }
        }
    }
}
