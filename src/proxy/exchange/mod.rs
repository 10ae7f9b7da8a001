//! What happens to one request? The exchange decides it, limits its time and records it; `http1::lane`, pingora's proxy with
//! the filter, or a program that embeds Keygate moves the bytes. The record is written when the exchange is dropped, so that a
//! request that ends with a panic or a broken connection is recorded too.

pub mod deadlines;
mod attempts;
mod control;
mod outcome;
mod record;

pub use outcome::Interruption;
pub use outcome::Outcome;
pub use record::refuse_connection;
pub use record::refuse_head;

use crate::config;
use crate::config::Timeouts;
use crate::gate::Gate;
use crate::gate::accept::Inbound;
use crate::gate::accept::client;
use crate::gate::accept::fault;
use crate::gate::accept::upgrade;
use crate::gate::admit::headers as limit_headers;
use crate::gate::answer::Answer;
use crate::gate::answer::control::BODY_BYTES_MAX;
use crate::gate::answer::control::ControlCall;
use crate::gate::answer::refusal;
use crate::gate::answer::refusal::GrpcForm;
use crate::gate::answer::refusal::RefusalContext;
use crate::gate::authenticate::Principal;
use crate::gate::decide;
use crate::gate::decide::Permit;
use crate::gate::decision_trace::DecisionTrace;
use crate::gate::denial::Denial;
use crate::gate::destination::Destination;
use crate::gate::intake;
use crate::gate::snapshot::Route;
use crate::gate::snapshot::Snapshot;
use crate::gate::stop::Stop;
use crate::model::certificate::ClientCertificate;
use crate::model::clock::Now;
use crate::model::names::Name;
use crate::model::upstream_failure::UpstreamFailure;
use crate::observe::metrics::GaugeGuard;
use crate::observe::panics;
use crate::observe::trace::RequestId;
use crate::observe::trace::TraceContext;
use crate::proxy::certificate_names::CertificateNames;
use crate::proxy::exchange::deadlines::Activity;
use crate::proxy::exchange::deadlines::Deadlines;
use crate::proxy::exchange::deadlines::TimeLimits;
use crate::proxy::exchange::deadlines::WaitTarget;
use crate::proxy::forward::certificate_fields::CertificateFields;
use crate::proxy::forward::identity_token;
use crate::proxy::forward::media_type;
use crate::proxy::forward::request_fields::FieldValue;
use crate::proxy::forward::request_fields::Origin;
use crate::proxy::forward::request_fields::RequestFields;
use crate::proxy::forward::request_fields::ReservedNames;
use crate::proxy::forward::response_fields::ResponseRules;
use crate::proxy::forward::response_paths::ResponsePaths;
use crate::proxy::forward::retry::Attempts;
use crate::proxy::forward::retry::FailureCause;
use crate::proxy::forward::stream_end::StreamEnd;
use crate::proxy::forward::target;
use crate::upstream::Choice;
use crate::upstream::Endpoint;
use crate::upstream::Upstream;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use http::Version;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use std::future::Future;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The peer of a client's connection. All requests of the connection share this value.
#[derive(Debug)]
pub struct Connection {
    pub peer: SocketAddr,
    /// The IP address of the peer, for `X-Forwarded-For`.
    peer_text: HeaderValue,
    /// `None` for a connection without TLS.
    tls: Option<TlsFacts>,
}

/// The facts of a TLS session.
#[derive(Debug, Default)]
pub struct TlsFacts {
    /// The name that the client asked for (SNI, RFC 6066 section 3), in lower case.
    pub server_name: Option<String>,
    /// The certificates that the listener had at the handshake.
    pub names: Arc<CertificateNames>,
    /// The certificate that the client showed. `None` also where a listener of pingora did the handshake.
    pub client: Option<ClientCertificateFacts>,
}

/// The certificate that a client showed, and the fields that tell upstreams of it.
#[derive(Debug)]
pub struct ClientCertificateFacts {
    certificate: ClientCertificate,
    fields: CertificateFields,
}

impl ClientCertificateFacts {
    pub fn new(certificate: ClientCertificate) -> Self {
        Self {
            fields: CertificateFields::of(&certificate),
            certificate,
        }
    }
}

