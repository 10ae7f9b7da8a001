//! pingora's phases to our stages, and no logic: what is decided, is decided in `decide.rs`.

use crate::config::EndpointKind;
use crate::model::clock::Clock;
use crate::model::clock::Timestamp;
use crate::observe::access::AccessLog;
use crate::observe::metrics::AnswerLabel;
use crate::observe::panics;
use crate::observe::trace;
use crate::observe::trace::RequestId;
use crate::observe::trace::TraceContext;
use crate::proxy::accept::Inbound;
use crate::proxy::accept::client;
use crate::proxy::accept::hygiene;
use crate::proxy::answer::OwnAnswer;
use crate::proxy::answer::built_in;
use crate::proxy::answer::control::BODY_BYTES_MAX;
use crate::proxy::answer::control::ControlAnswer;
use crate::proxy::answer::control::ControlCall;
use crate::proxy::answer::control::ControlError;
use crate::proxy::answer::control::ControlRequest;
use crate::proxy::answer::cors;
use crate::proxy::connection::Connection;
use crate::proxy::connection::StreamEnd;
use crate::proxy::context::Context;
use crate::proxy::context::ControlOutcome;
use crate::proxy::context::RequestFacts;
use crate::proxy::decide;
use crate::proxy::decide::Permit;
use crate::proxy::decide::Stop;
use crate::proxy::denial::Denial;
use crate::proxy::forward::headers;
use crate::proxy::forward::peer;
use crate::proxy::forward::target;
use crate::proxy::forward::vouch;
use crate::proxy::intake;
use crate::proxy::limit;
use crate::proxy::live::Live;
use crate::proxy::respond;
use crate::proxy::respond::Answer;
use crate::proxy::respond::Asked;
use crate::proxy::snapshot::Current;
use crate::proxy::snapshot::Snapshot;
use async_trait::async_trait;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::Version;
use http::header;
use pingora::Error;
use pingora::ErrorSource;
use pingora::ErrorType;
use pingora::http::RequestHeader;
use pingora::http::ResponseHeader;
use pingora::modules::http::HttpModules;
use pingora::proxy::FailToProxy;
use pingora::proxy::ProxyHttp;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A refused request with a body up to this size keeps its connection: the body is read and dropped.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// A larger one ends its connection, and for so long its bytes are still read.
const LINGER: Duration = Duration::from_secs(2);
/// The control side waits 500 ms for the keys of a client and writes to a disk; far more is something broken.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything a request is decided with and recorded in.
pub struct Gate {
    pub current: Current,
    pub live: Arc<Live>,
    pub clock: Arc<dyn Clock>,
    pub access: AccessLog,
}

impl Gate {
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load()
    }
}

/// The gate as pingora's proxy logic.
pub struct Service(pub Arc<Gate>);

/// Why a request is not forwarded, once nothing more can be asked.
enum Ended {
    Denied(Denial),
    Answered(OwnAnswer),
    Control(ControlCall),
}

impl Service {
    /// Decides; meets what the decision lacks, once and within bounds; decides again.
    async fn decide(&self, session: &mut Session, ctx: &mut Context) -> Result<Permit, Ended> {
        let mut needed = false;
        loop {
            let need = match self.decide_once(session, ctx) {
                Ok(permit) => return Ok(permit),
                Err(Stop::Denied(denial)) => return Err(Ended::Denied(denial)),
                Err(Stop::Answered(answer)) => return Err(Ended::Answered(answer)),
                Err(Stop::Control(call)) => return Err(Ended::Control(call)),
                // Met already, and still lacking: we cannot tell.
                Err(Stop::Needs(need)) if needed => return Err(Ended::Denied(need.lack().into())),
                Err(Stop::Needs(need)) => need,
            };
            ctx.trail.issuer_answer = tokio::select! {
                answered = need.meet() => answered,
                // Nobody is let through who is no longer there (S108).
                error = abandoned(session) => return Err(Ended::Denied(denial_for(&error))),
            };
            needed = true;
        }
    }

