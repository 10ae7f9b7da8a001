//! What does the operator learn of an endpoint that fails, and the client not?

use crate::support::Binary;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RefusingAddress;
use crate::support::lane::lanes;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;

/// The fault of a bad endpoint.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Closes it after the request.
    Closes,
    /// Closes it with the request unread, so that it is reset.
    Resets,
    Stalls,
    SpeaksOtherwise,
}

/// A request of a method that is not sent again.
const REQUEST: &str = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";
const BODY: &str = "ok";

/// Starts an endpoint with `fault`.
fn endpoint(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap(), fault));
        }
    });
    address
}

fn serve(mut stream: TcpStream, fault: Fault) {
    let mut bytes = [0; 4096];
    match fault {
        Fault::Closes => {
            // Reads the whole request: an unread byte would reset the connection.
            let mut request = Vec::new();
            while !request.ends_with(BODY.as_bytes()) {
                match stream.read(&mut bytes) {
                    Ok(count @ 1..) => request.extend_from_slice(&bytes[..count]),
                    _ => break,
                }
            }
        }
        Fault::Resets => {
            // Waits until the request is there.
            let _ = stream.peek(&mut bytes);
        }
        Fault::Stalls => while stream.read(&mut bytes).is_ok_and(|count| count > 0) {},
        Fault::SpeaksOtherwise => {
            let _ = stream.read(&mut bytes);
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
            while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
        }
    }
}

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
        (endpoint(Fault::Closes), 502, "closed"),
        (endpoint(Fault::Resets), 502, "reset"),
        (endpoint(Fault::Stalls), 504, "timed_out"),
        (endpoint(Fault::SpeaksOtherwise), 502, "no_http"),
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
    let endpoint = endpoint(Fault::Closes);
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
