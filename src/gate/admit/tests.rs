use super::*;
use crate::config::Mode;
use crate::gate::authenticate::ApiKeyIdentity;
use crate::gate::authenticate::TokenIdentity;
use crate::model::clock::Tick;
use crate::model::clock::Timestamp;
use crate::model::plan::Quota;
use std::num::NonZeroU32;

fn limit(name: &str, by: &[LimitBy], requests: u32, secs: u64, burst: u32) -> Limit {
    Limit {
        name: name.parse().unwrap(),
        by: by.to_vec(),
        quota: Quota {
            requests: NonZeroU32::new(requests).unwrap(),
            period: Duration::from_secs(secs),
            burst: NonZeroU32::new(burst).unwrap(),
        },
        window: LimitWindow::Refilling,
        mode: Mode::Enforce,
    }
}

/// Ten seconds into a minute.
const START: Now = Now {
    wall: Timestamp::from_unix_secs(1_795_985_590),
    tick: Tick::ZERO,
};

fn after(duration: Duration) -> Now {
    later(START, duration)
}

fn later(now: Now, duration: Duration) -> Now {
    Now {
        wall: now.wall.saturating_add(duration),
        tick: now.tick.saturating_add(duration),
    }
}

fn compile(limit: &Limit) -> CompiledLimit {
    CompiledLimit::compile(limit, &Arc::new(LimitState::new()))
}

fn api_key(id: &str) -> Identity {
    Identity::of_api_key(ApiKeyIdentity {
        key_id: id.to_owned(),
        ..ApiKeyIdentity::default()
    })
}

fn route(name: &str) -> Name {
    name.parse().unwrap()
}

fn subject<'a>(identity: Option<&'a Identity>, ip: &str, route: &'a Name) -> Subject<'a> {
    Subject {
        identity,
        client: ClientAddress::Known(ip.parse().unwrap()),
        route,
    }
}

/// Returns the number of requests that pass at once.
fn passes(limits: &[CompiledLimit], subject: Subject<'_>, now: Now) -> usize {
    (0..10_000).take_while(|_| spend(limits, subject, now).is_ok()).count()
}

#[test]
fn a_route_without_limits_admits_and_reports_no_limit() {
    let admission = spend(&[], subject(None, "192.0.2.1", &route("a")), START).unwrap();
    assert_eq!(admission.closest(), None);
}

#[test]
fn s109_a_bucket_belongs_to_the_proved_principal() {
    let limits = [compile(&limit("per-key", &[LimitBy::Credential], 60, 60, 3))];
    let (alice, bob, route) = (api_key("alice"), api_key("bob"), route("a"));
    assert_eq!(passes(&limits, subject(Some(&alice), "192.0.2.1", &route), START), 3);
    assert_eq!(passes(&limits, subject(Some(&alice), "192.0.2.2", &route), START), 0);
    assert_eq!(passes(&limits, subject(Some(&bob), "192.0.2.1", &route), START), 3);
}

#[test]
fn s109_a_new_token_of_the_same_client_is_no_new_bucket() {
    let token = |id: &str| {
        Identity::of_token(
            "main".parse().unwrap(),
            TokenIdentity {
                client_id: Some("billing".to_owned()),
                token_id: Some(id.to_owned()),
                ..TokenIdentity::default()
            },
        )
    };
    let limits = [compile(&limit("per-key", &[LimitBy::Credential], 60, 60, 3))];
    let (first, second, route) = (token("1"), token("2"), route("a"));
    assert_eq!(passes(&limits, subject(Some(&first), "192.0.2.1", &route), START), 3);
    assert_eq!(passes(&limits, subject(Some(&second), "192.0.2.1", &route), START), 0);
}

#[test]
fn s110_the_addresses_of_a_64_block_share_a_bucket() {
    let limits = [compile(&limit("per-ip", &[LimitBy::Ip], 60, 60, 3))];
    let route = route("a");
    let spent_by = |ip: &str| passes(&limits, subject(None, ip, &route), START);
    assert_eq!(spent_by("2001:db8::1"), 3);
    assert_eq!(spent_by("2001:db8::ffff:ffff:ffff:ffff"), 0);
    assert_eq!(spent_by("2001:db8:0:1::1"), 3);
    assert_eq!(spent_by("192.0.2.1"), 3);
    assert_eq!(spent_by("::ffff:192.0.2.1"), 0);
    assert_eq!(spent_by("::ffff:192.0.2.2"), 3);
}

#[test]
fn s111_two_limits_count_apart_and_two_routes_together() {
    let state = Arc::new(LimitState::new());
    let shared = [CompiledLimit::compile(
        &limit("shared", &[LimitBy::Credential], 60, 60, 3),
        &state,
    )];
    let other = [compile(&limit("other", &[LimitBy::Credential], 60, 60, 5))];
    let (alice, a, b) = (api_key("alice"), route("a"), route("b"));
    assert_eq!(passes(&shared, subject(Some(&alice), "192.0.2.1", &a), START), 3);
    assert_eq!(passes(&shared, subject(Some(&alice), "192.0.2.1", &b), START), 0);
    assert_eq!(passes(&other, subject(Some(&alice), "192.0.2.1", &a), START), 5);
}