impl TlsFacts {
    /// Returns whether a request for `host` belongs on this connection: the client would get the same certificate for
    /// `host` as for the name it asked for. A client that sent no name, such as a load balancer that re-encrypts, may ask
    /// for any host, and a request without a host contradicts no name (S093).
    fn serves(&self, host: &str) -> bool {
        let Some(server_name) = &self.server_name else {
            return true;
        };
        host.is_empty() || server_name == host || self.names.select(Some(server_name)) == self.names.select(Some(host))
    }
}

impl Connection {
    pub fn new(peer: SocketAddr, tls: Option<TlsFacts>) -> Self {
        // A socket for both families shows IPv4 peers as IPv4-mapped addresses, which are in no range of `trusted_proxies`.
        let peer = match peer.ip().to_canonical() {
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, peer.port()),
            IpAddr::V6(_) => peer,
        };
        let text = peer.ip().to_string();
        Self {
            peer,
            peer_text: HeaderValue::try_from(text).expect("an address is visible ASCII"),
            tls,
        }
    }

    fn client_certificate(&self) -> Option<&ClientCertificateFacts> {
        self.tls.as_ref()?.client.as_ref()
    }
}

/// One request, from the moment its head was read until its response is complete or aborted.
pub struct Exchange {
    gate: Arc<Gate>,
    snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    started: Now,
    /// `None` where a trusted proxy does not report it.
    client_ip: Option<IpAddr>,
    request: Parts,
    request_id: RequestId,
    trace: TraceContext,
    decision_trace: DecisionTrace,
    permit: Option<Permit>,
    /// The signed token that tells the upstream the principal.
    identity_token: Option<HeaderValue>,
    /// The target to forward, where it differs from the received one.
    rewritten: Option<String>,
    websocket: bool,
    /// `true` where the control side answers, which has its own bound of the body.
    is_control: bool,
    attempts: Attempts,
    deadlines: Deadlines,
    outcome: Outcome,
    /// The endpoint of the last attempt.
    endpoint: Option<Choice>,
    /// The endpoint that has just failed the request.
    avoided: Option<Arc<Endpoint>>,
    /// The failure of the last attempt.
    upstream_failure: Option<UpstreamFailure>,
    upstream_started: Option<Now>,
    /// The status of the final response; 0 while there is none.
    status: u16,
    /// `true` once the endpoint of the last attempt has sent the head of a response, also of an interim one.
    has_begun: bool,
    /// `true` if the response ended before its body was complete.
    is_cut: bool,
    /// The bytes of the request body without framing, and the bytes that the client sends through a tunnel.
    bytes_in: u64,
    /// The bytes of the response body without framing, and the bytes that the upstream sends through a tunnel.
    bytes_out: u64,
    _in_flight: GaugeGuard,
}

/// The allocator is quicker with up to 1 KiB, and each request has one exchange.
const _: () = assert!(size_of::<Exchange>() <= 1024);

/// The next step for a request that is not refused.
#[derive(Debug)]
pub enum NextStep {
    /// The request goes to an upstream; the exchange holds the permit.
    Forward,
    /// The gate answers the request itself.
    Answer(Answer),
    /// The control side answers the request after its body was read; see [`Exchange::call_control`].
    Control(ControlCall),
}

impl Exchange {
    /// Begins the exchange of `request`. Its head was read under `snapshot`, and its first byte arrived at `started`.
    pub fn begin(
        gate: &Arc<Gate>,
        snapshot: Arc<Snapshot>,
        request: Parts,
        connection: &Arc<Connection>,
        started: Now,
    ) -> Box<Self> {
        // On the heap: it moves between the phases, and an idle connection holds no room for it.
        Box::new(Self {
            started,
            client_ip: client::address(&request.headers, connection.peer.ip(), &snapshot.trusted_proxies).known(),
            request_id: RequestId::of(&request.headers),
            trace: TraceContext::of(&request.headers),
            decision_trace: DecisionTrace::default(),
            permit: None,
            identity_token: None,
            rewritten: None,
            websocket: false,
            is_control: false,
            attempts: Attempts::NONE,
            deadlines: Deadlines::new(TimeLimits::NONE),
            outcome: Outcome::Open,
            endpoint: None,
            avoided: None,
            upstream_failure: None,
            upstream_started: None,
            status: 0,
            has_begun: false,
            is_cut: false,
            bytes_in: 0,
            bytes_out: 0,
            _in_flight: gate.live.metrics.requests.start(),
            gate: Arc::clone(gate),
            connection: Arc::clone(connection),
            snapshot,
            request,
        })
    }

