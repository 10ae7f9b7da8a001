//! Which rules does Keygate add to each phase of pingora's proxy?

use crate::gate::Gate;
use crate::gate::answer::Answer;
use crate::gate::denial::Denial;
use crate::model::upstream_failure::UpstreamFailure;
use crate::observe::redact;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::Interruption;
use crate::proxy::exchange::NextStep;
use crate::proxy::exchange::refuse_head;
use crate::proxy::filter::client;
use crate::proxy::filter::context::FilterContext;
use crate::proxy::filter::context::Side;
use crate::proxy::filter::failure;
use crate::proxy::filter::own_answer;
use crate::proxy::filter::request_head;
use crate::proxy::filter::response_head;
use crate::proxy::forward::drain;
use crate::proxy::forward::retry::FailureCause;
use crate::proxy::head;
use crate::proxy::head::HeadLimits;
use crate::proxy::peer;
use crate::proxy::peer::ConnectError;
use bytes::Bytes;
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
use pingora::proxy::FailToProxy;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio::time::timeout_at;

/// The time that pingora gets to report a time limit of its own, before the guard ends the request: then
/// [`Filter::fail_to_proxy`] answers. The guard can only end the request without an answer.
const ANSWER_TIME: Duration = Duration::from_millis(250);

/// The time in which a connection over HTTP/2 writes the received part of a response that is cut. The library discards what it
/// has not written when the stream is reset, and does not tell when it has written all.
const FLUSH_TIME: Duration = Duration::from_millis(100);

/// Decides, rewrites and records the requests of a pingora proxy. Clones are cheap and share all state.
///
/// Call each method in the phase of `pingora::proxy::ProxyHttp` that has its name. A proxy that chooses its own peers leaves
/// out [`upstream_peer`](Self::upstream_peer) and [`fail_to_connect`](Self::fail_to_connect). Without
/// [`error_while_proxy`](Self::error_while_proxy), pingora's own rules say which requests are sent again; without
/// [`logging`](Self::logging), a request is recorded a little later. All others are needed.
#[derive(Clone)]
pub struct Filter {
    gate: Arc<Gate>,
}

