//! Which of a route's upstreams gets a request?

use super::counts;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RunningGate;
use crate::support::api_key;
use crate::support::lane::lanes;
use std::collections::BTreeSet;

/// Returns a configuration with the upstreams `old`, with a credential of its own, and `new`, which sets a header.
fn config(old: &FakeUpstream, new: &FakeUpstream, route: &str) -> String {
    let old = format!(
        "endpoints: [\"{}\"]\ncredential: {{ header: x-secret, value: of-old }}",
        old.address()
    );
    let new = format!("endpoints: [\"{}\"]\nset_headers: {{ x-version: new }}", new.address());
    GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .upstream_with("old", &old)
        .upstream_with("new", &new)
        .route("split", &format!("match: {{ path: \"/a\" }}\n{route}"))
        .yaml()
}

fn get(gate: &RunningGate, fields: &str) {
    let request = format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let response = RawClient::connect(gate.data()).exchange(request);
    assert_eq!(response.status, 200);
}

lanes!(a_principal_stays_with_one_upstream);
fn a_principal_stays_with_one_upstream() {
    let [old, new] = [(); 2].map(|()| FakeUpstream::start());
    let keys: Vec<_> = (0..12).map(|_| api_key("")).collect();
    let entries: String = keys.iter().map(|(_, entry)| entry.as_str()).collect();
    let yaml = config(&old, &new, "accept: [api_key]\nupstream: { old: 1, new: 1 }");
    let gate = LocalGate::start_with(&yaml, &[("keys.yaml", &format!("keys:\n{entries}"))]);
    gate.wait_ready();
    let ask = |gate: &RunningGate| {
        for (key, _) in &keys {
            (0..2).for_each(|_| get(gate, &format!("x-api-key: {}\r\n", key.expose())));
        }
    };
    let principals = |upstream: &FakeUpstream| -> BTreeSet<String> {
        let received = upstream.received();
        let ids = received
            .iter()
            .map(|request| request.headers_named("x-keygate-credential-id")[0].to_owned());
        ids.collect()
    };
    ask(&gate);
    let (of_old, of_new) = (principals(&old), principals(&new));
    assert_eq!(
        of_old.len() + of_new.len(),
        keys.len(),
        "each principal is at one of them"
    );
    // Everybody goes back, and no request is lost.
    gate.reload(&config(&old, &new, "accept: [api_key]\nupstream: { old: 1, new: 0 }"));
    let before = counts(&[&old, &new]);
    ask(&gate);
    assert_eq!(counts(&[&old, &new]), [before[0] + 24, before[1]]);
}

lanes!(each_upstream_has_its_own_settings: own, filter_http1);
fn each_upstream_has_its_own_settings() {
    let [old, new] = [(); 2].map(|()| FakeUpstream::start());
    let route =
        "public: true\nupstream: { old: 1, new: 1 }\nsplit_by: header:x-tenant\nset_headers: { x-route: split }";
    let gate = LocalGate::start_with(&config(&old, &new, route), &[("keys.yaml", "keys: []")]);
    gate.wait_ready();
    for tenant in 0..16 {
        get(&gate, &format!("x-tenant: tenant-{tenant}\r\n"));
    }
    let [of_old, of_new] = [&old, &new].map(FakeUpstream::received);
    assert!(
        of_old.len() > 1 && of_new.len() > 1,
        "{} and {}",
        of_old.len(),
        of_new.len()
    );
    for (received, version, secret) in [(of_old, None, Some("of-old")), (of_new, Some("new"), None)] {
        for request in received {
            assert_eq!(request.headers_named("x-version").first().copied(), version);
            assert_eq!(request.headers_named("x-secret").first().copied(), secret);
            assert_eq!(request.headers_named("x-route"), ["split"]);
        }
    }
}

lanes!(a_part_without_an_endpoint_is_503_and_the_other_is_served: own, filter_http2);
fn a_part_without_an_endpoint_is_503_and_the_other_is_served() {
    let [old, new] = [(); 2].map(|()| FakeUpstream::start());
    let route = "public: true\nupstream: { old: 1, new: 1 }\nsplit_by: header:x-tenant";
    let yaml = config(&old, &new, route).replace(&new.address().to_string(), "nowhere.invalid:80");
    let gate = LocalGate::start_with(&yaml, &[("keys.yaml", "keys: []")]);
    gate.wait_ready();
    let statuses: Vec<u16> = (0..16)
        .map(|tenant| {
            let request = format!("GET /a HTTP/1.1\r\nHost: a\r\nx-tenant: tenant-{tenant}\r\n\r\n");
            RawClient::connect(gate.data()).exchange(request).status
        })
        .collect();
    let served = statuses.iter().filter(|&&status| status == 200).count();
    assert_eq!(served, old.received().len());
    assert!(
        served > 0 && statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&503));
}
