use super::*;
use crate::config::Balance;
use crate::config::Config;
use crate::config::Ejection;
use crate::config::EndpointHost;
use crate::model::endpoint_address::EndpointAddress;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

const fn at(secs: u64) -> Tick {
    Tick::from_nanos(secs * 1_000_000_000)
}

/// Returns the settings of an upstream with the endpoints `list` and `more` in its section.
fn settings(list: &str, more: &str) -> config::Upstream {
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         upstreams: {{ api: {{ endpoints: [{list}], {more} }} }}\n\
         routes: [{{ name: a, match: {{ path: / }}, public: true, upstream: api }}]\n"
    );
    let config: Result<Config, _> = config::parse(&yaml, Path::new("conf/x.yaml"), &|_| None);
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    config.upstreams.into_values().next().unwrap()
}

fn upstream_of(settings: config::Upstream, state: &Arc<UpstreamState>) -> Arc<Upstream> {
    let config::UpstreamKind::Endpoints(list) = &settings.kind else {
        panic!("no endpoints");
    };
    let entries = list.iter().map(|endpoint| Entry {
        source: Arc::new(EndpointSource::new(&endpoint.host)),
        weight: endpoint.weight,
        tls: None,
    });
    let entries = entries.collect();
    Upstream::new(settings, entries, state)
}

/// Returns an upstream with `count` endpoints on the ports from 1 on.
fn upstream(count: u16, more: &str) -> Arc<Upstream> {
    let list: Vec<String> = (1..=count).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    upstream_of(settings(&list.join(", "), more), &Arc::default())
}

fn port(endpoint: &Endpoint) -> u16 {
    match endpoint.address() {
        EndpointAddress::Inet(address) => address.port(),
        EndpointAddress::Unix(_) => 0,
    }
}

fn choose(upstream: &Upstream) -> u16 {
    port(&upstream.choose(b"", None).unwrap().endpoint)
}

/// Returns the number of requests that each port gets of `requests`.
fn spread(upstream: &Upstream, requests: usize) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(choose(upstream)).or_default() += 1;
    }
    counts
}

fn endpoint(upstream: &Upstream, wanted: u16) -> Arc<Endpoint> {
    let mut endpoints = upstream.endpoints().into_iter();
    endpoints
        .find(|found| port(&found.endpoint) == wanted)
        .unwrap()
        .endpoint
}

fn fail(upstream: &Upstream, failing: u16, now: Tick) -> Option<StateChange> {
    upstream.note_failure(&endpoint(upstream, failing), UpstreamFailure::Closed, now)
}

fn probe(upstream: &Upstream, probed: u16, answers: bool, now: Tick) -> Option<StateChange> {
    let due = upstream.tick(now);
    assert!(
        due.iter().any(|due| port(&due.endpoint) == probed),
        "no probe of {probed} is due"
    );
    upstream.note_probe(&endpoint(upstream, probed), answers, now)
}