impl Filter {
    pub(crate) const fn of_gate(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    pub(crate) fn shared_gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Returns the state of a new request.
    pub fn new_ctx(&self) -> FilterContext {
        FilterContext::new()
    }

    /// Decides the request. Returns whether the request was answered, so that nothing is forwarded.
    ///
    /// Waits only for the issuer of a token, for a limited time: until an unknown key is fetched, or the token is
    /// introspected (RFC 7662).
    ///
    /// # Errors
    /// The client is gone, or the answer cannot be written.
    pub async fn request_filter(&self, session: &mut Session, ctx: &mut FilterContext) -> pingora::Result<bool> {
        let mut exchange = match ctx.slot.take() {
            Some(begun) => begun,
            None => match self.begin(session, ctx) {
                Ok(exchange) => exchange,
                Err(answer) => {
                    session.set_keepalive(None);
                    session.set_write_timeout(Some(self.gate.snapshot().requests.idle_timeout));
                    own_answer::write_answer(session, answer).await?;
                    return Ok(true);
                }
            },
        };
        if exchange.has_responded() {
            ctx.slot.put(exchange);
            return Ok(true);
        }
        prepare(session, &exchange);
        if !ctx.slot.is_persistent() {
            session.set_keepalive(None);
        }
        if exchange.is_admitted() {
            return self.go_on(session, ctx, exchange).await;
        }
        let decided = exchange
            .admit(client::client_gone(&mut session.downstream_session))
            .await;
        let answer = match decided {
            Ok(NextStep::Forward) => return self.go_on(session, ctx, exchange).await,
            Ok(NextStep::Answer(answer)) => answer,
            Ok(NextStep::Control(call)) => match own_answer::call_control(session, &mut exchange, call).await {
                Ok(answer) => answer,
                Err(denial) => exchange.refuse(denial),
            },
            Err(denial) => exchange.refuse(denial),
        };
        let written = own_answer::send_answer(session, &mut exchange, answer).await;
        ctx.slot.put(exchange);
        written.map(|()| true)
    }

    /// Lets the request of `exchange`, which holds a permit, go on to its upstream.
    ///
    /// Reads a short body first. pingora would count the time of the upstream from the beginning of the body on; and over
    /// HTTP/2 it has no time limit for a body, so that a client that stalls could get no answer later.
    async fn go_on(
        &self,
        session: &mut Session,
        ctx: &mut FilterContext,
        exchange: Box<Exchange>,
    ) -> pingora::Result<bool> {
        let expects_continue = exchange.request().headers.contains_key(header::EXPECT);
        let forwards_over_http2 = exchange.forwards_over_http2();
        let version = exchange.request().version;
        ctx.admit(exchange, session.is_body_done());
        if session.is_body_done() {
            return Ok(false);
        }
        if expects_continue {
            if forwards_over_http2 && version == Version::HTTP_11 {
                // pingora forwards no interim response of HTTP/2. HTTP/1.0 has none (RFC 9110 section 10.1.1).
                session.write_continue_response().await?;
                ctx.slot.note_continue();
            }
            return Ok(false);
        }
        if !own_answer::has_short_length(session.req_header()) {
            return Ok(false);
        }
        let client = &mut session.downstream_session;
        // pingora sends the buffer to the upstream, as after a failed attempt. A short body fits in it.
        client.enable_retry_buffering();
        while !client.is_body_done() {
            let overdue_at = ctx.with(|exchange| exchange.body_deadline()).flatten();
            let reading = client.read_request_body();
            let part = match overdue_at {
                Some(at) => timeout_at(at, reading).await,
                None => Ok(reading.await),
            };
            let Ok(part) = part else {
                return Err(ctx.deny(Denial::BodyTimeout));
            };
            let part = part.map_err(|error| error.into_down())?;
            let side = Side::Client {
                bytes: part.as_ref().map_or(0, Bytes::len),
                is_body_end: part.is_none(),
            };
            ctx.with_activity(side, |_| ());
        }
        ctx.slot.note_body_end();
        Ok(false)
    }

    /// Begins the exchange of a request whose head pingora has read.
    ///
    /// # Errors
    /// The head is ambiguous or too large: the answer.
    fn begin(&self, session: &mut Session, ctx: &FilterContext) -> Result<Box<Exchange>, Answer> {
        let started = self.gate.clock.now();
        let snapshot = self.gate.snapshot();
        let connection = match ctx.slot.connection() {
            Some(connection) => Arc::clone(connection),
            None => Arc::new(client::connection_of(&session.downstream_session)),
        };
        let limits = HeadLimits {
            head_bytes_max: snapshot.requests.head_bytes_max,
            header_count_max: snapshot.requests.header_count_max,
            target_bytes_max: snapshot.requests.target_bytes_max,
        };
        let mut raw = Bytes::new();
        let checked = if session.is_http2() {
            let head = session.req_header();
            let expectations = head.headers.get_all(header::EXPECT).iter().map(HeaderValue::as_bytes);
            request_head::check_size(head, &limits)
                .and_then(|()| head::check_expectations(expectations))
                .inspect_err(|_| raw = request_head::as_text(head))
        } else {
            // pingora accepts heads that are ambiguous, and changes some of them before it shows them.
            raw = session.to_h1_raw();
            head::check(&raw, &limits).map(drop)
        };
        if let Err(error) = checked {
            return Err(refuse_head(&self.gate, connection.peer, started, error, &raw));
        }
        let parts = request_head::of_pingora(session.req_header());
        Ok(Exchange::begin(&self.gate, snapshot, parts, &connection, started))
    }

    /// Returns the next endpoint of the route's upstream.
    ///
    /// # Errors
    /// No endpoint has an address, or the route's `total_timeout` is over.
    pub async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut FilterContext,
    ) -> pingora::Result<Box<HttpPeer>> {
        if !ctx.slot.has_room() {
            return Err(ctx.deny(Denial::NoResources));
        }
        // Sending so little takes no time that would count.
        let is_short = session.is_body_done() || own_answer::has_short_length(session.req_header());
        // The guard ends no request that waits here; the wait has an end of its own.
        let Some(mut exchange) = ctx.slot.take() else {
            return Err(ctx.deny(Denial::Panicked));
        };
        let chosen = choose_peer(&mut exchange, is_short).await;
        ctx.slot.put(exchange);
        match chosen {
            Ok(peer) => {
                if is_short {
                    // The guard cannot tell an upstream that sends nothing from a client that reads nothing.
                    ctx.slot.leave_upstream_to_pingora();
                }
                Ok(Box::new(peer))
            }
            Err(denial) => Err(ctx.deny(denial)),
        }
    }

