//! Which requests are sent again, and to whom?

use super::GET;
use super::POST;
use super::config;
use super::counts;
use crate::support::FakeUpstream;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::faulty_endpoint::Fault;
use crate::support::faulty_endpoint::FaultyEndpoint;
use crate::support::lane::lanes;
use crate::support::still_clock;

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy!";

fn exchange(gate: &RunningGate, request: &str) -> Response {
    RawClient::connect(gate.data()).exchange(request)
}

fn busy_and_good() -> [FakeUpstream; 2] {
    let busy = FakeUpstream::start();
    busy.respond_with(|_| UNAVAILABLE.as_bytes().to_vec());
    [busy, FakeUpstream::start()]
}

lanes!(a_listed_status_is_asked_of_another_endpoint);
fn a_listed_status_is_asked_of_another_endpoint() {
    let [busy, good] = busy_and_good();
    let gate = LocalGate::start(&config(
        &[busy.address(), good.address()],
        "retries: { statuses: [503] }",
    ));
    gate.wait_ready();
    for _ in 0..4 {
        let asked = busy.received().len() as u64;
        let response = exchange(&gate, GET);
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
        let attempts = gate.record(&response)["upstream_attempts"].as_u64().unwrap_or(1);
        assert_eq!(attempts, busy.received().len() as u64 - asked + 1);
    }
    let [at_busy, at_good] = counts(&[&busy, &good])[..] else {
        unreachable!()
    };
    assert!(at_busy > 0 && at_good == 4, "an answer ejects no endpoint");
}

lanes!(a_response_that_has_begun_is_not_asked_for_again);
fn a_response_that_has_begun_is_not_asked_for_again() {
    for begun in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
    ] {
        let upstreams = [(); 2].map(|()| {
            let upstream = FakeUpstream::start();
            upstream.respond_with(move |_| begun.as_bytes().to_vec());
            upstream.close_after_responses(true);
            upstream
        });
        let gate = LocalGate::start(&config(&upstreams.each_ref().map(|upstream| upstream.address()), ""));
        gate.wait_ready();
        let mut client = RawClient::connect(gate.data());
        client.send(GET);
        // To the end of the connection, or to the refusal that ends the exchange.
        let _ = client.try_receive();
        let received: usize = counts(&upstreams.each_ref()).iter().sum();
        assert_eq!(received, 1, "{begun:?}");
    }
}

lanes!(a_request_that_is_not_idempotent_gets_the_answer_as_it_is);
fn a_request_that_is_not_idempotent_gets_the_answer_as_it_is() {
    let [busy, good] = busy_and_good();
    let gate = LocalGate::start(&config(
        &[busy.address(), good.address()],
        "retries: { statuses: [503] }",
    ));
    gate.wait_ready();
    let answers = [exchange(&gate, POST), exchange(&gate, POST)];
    let [unavailable, _] = answers;
    assert_eq!((unavailable.status, unavailable.text().as_str()), (503, "busy!"));
    assert_eq!(counts(&[&busy, &good]), [1, 1]);
}

lanes!(a_status_that_is_not_listed_is_the_answer);
fn a_status_that_is_not_listed_is_the_answer() {
    let [busy, good] = busy_and_good();
    let gate = LocalGate::start(&config(
        &[busy.address(), good.address()],
        "retries: { statuses: [502] }",
    ));
    gate.wait_ready();
    let statuses = [exchange(&gate, GET).status, exchange(&gate, GET).status];
    assert_eq!(statuses, [503, 200]);
}

lanes!(the_last_attempt_gives_the_answer_that_there_is);
fn the_last_attempt_gives_the_answer_that_there_is() {
    let busy = [(); 2].map(|()| {
        let busy = FakeUpstream::start();
        busy.respond_with(|_| UNAVAILABLE.as_bytes().to_vec());
        busy
    });
    let gate = LocalGate::start(&config(
        &[busy[0].address(), busy[1].address()],
        "retries: { statuses: [503] }",
    ));
    gate.wait_ready();
    let response = exchange(&gate, GET);
    assert_eq!((response.status, response.text().as_str()), (503, "busy!"));
    assert_eq!(counts(&busy.each_ref()), [1, 1]);
}

