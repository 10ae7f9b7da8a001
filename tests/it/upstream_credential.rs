//! Does an upstream receive its own credential, in place of the client's, and nobody else?

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::lane::lanes;

lanes!(s085_the_credential_of_an_upstream_goes_to_it_alone);
fn s085_the_credential_of_an_upstream_goes_to_it_alone() {
    let (own, other) = (FakeUpstream::start(), FakeUpstream::start());
    let endpoints = |upstream: &FakeUpstream| format!("endpoints: [\"{}\"]\n", upstream.address());
    let credential = "credential: { scheme: Bearer, value: the-upstreams-own }";
    let api_key = "credential: { header: x-api-key, value: the-upstreams-key }";
    let route = |path: &str, upstream: &str| format!("match: {{ path: {path} }}\npublic: true\nupstream: {upstream}");
    let gate = GatewayBuilder::new()
        .top("log: { level: trace }")
        .upstream_with("own", &(endpoints(&own) + credential))
        .upstream_with("key", &(endpoints(&own) + api_key))
        .upstream_with("other", &endpoints(&other))
        .route("own", &route("/own", "own"))
        .route("key", &route("/key", "key"))
        .route("other", &route("/other", "other"))
        .yaml();
    let gate = LocalGate::start(&gate);
    gate.wait_ready();
    for path in ["/own", "/key", "/other"] {
        let response = RawClient::connect(gate.data()).exchange(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer of-the-client\r\n\r\n"
        ));
        assert_eq!(response.status, 200, "{}", response.text());
    }
    let (received, elsewhere) = (own.wait_received(2), other.wait_received(1));
    assert_eq!(received[0].headers_named("authorization"), ["Bearer the-upstreams-own"]);
    assert_eq!(received[0].headers_named("x-api-key"), [""; 0]);
    assert_eq!(received[1].headers_named("authorization"), [""; 0]);
    assert_eq!(received[1].headers_named("x-api-key"), ["the-upstreams-key"]);
    assert_eq!(elsewhere[0].headers_named("authorization"), [""; 0]);
    let records = gate.wait_access_records(3);
    assert!(!format!("{records:?}").contains("the-upstreams"), "{records:?}");
}

#[test]
fn a_rotated_credential_in_a_file_is_sent_from_the_next_request_on() {
    let upstream = FakeUpstream::start();
    let settings = format!(
        "endpoints: [\"{}\"]\ncredential: {{ scheme: Bearer, value: \"file:token\" }}",
        upstream.address()
    );
    let yaml = GatewayBuilder::new()
        .upstream_with("own", &settings)
        .route("own", "match: { path: /own }\npublic: true\nupstream: own");
    let gate = LocalGate::start_with(&yaml.yaml(), &[("token", "first\n")]);
    gate.wait_ready();
    let send = || RawClient::connect(gate.data()).exchange("GET /own HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(send().status, 200);
    gate.replace_file("token", "second\n");
    gate.check_files();
    assert_eq!(send().status, 200);
    // What cannot be a value changes nothing.
    gate.replace_file("token", "two\nlines\n");
    gate.check_files();
    assert_eq!(send().status, 200);
    let sent: Vec<String> = upstream
        .received()
        .iter()
        .flat_map(|request| request.headers_named("authorization").into_iter().map(str::to_owned))
        .collect();
    assert_eq!(sent, ["Bearer first", "Bearer second", "Bearer second"]);
}
