//! What one request carries between pingora's phases, and the record it leaves behind.

use crate::model::clock::Now;
use crate::observe::metrics::AnswerLabel;
use crate::observe::metrics::Open;
use crate::observe::trace::RequestId;
use crate::observe::trace::TraceContext;
use crate::proxy::connection::Connection;
use crate::proxy::decide::Permit;
use crate::proxy::decide::Trail;
use crate::proxy::denial::Denial;
use crate::proxy::service::Gate;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::upstream::Chosen;
use http::HeaderValue;
use std::net::IpAddr;
use std::sync::Arc;

/// One request, from the moment its head was parsed. Writes its access record when it is dropped, so that a request
/// that ends in a panic or with its connection leaves one too.
pub struct Context {
    pub gate: Arc<Gate>,
    pub started: Now,
    pub snapshot: Arc<Snapshot>,
    pub connection: Option<Arc<Connection>>,
    pub client_ip: Option<IpAddr>,
    pub request_id: Option<RequestId>,
    pub trace: Option<TraceContext>,
    pub request: RequestFacts,
    pub trail: Trail,
    pub permit: Option<Permit>,
    /// What the upstream is told, signed, about who called.
    pub identity_token: Option<HeaderValue>,
    /// The path to forward, where it is not the one that came in.
    pub rewritten: Option<String>,
    pub denial: Option<Denial>,
    /// What the gate answered itself, instead of forwarding.
    pub answered: Option<AnswerLabel>,
    /// What the control side said, instead of an upstream.
    pub control: Option<ControlOutcome>,
    pub chosen: Option<Chosen>,
    pub connect_attempts: u32,
    pub upstream_started: Option<Now>,
    pub upstream_ended: Option<Now>,
    pub body_bytes_in: u64,
    pub body_bytes_out: u64,
    pub status: u16,
    pub _in_flight: Open,
}

/// What the record says of an answer of the control side's.
#[derive(Clone, Debug, Default)]
pub struct ControlOutcome {
    /// Why it was no success.
    pub reason: Option<&'static str>,
    /// The client that proved itself.
    pub client_id: Option<String>,
}

/// What the record says about the request itself; taken before the request is handed on.
#[derive(Debug, Default)]
pub struct RequestFacts {
    pub method: http::Method,
    pub host: String,
    pub path: String,
    pub query: Option<String>,
    pub user_agent: Option<String>,
}

impl Drop for Context {
    fn drop(&mut self) {
        let gate = Arc::clone(&self.gate);
        gate.record(self);
    }
}