    /// Makes `error` one after which pingora tries another endpoint, as often as the upstream's `connect_attempts` allow.
    pub fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut FilterContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let failed = ConnectError::of(&error);
        let again = ctx
            .with(|exchange| exchange.count_connect_failure(failed.failure, failed.problem.as_deref()))
            .unwrap_or_default();
        error.set_retry(again);
        error
    }

    /// Makes `error` one after which pingora sends the request again only where that is safe: the method is idempotent, and
    /// the upstream has sent no response. It closed a connection that was used before, or said that it did not process the
    /// request (HTTP/2); or the upstream's `retries` allow it.
    pub fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut FilterContext,
        client_reused: bool,
    ) -> Box<Error> {
        let is_replayable = session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        let has_responded = ctx.with(|exchange| exchange.has_responded() || exchange.has_begun());
        ctx.is_connection_reused = client_reused && has_responded == Some(false);
        let again = ctx.denial.is_none() && is_replayable && has_responded == Some(false);
        if !again {
            error.set_retry(false);
            return error;
        }
        error.retry.decide_reuse(client_reused);
        if *error.etype() == failure::UNWANTED_STATUS {
            error.set_retry(true);
            return error;
        }
        if *error.esource() != ErrorSource::Upstream {
            return error;
        }
        let failed = peer::response_failure(&error);
        let cause = if error.retry() {
            // pingora knows that the request was not processed.
            FailureCause::StaleConnection
        } else {
            response_cause(&error, failed, client_reused)
        };
        let retries = ctx.with(|exchange| {
            let is_allowed = failed != UpstreamFailure::TimedOut || exchange.retries_timeouts();
            is_allowed && exchange.retries_after(failed, cause)
        });
        error.set_retry(retries.unwrap_or_default());
        error
    }

    /// Replaces the head for the upstream. The target is in origin form and in normal form. Hop-by-hop fields are
    /// removed, and so is the credential, unless the route has `forward_credential`. The identity of the principal
    /// (`X-Keygate-*`), the origin of the request (`X-Forwarded-*`) and the trace context are added.
    ///
    /// # Errors
    /// The request was not admitted: [`Self::request_filter`] was not called, or has answered.
    pub async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut FilterContext,
    ) -> pingora::Result<()> {
        let written = ctx.with(|exchange| {
            // A proxy that did not call `request_filter`, or that goes on after its answer, has no permit.
            if !exchange.is_admitted() || exchange.has_responded() {
                return None;
            }
            // After a failed attempt, the body is sent from its beginning.
            exchange.rewind_request_body();
            Some(request_head::for_upstream(exchange, upstream_request))
        });
        match written.flatten() {
            Some(written) => {
                *upstream_request = written?;
                Ok(())
            }
            None => Err(ctx.deny(Denial::Panicked)),
        }
    }

    /// Counts a part of the request body.
    ///
    /// # Errors
    /// The body is longer than `requests.body_bytes`. The part is not forwarded.
    pub async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut FilterContext,
    ) -> pingora::Result<()> {
        if ctx.slot.has_response_ended() {
            // The upstream has answered without the rest; only the client goes on sending. The upstream must not take the
            // part that it has for a whole body.
            ctx.drops_body |= body.as_ref().is_some_and(|part| !part.is_empty());
            *body = body.is_some().then(Bytes::new);
            if end_of_stream && ctx.drops_body {
                return Err(Error::new(failure::DENIED));
            }
        }
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            // For the empty frame that ends a body of HTTP/2, pingora writes the last chunk of HTTP/1.1 twice, and the
            // upstream reads the second one as the beginning of the next request.
            *body = None;
        }
        let bytes = body.as_ref().map_or(0, Bytes::len);
        let side = Side::Client {
            bytes,
            is_body_end: end_of_stream,
        };
        let is_tunnel = session.was_upgraded();
        let counted = ctx.with_activity(side, |exchange| {
            if is_tunnel {
                exchange.count_tunnel_bytes(bytes);
                return Ok(());
            }
            exchange.count_request_body(bytes)
        });
        match counted {
            Some(Err(denial)) => {
                *body = None;
                Err(ctx.deny(denial))
            }
            _ => Ok(()),
        }
    }

    /// Changes the head of the response for the client: removes hop-by-hop fields, and adds the fields about limits,
    /// cross-origin requests and the request id.
    ///
    /// # Errors
    /// The response has a status after which the upstream's `retries` send the request again.
    pub async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut FilterContext,
    ) -> pingora::Result<()> {
        let is_replayable = session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        if response.status.is_server_error() && is_replayable {
            let again = ctx.with(|exchange| {
                !exchange.has_responded() && !exchange.has_begun() && exchange.retries_status(response.status)
            });
            if again.unwrap_or_default() {
                return Err(Error::new(failure::UNWANTED_STATUS));
            }
        }
        let changed = ctx.with_activity(Side::Upstream, |exchange| response_head::for_client(exchange, response));
        let streams = changed.unwrap_or(Ok(false))?;
        if streams {
            // A client may be silent for as long as its stream lasts.
            ctx.slot.note_body_end();
        }
        let status = response.status;
        if status == StatusCode::CONTINUE {
            ctx.slot.note_continue();
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // A client that only listens sends no body that could be late.
            session.set_read_timeout(None);
        } else if !status.is_informational() {
            // For an interim response before, pingora would close the connection.
            session.set_close_on_response_before_downstream_finish(true);
            let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
                || session.req_header().method == Method::HEAD
                || response
                    .headers
                    .get(header::CONTENT_LENGTH)
                    .is_some_and(|length| length == "0");
            if is_bodiless {
                end_response(session, ctx);
            }
            if session.req_header().version == Version::HTTP_10
                && response.remove_header(&header::TRANSFER_ENCODING).is_some()
            {
                // A client of HTTP/1.0 knows no chunks (RFC 9112 section 6.1): the body ends with the connection.
                session.set_keepalive(None);
            }
        }
        Ok(())
    }

    /// Counts a part of the response body.
    ///
    /// # Errors
    /// None; the type is pingora's.
    pub fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut FilterContext,
    ) -> pingora::Result<Option<Duration>> {
        let bytes = body.as_ref().map_or(0, Bytes::len);
        ctx.with_activity(Side::Upstream, |exchange| exchange.count_response_body(bytes));
        if end_of_stream {
            end_response(session, ctx);
        }
        Ok(None)
    }

    /// Removes the trailers of the response with a name that Keygate keeps for itself.
    ///
    /// # Errors
    /// None; the type is pingora's.
    pub async fn response_trailer_filter(
        &self,
        session: &mut Session,
        upstream_trailers: &mut HeaderMap,
        ctx: &mut FilterContext,
    ) -> pingora::Result<Option<Bytes>> {
        end_response(session, ctx);
        ctx.with_activity(Side::Upstream, |exchange| {
            let rules = exchange.response_rules();
            let dropped: Vec<HeaderName> = upstream_trailers
                .keys()
                .filter(|name| !rules.keeps_trailer(name.as_str()))
                .cloned()
                .collect();
            for name in dropped {
                upstream_trailers.remove(name);
            }
        });
        Ok(None)
    }

    /// Answers a request that failed, if no response has begun.
    pub async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut FilterContext) -> FailToProxy {
        let denial = ctx.denial.take().unwrap_or_else(|| {
            if failure::is_silent_upstream(error) {
                // It may wait for the rest of the body.
                ctx.slot.overdue()
            } else {
                failure::denial(error)
            }
        });
        if matches!(denial, Denial::UpstreamFailed) && *error.esource() == ErrorSource::Upstream {
            let (failed, is_reused) = (peer::response_failure(error), ctx.is_connection_reused);
            ctx.with(|exchange| {
                // A failure after which no other attempt was left is recorded already.
                if exchange.upstream_failure() != Some(failed) {
                    exchange.note_upstream_failure(failed, response_cause(error, failed, is_reused));
                }
            });
        }
        let nothing = FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        };
        let Some(mut exchange) = ctx.slot.take() else {
            return nothing;
        };
        if exchange.has_responded() || matches!(denial, Denial::ClientGone) {
            let is_cut = exchange.has_responded() && !matches!(denial, Denial::ClientGone);
            // After the whole response, only the rest of the request body was missing.
            if !ctx.slot.has_response_ended() {
                exchange.interrupt(Interruption::Denied(denial));
            }
            ctx.slot.put(exchange);
            if is_cut && session.is_http2() {
                sleep(FLUSH_TIME).await;
            }
            return nothing;
        }
        let answer = exchange.refuse(denial);
        let error_code = answer.status.as_u16();
        // pingora closes the connection after an error, so the answer must say so.
        session.set_keepalive(None);
        // The connection is closed either way, and the refusal is recorded.
        let _ = own_answer::send_answer(session, &mut exchange, answer).await;
        ctx.slot.put(exchange);
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    /// Returns the request for pingora's error log, without its query and without what looks like a secret in its path.
    pub fn request_summary(&self, session: &Session, _ctx: &FilterContext) -> String {
        let head = session.req_header();
        format!("{} {}", head.method, redact::credentials(head.uri.path()))
    }

    /// Records the request. pingora calls this phase last; without it, the request is recorded when the context is dropped.
    pub async fn logging(&self, _session: &mut Session, _error: Option<&Error>, ctx: &mut FilterContext) {
        // Dropping the exchange writes its record.
        drop(ctx.slot.take());
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Filter").finish_non_exhaustive()
    }
}

