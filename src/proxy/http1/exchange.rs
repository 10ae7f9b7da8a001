//! One request, from its head to the end of its answer: decides, and forwards or answers. What is decided, is decided in
//! `decide.rs`.

mod answer;

use crate::gate::Gate;
use crate::gate::accept::Inbound;
use crate::gate::accept::client as client_address;
use crate::gate::accept::syntax;
use crate::gate::admit;
use crate::gate::answer::OwnAnswer;
use crate::gate::answer::control::ControlCall;
use crate::gate::decide;
use crate::gate::decide::Permit;
use crate::gate::decide::Stop;
use crate::gate::denial::Denial;
use crate::gate::snapshot::Snapshot;
use crate::observe::panics;
use crate::observe::trace;
use crate::proxy::exchange::Context;
use crate::proxy::forward::headers;
use crate::proxy::forward::stream_end;
use crate::proxy::forward::target;
use crate::proxy::forward::vouch;
use crate::proxy::http1::answered::DownstreamSide;
use crate::proxy::http1::answered::Says;
use crate::proxy::http1::body::BodyReader;
use crate::proxy::http1::body::Framing;
use crate::proxy::http1::downstream::Downstream;
use crate::proxy::http1::pool::DialError;
use crate::proxy::http1::pool::Pool;
use crate::proxy::http1::pool::Wire;
use crate::proxy::http1::relay;
use crate::proxy::http1::relay::Asked;
use crate::proxy::http1::relay::Failed;
use crate::proxy::http1::relay::Patience;
use crate::proxy::http1::relay::Relay;
use crate::proxy::http1::relay::Reusable;
use http::HeaderValue;
use http::Version;
use http::header;
use http::request::Parts;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// One request of a client's.
pub struct Exchange<'c> {
    gate: &'c Gate,
    pool: &'c Pool,
    downstream: &'c mut Downstream,
    body: BodyReader,
    framing: Framing,
    /// Whether the client may send another request on its connection, as far as this one's head tells.
    keep_alive: bool,
    /// Holds `true` once the gate ends.
    stopping: &'c watch::Receiver<bool>,
    ctx: Context,
}

/// Why a request is not forwarded, once nothing more can be asked.
enum Ended {
    Denied(Denial),
    Answered(OwnAnswer),
    Control(ControlCall),
}

impl<'c> Exchange<'c> {
    /// `last`: the connection ends after this request, whatever the client asks for.
    pub fn new(
        gate: &'c Gate,
        pool: &'c Pool,
        downstream: &'c mut Downstream,
        framing: Framing,
        last: bool,
        stopping: &'c watch::Receiver<bool>,
        ctx: Context,
    ) -> Self {
        Self {
            gate,
            pool,
            downstream,
            body: BodyReader::new(framing),
            framing,
            keep_alive: !last && wants_more(&ctx.request),
            stopping,
            ctx,
        }
    }

    /// Brings the request to its end, and says whether its connection may go on.
    pub async fn run(mut self) -> bool {
        match self.decide().await {
            Ok(permit) => {
                self.ctx.permit = Some(permit);
                match self.forward().await {
                    Ok(may_go_on) => may_go_on,
                    Err(denial) => self.fail(denial).await,
                }
            }
            Err(Ended::Denied(denial)) => self.fail(denial).await,
            Err(Ended::Answered(answer)) => self.answer(answer).await,
            Err(Ended::Control(call)) => self.ask_control(call).await,
        }
    }

    /// Decides; meets what the decision lacks, once and within bounds; decides again.
    async fn decide(&mut self) -> Result<Permit, Ended> {
        let mut needed = false;
        loop {
            let need = match self.decide_once() {
                Ok(permit) => return Ok(permit),
                Err(Stop::Denied(denial)) => return Err(Ended::Denied(denial)),
                Err(Stop::Answered(answer)) => return Err(Ended::Answered(answer)),
                Err(Stop::Control(call)) => return Err(Ended::Control(call)),
                // Met already, and still lacking: we cannot tell.
                Err(Stop::Needs(need)) if needed => return Err(Ended::Denied(need.lack().into())),
                Err(Stop::Needs(need)) => need,
            };
            self.ctx.trail.issuer_answer = tokio::select! {
                answered = need.meet() => answered,
                // Nobody is let through who is no longer there (S108).
                denial = abandoned(self.downstream, &self.body) => return Err(Ended::Denied(denial)),
            };
            needed = true;
        }
    }