    pub const fn request(&self) -> &Parts {
        &self.request
    }

    /// Returns the limits that the configuration sets for every request.
    pub fn request_limits(&self) -> &config::RequestLimits {
        &self.snapshot.requests
    }

    /// Returns the name of the matching route.
    pub fn route(&self) -> Option<&Name> {
        self.decision_trace.route.as_ref().map(|route| &route.name)
    }

    /// Returns the principal of the permit. `None` before a permit, on a public route, and for a request that an
    /// issuer's shadow mode admitted.
    pub fn principal(&self) -> Option<&Principal> {
        self.permit.as_ref().and_then(Permit::principal)
    }

    pub fn request_id(&self) -> &HeaderValue {
        self.request_id.header_value()
    }

    /// Returns whether the request asks to switch to WebSocket; `false` until the request is admitted.
    pub const fn is_websocket(&self) -> bool {
        self.websocket
    }

    pub fn now(&self) -> Now {
        self.gate.clock.now()
    }

    /// Decides the request. If the decision needs keys or an introspection, waits for them once, for a limited time,
    /// and decides again. `client_gone` ends when the client closes its connection or sends bytes too early.
    ///
    /// # Errors
    /// The request is refused, or `client_gone` ended first.
    pub async fn admit(&mut self, client_gone: impl Future<Output = Denial>) -> Result<NextStep, Denial> {
        let need = match self.decide() {
            Err(Stop::Needs(need)) => need,
            decided => return self.finish_admission(decided),
        };
        self.decision_trace.issuer_verdict = tokio::select! {
            response = need.meet() => response.map(Box::new),
            // Without its client, the request must not reach the upstream (S108).
            denial = pin!(client_gone) => return Err(denial),
        };
        let decided = self.decide();
        self.finish_admission(decided)
    }

    fn finish_admission(&mut self, decided: Result<Permit, Stop>) -> Result<NextStep, Denial> {
        match decided {
            Ok(permit) => {
                self.prepare(&permit);
                self.permit = Some(permit);
                Ok(NextStep::Forward)
            }
            Err(Stop::Denied(denial)) => Err(denial),
            Err(Stop::Answered(label, answer)) => {
                self.outcome = Outcome::Answered(label);
                Ok(NextStep::Answer(answer))
            }
            Err(Stop::Control(call)) => {
                self.is_control = true;
                Ok(NextStep::Control(call))
            }
            // The fetch or the introspection did not help: the gate cannot validate the credential.
            Err(Stop::Needs(need)) => Err(need.missing_proof().into()),
        }
    }

    /// Decides the request once. For a permit, signs the identity token and computes the target for the upstream.
    fn decide(&mut self) -> Result<Permit, Stop> {
        let now = self.gate.clock.now();
        let live = &self.gate.live;
        // After a panic in a stage, the request is refused and answered with 500 (S146).
        let decided = panics::catch(&live.metrics.process.panics, || {
            let snapshot: &Snapshot = &self.snapshot;
            let peer = self.connection.peer.ip();
            let certificate = self.connection.client_certificate().map(|client| &client.certificate);
            let inbound = Inbound::new(&self.request, peer, &snapshot.trusted_proxies, &snapshot.accept)?
                .with_client_certificate(certificate);
            // A client that reuses a connection for another name has authenticated the wrong server for it (RFC 9110
            // section 7.4).
            if self
                .connection
                .tls
                .as_ref()
                .is_some_and(|tls| !tls.serves(inbound.host()))
            {
                return Err(Denial::Misdirected.into());
            }
            let permit = decide::decide(snapshot, live, &inbound, now, &mut self.decision_trace)?;
            self.identity_token = identity_token::for_permit(&permit, snapshot, live, now.wall)?;
            let credential = permit.destination().credential.as_ref();
            if credential.is_some_and(|credential| !credential.is_usable(now.tick)) {
                return Err(Denial::NoUpstreamCredential.into());
            }
            let origin_form = self.request.uri.authority().is_none();
            self.rewritten = target::rewritten(&permit, &inbound, origin_form && !inbound.path_was_rewritten());
            Ok(permit)
        });
        decided.unwrap_or(Err(Stop::Denied(Denial::Panicked)))
    }