impl FilterContext {
    fn admit(&mut self, mut exchange: Box<Exchange>, is_body_done: bool) {
        exchange.extend_time_limits(ANSWER_TIME);
        self.slot.expect_body(exchange.wait_for_body(false));
        if is_body_done {
            self.slot.note_body_end();
        }
        self.principal = exchange.principal().cloned();
        self.slot.put(exchange);
    }

    /// Returns the error that ends the request with `denial`.
    fn deny(&mut self, denial: Denial) -> Box<Error> {
        self.denial = Some(denial);
        let mut error = Error::new(failure::DENIED);
        error.set_retry(false);
        error
    }
}

/// Sets the time limits of the client's side, and the treatment of interim responses.
fn prepare(session: &mut Session, exchange: &Exchange) {
    let limits = exchange.request_limits();
    session.set_read_timeout(Some(limits.body_read_timeout));
    session.set_write_timeout(Some(limits.idle_timeout));
    // Bytes of a next request would be read without the checks of the guard.
    session.set_pipelining_enabled(false);
    // pingora would close the connection after `100 Continue`. `response_filter` sets this for the final response.
    session.set_close_on_response_before_downstream_finish(false);
    // HTTP/1.0 has no interim responses (RFC 9110 section 15.2).
    session.set_ignore_info_resp(exchange.request().version == Version::HTTP_10);
}

