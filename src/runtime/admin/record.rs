//! Which access record does a request to the admin listener leave? One in the format of the data listeners, with the
//! actor. Scrapes and probes leave none: they come every few seconds, and `up` and `/readyz` tell of them.

use crate::control::admin::access::Peer;
use crate::control::admin::access::RefusalReason;
use crate::control::registry::Actor;
use crate::control::registry::actor::Visibility;
use crate::gate::Gate;
use crate::gate::intake;
use crate::model::clock::Clock;
use crate::model::clock::Now;
use crate::observe::access::AccessRecord;
use crate::observe::access::Decision;
use crate::observe::metrics::Metrics;
use crate::observe::trace;
use crate::observe::trace::RequestId;
use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderName;
use http::Method;
use http::header;
use std::net::SocketAddr;
use std::sync::Arc;

/// The output of access records.
pub trait AccessRecorder: Send + Sync {
    fn write(&self, record: &AccessRecord<'_>);
}

impl AccessRecorder for Gate {
    fn write(&self, record: &AccessRecord<'_>) {
        if self.snapshot().access_records {
            self.access.write(record);
        }
    }
}

/// The destination of the records, and of the counts.
pub struct Records {
    pub output: Arc<dyn AccessRecorder>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
}

/// The address of a connection's peer, in the extensions of each request; `None` on the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddress(pub(super) Option<SocketAddr>);

/// Marks the response to a scrape or a probe.
#[derive(Clone, Copy, Debug)]
struct Probe;

/// Marks `response` as the response to a scrape or a probe.
pub(super) async fn mark_probe(mut response: Response) -> Response {
    response.extensions_mut().insert(Probe);
    response
}

/// Writes the record of `request`, counts the request, and adds its id to the response.
pub(super) async fn record(State(records): State<Arc<Records>>, request: Request, next: Next) -> Response {
    let mut record = RequestRecord::begin(records, &request);
    let mut response = next.run(request).await;
    record.end(&response);
    let headers = response.headers_mut();
    headers.insert(trace::REQUEST_ID, record.request_id.header_value().clone());
    response
}

/// The record of one request. Written on drop, also when the client or the time limit ends the request.
struct RequestRecord {
    records: Arc<Records>,
    started: Now,
    request_id: RequestId,
    peer: Option<SocketAddr>,
    listener: &'static str,
    method: Method,
    host: Option<String>,
    path: String,
    query: Option<String>,
    user_agent: Option<String>,
    bytes_in: u64,
    end: End,
}

/// The end of a request.
enum End {
    /// No response: the client has gone, or the time limit was reached.
    Open,
    Probe,
    Response {
        status: u16,
        outcome: Outcome,
        bytes_out: u64,
    },
}

enum Outcome {
    Allowed(Actor),
    Refused(&'static str),
    /// Answered without a check of the caller, because the path does not exist.
    Answered,
}

/// The `listener` of a record: the network's, and the socket beside the store.
const NETWORK: &str = "admin";
const SOCKET: &str = "admin_socket";

impl RequestRecord {
    fn begin(records: Arc<Records>, request: &Request) -> Self {
        let text = |name: HeaderName| {
            let value = request.headers().get(name);
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let extensions = request.extensions();
        let query = request.uri().query();
        Self {
            started: records.clock.now(),
            request_id: RequestId::of(request.headers()),
            peer: extensions.get::<PeerAddress>().and_then(|peer| peer.0),
            listener: match extensions.get::<Peer>() {
                Some(Peer::Local(_)) => SOCKET,
                Some(Peer::Network(_)) | None => NETWORK,
            },
            method: request.method().clone(),
            host: text(header::HOST),
            path: request.uri().path().to_owned(),
            query: query.map(|query| intake::redact_query(query).into_owned()),
            user_agent: text(header::USER_AGENT),
            bytes_in: request.body().size_hint().exact().unwrap_or_default(),
            end: End::Open,
            records,
        }
    }

    fn end(&mut self, response: &Response) {
        let extensions = response.extensions();
        let outcome = if extensions.get::<Probe>().is_some() {
            self.end = End::Probe;
            return;
        } else if let Some(actor) = extensions.get::<Actor>() {
            Outcome::Allowed(actor.clone())
        } else if let Some(RefusalReason(reason)) = extensions.get() {
            Outcome::Refused(reason)
        } else {
            Outcome::Answered
        };
        self.end = End::Response {
            status: response.status().as_u16(),
            outcome,
            bytes_out: response.body().size_hint().exact().unwrap_or_default(),
        };
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let duration = self.records.clock.now().tick.saturating_since(self.started.tick);
        let mut record = AccessRecord {
            time: self.started.wall,
            request_id: self.request_id.as_str(),
            listener: Some(self.listener),
            peer: self.peer,
            client: self.peer.map(|peer| peer.ip()),
            method: Some(self.method.as_str()),
            host: self.host.as_deref(),
            path: Some(&self.path),
            query: self.query.as_deref(),
            bytes_in: self.bytes_in,
            duration,
            user_agent: self.user_agent.as_deref(),
            ..AccessRecord::default()
        };
        match &self.end {
            End::Probe => return,
            End::Open => record.decision = Decision::Error,
            End::Response {
                status,
                outcome,
                bytes_out,
            } => {
                record.status = Some(*status);
                record.bytes_out = *bytes_out;
                match outcome {
                    Outcome::Allowed(actor) => {
                        record.decision = Decision::Allow;
                        record.actor = Some(actor.name());
                        record.organization = match actor.reach() {
                            Visibility::All => None,
                            Visibility::Organization(name) => Some(name.as_str()),
                        };
                    }
                    Outcome::Refused(reason) => {
                        record.decision = Decision::Deny;
                        record.reason = Some(reason);
                    }
                    Outcome::Answered => record.decision = Decision::Answer,
                }
            }
        }
        self.records.metrics.admin.count(record.decision, record.reason);
        self.records.output.write(&record);
    }
}