    /// Takes the time limits from the route and the connection attempts from the upstream, and starts the limits.
    fn prepare(&mut self, permit: &Permit) {
        let Destination { upstream, timeouts, .. } = permit.destination();
        let requests = &self.snapshot.requests;
        self.upstream_started = Some(self.gate.clock.now());
        self.websocket = upgrade::is_websocket(&self.request);
        self.attempts = Attempts::new(&upstream.settings, &self.request.method);
        upstream.deposit_retries();
        self.deadlines = Deadlines::new(TimeLimits {
            downstream_read: requests.body_read_timeout,
            downstream_write: requests.idle_timeout,
            upstream_read: timeouts.read,
            upstream_write: timeouts.write,
            total: Instant::now().checked_add(timeouts.total),
        });
    }

    /// Returns the upstream of the permit.
    ///
    /// # Errors
    /// [`Denial::Panicked`] if the request has no permit: the caller has a bug.
    pub fn upstream(&self) -> Result<Arc<Upstream>, Denial> {
        let permit = self.permit.as_ref().ok_or(Denial::Panicked)?;
        Ok(Arc::clone(&permit.destination().upstream))
    }

    /// Returns the time limits of the permit.
    ///
    /// # Errors
    /// [`Denial::Panicked`] if the request has no permit: the caller has a bug.
    pub fn timeouts(&self) -> Result<Timeouts, Denial> {
        let permit = self.permit.as_ref().ok_or(Denial::Panicked)?;
        Ok(permit.destination().timeouts)
    }

    /// Returns whether the request was admitted: the exchange holds its permit.
    pub const fn is_admitted(&self) -> bool {
        self.permit.is_some()
    }

    /// Records that another part of the program has answered the request, which was never decided.
    pub fn leave_to_others(&mut self) {
        self.outcome = Outcome::LeftToOthers;
    }

    /// Returns whether the upstream of the permit speaks HTTP/2.
    pub fn forwards_over_http2(&self) -> bool {
        self.permit
            .as_ref()
            .is_some_and(|permit| permit.destination().upstream.settings.speaks_http2())
    }

    /// Returns the target for the upstream, in origin form.
    pub fn target(&self) -> &str {
        match &self.rewritten {
            Some(target) => target,
            None => self.request.uri.path_and_query().map_or("/", PathAndQuery::as_str),
        }
    }

    /// Returns the endpoint that was chosen last.
    pub const fn endpoint(&self) -> Option<&Choice> {
        self.endpoint.as_ref()
    }

    /// Calls `put` with each field of the head for the endpoint that was chosen last, in order. Does nothing without a
    /// permit.
    pub fn write_request_fields(&self, put: impl FnMut(&HeaderName, FieldValue<'_>)) {
        let Some(permit) = &self.permit else {
            return;
        };
        let request = &self.request.headers;
        let host = request.get(header::HOST).and_then(|host| host.to_str().ok());
        let fields = RequestFields {
            permit,
            reserved: ReservedNames {
                api_key_header: &self.snapshot.api_key_header,
                claim_headers: &self.snapshot.claim_headers,
                token_headers: &self.snapshot.token_headers,
                websocket_token: self.snapshot.websocket_token,
            },
            origin: Origin {
                peer: &self.connection.peer_text,
                is_tls: self.connection.tls.is_some(),
                client: self.client_ip,
                trusted: client::is_trusted(self.connection.peer.ip(), &self.snapshot.trusted_proxies),
                host: host.unwrap_or_default(),
                request_id: Some(&self.request_id),
                trace: Some(&self.trace),
            },
            certificate: self.connection.client_certificate().map(|client| &client.fields),
            identity_token: self.identity_token.as_ref(),
            websocket: self.websocket,
            endpoint: self.endpoint.as_ref().map(|choice| choice.endpoint.address()),
        };
        fields.write(request, put);
    }

    /// Returns the rules for the fields of the upstream's response.
    pub fn response_rules(&self) -> ResponseRules<'_> {
        let permit = self.permit.as_ref();
        let cors = permit.and_then(|permit| permit.route().cors.as_ref());
        let reads_websocket_token = permit.is_some_and(|permit| permit.route().intake.websocket_token);
        let offers_protocol = || self.websocket && intake::offers_websocket_protocol(&self.request.headers);
        let families = self.snapshot.rate_limit_headers;
        ResponseRules {
            request_id: self.request_id.header_value(),
            // Upstream fields of the same names are dropped: they would contradict these.
            limits: permit.map_or_else(Vec::new, |permit| {
                limit_headers::admission_fields(permit.admission(), families).collect()
            }),
            now: self.upstream_started.unwrap_or(self.started).wall,
            cors: cors.map(|cors| (cors, &self.request.headers)),
            websocket_protocol: (reads_websocket_token && offers_protocol()).then_some(&intake::WEBSOCKET_PROTOCOL),
            reads_websocket_token,
            headers: permit
                .map(|permit| &permit.destination().response_headers)
                .filter(|rules| !rules.is_empty()),
            paths: permit
                .filter(|permit| permit.route().rewrite_back)
                .map(|permit| ResponsePaths {
                    rewrite: permit.route().rewrite.as_deref(),
                    upstream: &permit.destination().upstream.settings,
                    endpoint: self.endpoint().map(|choice| choice.endpoint.address()),
                    is_tls: self.endpoint().is_some_and(|choice| choice.tls.is_some()),
                    request: &self.request.headers,
                }),
        }
    }