    fn decide_once(&mut self) -> Result<Permit, Stop> {
        let now = self.gate.clock.now();
        let live = &self.gate.live;
        let ctx = &mut self.ctx;
        // A panic in a stage must never let a request through, nor take its answer away (S146).
        let outcome = panics::catch(&live.metrics.panics, || {
            let snapshot: &Snapshot = &ctx.snapshot;
            let peer = ctx.peer.ip();
            let inbound = Inbound::new(&ctx.request, peer, &snapshot.trusted_proxies, &snapshot.accept)?;
            let permit = decide::decide(snapshot, live, &inbound, now, &mut ctx.trail)?;
            ctx.identity_token = vouch::vouch(&permit, snapshot, live, now.wall)?;
            let origin_form = ctx.request.uri.authority().is_none();
            ctx.rewritten = target::rewritten(&permit, &inbound, origin_form && !inbound.path_was_rewritten());
            Ok(permit)
        });
        outcome.unwrap_or(Err(Stop::Denied(Denial::Panicked)))
    }

    /// Sends the request to its upstream and the answer back. Says whether the client's connection may go on.
    async fn forward(&mut self) -> Result<bool, Denial> {
        let started = self.gate.clock.now();
        self.ctx.upstream_started = Some(started);
        let Some(permit) = &self.ctx.permit else {
            return Err(Denial::Panicked);
        };
        let upstream = &permit.route().upstream;
        let settings = &upstream.settings;
        let end = Instant::now().checked_add(settings.total_timeout);
        let websocket = headers::asks_for_websocket(&self.ctx.request);
        let principal = permit.principal();
        let stream_end = || principal.map(|principal| stream_end::of(principal, &self.ctx.gate));
        let limits = &self.ctx.snapshot.requests;
        let asked = Asked {
            method: &self.ctx.request.method,
            websocket,
            chunked: self.framing == Framing::Chunked,
            body_bytes_max: limits.body_bytes_max,
            downstream: DownstreamSide {
                is_http10: self.ctx.request.version == Version::HTTP_10,
                keep_alive: self.keep_alive,
            },
            // In place of what the upstream says about limits of its own, which would contradict ours.
            says: Says {
                request_id: Some((&trace::REQUEST_ID, self.ctx.request_id.header_value())),
                limits: admit::headers::of_admission(permit.admission(), self.ctx.snapshot.rate_limit_headers)
                    .collect(),
                now: started.wall,
                cors: permit
                    .route()
                    .cors
                    .as_ref()
                    .map(|cors| (cors, &self.ctx.request.headers)),
            },
            patience: Patience {
                downstream_read: limits.body_read_timeout,
                // A client that does not read its answer holds an upstream's connection as well as its own.
                downstream_write: limits.idle_timeout,
                upstream_read: settings.read_timeout,
                upstream_write: settings.write_timeout,
                total: end,
            },
            stopping: self.stopping,
            stream_end: &stream_end,
        };
        let mut attempts = 0;
        // The connection on which the request was lost.
        let mut lost: Option<Wire> = None;
        loop {
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Denial::ConnectTimeout);
            }
            let address = upstream.choose().ok_or(Denial::NoEndpoint)?.address;
            self.ctx.endpoint = Some(address);
            let idle = match lost {
                // One that is as old may be as dead.
                Some(_) => None,
                None => self.pool.take(address),
            };
            let reused = idle.is_some();
            let mut wire = match idle {
                Some(wire) => wire,
                None => match self.pool.dial(address, settings, left).await {
                    Ok(wire) => wire,
                    Err(error) => {
                        attempts += 1;
                        permit.route().upstream_metrics.connect_failed();
                        // Nothing of the request was sent, so any method may be tried again.
                        if attempts < settings.connect_attempts {
                            continue;
                        }
                        return Err(match error {
                            DialError::Failed => Denial::ConnectFailed,
                            DialError::TimedOut => Denial::ConnectTimeout,
                        });
                    }
                },
            };
            match &lost {
                Some(lost) => relay::replay(lost, &mut wire),
                None => write_head(
                    &self.ctx,
                    permit,
                    &self.downstream.peer_text,
                    websocket,
                    address,
                    &mut wire,
                ),
            }
            // Its upstream may have closed a kept connection just before the request came. Sending it again pays twice
            // where it was acted on all the same (RFC 9110 section 9.2.2).
            let replayable = reused && self.ctx.request.method.is_idempotent();
            let relay = Relay::new(
                &asked,
                self.downstream,
                &mut wire,
                &mut self.body,
                &mut self.ctx.progress,
                replayable,
            );
            match relay.run().await {
                Ok(reusable) => {
                    if reusable.upstream {
                        self.pool.put(address, wire, settings.idle_timeout);
                    }
                    return Ok(self.end(reusable).await);
                }
                Err(Failed::Unanswered) => lost = Some(wire),
                Err(Failed::Denied(denial)) => return Err(denial),
            }
        }
    }

    /// After a whole answer.
    async fn end(&mut self, reusable: Reusable) -> bool {
        if !reusable.downstream && self.sends_its_body() {
            self.linger().await;
        }
        reusable.downstream
    }

    /// The request failed: says so, where the client has heard nothing yet.
    async fn fail(&mut self, denial: Denial) -> bool {
        if self.ctx.progress.cut {
            tracing::debug!(peer = %self.ctx.peer, "Stream ended with its credential");
            return false;
        }
        // An answer is under way, or nobody reads it: all that is left is to close.
        if self.ctx.progress.status != 0 || matches!(denial, Denial::ClientGone) {
            self.ctx.denial = Some(denial);
            return false;
        }
        self.refuse(denial).await
    }
}

