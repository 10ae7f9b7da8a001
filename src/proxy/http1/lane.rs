//! How is one exchange carried over HTTP/1.1? The lane moves the bytes; the exchange decides, limits and records.

mod answer;

use crate::gate::accept::HeadError;
use crate::gate::accept::syntax;
use crate::gate::denial::Denial;
use crate::model::upstream_failure::UpstreamFailure;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::Interruption;
use crate::proxy::exchange::NextStep;
use crate::proxy::forward::retry::FailureCause;
use crate::proxy::head::Framing;
use crate::proxy::http1::body::BodyReader;
use crate::proxy::http1::downstream::AfterRequest;
use crate::proxy::http1::downstream::Downstream;
use crate::proxy::http1::hand_over::HandOver;
use crate::proxy::http1::pool::Pool;
use crate::proxy::http1::pool::UpstreamConn;
use crate::proxy::http1::relay;
use crate::proxy::http1::relay::Persistence;
use crate::proxy::http1::relay::Relay;
use crate::proxy::http1::relay::RelayError;
use crate::proxy::http1::relay::RelaySpec;
use crate::proxy::http1::response_head::ResponseMode;
use crate::proxy::http1::response_head::put;
use crate::upstream::ConnectionKey;
use crate::upstream::Upstream;
use http::Version;
use http::header;
use http::request::Parts;
use std::future::poll_fn;
use tokio::sync::watch;

/// One exchange on its client's connection.
pub struct Lane<'c> {
    exchange: Box<Exchange>,
    pool: &'c Pool,
    downstream: &'c mut Downstream,
    body: BodyReader,
    framing: Framing,
    /// `true` if the connection may carry another request: the head allows that (RFC 9112 section 9.3), and the worker
    /// does not close the connection after this request.
    is_persistent: bool,
    /// Holds `true` once the gate shuts down.
    shutdown: &'c watch::Receiver<bool>,
}

/// The state of the client's connection after an exchange.
pub enum LaneEnd {
    /// The connection may carry another request.
    Persists,
    Closes,
    /// The response was cut, so the connection must not end as after a whole one.
    Breaks,
    /// pingora has to carry the request.
    HandOver(Box<HandOver>),
}

/// One attempt to reach an upstream.
struct Attempt {
    conn: UpstreamConn,
    /// The key of the pool that the connection belongs to.
    key: ConnectionKey,
    /// `true` if the connection has carried a request before.
    reused: bool,
    /// The bytes of the request's head in the write buffer.
    head_bytes: usize,
}

impl<'c> Lane<'c> {
    /// Returns the lane of `exchange`. With `is_last`, the connection closes after this request.
    pub fn new(
        exchange: Box<Exchange>,
        pool: &'c Pool,
        downstream: &'c mut Downstream,
        framing: Framing,
        is_last: bool,
        shutdown: &'c watch::Receiver<bool>,
    ) -> Self {
        Self {
            is_persistent: !is_last && keeps_connection(exchange.request()),
            exchange,
            pool,
            downstream,
            body: BodyReader::new(framing),
            framing,
            shutdown,
        }
    }

    /// Completes the exchange, or returns it for pingora's lane, where the upstream speaks HTTP/2.
    pub async fn run(mut self) -> LaneEnd {
        let client_gone = wait_for_client_close(self.downstream, &self.body);
        let persists = match self.exchange.admit(client_gone).await {
            // pingora would send chunks, which HTTP/1.0 does not know.
            Ok(NextStep::Forward)
                if self.exchange.forwards_over_http2() && self.exchange.request().version == Version::HTTP_10 =>
            {
                self.fail(Denial::Head(HeadError::Version).into()).await
            }
            Ok(NextStep::Forward) if self.exchange.forwards_over_http2() => {
                return LaneEnd::HandOver(Box::new(HandOver {
                    exchange: self.exchange,
                    is_persistent: self.is_persistent,
                }));
            }
            Ok(NextStep::Forward) => match self.forward().await {
                Ok(persistence) => self.end(persistence).await,
                Err(interruption) => self.fail(interruption).await,
            },
            Ok(NextStep::Answer(answer)) => self.send_answer(answer).await,
            // On the heap: few requests are for the control side.
            Ok(NextStep::Control(call)) => match Box::pin(self.call_control(call)).await {
                Ok(answer) => self.send_answer(answer).await,
                Err(denial) => self.fail(denial.into()).await,
            },
            Err(denial) => self.fail(denial.into()).await,
        };
        if persists {
            LaneEnd::Persists
        } else if self.exchange.is_response_cut() {
            LaneEnd::Breaks
        } else {
            LaneEnd::Closes
        }
    }

    /// Sends the request to its upstream and the response to the client.
    ///
    /// # Errors
    /// The exchange failed. [`Exchange::has_responded`] tells whether the head of the final response was written.
    async fn forward(&mut self) -> Result<Persistence, Interruption> {
        let upstream = self.exchange.upstream()?;
        // The attempt before, whose write buffer has the part of the body that was read.
        let mut failed: Option<Attempt> = None;
        loop {
            let mut attempt = self.connect(&upstream, failed.is_some()).await?;
            self.write_head(&mut attempt);
            if let Some(failed) = &failed {
                relay::replay(&failed.conn, failed.head_bytes, &mut attempt.conn);
            }
            match self.relay(&mut attempt).await {
                Ok(persistence) => {
                    if persistence.upstream {
                        let idle_timeout = upstream.settings.idle_timeout;
                        self.pool.put(attempt.key, attempt.conn, idle_timeout);
                    }
                    return Ok(persistence);
                }
                Err(RelayError::NoResponse(failure)) => {
                    let cause = FailureCause::of(failure, attempt.reused);
                    if !self.exchange.retries_after(failure, cause) {
                        return Err(match failure {
                            UpstreamFailure::TimedOut => Denial::UpstreamTimeout,
                            UpstreamFailure::Refused
                            | UpstreamFailure::Unreachable
                            | UpstreamFailure::Reset
                            | UpstreamFailure::Closed
                            | UpstreamFailure::NoHttp
                            | UpstreamFailure::Tls
                            | UpstreamFailure::NoResources => Denial::UpstreamFailed,
                        }
                        .into());
                    }
                    failed = Some(attempt);
                }
                Err(RelayError::UnwantedStatus) => failed = Some(attempt),
                Err(RelayError::Interrupted(interruption)) => return Err(interruption),
            }
        }
    }