    /// Records the head of the final response. With `streams`, the response has no total deadline, but ends when the
    /// credential of the request expires or is revoked (S038).
    pub fn note_response(&mut self, status: StatusCode, streams: bool) {
        self.status = status.as_u16();
        if status == StatusCode::UNAUTHORIZED
            && let Some(permit) = &self.permit
            && let Some(credential) = &permit.destination().credential
        {
            credential.note_refusal(self.gate.clock.now().tick);
        }
        if streams {
            let end = self.principal().map(|principal| StreamEnd::of(principal, &self.gate));
            self.deadlines.set_stream(end, Instant::now());
        }
    }

    /// Counts bytes of the request body, without framing.
    ///
    /// # Errors
    /// [`Denial::BodyTooLarge`] once the body exceeds its limit; do not forward these bytes. The limit is
    /// `body_bytes_max` of the configuration, or [`BODY_BYTES_MAX`] for the control side.
    pub fn count_request_body(&mut self, bytes: usize) -> Result<(), Denial> {
        self.bytes_in += bytes as u64;
        let bytes_max = if self.is_control {
            BODY_BYTES_MAX
        } else {
            self.snapshot.requests.body_bytes_max
        };
        if self.bytes_in > bytes_max {
            Err(Denial::BodyTooLarge)
        } else {
            Ok(())
        }
    }

    /// Starts the count of the request body over, because the body is sent again.
    pub const fn rewind_request_body(&mut self) {
        self.bytes_in = 0;
    }

    /// Counts bytes that the client sends after a switch of protocols.
    pub const fn count_tunnel_bytes(&mut self, bytes: usize) {
        self.bytes_in += bytes as u64;
    }

