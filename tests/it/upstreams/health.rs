//! Are endpoints asked whether they are well, and left alone while they are not?

use super::GET;
use super::config;
use crate::support::FakeUpstream;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RunningGate;
use crate::support::free_address;
use crate::support::http2_upstream::Http2Upstream;
use crate::support::lane::lanes;
use crate::support::wait_until;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// An upstream whose `/healthz` says how it is.
struct Checked {
    upstream: FakeUpstream,
    is_well: Arc<AtomicBool>,
}

impl Checked {
    fn start() -> Self {
        let upstream = FakeUpstream::start();
        let is_well = Arc::new(AtomicBool::new(true));
        let state = Arc::clone(&is_well);
        upstream.respond_with(move |request| {
            let (status, body) = match (request.target(), state.load(Ordering::SeqCst)) {
                ("/healthz", true) => (200, "all is well"),
                ("/healthz", false) => (500, "not well"),
                _ => (200, "ok"),
            };
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        });
        Self { upstream, is_well }
    }

    fn set(&self, is_well: bool) {
        self.is_well.store(is_well, Ordering::SeqCst);
    }

    fn requests(&self) -> usize {
        self.upstream
            .received()
            .iter()
            .filter(|request| request.target() == "/a")
            .count()
    }
}

fn endpoints_in(gate: &RunningGate, state: &str) -> f64 {
    gate.metric(&format!(
        "keygate_upstream_endpoints{{state=\"{state}\",upstream=\"api\"}}"
    ))
}

const QUICKLY: &str =
    "health: { path: /healthz, interval: 50ms, failures: 1, successes: 1 }\nejection: { return_time: 50ms }";

lanes!(an_endpoint_that_fails_its_check_gets_no_requests_until_it_passes: own, filter_http1);
fn an_endpoint_that_fails_its_check_gets_no_requests_until_it_passes() {
    let (ill, good) = (Checked::start(), Checked::start());
    let gate = LocalGate::start(&config(&[ill.upstream.address(), good.upstream.address()], QUICKLY));
    gate.wait_ready();
    ill.set(false);
    wait_until("the ill endpoint is out", || endpoints_in(&gate, "check_failed") == 1.0);
    for _ in 0..6 {
        assert_eq!(RawClient::connect(gate.data()).exchange(GET).status, 200);
    }
    assert_eq!((ill.requests(), good.requests()), (0, 6));
    ill.set(true);
    wait_until("it is back", || endpoints_in(&gate, "serving") == 2.0);
    for _ in 0..6 {
        assert_eq!(RawClient::connect(gate.data()).exchange(GET).status, 200);
    }
    assert_eq!((ill.requests(), good.requests()), (3, 9));
    let check = ill
        .upstream
        .received()
        .into_iter()
        .find(|request| request.target() == "/healthz")
        .unwrap();
    assert_eq!(check.headers_named("host"), [ill.upstream.address().to_string()]);
    assert_eq!(check.headers_named("user-agent"), ["keygate-health-check"]);
}

lanes!(where_more_than_half_fail_the_check_all_are_used: own);
fn where_more_than_half_fail_the_check_all_are_used() {
    let all = [(); 3].map(|()| Checked::start());
    let addresses: Vec<_> = all.iter().map(|one| one.upstream.address()).collect();
    let gate = LocalGate::start(&config(&addresses, QUICKLY));
    gate.wait_ready();
    let panic = "keygate_upstream_panic{upstream=\"api\"}";
    assert_eq!(gate.metric(panic), 0.0);
    all[0].set(false);
    all[1].set(false);
    wait_until("all are used", || gate.metric(panic) == 1.0);
    for _ in 0..6 {
        assert_eq!(RawClient::connect(gate.data()).exchange(GET).status, 200);
    }
    assert_eq!(all.each_ref().map(Checked::requests), [2, 2, 2]);
    all[1].set(true);
    wait_until("the panic is over", || gate.metric(panic) == 0.0);
}

lanes!(a_check_can_want_a_text_or_other_statuses_or_a_connection_alone: own);
fn a_check_can_want_a_text_or_other_statuses_or_a_connection_alone() {
    let dead = free_address();
    for (check, passes) in [
        ("path: /healthz, body: well", true),
        ("path: /healthz, body: unwell", false),
        ("path: /healthz, statuses: [204]", false),
        ("path: /healthz, statuses: [200, 204], host: api.test", true),
        ("tcp: true", true),
    ] {
        let well = Checked::start();
        let more = format!("health: {{ {check}, interval: 50ms, failures: 1 }}");
        let gate = LocalGate::start(&config(&[well.upstream.address(), dead], &more));
        gate.wait_ready();
        let expected = if passes { 1.0 } else { 2.0 };
        wait_until("the checks have their results", || {
            endpoints_in(&gate, "check_failed") == expected
        });
    }
}

lanes!(a_check_of_grpc_asks_for_its_service: own);
fn a_check_of_grpc_asks_for_its_service() {
    let upstreams = [(); 2].map(|()| Http2Upstream::start());
    let addresses: Vec<_> = upstreams.iter().map(Http2Upstream::address).collect();
    let more = "protocol: h2c\nhealth: { grpc: shop.v1.Orders, interval: 50ms, failures: 1, successes: 1 }\nejection: { return_time: 50ms }";
    let gate = LocalGate::start(&config(&addresses, more));
    gate.wait_ready();
    wait_until("both were asked", || {
        upstreams.iter().all(|upstream| upstream.connections() > 1)
    });
    assert_eq!(endpoints_in(&gate, "check_failed"), 0.0);
    let asked = upstreams[0].take_received().remove(0);
    assert_eq!(asked.headers_named("content-type"), ["application/grpc"]);
    assert_eq!(
        asked.body,
        [&[0, 0, 0, 0, 16, 0x0A, 14], b"shop.v1.Orders".as_slice()].concat()
    );
    upstreams[0].set_ill(true);
    wait_until("the ill one is out", || endpoints_in(&gate, "check_failed") == 1.0);
    upstreams[0].set_ill(false);
    wait_until("it is back", || endpoints_in(&gate, "serving") == 2.0);
}
