//! Which upstream gets a request, and which one after a change of weights?

use super::*;
use crate::gate::live::LiveState;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Timestamp;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Reasons;
use std::collections::BTreeMap;
use std::path::Path;

const TOP: &str = "
listeners: [{ address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
upstreams: { a: { endpoints: [\"a:80\"] }, b: { endpoints: [\"b:80\"] }, c: { endpoints: [\"c:80\"] } }
";

/// Returns the destinations of a route with these weights, for text from a header.
fn destinations(weights: &str) -> Destinations {
    let route = format!("match: {{ path: / }}, public: true, upstream: {{ {weights} }}, split_by: header:x");
    let yaml = format!("{TOP}routes: [{{ name: r, {route} }}]");
    let config = config::parse(&yaml, Path::new("k.yaml"), &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let reasons = Reasons {
        denials: &[],
        heads: &[],
        connections: &[],
    };
    let metrics = Arc::new(Metrics::new(&reasons, Timestamp::default()));
    let live = LiveState::new(metrics, "127.0.0.1:9".parse().unwrap());
    let snapshot = Snapshot::compile(&config, &live).unwrap();
    let Snapshot { routes, matcher, .. } = snapshot;
    drop(matcher);
    let mut routes = routes.into_vec();
    Arc::into_inner(routes.remove(0)).unwrap().destinations
}

/// Returns the upstream of each of the keys `0` to `19999`.
fn upstreams(weights: &str) -> Vec<String> {
    let destinations = destinations(weights);
    let upstream = |key: usize| {
        let destination = match &destinations {
            Destinations::One(destination) => destination,
            Destinations::Split(split) => split.choose(key.to_string().as_bytes()),
        };
        destination.upstream.name().to_string()
    };
    (0..20_000).map(upstream).collect()
}

fn counts(upstreams: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for name in upstreams {
        *counts.entry(name.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn each_upstream_gets_its_part() {
    for (weights, expected) in [
        ("a: 1, b: 1, c: 1", [6_667, 6_667, 6_667]),
        ("a: 90, b: 9, c: 1", [18_000, 1_800, 200]),
        ("a: 500, b: 0, c: 500", [10_000, 0, 10_000]),
        ("a: 0, b: 7, c: 0", [0, 20_000, 0]),
    ] {
        let upstreams = upstreams(weights);
        let counts = counts(&upstreams);
        for (name, expected) in ["a", "b", "c"].into_iter().zip(expected) {
            let count = counts.get(name).copied().unwrap_or_default();
            // Four standard deviations of a fair draw are at most this.
            assert!(
                count.abs_diff(expected) <= 4 * expected.isqrt(),
                "{weights}: {counts:?}"
            );
        }
    }
}

#[test]
fn a_change_of_weights_moves_keys_only_to_upstreams_whose_part_grows() {
    for (before, after, grown) in [
        ("a: 95, b: 5", "a: 90, b: 10", "b"),
        ("a: 95, b: 5", "a: 0, b: 5", "b"),
        ("a: 3, b: 1", "a: 3, b: 1, c: 2", "c"),
        ("a: 3, b: 1, c: 2", "a: 5, b: 1, c: 2", "a"),
    ] {
        let (before, after) = (upstreams(before), upstreams(after));
        let moved: Vec<_> = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .collect();
        assert!(!moved.is_empty());
        assert!(moved.iter().all(|(_, after)| *after == grown), "{before:?} {after:?}");
    }
}

#[test]
fn neither_the_order_nor_the_sum_of_the_weights_matters() {
    assert_eq!(upstreams("a: 3, b: 1"), upstreams("b: 1, a: 3"));
    assert_eq!(upstreams("a: 3, b: 1"), upstreams("a: 300, b: 100"));
}

#[test]
fn every_version_of_keygate_chooses_the_same() {
    let chosen = upstreams("a: 1, b: 1, c: 1");
    assert_eq!(chosen[..12].join(" "), "c b c a a b c a c a b a");
}

#[test]
fn where_a_request_has_no_key_its_clients_network_decides() {
    let headers = HeaderMap::new();
    let bytes = |address: &str| {
        let source = HashSource {
            principal: None,
            headers: &headers,
            address: address.parse().unwrap(),
        };
        source
            .bytes(&HashKey::Header("x".parse().unwrap()), &mut [0; 16])
            .to_vec()
    };
    assert_eq!(bytes("2001:db8:1:2::3"), bytes("2001:db8:1:2:ffff::1"), "one /64");
    assert_ne!(bytes("2001:db8:1:2::3"), bytes("2001:db8:1:3::3"));
    assert_ne!(bytes("192.0.2.1"), bytes("192.0.2.2"));
}