#[test]
fn endpoints_are_chosen_in_turn() {
    let upstream = upstream(3, "");
    let ports: Vec<u16> = (0..6).map(|_| choose(&upstream)).collect();
    assert_eq!(ports, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn a_heavier_endpoint_gets_more_and_not_all_at_once() {
    let list = "{ address: \"127.0.0.1:1\", weight: 60 }, { address: \"127.0.0.1:2\", weight: 20 }";
    let upstream = upstream_of(settings(list, ""), &Arc::default());
    let ports: Vec<u16> = (0..8).map(|_| choose(&upstream)).collect();
    assert_eq!(ports, [1, 1, 2, 1, 1, 1, 2, 1]);
}

#[test]
fn a_random_choice_is_even() {
    for (_, count) in spread(&upstream(4, "balance: random"), 4_000) {
        assert!((850..1_150).contains(&count), "{count}");
    }
}

#[test]
fn of_two_endpoints_the_one_with_fewer_requests_is_chosen() {
    let upstream = upstream(2, "balance: least_requests");
    let held: Vec<Choice> = (0..10).map(|_| upstream.choose(b"", None).unwrap()).collect();
    assert_eq!(endpoint(&upstream, 1).in_flight(), 5);
    assert_eq!(endpoint(&upstream, 2).in_flight(), 5);
    drop(held);
    assert_eq!(endpoint(&upstream, 1).in_flight(), 0);
    let many = super::tests::upstream(10, "balance: least_requests");
    let slow = endpoint(&many, 1);
    for _ in 0..1_000 {
        slow.begin_request(None);
    }
    assert!(!spread(&many, 1_000).contains_key(&1), "the slow one gets nothing more");
}

#[test]
fn the_same_key_goes_to_the_same_endpoint_and_few_keys_move_with_an_endpoint() {
    let upstream = upstream(5, "balance: consistent_hash");
    let place = |key: u32| port(&upstream.choose(&key.to_be_bytes(), None).unwrap().endpoint);
    let before: Vec<u16> = (0..1_000).map(place).collect();
    assert_eq!(before, (0..1_000).map(place).collect::<Vec<_>>());
    fail(&upstream, 3, at(1));
    let after: Vec<u16> = (0..1_000).map(place).collect();
    for (before, after) in before.iter().zip(&after) {
        assert!(
            before == after || *before == 3,
            "only keys of the ejected endpoint move"
        );
        assert_ne!(*after, 3);
    }
    let all = (1..=5).map(|port| before.iter().filter(|place| **place == port).count());
    assert!(all.min() > Some(100), "each endpoint has its part");
}

/// Returns an upstream with SRV records. Each has a port, a priority and a weight.
fn service(records: &[(u8, u16, u32)], more: &str) -> Arc<Upstream> {
    let upstream = upstream_of(settings("_api._tcp.example", more), &Arc::default());
    let targets = records.iter().map(|&(port, priority, weight)| Target {
        address: SocketAddr::from(([192, 0, 2, port], port.into())),
        rank: Rank {
            priority,
            weight: Some(weight),
        },
        host: "host.example".into(),
    });
    upstream.entries()[0].source.replace(Lookup {
        targets: targets.collect(),
        ..Lookup::default()
    });
    upstream.refresh();
    upstream
}

#[test]
fn records_of_the_lowest_priority_that_serves_get_requests_by_their_weights() {
    for balance in ["round_robin", "random", "least_requests", "consistent_hash"] {
        let upstream = service(&[(1, 10, 3), (2, 10, 1), (3, 20, 1)], &format!("balance: {balance}"));
        let ports: Vec<u16> = spread(&upstream, 400).into_keys().collect();
        assert!(!ports.contains(&3), "{balance}: {ports:?}");
        // Both of the first priority may go, because the second one takes over.
        fail(&upstream, 1, at(1));
        assert_eq!(spread(&upstream, 10), BTreeMap::from([(2, 10)]), "{balance}");
        fail(&upstream, 2, at(1));
        assert_eq!(spread(&upstream, 10), BTreeMap::from([(3, 10)]), "{balance}");
        assert_eq!(
            fail(&upstream, 3, at(1)),
            Some(StateChange::Fails),
            "nobody else is there"
        );
        assert!(!upstream.is_in_panic());
        // An endpoint that returns gets a part, and the next priority the rest.
        probe(&upstream, 2, true, at(2));
        let slowly = spread(&upstream, 1_000);
        assert!(
            (20..200).contains(&slowly[&2]) && slowly[&3] > 700,
            "{balance}: {slowly:?}"
        );
        upstream.tick(at(60));
        assert_eq!(spread(&upstream, 10), BTreeMap::from([(2, 10)]), "{balance}");
    }
    let upstream = service(&[(1, 10, 3), (2, 10, 1)], "");
    assert_eq!(spread(&upstream, 400), BTreeMap::from([(1, 300), (2, 100)]));
}

#[test]
fn a_standby_that_is_down_does_not_keep_failing_endpoints_in_service() {
    let upstream = service(&[(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 2, 1)], "");
    fail(&upstream, 3, at(1));
    fail(&upstream, 4, at(1));
    assert!(matches!(fail(&upstream, 1, at(1)), Some(StateChange::Ejected { .. })));
    assert_eq!(spread(&upstream, 10), BTreeMap::from([(2, 10)]));
}

#[test]
fn a_request_that_the_only_endpoint_of_a_priority_has_failed_goes_to_the_next_one() {
    for balance in ["round_robin", "random", "least_requests", "consistent_hash"] {
        let upstream = service(&[(1, 1, 1), (2, 2, 1)], &format!("ejection: off, balance: {balance}"));
        let failed = endpoint(&upstream, 1);
        let choice = upstream.choose(b"key", Some(&failed)).unwrap();
        assert_eq!(port(&choice.endpoint), 2, "{balance}");
    }
}

#[test]
fn until_a_new_name_was_looked_up_the_endpoints_before_serve() {
    let state = Arc::default();
    let first = upstream_of(settings("\"127.0.0.1:1\"", ""), &state);
    let second = upstream_of(settings("\"api.example:80\"", ""), &state);
    assert_eq!(choose(&second), 1);
    drop(first);
    let source = &second.entries()[0].source;
    assert!(source.begin_lookup(&[], Duration::from_secs(10), at(1)));
    source.end_lookup(Some("refused".to_owned()));
    assert_eq!(
        second.choose(b"", None).err(),
        Some(NoChoice::NoEndpoint),
        "it does not resolve"
    );
}

#[test]
fn an_endpoint_that_fails_and_stays_in_service_says_so_until_it_serves_again() {
    let upstream = upstream(1, "");
    let only = endpoint(&upstream, 1);
    assert_eq!(only.state(), EndpointState::Serving);
    fail(&upstream, 1, at(1));
    assert_eq!(only.state(), EndpointState::Failing);
    // A response soon after a failure shows nothing: it may fail every second request.
    upstream.note_response(&only, || at(2));
    assert_eq!(only.state(), EndpointState::Failing);
    upstream.note_response(&only, || at(60));
    assert_eq!(only.state(), EndpointState::Serving);
}

#[test]
fn where_every_priority_fails_its_check_all_are_used() {
    let upstream = service(&[(1, 1, 1), (2, 1, 1), (3, 2, 1)], "health: { tcp: true, failures: 1 }");
    for failing in 1..=3 {
        assert!(!upstream.is_in_panic());
        upstream.note_check(&endpoint(&upstream, failing), Err("refused".to_owned()), at(1));
    }
    assert!(upstream.is_in_panic());
    assert_eq!(spread(&upstream, 30).len(), 3);
    upstream.drain(&endpoint(&upstream, 1), true, at(1));
    assert_eq!(spread(&upstream, 30).len(), 2);
}

#[test]
fn the_addresses_of_a_name_are_endpoints_each() {
    let upstream = upstream_of(settings("\"api.example:80\"", ""), &Arc::default());
    assert!(upstream.choose(b"", None).is_err(), "it was never resolved");
    let source = &upstream.entries()[0].source;
    let addresses = (1..=3).map(|last| SocketAddr::from(([192, 0, 2, last], 80)));
    assert!(source.replace(Lookup::of_host("api.example", addresses)));
    upstream.refresh();
    assert_eq!(upstream.endpoints().len(), 3);
    let chosen: Vec<EndpointAddress> = (0..3)
        .map(|_| upstream.choose(b"", None).unwrap().endpoint.address().clone())
        .collect();
    assert_eq!(chosen.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
}

#[test]
fn an_endpoint_that_fails_once_gets_no_further_request_until_it_answers_a_probe() {
    let upstream = upstream(2, "");
    let ejected = fail(&upstream, 1, at(100));
    assert_eq!(
        ejected,
        Some(StateChange::Ejected {
            time: Duration::from_secs(1)
        })
    );
    assert_eq!(spread(&upstream, 10), BTreeMap::from([(2, 10)]));
    assert!(upstream.tick(at(100)).is_empty(), "not yet");
    assert_eq!(probe(&upstream, 1, false, at(101)), None);
    assert_eq!(spread(&upstream, 10), BTreeMap::from([(2, 10)]));
    assert!(upstream.tick(at(102)).is_empty(), "the next probe comes later");
    assert_eq!(
        probe(&upstream, 1, true, at(103)),
        Some(StateChange::Serves { failures: 1 })
    );
    let slowly = spread(&upstream, 1_000);
    assert!((20..150).contains(&slowly[&1]), "{slowly:?}");
    upstream.tick(at(108));
    let half = spread(&upstream, 1_000);
    assert!((200..330).contains(&half[&1]), "{half:?}");
    upstream.tick(at(113));
    assert_eq!(spread(&upstream, 1_000), BTreeMap::from([(1, 500), (2, 500)]));
}

#[test]
fn never_more_than_half_of_the_endpoints_are_ejected() {
    for (count, out) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
        let upstream = upstream(count, "");
        for failing in 1..=count {
            fail(&upstream, failing, at(1));
        }
        let ejected = upstream
            .endpoints()
            .iter()
            .filter(|found| found.endpoint.has(Absence::Ejected))
            .count();
        assert_eq!(ejected, out, "of {count}");
        assert_eq!(spread(&upstream, 100).len(), usize::from(count) - out);
        assert!(!upstream.is_in_panic());
    }
}

#[test]
fn an_endpoint_fails_as_often_in_a_row_as_the_settings_say() {
    let upstream = upstream(2, "ejection: { failures: 3 }");
    assert_eq!(fail(&upstream, 1, at(1)), Some(StateChange::Fails));
    assert_eq!(fail(&upstream, 1, at(1)), None);
    upstream.note_response(&endpoint(&upstream, 1), || at(1));
    assert_eq!(fail(&upstream, 1, at(1)), None);
    assert_eq!(fail(&upstream, 1, at(1)), None);
    assert!(matches!(fail(&upstream, 1, at(1)), Some(StateChange::Ejected { .. })));
}

#[test]
fn without_ejection_an_endpoint_that_fails_goes_on_getting_requests() {
    let upstream = upstream(2, "ejection: off");
    assert_eq!(fail(&upstream, 1, at(1)), Some(StateChange::Fails));
    assert_eq!(spread(&upstream, 10), BTreeMap::from([(1, 5), (2, 5)]));
    assert!(upstream.tick(at(100)).is_empty());
}

#[test]
fn the_endpoint_that_has_failed_the_request_is_avoided_where_there_is_another() {
    for balance in ["round_robin", "random", "least_requests", "consistent_hash"] {
        let upstream = upstream(2, &format!("ejection: off, balance: {balance}"));
        let failed = endpoint(&upstream, 1);
        for _ in 0..20 {
            let choice = upstream.choose(b"key", Some(&failed)).unwrap();
            assert_eq!(port(&choice.endpoint), 2, "{balance}");
        }
    }
    let only = upstream(1, "");
    let failed = endpoint(&only, 1);
    assert_eq!(port(&only.choose(b"", Some(&failed)).unwrap().endpoint), 1);
}

#[test]
fn a_reload_keeps_the_turn_and_the_ejections_and_both_snapshots_see_the_next_one() {
    let state = Arc::default();
    let first = upstream_of(
        settings("\"127.0.0.1:1\", \"127.0.0.1:2\", \"127.0.0.1:3\"", ""),
        &state,
    );
    assert_eq!(choose(&first), 1);
    fail(&first, 2, at(1));
    let mut settings = first.settings.clone();
    settings.balance = Balance::Random;
    let second = Upstream::new(settings, first.entries().to_vec(), &state);
    assert!(!spread(&second, 100).contains_key(&2));
    assert!(state.latest().is_some_and(|latest| Arc::ptr_eq(&latest, &second)));
    probe(&second, 2, true, at(10));
    assert!(spread(&first, 300).contains_key(&2));
    assert_eq!(first.settings.ejection, Some(Ejection::default()));
}

#[test]
fn a_choice_among_many_endpoints_reaches_each() {
    let list: Vec<String> = (1..=100).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let upstream = upstream_of(settings(&list.join(", "), ""), &Arc::default());
    assert_eq!(spread(&upstream, 200).len(), 100);
    assert!(matches!(
        EndpointSource::new(&EndpointHost::Unix {
            path: Path::new("/run/a.sock").into()
        })
        .endpoints()[0]
            .endpoint
            .address(),
        EndpointAddress::Unix(_)
    ));
}

#[test]
fn an_endpoint_has_no_more_requests_than_the_settings_allow() {
    let upstream = upstream(2, "requests_max: 2");
    let mut held: Vec<Choice> = (0..4).map(|_| upstream.choose(b"", None).unwrap()).collect();
    assert_eq!(upstream.choose(b"", None).unwrap_err(), NoChoice::Busy);
    let freed = port(&held.pop().unwrap().endpoint);
    assert_eq!(choose(&upstream), freed);
    drop(held);
    assert!(upstream.endpoints().iter().all(|found| found.endpoint.in_flight() == 0));
}

#[test]
fn an_endpoint_that_failed_its_check_is_back_where_a_reload_removes_the_check() {
    let state = Arc::default();
    let list = "\"127.0.0.1:1\", \"127.0.0.1:2\"";
    let checked = upstream_of(settings(list, "health: { path: /, failures: 1 }"), &state);
    let failed = checked.note_check(&endpoint(&checked, 1), Err("status 500".to_owned()), at(1));
    assert_eq!(failed, Some(false));
    assert_eq!(spread(&checked, 10), BTreeMap::from([(2, 10)]));
    let unchecked = Upstream::new(settings(list, ""), checked.entries().to_vec(), &state);
    assert_eq!(spread(&unchecked, 10), BTreeMap::from([(2, 10)]));
    unchecked.tick(at(2));
    assert_eq!(spread(&unchecked, 10).len(), 2);
}

#[test]
fn a_check_fails_and_passes_as_often_in_a_row_as_the_settings_say() {
    let upstream = upstream(2, "health: { path: /, failures: 2, successes: 3 }");
    let one = endpoint(&upstream, 1);
    let ill = || Err("status 500".to_owned());
    let results = [
        ill(),
        Ok(()),
        ill(),
        ill(),
        Ok(()),
        Ok(()),
        ill(),
        Ok(()),
        Ok(()),
        Ok(()),
    ];
    let changes: Vec<Option<bool>> = results
        .into_iter()
        .map(|result| upstream.note_check(&one, result, at(1)))
        .collect();
    let expected = [None, None, None, Some(false), None, None, None, None, None, Some(true)];
    assert_eq!(changes, expected);
    assert_eq!(one.state(), EndpointState::Returning);
}

#[test]
fn where_more_than_half_fail_their_check_all_but_the_drained_are_used() {
    let upstream = upstream(3, "health: { path: /, failures: 1 }");
    for failing in [1, 2] {
        upstream.note_check(&endpoint(&upstream, failing), Err(String::new()), at(1));
    }
    assert!(upstream.is_in_panic());
    assert_eq!(spread(&upstream, 30).len(), 3);
    upstream.drain(&endpoint(&upstream, 1), true, at(1));
    assert!(!upstream.is_in_panic(), "one of two");
    assert_eq!(spread(&upstream, 30), BTreeMap::from([(3, 30)]));
    upstream.drain(&endpoint(&upstream, 3), true, at(1));
    assert_eq!(
        spread(&upstream, 30),
        BTreeMap::from([(2, 30)]),
        "the last one, ill as it is"
    );
    upstream.drain(&endpoint(&upstream, 2), true, at(1));
    assert_eq!(upstream.choose(b"", None).unwrap_err(), NoChoice::NoEndpoint);
}