    fn decide_once(&self, session: &Session, ctx: &mut Context) -> Result<Permit, Stop> {
        let now = self.0.clock.now();
        let snapshot = Arc::clone(&ctx.snapshot);
        let peer = ctx
            .connection
            .as_ref()
            .map(|connection| connection.peer.ip())
            .ok_or(Denial::Panicked)?;
        // A panic in a stage must never let a request through, nor take its answer away (S146).
        let outcome = panics::catch(&self.0.live.metrics.panics, || {
            let inbound = Inbound::new(session.req_header(), peer, &snapshot.trusted_proxies, &snapshot.accept)?;
            let permit = decide::decide(&snapshot, &self.0.live, &inbound, now, &mut ctx.trail)?;
            ctx.identity_token = vouch::vouch(&permit, &snapshot, &self.0.live, now.wall)?;
            // pingora keeps the authority of an absolute-form target out of `uri`; the target itself still has it.
            let origin_form = session.req_header().raw_path().starts_with(b"/");
            ctx.rewritten = target::rewritten(&permit, &inbound, origin_form && !inbound.path_was_rewritten());
            Ok(permit)
        });
        outcome.unwrap_or(Err(Stop::Denied(Denial::Panicked)))
    }

    /// Answers a denied request and says whether its connection may go on.
    async fn refuse(&self, session: &mut Session, ctx: &mut Context, denial: Denial) -> bool {
        let answer = {
            let asked = Asked {
                route: ctx.trail.route.as_deref(),
                api_key_header: &ctx.snapshot.api_key_header,
                request_id: ctx.request_id.as_ref().map_or("", RequestId::as_str),
                grpc: is_grpc(&session.req_header().headers),
            };
            let mut answer = respond::answer(&denial, &asked);
            let families = ctx.snapshot.rate_limit_headers;
            match (&denial, &ctx.permit) {
                (Denial::LimitSpent(spent), _) => answer.headers.extend(limit::headers::of_refusal(spent, families)),
                // It was let through and failed further on: it cost the client what any request costs.
                (_, Some(permit)) => answer
                    .headers
                    .extend(limit::headers::of_admission(permit.admission(), families)),
                (_, None) => {}
            }
            if let Some(cors) = ctx.trail.route.as_ref().and_then(|route| route.cors.as_ref()) {
                // Else a page could not read why it was refused, and what to send instead.
                answer.headers.extend(cors.of_response(&session.req_header().headers));
                answer
                    .headers
                    .extend(cors.varies().then_some((header::VARY, cors::VARY_ORIGIN)));
            }
            answer
        };
        ctx.denial = Some(denial);
        Self::write(session, ctx, answer).await
    }

    /// Gives an answer out of memory and says whether the connection may go on.
    async fn answer(&self, session: &mut Session, ctx: &mut Context, own: OwnAnswer) -> bool {
        ctx.answered = Some(own.kind);
        let answer = Answer {
            status: own.status,
            headers: own.headers,
            body: own.body,
            close: false,
        };
        Self::write(session, ctx, answer).await
    }

    /// Has the control side answer, and says whether the connection may go on. Its work goes on if the client leaves: what
    /// was asked for is done whole or not at all.
    async fn ask_control(&self, session: &mut Session, ctx: &mut Context, call: ControlCall) -> bool {
        let Some(control) = self.0.live.control.get() else {
            return self.refuse(session, ctx, Denial::ControlUnavailable).await;
        };
        let body = match whole_body(session, ctx).await {
            Ok(body) => body,
            Err(Denial::ClientGone) => {
                ctx.denial = Some(Denial::ClientGone);
                return false;
            }
            Err(denial) => return self.refuse(session, ctx, denial).await,
        };
        let head = session.req_header();
        let (is_head, public) = (head.method == Method::HEAD, call.endpoint == EndpointKind::Metadata);
        let answering = control.answer(ControlRequest {
            // The length of what GET would bring is all that HEAD asks for.
            method: if is_head { Method::GET } else { head.method.clone() },
            uri: call.uri,
            headers: head.headers.clone(),
            body,
            client_ip: call.client_ip,
            confidential: call.confidential,
            request_id: ctx
                .request_id
                .as_ref()
                .map_or_else(String::new, |id| id.as_str().to_owned()),
        });
        let answered = tokio::select! {
            answered = tokio::time::timeout(CONTROL_TIMEOUT, answering) => answered,
            error = abandoned(session) => {
                ctx.denial = Some(denial_for(&error));
                return false;
            }
        };
        match answered {
            Ok(Ok(answer)) => {
                ctx.answered = Some(AnswerLabel::Endpoint);
                ctx.control = Some(ControlOutcome {
                    reason: answer.reason,
                    client_id: answer.client_id.clone(),
                });
                Self::write(session, ctx, answer_of_control(answer, is_head, public)).await
            }
            Ok(Err(ControlError::Panicked)) => self.refuse(session, ctx, Denial::Panicked).await,
            Ok(Err(ControlError::Unavailable)) | Err(_) => self.refuse(session, ctx, Denial::ControlUnavailable).await,
        }
    }