#[test]
fn s111_a_limit_by_route_counts_routes_apart() {
    let limits = [compile(&limit(
        "each-route",
        &[LimitBy::Credential, LimitBy::Route],
        60,
        60,
        3,
    ))];
    let (alice, bob, a, b) = (api_key("alice"), api_key("bob"), route("a"), route("b"));
    assert_eq!(passes(&limits, subject(Some(&alice), "192.0.2.1", &a), START), 3);
    assert_eq!(passes(&limits, subject(Some(&alice), "192.0.2.1", &b), START), 3);
    assert_eq!(passes(&limits, subject(Some(&bob), "192.0.2.1", &a), START), 3);
    assert_eq!(passes(&limits, subject(Some(&alice), "192.0.2.1", &a), START), 0);
}

#[test]
fn without_a_principal_requests_count_by_address() {
    let limits = [compile(&limit("per-key", &[LimitBy::Credential], 60, 60, 3))];
    let route = route("a");
    assert_eq!(passes(&limits, subject(None, "192.0.2.1", &route), START), 3);
    assert_eq!(passes(&limits, subject(None, "192.0.2.1", &route), START), 0);
    assert_eq!(passes(&limits, subject(None, "192.0.2.2", &route), START), 3);
}

#[test]
fn a_refusal_by_one_limit_spends_nothing_of_the_others() {
    let tight = compile(&limit("tight", &[LimitBy::Credential], 60, 60, 2));
    let wide = compile(&limit("wide", &[LimitBy::Credential], 600, 600, 10));
    let (alice, route) = (api_key("alice"), route("a"));
    let subject = subject(Some(&alice), "192.0.2.1", &route);
    let both = [wide.clone(), tight];
    assert_eq!(passes(&both, subject, START), 2);
    for _ in 0..100 {
        assert!(spend(&both, subject, START).is_err());
    }
    assert_eq!(passes(std::slice::from_ref(&wide), subject, START), 8);
}

#[test]
fn the_limit_closest_to_exhaustion_is_reported() {
    let both = [
        compile(&limit("wide", &[LimitBy::Credential], 600, 60, 10)),
        compile(&limit("tight", &[LimitBy::Credential], 60, 60, 2)),
    ];
    let (alice, route) = (api_key("alice"), route("a"));
    let subject = subject(Some(&alice), "192.0.2.1", &route);
    let admission = spend(&both, subject, START).unwrap();
    let closest = admission.closest().unwrap();
    assert_eq!((closest.limit.as_str(), closest.remaining), ("tight", 1));
}

#[test]
fn a_limit_that_refuses_after_others_were_spent_gives_those_back() {
    // The same limit twice simulates a race with another thread: before the second `spend`, one request is left, which
    // the check finds for both.
    let twice = compile(&limit("twice", &[LimitBy::Credential], 60, 60, 3));
    let (alice, route) = (api_key("alice"), route("a"));
    let subject = subject(Some(&alice), "192.0.2.1", &route);
    let both = [twice.clone(), twice.clone()];
    assert!(spend(&both, subject, START).is_ok());
    assert!(spend(&both, subject, START).is_err());
    assert_eq!(passes(&[twice], subject, START), 1);
}

#[test]
fn retry_after_is_long_enough_for_every_limit_of_the_route() {
    for slow_first in [true, false] {
        let mut both = [
            compile(&limit("slow", &[LimitBy::Credential], 1, 3600, 1)),
            compile(&limit("fast", &[LimitBy::Credential], 1, 10, 1)),
        ];
        if !slow_first {
            both.reverse();
        }
        let (alice, route) = (api_key("alice"), route("a"));
        let subject = subject(Some(&alice), "192.0.2.1", &route);
        assert!(spend(&both, subject, START).is_ok());
        let now = after(Duration::from_millis(500));
        let spent = spend(&both, subject, now).unwrap_err();
        assert_eq!(spent.facts().limit.as_str(), "slow");
        assert_eq!(spent.retry_after_secs(), 3600);
        let later = later(now, Duration::from_secs(spent.retry_after_secs()));
        assert!(spend(&both, subject, later).is_ok());
    }
}