/// Returns the probable cause of `failure` on a connection that has carried a request before if `is_reused`.
fn response_cause(error: &Error, failure: UpstreamFailure, is_reused: bool) -> FailureCause {
    if *error.etype() == ErrorType::H2Error {
        FailureCause::Stream
    } else {
        FailureCause::of(failure, is_reused)
    }
}

/// Chooses the endpoint of a request. `is_short` tells whether sending it takes no time that would count.
async fn choose_peer(exchange: &mut Exchange, is_short: bool) -> Result<HttpPeer, Denial> {
    let upstream = exchange.upstream()?;
    let retries_timeouts = exchange.retries_timeouts();
    let left = exchange.wait_for_endpoint(&upstream).await?.saturating_sub(ANSWER_TIME);
    let choice = exchange.endpoint().ok_or(Denial::NoEndpoint)?;
    let mut peer =
        peer::http(choice, &upstream.settings, &exchange.timeouts()?, left).map_err(|_| Denial::ConnectFailed)?;
    if !is_short {
        // pingora counts this time from the beginning of a body, however long the body takes. The guard counts it from the
        // last part, but can only end the request without an answer.
        peer.options.read_timeout = Some(left);
    } else if retries_timeouts && let Some(limit) = upstream.settings.retries.try_timeout {
        peer.options.read_timeout = peer.options.read_timeout.map(|before| before.min(limit));
    }
    Ok(peer)
}

/// Limits the time for the rest of the request body once the whole response was sent. A client that expects
/// `100 Continue` sends none.
fn end_response(session: &mut Session, ctx: &mut FilterContext) {
    ctx.slot.note_response_end();
    let expects_continue = session.req_header().headers.contains_key(header::EXPECT);
    let has_begun = ctx.with(|exchange| exchange.has_body_begun()).unwrap_or_default();
    session.set_read_timeout(Some(if expects_continue && !has_begun {
        Duration::ZERO
    } else {
        drain::TIMEOUT
    }));
}