    async fn write(session: &mut Session, ctx: &mut Context, answer: Answer) -> bool {
        let keep = !answer.close && can_drain(session);
        ctx.status = answer.status.as_u16();
        let written = write_answer(session, ctx, answer, keep).await;
        keep && written.is_ok()
    }
}

#[async_trait]
impl ProxyHttp for Service {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            started: self.0.clock.now(),
            snapshot: self.0.snapshot(),
            connection: None,
            client_ip: None,
            request_id: None,
            trace: None,
            request: RequestFacts::default(),
            trail: decide::Trail::default(),
            permit: None,
            identity_token: None,
            rewritten: None,
            denial: None,
            answered: None,
            control: None,
            chosen: None,
            connect_attempts: 0,
            upstream_started: None,
            upstream_ended: None,
            body_bytes_in: 0,
            body_bytes_out: 0,
            status: 0,
            _in_flight: self.0.live.metrics.request_started(),
            gate: Arc::clone(&self.0),
        }
    }

    // pingora adds a compression module by default; it would cost an allocation a request and do nothing.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(&self, _session: &mut Session, ctx: &mut Context, connection: Box<dyn Any + Send + Sync>) {
        if let Ok(connection) = connection.downcast::<Arc<Connection>>() {
            connection.taken.store(true, Ordering::Release);
            if let Some(started) = connection.take_head_started() {
                ctx.started = started;
            }
            ctx.connection = Some(*connection);
        }
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<bool> {
        let request = session.req_header();
        ctx.request_id = Some(RequestId::of(&request.headers));
        ctx.trace = Some(TraceContext::of(&request.headers));
        ctx.request = facts(request);
        if let Some(connection) = &ctx.connection {
            let peer = connection.peer.ip();
            ctx.client_ip = Some(client::address(&request.headers, peer, &ctx.snapshot.trusted_proxies));
        }
        match self.decide(session, ctx).await {
            Ok(permit) => {
                ctx.permit = Some(permit);
                Ok(false)
            }
            Err(Ended::Denied(Denial::ClientGone)) => {
                ctx.denial = Some(Denial::ClientGone);
                session.set_keepalive(None);
                Ok(true)
            }
            Err(ended) => {
                let may_go_on = match ended {
                    Ended::Denied(denial) => self.refuse(session, ctx, denial).await,
                    Ended::Answered(answer) => self.answer(session, ctx, answer).await,
                    Ended::Control(call) => self.ask_control(session, ctx, call).await,
                };
                if !may_go_on {
                    session.set_keepalive(None);
                }
                Ok(true)
            }
        }
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        ctx.body_bytes_in += body.as_ref().map_or(0, |body| body.len() as u64);
        if ctx.body_bytes_in > ctx.snapshot.requests.body_bytes_max && ctx.status != 101 {
            return Error::e_explain(ErrorType::HTTPStatus(413), "request body over its limit");
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<Box<HttpPeer>> {
        let Some(permit) = &ctx.permit else {
            return Error::e_explain(ErrorType::InternalError, "no permit");
        };
        let upstream = &permit.route().upstream;
        let now = self.0.clock.now();
        let started = *ctx.upstream_started.get_or_insert(now);
        let total = upstream.settings.total_timeout;
        let left = total.saturating_sub(now.tick.saturating_since(started.tick));
        if left.is_zero() {
            return Error::e_explain(ErrorType::ConnectTimedout, "no time is left for another attempt");
        }
        let Some(chosen) = upstream.choose() else {
            return Error::e_explain(ErrorType::HTTPStatus(503), "no endpoint has an address");
        };
        // A WebSocket may be silent for longer than a request may take; the time between two reads is set once, here.
        let patience = match session.req_header().headers.contains_key(header::UPGRADE) {
            true => Duration::MAX,
            false => left,
        };
        let peer = peer::plain(chosen.address, &upstream.settings, patience);
        ctx.connect_attempts += 1;
        // An attempt gets the body from its beginning; what was kept of it for that goes through the filter again.
        ctx.body_bytes_in = 0;
        if let Some(connection) = &ctx.connection {
            connection.end_request_at(Instant::now() + left);
        }
        ctx.chosen = Some(chosen);
        Ok(peer)
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        let (Some(permit), Some(connection)) = (&ctx.permit, &ctx.connection) else {
            return Error::e_explain(ErrorType::InternalError, "no permit");
        };
        let peer = connection.peer.ip();
        let origin = headers::Origin {
            peer,
            trusted: client::is_trusted(peer, &ctx.snapshot.trusted_proxies),
            host: &ctx.request.host,
            request_id: ctx.request_id.as_ref(),
            trace: ctx.trace.as_ref(),
        };
        let own = headers::Own {
            api_key_header: &ctx.snapshot.api_key_header,
            claim_headers: &ctx.snapshot.claim_headers,
        };
        headers::prepare(request, permit, own, &origin)?;
        if let Some(token) = &ctx.identity_token {
            request.insert_header(headers::IDENTITY_TOKEN, token.clone())?;
        }
        if let Some(chosen) = &ctx.chosen {
            headers::name_a_host(request, chosen.address)?;
        }
        if let Some(target) = &ctx.rewritten {
            request.set_raw_path(target.as_bytes())?;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        ctx.upstream_ended.get_or_insert_with(|| self.0.clock.now());
        headers::remove_hop_by_hop(response);
        if let Some(permit) = &ctx.permit {
            if let Some(cors) = &permit.route().cors {
                headers::say_cors(response, cors, &session.req_header().headers)?;
            }
            // In place of what the upstream says about limits of its own, which would contradict ours.
            for (name, value) in limit::headers::of_admission(permit.admission(), ctx.snapshot.rate_limit_headers) {
                response.insert_header(name, value)?;
            }
        }
        if let Some(request_id) = &ctx.request_id {
            response.insert_header(trace::REQUEST_ID, request_id.header_value().clone())?;
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        if is_final(response.status) {
            ctx.status = response.status.as_u16();
        }
        if session.req_header().version == Version::HTTP_10 && response.headers.contains_key(header::TRANSFER_ENCODING)
        {
            // HTTP/1.0 knows no chunks (RFC 9112 section 6.1): the body ends with the connection.
            response.remove_header(&header::TRANSFER_ENCODING);
            session.set_keepalive(None);
        }
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // What the client sends from here on is no body: it may listen for long. A dead connection still ends, by
            // the upstream's read timeout or by our own writes to it.
            session.set_read_timeout(None);
        }
        if is_stream(response) {
            if let Some(connection) = &ctx.connection {
                connection.end_request_never();
            }
            end_with_credential(ctx, &self.0);
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(permit) = &ctx.permit {
            let upstream = &permit.route().upstream;
            permit.route().upstream_metrics.connect_failed();
            // Nothing of the request was sent, so any method may be tried again.
            error.set_retry(ctx.connect_attempts < upstream.settings.connect_attempts);
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let denial = denial_for(error);
        // An interim answer (100) is none: the client still waits for one.
        let answered = session
            .response_written()
            .is_some_and(|written| is_final(written.status));
        if answered || matches!(denial, Denial::ClientGone) {
            // An answer is under way, or nobody reads it: all that is left is to close.
            ctx.denial = Some(denial);
            return FailToProxy {
                error_code: 0,
                can_reuse_downstream: false,
            };
        }
        let can_reuse_downstream = self.refuse(session, ctx, denial).await;
        FailToProxy {
            error_code: ctx.status,
            can_reuse_downstream,
        }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        ctx.body_bytes_out = session.body_bytes_sent() as u64;
        if let Some(written) = session.response_written() {
            ctx.status = written.status.as_u16();
        }
    }

    // pingora's own lines hold the raw target; our access record says the same, redacted.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Context,
        _error: &Error,
        _context: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, ctx: &Context) -> String {
        ctx.request_id
            .as_ref()
            .map_or_else(String::new, |id| id.as_str().to_owned())
    }
}

/// Returns when the client closes its connection, or sends more, before it was answered. Never returns for a request whose
/// body has not arrived: its bytes come before the end of the connection, and they are for the upstream.
async fn abandoned(session: &mut Session) -> Box<Error> {
    if !session.is_body_done() {
        return std::future::pending().await;
    }
    match session.as_downstream_mut().read_body_or_idle(true).await {
        Err(error) => error.into_down(),
        Ok(_) => std::future::pending().await,
    }
}

/// The whole body of a request to the control side.
///
/// # Errors
/// It is too large, comes too slowly or not at all.
async fn whole_body(session: &mut Session, ctx: &mut Context) -> Result<Bytes, Denial> {
    let lost = |error: Box<Error>| denial_for(&error.into_down());
    let asked_first = session.req_header().headers.contains_key(header::EXPECT);
    if asked_first && !session.is_body_done() {
        // Whoever waits for this has sent nothing yet (RFC 9110 section 10.1.1).
        session
            .as_downstream_mut()
            .write_continue_response()
            .await
            .map_err(lost)?;
    }
    let patience = ctx.snapshot.requests.body_read_timeout;
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = session.read_request_body().await.map_err(lost)? {
            ctx.body_bytes_in += chunk.len() as u64;
            if ctx.body_bytes_in > BODY_BYTES_MAX {
                return Err(Denial::BodyTooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    // The whole of it, not each part: 64 KiB come at once, or somebody holds the connection for its own sake.
    let read = tokio::time::timeout(patience, reading).await;
    read.unwrap_or(Err(Denial::BodyTimeout))
}

/// What the control side says, without what is the connection's to say (RFC 9110 section 7.6.1).
fn answer_of_control(answer: ControlAnswer, is_head: bool, public: bool) -> Answer {
    const OF_CONNECTION: [HeaderName; 4] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(answer.headers.len() + 2);
    let said = answer.headers.iter().filter(|(name, _)| !OF_CONNECTION.contains(name));
    headers.extend(said.map(|(name, value)| (name.clone(), value.clone())));
    headers.push((header::CONTENT_LENGTH, HeaderValue::from(answer.body.len())));
    if public && !answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, built_in::ANY));
    }
    Answer {
        status: answer.status,
        headers,
        body: if is_head { Bytes::new() } else { answer.body },
        close: false,
    }
}

/// What the access record needs of the request. Kept from here on, because a connection may be gone when it is written.
fn facts(request: &RequestHeader) -> RequestFacts {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    RequestFacts {
        method: request.method.clone(),
        host: request.headers.get(header::HOST).map(text).unwrap_or_default(),
        path: request.uri.path().to_owned(),
        query: request
            .uri
            .query()
            .map(|query| intake::redact_query(query).into_owned()),
        user_agent: request.headers.get(header::USER_AGENT).map(text),
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| has_media_type(value, b"application/grpc"))
}

/// Whether `value` begins with `name`, in any case (RFC 9110 section 8.3.1).
fn has_media_type(value: &http::HeaderValue, name: &[u8]) -> bool {
    let start = value.as_bytes().get(..name.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// Whether no other response to the same request follows.
fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// Whether a response goes on for as long as somebody listens.
fn is_stream(response: &ResponseHeader) -> bool {
    let streams = |value: &http::HeaderValue| {
        has_media_type(value, b"text/event-stream") || has_media_type(value, b"application/grpc")
    };
    response.status == StatusCode::SWITCHING_PROTOCOLS
        || response.headers.get(header::CONTENT_TYPE).is_some_and(streams)
}

fn end_with_credential(ctx: &Context, gate: &Gate) {
    let principal = ctx.permit.as_ref().and_then(Permit::principal);
    let (Some(principal), Some(connection)) = (principal, &ctx.connection) else {
        return;
    };
    let identity = principal.identity();
    let left = |usable_until: Timestamp| usable_until.saturating_since(gate.clock.now().wall);
    // Only a credential that can be revoked here has to be looked at again. Not through the gate itself: a stream must
    // not keep it from ending.
    let revocable = identity.api_key_id().is_some() || principal.holding().is_some();
    let (held, weak) = (principal.clone(), Arc::downgrade(&ctx.gate));
    let still_counts = move || {
        weak.upgrade()
            .is_some_and(|gate| decide::still_counts(&held, &gate.snapshot(), &gate.live, gate.clock.now().wall))
    };
    let counts: Option<Box<dyn Fn() -> bool + Send + Sync>> = match revocable {
        true => Some(Box::new(still_counts)),
        false => None,
    };
    connection.end_stream_at(StreamEnd {
        at: identity.usable_until.map(|until| Instant::now() + left(until)),
        counts,
    });
}

/// Whether what is left of the request's body is known to be small, so that the connection can go on after a refusal.
fn can_drain(session: &mut Session) -> bool {
    let headers = &session.req_header().headers;
    // A client that asked first may never send its body; what comes next would then be taken for it (S103).
    if headers.contains_key(header::EXPECT) {
        return session.is_body_done();
    }
    match hygiene::announced_length(headers) {
        Some(length) => length <= DRAIN_BYTES_MAX,
        None => session.is_body_done(),
    }
}

async fn write_answer(session: &mut Session, ctx: &Context, answer: Answer, keep: bool) -> pingora::Result<()> {
    let mut response = ResponseHeader::build(answer.status, Some(answer.headers.len() + 3))?;
    for (name, value) in answer.headers {
        response.append_header(name, value)?;
    }
    if let Some(request_id) = &ctx.request_id {
        response.insert_header(trace::REQUEST_ID, request_id.header_value().clone())?;
    }
    if keep {
        session.set_close_on_response_before_downstream_finish(false);
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
    } else {
        session.set_keepalive(None);
    }
    session.write_response_header(Box::new(response), false).await?;
    session.write_response_body(Some(answer.body), true).await?;
    if !keep && sends_its_body(session, ctx) {
        linger(session).await;
    }
    Ok(())
}

/// A client that asked first (`Expect`) and has sent nothing reads our answer before it sends anything.
fn sends_its_body(session: &Session, ctx: &Context) -> bool {
    ctx.body_bytes_in > 0 || !session.req_header().headers.contains_key(header::EXPECT)
}

/// Reads what still comes and drops it. Closing while it comes would reset the connection, and a client that sends all
/// of its body before it reads (browsers, `fetch`, `urllib`) would see the reset and not the answer.
async fn linger(session: &mut Session) {
    let reading = async { while let Ok(Some(_)) = session.read_request_body().await {} };
    // Whatever comes of it, the connection is closed afterwards.
    let _ = tokio::time::timeout(LINGER, reading).await;
}

/// Which refusal an error of pingora's is.
fn denial_for(error: &Error) -> Denial {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(413), _) => Denial::BodyTooLarge,
        (ErrorType::HTTPStatus(503), _) => Denial::NoEndpoint,
        // pingora's word for bytes that came after the request and before its answer.
        (ErrorType::ConnectError, ErrorSource::Downstream) => Denial::Pipelined,
        (ErrorType::ConnectTimedout, _) => Denial::ConnectTimeout,
        (
            ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::SocketError
            | ErrorType::BindError,
            _,
        ) => Denial::ConnectFailed,
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => Denial::BodyTimeout,
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) => Denial::UpstreamTimeout,
        (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream) => Denial::RefusedByParser,
        // pingora's words for broken chunks; it does not export them.
        (ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd"), ErrorSource::Downstream) => Denial::RefusedByParser,
        (_, ErrorSource::Downstream) => Denial::ClientGone,
        (_, ErrorSource::Upstream) => Denial::UpstreamFailed,
        (_, ErrorSource::Internal | ErrorSource::Unset) => Denial::Panicked,
    }
}