#[test]
fn s115_a_reload_keeps_what_was_spent_and_a_lowered_limit_locks_nobody_out() {
    let state = Arc::new(LimitState::new());
    let (alice, route) = (api_key("alice"), route("a"));
    let subject = subject(Some(&alice), "192.0.2.1", &route);
    let wide = [CompiledLimit::compile(
        &limit("per-key", &[LimitBy::Credential], 1000, 3600, 1000),
        &state,
    )];
    assert_eq!(passes(&wide, subject, START), 1000);

    let same = [CompiledLimit::compile(
        &limit("per-key", &[LimitBy::Credential], 1000, 3600, 1000),
        &state,
    )];
    assert_eq!(passes(&same, subject, START), 0);

    let lowered = [CompiledLimit::compile(
        &limit("per-key", &[LimitBy::Credential], 10, 10, 5),
        &state,
    )];
    let spent = spend(&lowered, subject, START).unwrap_err();
    assert_eq!((spent.facts().remaining, spent.retry_after_secs()), (0, 1));
    let second = after(Duration::from_secs(1));
    assert_eq!(passes(&lowered, subject, second), 1);
    let full = after(Duration::from_secs(60));
    assert_eq!(passes(&lowered, subject, full), 5);
}

#[test]
fn s115_a_raised_limit_holds_at_once() {
    let state = Arc::new(LimitState::new());
    let (alice, route) = (api_key("alice"), route("a"));
    let subject = subject(Some(&alice), "192.0.2.1", &route);
    let compile = |burst| {
        [CompiledLimit::compile(
            &limit("l", &[LimitBy::Credential], 60, 60, burst),
            &state,
        )]
    };
    assert_eq!(passes(&compile(5), subject, START), 5);
    assert_eq!(passes(&compile(8), subject, START), 3);
}

#[test]
fn a_fixed_window_is_spent_with_the_other_limits_and_refunded_with_them() {
    let fixed = Limit {
        window: LimitWindow::Fixed,
        ..limit("fixed", &[LimitBy::Credential], 5, 60, 5)
    };
    let limits = [
        compile(&fixed),
        compile(&limit("tight", &[LimitBy::Credential], 60, 60, 2)),
    ];
    let (alice, route) = (api_key("alice"), route("a"));
    let subject = subject(Some(&alice), "192.0.2.1", &route);
    assert_eq!(passes(&limits, subject, START), 2);
    assert_eq!(
        spend(&limits, subject, START).unwrap_err().facts().limit.as_str(),
        "tight"
    );
    // The last second of the minute, and the first of the next.
    assert_eq!(passes(&limits[..1], subject, after(Duration::from_millis(49_999))), 3);
    assert_eq!(
        spend(&limits, subject, after(Duration::from_secs(49)))
            .unwrap_err()
            .retry_after_secs(),
        1
    );
    assert_eq!(passes(&limits[..1], subject, after(Duration::from_secs(50))), 5);
}

#[test]
fn s114_of_a_thousand_at_once_exactly_a_hundred_pass() {
    let limits = [
        compile(&limit("wide", &[LimitBy::Organization], 1000, 60, 1000)),
        compile(&limit("tight", &[LimitBy::Credential], 100, 60, 100)),
    ];
    let (alice, route) = (api_key("alice"), route("a"));
    let start = std::sync::Barrier::new(20);
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    (0..50)
                        .filter(|_| spend(&limits, subject(Some(&alice), "192.0.2.1", &route), START).is_ok())
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 100);
    // `spend` takes from the tight limit first, so a lost race has nothing to refund.
    let left = passes(&limits[..1], subject(Some(&alice), "192.0.2.1", &route), START);
    assert_eq!(left, 900);
}

#[test]
fn of_equally_spent_limits_the_first_is_named() {
    let limits = ["first", "second"].map(|name| compile(&limit(name, &[LimitBy::Ip], 60, 60, 1)));
    let route = route("a");
    let subject = subject(None, "192.0.2.1", &route);
    let admission = spend(&limits, subject, START).unwrap();
    assert_eq!(admission.closest().unwrap().limit.as_str(), "first");
    let spent = spend(&limits, subject, START).unwrap_err();
    assert_eq!(spent.facts().limit.as_str(), "first");
}

#[test]
fn a_limit_of_both_route_and_plan_is_spent_once_and_others_each() {
    let (both, of_plan) = (
        compile(&limit("both", &[LimitBy::Ip], 60, 60, 2)),
        compile(&limit("plan", &[LimitBy::Ip], 60, 60, 3)),
    );
    let route = route("a");
    let subject = subject(None, "192.0.2.1", &route);
    let remaining = || {
        let admission = spend_both(
            std::slice::from_ref(&both),
            &[both.clone(), of_plan.clone()],
            subject,
            START,
        );
        admission.map(|admission| admission.closest().unwrap().remaining)
    };
    assert_eq!((remaining().unwrap(), remaining().unwrap()), (1, 0));
    assert_eq!(remaining().unwrap_err().facts().limit.as_str(), "both");
    let left = spend(std::slice::from_ref(&of_plan), subject, START).unwrap();
    assert_eq!(left.closest().unwrap().remaining, 0, "two were spent before");
}