    /// Counts bytes of the response body, without framing, or of a tunnel.
    pub const fn count_response_body(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Returns whether a byte of the request body was counted.
    pub const fn has_body_begun(&self) -> bool {
        self.bytes_in > 0
    }

    /// Returns the event to wait for while the request body is incomplete. Usually the client has to send the next part. But a
    /// client may wait for the upstream first: for the `100 Continue` that it expects (RFC 9110 section 10.1.1), unless
    /// `upstream_responded` or the client began without it; and in gRPC for a message, before it sends the next.
    pub fn wait_for_body(&self, upstream_responded: bool) -> WaitTarget {
        let headers = &self.request.headers;
        let waits_for_continue = !upstream_responded && !self.has_body_begun() && headers.contains_key(header::EXPECT);
        if waits_for_continue || media_type::is_grpc(headers) {
            WaitTarget::ResponseOrBody
        } else {
            WaitTarget::RequestBody
        }
    }

    /// Returns whether the head of the final response was written, so that no other answer is possible.
    pub const fn has_responded(&self) -> bool {
        self.status != 0
    }

    /// Returns whether the response ended before its body was complete.
    pub const fn is_response_cut(&self) -> bool {
        self.is_cut
    }

    /// Records `activity`, and returns the time at which the lane has to call again; see [`Deadlines::next`].
    ///
    /// # Errors
    /// Those of [`Deadlines::next`].
    pub fn next_deadline(&mut self, now: Instant, activity: Activity) -> Result<Option<Instant>, Interruption> {
        self.deadlines.next(now, activity)
    }

    /// Returns the time until which the client has to send the next part of its body. `None` is never.
    pub fn body_deadline(&self) -> Option<Instant> {
        let next_part = Instant::now().checked_add(self.snapshot.requests.body_read_timeout);
        next_part.into_iter().chain(self.deadlines.total()).min()
    }

    /// Extends every time limit by `extra`, except for the end of a stream.
    pub fn extend_time_limits(&mut self, extra: Duration) {
        self.deadlines.extend(extra);
    }

    /// Returns whether the exchange must end now, and records the reason.
    pub fn must_end(&mut self) -> bool {
        let end = self.deadlines.next_end_check(Instant::now());
        end.map_err(|interruption| self.interrupt(interruption)).is_err()
    }

    /// Records `denial` as the outcome, and returns the answer for the client.
    pub fn refuse(&mut self, denial: Denial) -> Answer {
        self.note_timeout(&denial);
        let request = &self.request.headers;
        let route = self.decision_trace.route.as_deref();
        let context = RefusalContext {
            accepted: route.map(Route::accepted),
            scheme: self.decision_trace.scheme(),
            api_key_header: &self.snapshot.api_key_header,
            request_id: self.request_id.as_str(),
            grpc: match (media_type::is_grpc(request), self.request.version) {
                (false, _) => GrpcForm::Without,
                (true, Version::HTTP_2) => GrpcForm::TrailersOnly,
                (true, _) => GrpcForm::Beside,
            },
            fault: match &denial {
                Denial::Accept(error) => fault::of_accept(*error, &self.request.uri),
                _ => None,
            },
        };
        let mut answer = refusal::answer(&denial, &context);
        let families = self.snapshot.rate_limit_headers;
        match (&denial, &self.permit) {
            (Denial::LimitSpent(spent), _) => answer.headers.extend(limit_headers::refusal_fields(spent, families)),
            // The request failed after its admission, so it was spent from the limits.
            (_, Some(permit)) => answer
                .headers
                .extend(limit_headers::admission_fields(permit.admission(), families)),
            (_, None) => {}
        }
        self.put_cors(&mut answer);
        self.outcome = Outcome::Denied(denial);
        answer
    }

    /// Records the failure of an endpoint that let a time limit pass. A connection attempt is recorded by the lane.
    fn note_timeout(&mut self, denial: &Denial) {
        // In a tunnel, either side may be the one that has nothing to say.
        let is_tunnel = self.status == StatusCode::SWITCHING_PROTOCOLS.as_u16();
        if matches!(denial, Denial::UpstreamTimeout) && !is_tunnel {
            // After the head, the response may be long, or one stream slow: the endpoint does not hang.
            let cause = if self.has_responded() {
                FailureCause::Stream
            } else {
                FailureCause::Endpoint
            };
            self.note_upstream_failure(UpstreamFailure::TimedOut, cause);
        }
    }

    /// Adds the CORS fields to a refusal. Without them, a browser hides the refusal from the page that sent the request.
    fn put_cors(&self, answer: &mut Answer) {
        let request = &self.request.headers;
        let is_of_page = || request.contains_key(header::ORIGIN);
        let rules = match (&self.decision_trace.route, &self.decision_trace.built_in) {
            (Some(route), _) => route.cors.as_ref().map(|cors| &cors.responses),
            (None, Some(built_in)) => {
                answer.headers.extend(built_in.fields().filter(|_| is_of_page()));
                None
            }
            (None, None) if is_of_page() => self.snapshot.cors_without_route(&self.request),
            (None, None) => None,
        };
        if let Some(rules) = rules {
            rules.put(answer, request);
        }
    }

    /// Records why the exchange was interrupted. For a failure after which no answer is sent.
    pub fn interrupt(&mut self, interruption: Interruption) {
        self.is_cut = self.has_responded();
        self.outcome = match interruption {
            Interruption::Denied(denial) => {
                self.note_timeout(&denial);
                Outcome::Denied(denial)
            }
            Interruption::StreamEnded => {
                tracing::debug!(peer = %self.connection.peer, "Stream ended with its credential");
                Outcome::StreamEnded
            }
        };
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        record::write(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s082_an_ipv4_peer_on_a_socket_for_both_families_is_ipv4() {
        for (peer, expected, text) in [
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80", "10.0.0.1"),
            ("10.0.0.1:80", "10.0.0.1:80", "10.0.0.1"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80", "2001:db8::1"),
        ] {
            let connection = Connection::new(peer.parse().unwrap(), None);
            assert_eq!(connection.peer, expected.parse().unwrap());
            assert_eq!(connection.peer_text, text);
        }
    }
}
