//! What does the operator learn of an endpoint that fails, and the client not?

use crate::support::Binary;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RefusingAddress;
use crate::support::faulty_endpoint::Fault;
use crate::support::faulty_endpoint::FaultyEndpoint;
use crate::support::lane::lanes;
use std::net::SocketAddr;

/// A request of a method that is not sent again.
const REQUEST: &str = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";

fn config(endpoint: SocketAddr) -> String {
    GatewayBuilder::new()
        .upstream_with(
            "api",
            &format!("endpoints: [\"{endpoint}\"]\nread_timeout: 300ms\nconnect_attempts: 1"),
        )
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api")
        .yaml()
}

lanes!(a_failed_request_is_recorded_with_what_its_endpoint_did);
fn a_failed_request_is_recorded_with_what_its_endpoint_did() {
    let refusing = RefusingAddress::new();
    for (endpoint, status, failure) in [
        (refusing.address(), 502, "refused"),
        (FaultyEndpoint::start(Fault::Closes).address(), 502, "closed"),
        (FaultyEndpoint::start(Fault::Resets).address(), 502, "reset"),
        (FaultyEndpoint::start(Fault::Stalls).address(), 504, "timed_out"),
        (FaultyEndpoint::start(Fault::SpeaksOtherwise).address(), 502, "no_http"),
    ] {
        let gate = LocalGate::start(&config(endpoint));
        gate.wait_ready();
        let response = RawClient::connect(gate.data()).exchange(REQUEST);
        assert_eq!(response.status, status, "{failure}");
        let record = gate.record(&response);
        let found = ["upstream_failure", "endpoint", "upstream"].map(|field| record[field].as_str().unwrap());
        assert_eq!(found, [failure, &*endpoint.to_string(), "api"]);
        let series = format!("keygate_upstream_failures_total{{failure=\"{failure}\",upstream=\"api\"}}");
        assert_eq!(gate.metric(&series), 1.0, "{failure}");
        // S143: the client learns nothing of it.
        let shown = format!("{:?} {}", response.headers, response.text());
        let hidden = [&*endpoint.to_string(), &*endpoint.port().to_string(), failure];
        assert!(hidden.iter().all(|text| !shown.contains(text)), "{shown}");
    }
}

lanes!(a_request_that_another_endpoint_answers_is_no_failure);
fn a_request_that_another_endpoint_answers_is_no_failure() {
    let refusing = RefusingAddress::new();
    let good = crate::support::FakeUpstream::start();
    let endpoints = format!("endpoints: [\"{}\", \"{}\"]", refusing.address(), good.address());
    let yaml = GatewayBuilder::new()
        .upstream_with("api", &endpoints)
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api");
    let gate = LocalGate::start(&yaml.yaml());
    gate.wait_ready();
    let response = RawClient::connect(gate.data()).exchange("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.status, 200);
    let record = gate.record(&response);
    assert_eq!(record.get("upstream_failure"), None, "{record}");
    assert_eq!(record["endpoint"], good.address().to_string());
    let series = "keygate_upstream_failures_total{failure=\"refused\",upstream=\"api\"}";
    assert_eq!(gate.metric(series), 1.0);
}

lanes!(an_endpoint_that_begins_to_fail_is_logged_once: own, filter_http1);
fn an_endpoint_that_begins_to_fail_is_logged_once() {
    let endpoint = FaultyEndpoint::start(Fault::Closes).address();
    let gate = Binary::start(&config(endpoint));
    gate.wait_ready();
    let mut client = RawClient::connect(gate.data());
    for _ in 0..5 {
        assert_eq!(client.exchange(REQUEST).status, 502);
    }
    gate.wait_access_records(5);
    let output = gate.output();
    let lines: Vec<&str> = output.lines().filter(|line| line.contains("Endpoint fails")).collect();
    assert_eq!(lines.len(), 1, "{output}");
    for fact in ["\"upstream\":\"api\"", "\"failure\":\"closed\"", &endpoint.to_string()] {
        assert!(lines[0].contains(fact), "{}", lines[0]);
    }
}