lanes!(a_body_is_sent_again_whole);
fn a_body_is_sent_again_whole() {
    let [busy, good] = busy_and_good();
    let gate = LocalGate::start(&config(
        &[busy.address(), good.address()],
        "retries: { statuses: [503] }",
    ));
    gate.wait_ready();
    let body = "x".repeat(20_000);
    let chunked = format!(
        "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        20_000
    );
    let counted = format!("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n{body}");
    for request in [counted, chunked] {
        assert_eq!(exchange(&gate, &request).status, 200);
    }
    for received in good.received() {
        assert_eq!(received.body, body.as_bytes());
    }
    assert!(busy.received().iter().all(|received| received.body == body.as_bytes()));
}

lanes!(the_budget_bounds_the_retries_of_all_requests: own, filter_http1);
fn the_budget_bounds_the_retries_of_all_requests() {
    let busy = FakeUpstream::start();
    busy.respond_with(|_| UNAVAILABLE.as_bytes().to_vec());
    let more = "retries: { statuses: [503], budget_percent: 1 }";
    let gate = LocalGate::start_at(&still_clock(), &config(&[busy.address()], more), &[]);
    gate.wait_ready();
    let mut client = RawClient::connect(gate.data());
    for _ in 0..150 {
        assert_eq!(client.exchange(GET).status, 503);
    }
    let retries = |result| {
        gate.metric(&format!(
            "keygate_upstream_retries_total{{result=\"{result}\",upstream=\"api\"}}"
        ))
    };
    assert_eq!(
        retries("sent"),
        101.0,
        "the hundred that it begins with, and one for a hundred requests"
    );
    assert_eq!(retries("over_budget"), 49.0);
}

lanes!(with_no_attempts_nothing_is_sent_again: own, filter_http1);
fn with_no_attempts_nothing_is_sent_again() {
    let closing = FakeUpstream::start();
    closing.respond_with(|_| Vec::new());
    closing.close_after_responses(true);
    let good = FakeUpstream::start();
    let gate = LocalGate::start(&config(
        &[closing.address(), good.address()],
        "retries: { attempts: 0 }",
    ));
    gate.wait_ready();
    assert_eq!(exchange(&gate, GET).status, 502);
    assert_eq!(counts(&[&closing, &good]), [1, 0]);
}

/// Starts an upstream that responds after 600 ms.
fn slow() -> FakeUpstream {
    let upstream = FakeUpstream::start();
    upstream.respond_with(|_| {
        let (_open, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(std::time::Duration::from_millis(600));
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow".to_vec()
    });
    upstream
}

lanes!(the_last_try_has_the_time_of_the_whole_wait);
fn the_last_try_has_the_time_of_the_whole_wait() {
    let stalling = FaultyEndpoint::start(Fault::Stalls);
    let slow = slow();
    let more = "read_timeout: 5s\nretries: { try_timeout: 200ms }";
    let gate = LocalGate::start(&config(&[stalling.address(), slow.address()], more));
    gate.wait_ready();
    let response = exchange(&gate, GET);
    assert_eq!((response.status, response.text().as_str()), (200, "slow"));
    assert_eq!((stalling.requests(), slow.received().len()), (1, 1));
}

lanes!(a_request_that_is_not_sent_again_has_the_time_of_the_whole_wait);
fn a_request_that_is_not_sent_again_has_the_time_of_the_whole_wait() {
    let slow = slow();
    let more = "read_timeout: 5s\nretries: { try_timeout: 200ms }";
    let gate = LocalGate::start(&config(&[slow.address()], more));
    gate.wait_ready();
    let chunked = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for request in [POST, chunked] {
        assert_eq!(exchange(&gate, request).status, 200);
    }
    assert_eq!(slow.received().len(), 2);
}
