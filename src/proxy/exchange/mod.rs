//! What one request carries from its head to its end, and the record it leaves behind.

mod record;

use crate::gate::Gate;
use crate::gate::accept::client;
use crate::gate::decide::Permit;
use crate::gate::decide::Trail;
use crate::gate::denial::Denial;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::observe::metrics::AnswerLabel;
use crate::observe::metrics::Open;
use crate::observe::trace::RequestId;
use crate::observe::trace::TraceContext;
use crate::proxy::http1::relay::Progress;
use http::HeaderValue;
use http::request::Parts;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

/// One request, from the moment its head was parsed. Writes its access record when it is dropped, so that a request
/// that ends in a panic or with its connection leaves one too.
pub struct Context {
    pub gate: Arc<Gate>,
    pub started: Now,
    pub snapshot: Arc<Snapshot>,
    pub peer: SocketAddr,
    pub client_ip: IpAddr,
    pub request: Parts,
    pub request_id: RequestId,
    pub trace: TraceContext,
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
    /// Where it was sent last.
    pub endpoint: Option<SocketAddr>,
    pub upstream_started: Option<Now>,
    pub progress: Progress,
    _in_flight: Open,
}

/// What the record says of an answer of the control side's.
#[derive(Clone, Debug, Default)]
pub struct ControlOutcome {
    /// Why it was no success.
    pub reason: Option<&'static str>,
    /// The client that proved itself.
    pub client_id: Option<String>,
}

impl Context {
    /// `request` came from `peer`, and its first byte when it `started`.
    pub fn new(gate: &Arc<Gate>, snapshot: Arc<Snapshot>, request: Parts, peer: SocketAddr, started: Now) -> Self {
        Self {
            started,
            peer,
            client_ip: client::address(&request.headers, peer.ip(), &snapshot.trusted_proxies),
            request_id: RequestId::of(&request.headers),
            trace: TraceContext::of(&request.headers),
            snapshot,
            request,
            trail: Trail::default(),
            permit: None,
            identity_token: None,
            rewritten: None,
            denial: None,
            answered: None,
            control: None,
            endpoint: None,
            upstream_started: None,
            progress: Progress::default(),
            _in_flight: gate.live.metrics.request_started(),
            gate: Arc::clone(gate),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let gate = Arc::clone(&self.gate);
        gate.record(self);
    }
}