/// Whether the client may send another request after this one (RFC 9112 section 9.3).
fn wants_more(request: &Parts) -> bool {
    let mut close = false;
    let mut keep_alive = request.version != Version::HTTP_10;
    for value in request.headers.get_all(header::CONNECTION) {
        for option in syntax::members(value.as_bytes()) {
            close |= option.eq_ignore_ascii_case(b"close");
            keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keep_alive && !close
}

/// Writes the head for the upstream.
fn write_head(
    ctx: &Context,
    permit: &Permit,
    peer: &HeaderValue,
    websocket: bool,
    endpoint: SocketAddr,
    wire: &mut Wire,
) {
    let request = &ctx.request;
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let sent = headers::Sent {
        permit,
        own: headers::Own {
            api_key_header: &ctx.snapshot.api_key_header,
            claim_headers: &ctx.snapshot.claim_headers,
        },
        origin: headers::Origin {
            peer,
            trusted: client_address::is_trusted(ctx.peer.ip(), &ctx.snapshot.trusted_proxies),
            host: host.unwrap_or_default(),
            request_id: Some(&ctx.request_id),
            trace: Some(&ctx.trace),
        },
        identity_token: ctx.identity_token.as_ref(),
        websocket,
        endpoint: Some(endpoint),
    };
    let out = &mut wire.write;
    out.put(request.method.as_str().as_bytes());
    out.put(b" ");
    match &ctx.rewritten {
        Some(target) => out.put(target.as_bytes()),
        None => out.put(
            request
                .uri
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .as_bytes(),
        ),
    }
    out.put(b" HTTP/1.1\r\n");
    headers::write(&request.headers, &sent, |name, value| {
        out.put(name.as_str().as_bytes());
        out.put(b": ");
        out.put(value);
        out.put(b"\r\n");
    });
    out.put(b"\r\n");
}

/// Returns when the client closes its connection, or sends more, before it was answered. Never returns for a request whose
/// body has not arrived: its bytes come before the end of the connection, and they are for the upstream.
async fn abandoned(downstream: &mut Downstream, body: &BodyReader) -> Denial {
    if !body.is_done() || !downstream.read.is_empty() {
        return std::future::pending().await;
    }
    poll_fn(|cx| match downstream.read.poll_fill(&mut downstream.stream, cx) {
        Poll::Ready(Ok(1..)) => Poll::Ready(Denial::Pipelined),
        Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Denial::ClientGone),
        Poll::Pending => Poll::Pending,
    })
    .await
}