    /// Returns a connection to an endpoint of `upstream`: from the pool if there is one and `fresh` is `false`,
    /// otherwise a new one.
    ///
    /// # Errors
    /// No endpoint has an address, or the time or the attempts that the settings allow are used up.
    async fn connect(&mut self, upstream: &Upstream, fresh: bool) -> Result<Attempt, Denial> {
        loop {
            let left = self.exchange.wait_for_endpoint(upstream).await?;
            let timeouts = self.exchange.timeouts()?;
            self.exchange.begin_try(upstream, &timeouts);
            let choice = self.exchange.endpoint().ok_or(Denial::NoEndpoint)?;
            let key = choice.connection_key();
            // Do not replay on another pooled connection: it is probably stale too.
            let pooled = if fresh { None } else { self.pool.take(key) };
            let reused = pooled.is_some();
            let connection = match pooled {
                Some(conn) => Ok(conn),
                None => self.pool.dial(choice, &timeouts, left).await,
            };
            let error = match connection {
                Ok(conn) => {
                    return Ok(Attempt {
                        conn,
                        key,
                        reused,
                        head_bytes: 0,
                    });
                }
                Err(error) => error,
            };
            if self
                .exchange
                .count_connect_failure(error.failure, error.problem.as_deref())
            {
                continue;
            }
            return Err(match error.failure {
                UpstreamFailure::TimedOut => Denial::ConnectTimeout,
                UpstreamFailure::NoResources => Denial::NoResources,
                UpstreamFailure::Refused
                | UpstreamFailure::Unreachable
                | UpstreamFailure::Reset
                | UpstreamFailure::Closed
                | UpstreamFailure::NoHttp
                | UpstreamFailure::Tls => Denial::ConnectFailed,
            });
        }
    }

    /// Relays the request and its response over the connection of `attempt`, whose write buffer holds the request's
    /// head.
    ///
    /// # Errors
    /// Those of [`Relay::run`].
    async fn relay(&mut self, attempt: &mut Attempt) -> Result<Persistence, RelayError> {
        let request = self.exchange.request();
        let spec = RelaySpec {
            chunked: self.framing == Framing::Chunked,
            downstream: ResponseMode {
                is_http10: request.version == Version::HTTP_10,
                is_persistent: self.is_persistent,
            },
            is_reused: attempt.reused,
            shutdown: self.shutdown,
        };
        let replayable = request.method.is_idempotent() && (attempt.reused || self.exchange.has_retry());
        let relay = Relay::new(
            &spec,
            &mut self.exchange,
            self.downstream,
            &mut attempt.conn,
            &mut self.body,
            replayable,
        );
        relay.run().await
    }

    /// Writes the head for the upstream into the write buffer.
    fn write_head(&self, attempt: &mut Attempt) {
        let out = &mut attempt.conn.write_buf;
        out.put(self.exchange.request().method.as_str().as_bytes());
        out.put(b" ");
        out.put(self.exchange.target().as_bytes());
        out.put(b" HTTP/1.1\r\n");
        self.exchange.write_request_fields(|name, value| {
            put(out, name.as_str().as_bytes(), value.as_bytes());
        });
        out.put(b"\r\n");
        attempt.head_bytes = out.len();
    }

    /// Completes an exchange whose response was sent, and returns whether the client's connection persists.
    async fn end(&mut self, persistence: Persistence) -> bool {
        if !persistence.downstream && self.is_body_pending() {
            self.linger().await;
        }
        persistence.downstream
    }

    /// Ends a failed exchange, with an answer if no response has begun. Returns whether the connection persists.
    async fn fail(&mut self, interruption: Interruption) -> bool {
        match interruption {
            Interruption::Denied(denial) if !self.exchange.has_responded() && !matches!(denial, Denial::ClientGone) => {
                let answer = self.exchange.refuse(denial);
                self.send_answer(answer).await
            }
            Interruption::Denied(_) | Interruption::StreamEnded => {
                self.exchange.interrupt(interruption);
                false
            }
        }
    }
}

/// Returns whether version and `Connection` of the request allow another request on the connection (RFC 9112 section
/// 9.3).
pub fn keeps_connection(request: &Parts) -> bool {
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

/// Waits until the client closes its connection or sends the next request too early, and returns the denial. Never
/// returns if the next bytes are part of the request body.
async fn wait_for_client_close(downstream: &mut Downstream, body: &BodyReader) -> Denial {
    if !body.is_complete() {
        return std::future::pending().await;
    }
    match poll_fn(|cx| downstream.poll_after_request(cx)).await {
        AfterRequest::SendsMore => Denial::Pipelined,
        AfterRequest::Closes => Denial::ClientGone,
    }
}
