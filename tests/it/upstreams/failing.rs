//! F60: an endpoint that fails costs one request and no more, whichever way it fails, and comes back when it answers.

use super::GET;
use super::POST;
use super::config;
use super::in_service;
use crate::support::FakeUpstream;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RefusingAddress;
use crate::support::RunningGate;
use crate::support::faulty_endpoint::Fault;
use crate::support::faulty_endpoint::FaultyEndpoint;
use crate::support::lane::lanes;
use crate::support::still_clock;
use crate::support::wait_until;
use std::time::Duration;

const FAULTS: [(Fault, u16); 4] = [
    (Fault::Closes, 502),
    (Fault::Resets, 502),
    (Fault::Stalls, 504),
    (Fault::SpeaksOtherwise, 502),
];

/// Returns the statuses of `count` requests, one after the other.
fn statuses(gate: &RunningGate, request: &str, count: usize) -> Vec<u16> {
    let send = |_| RawClient::connect(gate.data()).exchange(request).status;
    (0..count).map(send).collect()
}

lanes!(an_endpoint_that_fails_costs_one_request);
fn an_endpoint_that_fails_costs_one_request() {
    for (fault, status) in FAULTS {
        let (faulty, good) = (FaultyEndpoint::start(fault), FakeUpstream::start());
        // The clock stands still, so that no probe comes.
        let yaml = config(&[faulty.address(), good.address()], "read_timeout: 300ms");
        let gate = LocalGate::start_at(&still_clock(), &yaml, &[]);
        gate.wait_ready();
        let found = statuses(&gate, POST, 10);
        let failed: Vec<&u16> = found.iter().filter(|status| **status != 200).collect();
        assert_eq!(failed, [&status], "{fault:?}: {found:?}");
        assert!(!in_service(&gate, faulty.address()) && in_service(&gate, good.address()));
        assert_eq!(faulty.requests(), 1, "{fault:?}");
    }
}

lanes!(an_idempotent_request_does_not_see_an_endpoint_that_fails);
fn an_idempotent_request_does_not_see_an_endpoint_that_fails() {
    for (fault, _) in FAULTS {
        let (faulty, good) = (FaultyEndpoint::start(fault), FakeUpstream::start());
        let more = "read_timeout: 5s\nretries: { try_timeout: 300ms }";
        let gate = LocalGate::start_at(&still_clock(), &config(&[faulty.address(), good.address()], more), &[]);
        gate.wait_ready();
        assert_eq!(statuses(&gate, GET, 6), [200; 6], "{fault:?}");
        assert_eq!(faulty.requests(), 1, "{fault:?}");
        let retried = gate.metric("keygate_upstream_retries_total{result=\"sent\",upstream=\"api\"}");
        assert_eq!(retried, 1.0, "{fault:?}");
    }
}

lanes!(an_endpoint_that_answers_again_gets_requests_again: own, filter_http1);
fn an_endpoint_that_answers_again_gets_requests_again() {
    let clock = still_clock();
    let (faulty, good) = (FaultyEndpoint::start(Fault::Closes), FakeUpstream::start());
    let gate = LocalGate::start_at(&clock, &config(&[faulty.address(), good.address()], ""), &[]);
    gate.wait_ready();
    statuses(&gate, POST, 2);
    assert!(!in_service(&gate, faulty.address()));
    // Probes come, and find it as it was.
    wait_until("the first probe", || {
        clock.advance(Duration::from_millis(100));
        faulty.probes() > 0
    });
    assert!(!in_service(&gate, faulty.address()));
    faulty.mend();
    wait_until("the endpoint is in service again", || {
        clock.advance(Duration::from_secs(1));
        in_service(&gate, faulty.address())
    });
    // All of its requests come back with the time.
    clock.advance(Duration::from_secs(10));
    wait_until("both endpoints get all of their requests", || {
        gate.metric("keygate_upstream_endpoints{state=\"serving\",upstream=\"api\"}") == 2.0
    });
    assert_eq!(statuses(&gate, POST, 4), [200; 4]);
    assert_eq!(faulty.requests(), 3);
}

lanes!(with_ejection_off_every_second_request_fails: own);
fn with_ejection_off_every_second_request_fails() {
    let (faulty, good) = (FaultyEndpoint::start(Fault::Closes), FakeUpstream::start());
    let gate = LocalGate::start(&config(&[faulty.address(), good.address()], "ejection: off"));
    gate.wait_ready();
    assert_eq!(statuses(&gate, POST, 4), [502, 200, 502, 200]);
}

lanes!(the_last_half_of_the_endpoints_is_never_ejected: own, filter_http1);
fn the_last_half_of_the_endpoints_is_never_ejected() {
    let endpoints = [(); 3].map(|()| FaultyEndpoint::start(Fault::Closes));
    let addresses: Vec<_> = endpoints.iter().map(FaultyEndpoint::address).collect();
    let gate = LocalGate::start_at(&still_clock(), &config(&addresses, ""), &[]);
    gate.wait_ready();
    assert_eq!(statuses(&gate, POST, 6), [502; 6]);
    let out = addresses.iter().filter(|address| !in_service(&gate, address)).count();
    assert_eq!(out, 1);
}

lanes!(a_refused_connection_is_tried_elsewhere_for_every_method);
fn a_refused_connection_is_tried_elsewhere_for_every_method() {
    let (refusing, good) = (RefusingAddress::new(), FakeUpstream::start());
    let gate = LocalGate::start_at(&still_clock(), &config(&[refusing.address(), good.address()], ""), &[]);
    gate.wait_ready();
    assert_eq!(statuses(&gate, POST, 6), [200; 6]);
    let failures = gate.metric("keygate_upstream_failures_total{failure=\"refused\",upstream=\"api\"}");
    assert_eq!(failures, 1.0, "it was connected to once");
}
