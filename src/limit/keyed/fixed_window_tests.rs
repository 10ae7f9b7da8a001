use super::*;
use crate::limit::fixed::FixedQuota;
use crate::limit::quota::CompiledQuota;
use crate::model::clock::Timestamp;
use crate::model::plan::Quota;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

const KEY: u128 = 7 << 64 | 9;
/// 2026-11-29T20:53:20Z: 20 s into its minute.
const START_SECS: u64 = 1_795_985_600;

fn fixed(requests: u32, period_secs: u64) -> LimitQuota {
    LimitQuota::Fixed(FixedQuota::compile(&quota(requests, period_secs)))
}

fn quota(requests: u32, period_secs: u64) -> Quota {
    Quota {
        requests: NonZeroU32::new(requests).unwrap(),
        period: Duration::from_secs(period_secs),
        burst: NonZeroU32::new(requests).unwrap(),
    }
}

/// Returns `millis` after the start, by clocks that agree.
fn at(millis: u64) -> Now {
    Now {
        wall: Timestamp::from_unix_millis(START_SECS * 1000 + millis),
        tick: Tick::from_nanos(millis * 1_000_000),
    }
}

fn passes(buckets: &Buckets, quota: &LimitQuota, now: Now) -> usize {
    (0..10_000)
        .take_while(|_| buckets.spend(quota, KEY, now).is_ok())
        .count()
}

#[test]
fn nothing_refills_before_the_window_ends_on_the_clock() {
    let (buckets, five) = (Buckets::new(10), fixed(5, 60));
    assert_eq!(passes(&buckets, &five, at(0)), 5);
    assert_eq!(buckets.spend(&five, KEY, at(0)).unwrap_err(), Duration::from_secs(40));
    assert_eq!(passes(&buckets, &five, at(39_999)), 0);
    assert_eq!(passes(&buckets, &five, at(40_000)), 5);
    let spent = buckets.spend(&five, KEY, at(40_000)).unwrap_err();
    assert_eq!(spent, Duration::from_secs(60));
}

#[test]
fn s115_a_clock_that_is_set_back_gives_no_second_quota_and_locks_nobody_out() {
    for back_secs in [1, 30, 61, 86_400, 365 * 86_400] {
        let (buckets, five) = (Buckets::new(10), fixed(5, 60));
        assert_eq!(passes(&buckets, &five, at(41_000)), 5);
        let set_back = |millis: u64| Now {
            wall: at(millis).wall.saturating_sub(Duration::from_secs(back_secs)),
            ..at(millis)
        };
        assert_eq!(passes(&buckets, &five, set_back(41_000)), 0, "{back_secs}");
        let wait = buckets.spend(&five, KEY, set_back(42_000)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(58), "{back_secs}");
        assert_eq!(passes(&buckets, &five, set_back(100_000)), 5, "{back_secs}");
    }
}

#[test]
fn s115_a_clock_that_is_set_forward_takes_the_windows_with_it() {
    let (buckets, five) = (Buckets::new(10), fixed(5, 60));
    assert_eq!(passes(&buckets, &five, at(0)), 5);
    let ahead = |millis: u64, secs: u64| Now {
        wall: at(millis).wall.saturating_add(Duration::from_secs(secs)),
        ..at(millis)
    };
    let wait = buckets.spend(&five, KEY, ahead(1_000, 10)).unwrap_err();
    assert_eq!(wait, Duration::from_secs(29), "the same window");
    assert_eq!(passes(&buckets, &five, ahead(30_000, 10)), 5, "the next");
}

#[test]
fn a_thread_whose_clock_reading_is_older_counts_in_the_window_that_has_begun() {
    let (buckets, five) = (Buckets::new(10), fixed(5, 60));
    buckets.spend(&five, KEY, at(40_000)).unwrap();
    buckets.spend(&five, KEY, at(39_999)).unwrap();
    assert_eq!(passes(&buckets, &five, at(40_000)), 3);
}

#[test]
fn s115_a_reload_keeps_what_was_spent_under_another_quota() {
    let hour = 3_600;
    // Another window: what was spent stays spent until the new window ends.
    for (before, after, left, wait_secs) in [
        (fixed(100, hour), fixed(10, 60), 0, 40),
        (fixed(10, 60), fixed(100, hour), 90, 400),
        (fixed(10, 60), fixed(15, 60), 5, 40),
        (fixed(10, 60), fixed(5, 60), 0, 40),
    ] {
        let buckets = Buckets::new(10);
        let spent = if before.policy_requests() == 100 { 100 } else { 10 };
        assert_eq!(passes(&buckets, &before, at(0)), spent);
        assert_eq!(passes(&buckets, &after, at(0)), left, "{before:?} {after:?}");
        let wait = buckets.spend(&after, KEY, at(0)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(wait_secs), "{before:?} {after:?}");
    }
    // A quota that refills, and back: three of ten are spent.
    let (buckets, refilling) = (
        Buckets::new(10),
        LimitQuota::Refilling(CompiledQuota::compile(&quota(10, 60))),
    );
    for _ in 0..3 {
        buckets.spend(&refilling, KEY, at(0)).unwrap();
    }
    assert_eq!(buckets.peek(&fixed(10, 60), KEY, at(0)).unwrap().remaining, 6);
    buckets.spend(&fixed(10, 60), KEY, at(0)).unwrap();
    assert_eq!(buckets.peek(&refilling, KEY, at(0)).unwrap().remaining, 5);
}

