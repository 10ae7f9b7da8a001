//! Which endpoint gets a request, and what do clients see of one that fails?

mod balance;
mod failing;
mod health;
mod names;
mod operate;
mod processes;
mod queue;
mod retries;
mod split;
mod tls;
mod unix;

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::RunningGate;
use std::fmt::Display;

/// Returns a configuration with one open route to an upstream with `endpoints` and `more`.
fn config<E: Display>(endpoints: &[E], more: &str) -> String {
    let list: Vec<String> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
    let upstream = format!("endpoints: [{}]\n{more}", list.join(", "));
    GatewayBuilder::new()
        .upstream_with("api", &upstream)
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api")
        .yaml()
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";

/// Returns the number of requests that each upstream received.
fn counts(upstreams: &[&FakeUpstream]) -> Vec<usize> {
    upstreams.iter().map(|upstream| upstream.received().len()).collect()
}

/// Returns whether the gate sends requests to `endpoint` of the upstream `api`.
fn in_service(gate: &RunningGate, endpoint: impl std::fmt::Display) -> bool {
    let series = format!("keygate_upstream_endpoint_in_service{{endpoint=\"{endpoint}\",upstream=\"api\"}}");
    gate.metric(&series) == 1.0
}
