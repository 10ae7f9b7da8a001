//! Which endpoint gets a request?

use super::GET;
use super::config;
use super::counts;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RunningGate;
use crate::support::api_key;
use crate::support::lane::lanes;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

fn get(gate: &RunningGate, fields: &str) {
    let request = format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    assert_eq!(RawClient::connect(gate.data()).exchange(request).status, 200);
}

lanes!(a_heavier_endpoint_gets_more_requests);
fn a_heavier_endpoint_gets_more_requests() {
    let [one, three] = [(); 2].map(|()| FakeUpstream::start());
    let upstream = format!(
        "endpoints: [\"{}\", {{ address: \"{}\", weight: 3 }}]",
        one.address(),
        three.address()
    );
    let yaml = GatewayBuilder::new()
        .upstream_with("api", &upstream)
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api");
    let gate = LocalGate::start(&yaml.yaml());
    gate.wait_ready();
    (0..8).for_each(|_| get(&gate, ""));
    assert_eq!(counts(&[&one, &three]), [2, 6]);
}

lanes!(requests_with_the_same_header_go_to_the_same_endpoint);
fn requests_with_the_same_header_go_to_the_same_endpoint() {
    let upstreams = [(); 4].map(|()| FakeUpstream::start());
    let addresses: Vec<_> = upstreams.iter().map(FakeUpstream::address).collect();
    let gate = LocalGate::start(&config(
        &addresses,
        "balance: consistent_hash\nhash_by: header:x-tenant",
    ));
    gate.wait_ready();
    for tenant in 0..8 {
        (0..2).for_each(|_| get(&gate, &format!("x-tenant: tenant-{tenant}\r\n")));
    }
    for upstream in &upstreams {
        let received = upstream.received();
        let tenants: BTreeSet<_> = received
            .iter()
            .map(|request| request.headers_named("x-tenant")[0])
            .collect();
        assert_eq!(
            received.len(),
            2 * tenants.len(),
            "each tenant is here twice or not at all"
        );
    }
    // Without the field it is the client's address, which is the same.
    let before = counts(&upstreams.each_ref());
    (0..4).for_each(|_| get(&gate, ""));
    let after = counts(&upstreams.each_ref());
    let more: Vec<usize> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after - before)
        .collect();
    assert!(more.contains(&4), "{more:?}");
}

lanes!(requests_of_one_principal_go_to_the_same_endpoint: own, filter_http2);
fn requests_of_one_principal_go_to_the_same_endpoint() {
    let upstreams = [(); 3].map(|()| FakeUpstream::start());
    let list: Vec<String> = upstreams
        .iter()
        .map(|upstream| format!("\"{}\"", upstream.address()))
        .collect();
    let keys: Vec<_> = (0..6).map(|_| api_key("")).collect();
    let yaml = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .upstream_with(
            "api",
            &format!("endpoints: [{}]\nbalance: consistent_hash", list.join(", ")),
        )
        .route(
            "keyed",
            "match: { path: \"/{*rest}\" }\naccept: [api_key]\nupstream: api",
        );
    let entries: String = keys.iter().map(|(_, entry)| entry.as_str()).collect();
    let gate = LocalGate::start_with(&yaml.yaml(), &[("keys.yaml", &format!("keys:\n{entries}"))]);
    gate.wait_ready();
    for (key, _) in &keys {
        (0..3).for_each(|_| get(&gate, &format!("x-api-key: {}\r\n", key.expose())));
    }
    for upstream in &upstreams {
        let received = upstream.received();
        let name = "x-keygate-credential-id";
        let principals: BTreeSet<_> = received.iter().map(|request| request.headers_named(name)[0]).collect();
        assert_eq!(received.len(), 3 * principals.len());
    }
}

lanes!(reloads_under_load_lose_no_request: own, filter_http1, filter_http2);
fn reloads_under_load_lose_no_request() {
    const RELOADS: usize = 30;
    let [one, two, three] = [(); 3].map(|()| FakeUpstream::start());
    let gate = LocalGate::start(&config(&[one.address(), two.address()], ""));
    gate.wait_ready();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients = [(); 4].map(|()| {
            scope.spawn(|| {
                let mut client = RawClient::connect(gate.data());
                let mut requests = 0;
                while !is_over.load(Ordering::SeqCst) {
                    assert_eq!(client.exchange(GET).status, 200);
                    requests += 1;
                }
                requests
            })
        });
        for round in 0..RELOADS {
            let endpoints = [[one.address(), two.address()], [two.address(), three.address()]][round % 2];
            let more = [
                "",
                "balance: least_requests",
                "balance: consistent_hash\nrequests_max: 100",
            ][round % 3];
            gate.reload(&config(&endpoints, more));
        }
        is_over.store(true, Ordering::SeqCst);
        let requests: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(requests > RELOADS, "{requests}");
    });
}

lanes!(a_reload_loses_no_request_and_keeps_what_is_known_of_endpoints: own, filter_http1);
fn a_reload_loses_no_request_and_keeps_what_is_known_of_endpoints() {
    let [one, two, three] = [(); 3].map(|()| FakeUpstream::start());
    let gate = LocalGate::start(&config(&[one.address(), two.address()], ""));
    gate.wait_ready();
    (0..4).for_each(|_| get(&gate, ""));
    gate.reload(&config(&[two.address(), three.address()], "balance: least_requests"));
    (0..6).for_each(|_| get(&gate, ""));
    assert_eq!(one.received().len(), 2);
    assert_eq!(two.received().len() + three.received().len(), 8);
    let series =
        |endpoint| format!("keygate_upstream_endpoint_requests_total{{endpoint=\"{endpoint}\",upstream=\"api\"}}");
    assert_eq!(gate.metric(&series(two.address())), two.received().len() as f64);
}