#[test]
fn a_sweep_drops_only_counts_of_ended_windows() {
    let (buckets, five) = (Buckets::new(10), fixed(5, 60));
    buckets.spend(&five, KEY, at(0)).unwrap();
    buckets.sweep(at(39_999).tick);
    assert_eq!(buckets.len(), 1);
    buckets.sweep(at(40_000).tick);
    assert_eq!(buckets.len(), 0);
}

#[test]
fn s113_a_full_map_makes_newcomers_share_counts() {
    let (buckets, one) = (Buckets::new(1), fixed(1, 60));
    buckets.spend(&one, 1, at(0)).unwrap();
    buckets.spend(&one, 2, at(0)).unwrap();
    buckets.spend(&one, 2, at(0)).unwrap_err();
    assert_eq!(buckets.len(), 1);
}

#[test]
fn a_refund_gives_back_one_request_of_its_window() {
    let (buckets, five) = (Buckets::new(10), fixed(5, 60));
    let first = buckets.spend(&five, KEY, at(0)).unwrap();
    assert_eq!(passes(&buckets, &five, at(0)), 4);
    buckets.refund(&five, KEY, first);
    assert_eq!(passes(&buckets, &five, at(0)), 1, "others spent since");
    assert_eq!(passes(&buckets, &five, at(40_000)), 5);
    buckets.refund(&five, KEY, first);
    assert_eq!(passes(&buckets, &five, at(40_000)), 0, "its window has ended");
}

#[test]
fn s114_of_many_threads_exactly_the_quota_passes() {
    let (buckets, quota) = (Buckets::new(10), fixed(100, 60));
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| passes(&buckets, &quota, at(0))))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 100);
}

#[test]
fn s115_the_last_and_the_first_instant_overflow_nothing() {
    let (buckets, quota) = (Buckets::new(10), fixed(u32::MAX, 30 * 86_400));
    for (wall, tick) in [(0, 0), (0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
        let now = Now {
            wall: Timestamp::from_unix_millis(wall),
            tick: Tick::from_nanos(tick),
        };
        let _ = buckets.spend(&quota, KEY, now);
        buckets.sweep(now.tick);
    }
}

proptest! {
    #[test]
    fn waiting_exactly_as_long_as_told_is_enough_and_one_tick_less_is_not(
        requests in 1_u32..5,
        period in prop::sample::select(vec![1_u64, 60, 3_600, 86_400]),
        steps in prop::collection::vec(0_u64..20_000_000_000, 1..60),
    ) {
        let (buckets, quota) = (Buckets::new(10), fixed(requests, period));
        let now_at = |nanos: u64| Now {
            wall: Timestamp::from_unix_millis(START_SECS * 1000 + nanos / 1_000_000),
            tick: Tick::from_nanos(nanos),
        };
        let mut nanos = 0;
        for step in steps {
            let foretold = buckets.peek(&quota, KEY, now_at(nanos));
            let spent = buckets.spend(&quota, KEY, now_at(nanos)).map(|spending| spending.level);
            prop_assert_eq!(foretold, spent);
            if let Err(wait) = spent {
                let enough = nanos + u64::try_from(wait.as_nanos()).unwrap();
                prop_assert!(buckets.peek(&quota, KEY, now_at(enough - 1)).is_err());
                prop_assert!(buckets.peek(&quota, KEY, now_at(enough)).is_ok());
            }
            nanos += step;
        }
    }

    /// The wall clock steps back as it likes; the windows are those of the time that never goes back.
    #[test]
    fn no_aligned_window_lets_more_through_than_the_quota(
        requests in 1_u32..5,
        period in prop::sample::select(vec![1_u64, 60, 3_600]),
        steps in prop::collection::vec((0_u64..20_000, 0_u64..100_000), 1..200),
    ) {
        let (buckets, quota) = (Buckets::new(10), fixed(requests, period));
        let mut passed: BTreeMap<u64, u32> = BTreeMap::new();
        let mut millis = 0;
        // The first reading aligns the windows.
        let _ = buckets.peek(&quota, KEY, at(0));
        for (step, back) in steps {
            millis += step;
            let now = Now { wall: at(millis).wall.saturating_sub(Duration::from_millis(back)), ..at(millis) };
            if buckets.spend(&quota, KEY, now).is_ok() {
                *passed.entry((START_SECS * 1000 + millis) / (period * 1000)).or_default() += 1;
            }
        }
        prop_assert!(passed.values().all(|count| *count <= requests), "{:?}", passed);
    }
}
