//! Does an endpoint get no more requests at once than it may have, and what becomes of the others?

use super::GET;
use super::config;
use crate::support::FakeUpstream;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::lane::lanes;
use crate::support::wait_until;
use std::sync::Arc;
use std::sync::Mutex;

/// Returns an upstream that responds only once the guard of the mutex is dropped.
fn held() -> (FakeUpstream, Arc<Mutex<()>>) {
    let upstream = FakeUpstream::start();
    let gate = Arc::new(Mutex::new(()));
    let shared = Arc::clone(&gate);
    upstream.respond_with(move |_| {
        drop(shared.lock());
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    (upstream, gate)
}

lanes!(a_request_beyond_the_bound_waits_and_is_then_answered_503);
fn a_request_beyond_the_bound_waits_and_is_then_answered_503() {
    let (upstream, hold) = held();
    let gate = LocalGate::start(&config(&[upstream.address()], "requests_max: 1\nqueue_time: 300ms"));
    gate.wait_ready();
    let guard = hold.lock().unwrap();
    std::thread::scope(|scope| {
        let data = gate.data();
        let first = scope.spawn(move || RawClient::connect(data).exchange(GET));
        upstream.wait_received(1);
        let second = RawClient::connect(gate.data()).exchange(GET);
        assert_eq!(second.status, 503);
        assert_eq!(gate.record(&second)["reason"], "endpoints_busy");
        assert!(second.header("retry-after").is_some());
        drop(guard);
        assert_eq!(first.join().unwrap().status, 200);
    });
    assert_eq!(RawClient::connect(gate.data()).exchange(GET).status, 200);
    assert_eq!(upstream.received().len(), 2, "the second never reached it");
}

lanes!(a_request_that_waits_goes_on_when_another_ends);
fn a_request_that_waits_goes_on_when_another_ends() {
    let (upstream, hold) = held();
    let gate = LocalGate::start(&config(&[upstream.address()], "requests_max: 1\nqueue_time: 30s"));
    gate.wait_ready();
    let guard = hold.lock().unwrap();
    std::thread::scope(|scope| {
        let data = gate.data();
        let requests: Vec<_> = (0..4)
            .map(|_| scope.spawn(move || RawClient::connect(data).exchange(GET).status))
            .collect();
        wait_until("all requests are there", || {
            gate.metric("keygate_requests_in_flight") == 4.0
        });
        assert_eq!(upstream.wait_received(1).len(), 1);
        drop(guard);
        for request in requests {
            assert_eq!(request.join().unwrap(), 200);
        }
    });
    assert_eq!(upstream.received().len(), 4);
}
