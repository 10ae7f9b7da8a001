//! How are the bytes of a request moved to its upstream and those of the response to the client? Both at once, by one
//! state machine under all time limits. The task of the client's connection polls the state machine: a request has no
//! task, channel or lock of its own, and a small exchange makes four system calls.

use crate::gate::denial::Denial;
use crate::model::upstream_failure::UpstreamFailure;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::Interruption;
use crate::proxy::exchange::deadlines::Activity;
use crate::proxy::exchange::deadlines::WaitTarget;
use crate::proxy::forward::media_type;
use crate::proxy::forward::retry::FailureCause;
use crate::proxy::head;
use crate::proxy::head::Framing;
use crate::proxy::http1::body::BodyReader;
use crate::proxy::http1::buffer::Buffer;
use crate::proxy::http1::chunks;
use crate::proxy::http1::downstream::AfterRequest;
use crate::proxy::http1::downstream::Downstream;
use crate::proxy::http1::frames;
use crate::proxy::http1::frames::FramePosition;
use crate::proxy::http1::pool::UpstreamConn;
use crate::proxy::http1::response;
use crate::proxy::http1::response::EMPTY_FIELDS;
use crate::proxy::http1::response::Head;
use crate::proxy::http1::response_head;
use crate::proxy::http1::response_head::ResponseMode;
use http::StatusCode;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tokio::time::Instant;

/// The largest request in bytes, head included, that is kept for a replay (see [`RelayError::NoResponse`]).
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// The facts about one exchange that the relay needs.
pub struct RelaySpec<'r> {
    /// `true` if the request body is forwarded in chunks, because the client sends chunks.
    pub chunked: bool,
    pub downstream: ResponseMode,
    /// `true` if the connection to the upstream has carried a request before.
    pub is_reused: bool,
    /// Holds `true` once the gate shuts down: from then on, every client's connection closes after its response.
    pub shutdown: &'r watch::Receiver<bool>,
}

/// The connections that persist after a complete exchange (RFC 9112 section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    pub downstream: bool,
    pub upstream: bool,
}

impl Persistence {
    const NONE: Self = Self {
        downstream: false,
        upstream: false,
    };
}

/// Why the relay of a request stopped early.
#[derive(Debug)]
pub enum RelayError {
    /// The failure came in place of the response's head, and the request may be sent again as far as its method and its
    /// size go.
    NoResponse(UpstreamFailure),
    /// The response has a status after which the request is sent again.
    UnwantedStatus,
    Interrupted(Interruption),
}

impl From<Denial> for RelayError {
    fn from(denial: Denial) -> Self {
        Self::Interrupted(denial.into())
    }
}

impl From<Interruption> for RelayError {
    fn from(interruption: Interruption) -> Self {
        Self::Interrupted(interruption)
    }
}

/// The transfer of one request and its response over one connection to the upstream.
pub struct Relay<'r> {
    spec: &'r RelaySpec<'r>,
    exchange: &'r mut Exchange,
    downstream: &'r mut Downstream,
    upstream: &'r mut UpstreamConn,
    /// Reads the rest of the request body.
    body: &'r mut BodyReader,
    /// The number of bytes of `upstream.write_buf` that were sent. They stay in the buffer while `replayable`.
    bytes_sent: usize,
    /// `true` while the request may be sent again on another connection.
    replayable: bool,
    request: RequestState,
    response: ResponseState,
    /// `true` once the upstream has sent a head, interim responses included.
    head_received: bool,
    /// `true` if the client sent or accepted bytes since the last check of the deadlines.
    downstream_active: bool,
    /// `true` if the upstream sent or accepted bytes since the last check of the deadlines.
    upstream_active: bool,
}

/// The start of every response (RFC 9112 section 4). A response with another start is refused before its head is complete.
const HTTP: &[u8] = b"HTTP/";

/// The progress of the request towards the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestState {
    Sending,
    Complete,
    /// The upstream accepts no more bytes. Its response may still arrive. The system reports a reset once, to the write
    /// that meets it, so the failure is kept here: the next read returns only the end of the stream.
    WriteFailed {
        by_reset: bool,
    },
    /// The protocol was switched: bytes are forwarded as they are.
    Tunnel,
}

/// The progress of the response towards the client.
enum ResponseState {
    /// The first `searched` bytes of `upstream.read_buf` do not contain the end of a head.
    Head {
        searched: usize,
    },
    Body {
        reader: BodyReader,
        /// `true` if the body is sent to the client in chunks.
        chunked: bool,
        downstream_persists: bool,
        upstream_persists: bool,
    },
    Tunnel(Box<Tunnel>),
    /// The whole response was read, or a peer closed the tunnel. Bytes for the client may still be in the write buffer.
    Complete {
        persistence: Persistence,
    },
    /// The rest of the body is malformed. The bytes before it may still be in the write buffer: the client gets them before
    /// its connection is cut.
    Cut,
}

/// The state of a WebSocket towards the client.
struct Tunnel {
    position: FramePosition,
    /// Ends when the process stops accepting.
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Tunnel {
    fn new(shutdown: &watch::Receiver<bool>) -> Self {
        let mut shutdown = shutdown.clone();
        Self {
            position: FramePosition::default(),
            // An error means that the worker ends.
            stopping: Box::pin(async move { drop(shutdown.wait_for(|stopping| *stopping).await.map(|_| ())) }),
        }
    }
}

impl<'r> Relay<'r> {
    /// Returns the relay of a request whose head is in `upstream.write_buf`. The bytes of a `replayable` request are
    /// kept for a second attempt, up to 64 KiB.
    pub fn new(
        spec: &'r RelaySpec<'r>,
        exchange: &'r mut Exchange,
        downstream: &'r mut Downstream,
        upstream: &'r mut UpstreamConn,
        body: &'r mut BodyReader,
        replayable: bool,
    ) -> Self {
        let buffer_bytes = exchange.request_limits().buffer_bytes;
        downstream.read_buf.set_fill_max(buffer_bytes);
        upstream.read_buf.set_fill_max(buffer_bytes);
        Self {
            spec,
            exchange,
            downstream,
            upstream,
            body,
            bytes_sent: 0,
            replayable,
            request: RequestState::Sending,
            response: ResponseState::Head { searched: 0 },
            head_received: false,
            downstream_active: true,
            upstream_active: true,
        }
    }

    /// Relays the request and its response, and returns the connections that persist.
    ///
    /// # Errors
    /// The relay failed. [`Exchange::has_responded`] tells whether the head of the final response was written.
    pub async fn run(mut self) -> Result<Persistence, RelayError> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Persistence, RelayError>> {
        loop {
            self.poll_request(cx)?;
            self.say_goodbye(cx);
            if let Poll::Ready(persistence) = self.poll_response(cx)? {
                return Poll::Ready(Ok(persistence));
            }
            // Poll again only after a switch of protocols. The loop runs at most twice: the request is not `Complete`
            // again after the switch.
            if !(matches!(self.response, ResponseState::Tunnel(_)) && self.request == RequestState::Complete) {
                return self.poll_deadline(cx);
            }
            self.request = RequestState::Tunnel;
        }
    }

    /// Ends a WebSocket with a Close frame once the process stops accepting, so that its client connects elsewhere. Waits for the
    /// end of a frame that is under way.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        let ResponseState::Tunnel(tunnel) = &mut self.response else {
            return;
        };
        if tunnel.position.is_between_frames()
            && self.upstream.read_buf.is_empty()
            && (*self.spec.shutdown.borrow() || tunnel.stopping.as_mut().poll(cx).is_ready())
        {
            self.downstream.write_buf.put(frames::GOING_AWAY);
            self.response = ResponseState::Complete {
                persistence: Persistence::NONE,
            };
        }
    }

    /// Sends the available part of the request; returns once the relay has to wait for a peer.
    ///
    /// # Errors
    /// The client is gone or sends the next request too early, or the body is malformed or too large.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<(), RelayError> {
        loop {
            match self.request {
                RequestState::Sending | RequestState::Tunnel => {}
                RequestState::Complete => return self.watch_client(cx),
                RequestState::WriteFailed { .. } => return Ok(()),
            }
            match self.poll_write_request(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.request = RequestState::WriteFailed {
                        by_reset: error.kind() == std::io::ErrorKind::ConnectionReset,
                    };
                    continue;
                }
                Poll::Pending => return Ok(()),
            }
            if self.request == RequestState::Sending && self.body.is_complete() {
                self.request = RequestState::Complete;
                continue;
            }
            if self.move_request_bytes()? {
                continue;
            }
            match self.downstream.read_buf.poll_fill(&mut self.downstream.stream, cx) {
                Poll::Ready(Ok(1..)) => self.downstream_active = true,
                // The client closes the tunnel. All bytes that it sent were forwarded.
                Poll::Ready(Ok(0)) if self.request == RequestState::Tunnel => {
                    self.response = ResponseState::Complete {
                        persistence: Persistence::NONE,
                    };
                    return Ok(());
                }
                Poll::Ready(Ok(0) | Err(_)) => return Err(Denial::ClientGone.into()),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Moves the received bytes of the request into the write buffer; returns `false` if nothing was written there.
    ///
    /// # Errors
    /// The body is malformed or too large.
    fn move_request_bytes(&mut self) -> Result<bool, RelayError> {
        let (downstream, upstream) = (&mut *self.downstream, &mut *self.upstream);
        if self.request == RequestState::Tunnel {
            let arrived = downstream.read_buf.len();
            upstream.write_buf.put(&downstream.read_buf);
            downstream.read_buf.clear();
            self.exchange.count_tunnel_bytes(arrived);
            return Ok(arrived > 0);
        }
        let before = upstream.write_buf.len();
        let (exchange, chunked) = (&mut *self.exchange, self.spec.chunked);
        let mut counted = Ok(());
        let taken = self.body.read(&mut downstream.read_buf, |data| {
            counted = exchange.count_request_body(data.len());
            // Content over the limit is not forwarded.
            if counted.is_ok() {
                put_body(&mut upstream.write_buf, data, chunked);
            }
        });
        if taken.is_err() {
            return Err(Denial::MalformedChunk.into());
        }
        counted?;
        if chunked && self.body.is_complete() {
            upstream.write_buf.put(chunks::LAST_CHUNK);
        }
        Ok(upstream.write_buf.len() > before)
    }

    fn poll_write_request(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let upstream = &mut *self.upstream;
        while self.bytes_sent < upstream.write_buf.len() {
            match std::task::ready!(
                Pin::new(&mut upstream.stream).poll_write(cx, &upstream.write_buf[self.bytes_sent..])
            )? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                count => self.bytes_sent += count,
            }
            self.upstream_active = true;
        }
        self.replayable &= self.bytes_sent <= REPLAY_BYTES_MAX;
        if !self.replayable {
            self.bytes_sent = 0;
            upstream.write_buf.clear();
        }
        Pin::new(&mut upstream.stream).poll_flush(cx)
    }

    /// Watches the client while its request is complete and the response is not.
    ///
    /// # Errors
    /// The client closes its connection, or sends another request before the response has begun.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), RelayError> {
        loop {
            match self.downstream.poll_after_request(cx) {
                Poll::Ready(AfterRequest::Closes) => return Err(Denial::ClientGone.into()),
                // If the bytes arrived before the response, `process_head` closes the connection after the response.
                Poll::Ready(AfterRequest::SendsMore) if !self.exchange.has_responded() => {
                    return Err(Denial::Pipelined.into());
                }
                // The response has begun: the bytes of the next request wait in the buffer.
                Poll::Ready(AfterRequest::SendsMore) => {}
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Sends the available part of the response to the client; ready once the whole response was sent.
    ///
    /// # Errors
    /// The client is gone, or the response is malformed or incomplete.
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Result<Poll<Persistence>, RelayError> {
        loop {
            self.process_response()?;
            if !self.downstream.write_buf.is_empty() {
                let before = self.downstream.write_buf.len();
                let flushed = self.downstream.write_buf.poll_flush(&mut self.downstream.stream, cx);
                if self.downstream.write_buf.len() < before {
                    self.downstream_active = true;
                }
                match flushed {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Err(Denial::ClientGone.into()),
                    Poll::Pending => return Ok(Poll::Pending),
                }
            }
            match self.response {
                ResponseState::Complete { persistence } => return Ok(Poll::Ready(persistence)),
                ResponseState::Cut => return Err(Denial::UpstreamFailed.into()),
                ResponseState::Head { .. } | ResponseState::Body { .. } | ResponseState::Tunnel(_) => {}
            }
            match self.upstream.read_buf.poll_fill(&mut self.upstream.stream, cx) {
                Poll::Ready(Ok(1..)) => self.upstream_active = true,
                Poll::Ready(Ok(0)) => self.finish_at_close()?,
                Poll::Ready(Err(_)) => return Err(self.fail(UpstreamFailure::Reset)),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }

    /// Completes a close-delimited body or a tunnel when the upstream closes its connection.
    ///
    /// # Errors
    /// Any other response is incomplete; see [`Self::fail`].
    fn finish_at_close(&mut self) -> Result<(), RelayError> {
        let persistence = match &self.response {
            ResponseState::Tunnel(_) => Persistence::NONE,
            ResponseState::Body {
                reader,
                chunked,
                downstream_persists,
                ..
            } if reader.is_close_delimited() => {
                if *chunked {
                    self.downstream.write_buf.put(chunks::LAST_CHUNK);
                }
                Persistence {
                    downstream: *downstream_persists,
                    upstream: false,
                }
            }
            _ => {
                let was_reset = self.request == RequestState::WriteFailed { by_reset: true };
                return Err(self.fail(if was_reset {
                    UpstreamFailure::Reset
                } else {
                    UpstreamFailure::Closed
                }));
            }
        };
        self.response = ResponseState::Complete { persistence };
        Ok(())
    }

    /// Returns the error of an exchange whose endpoint has failed it.
    fn fail(&mut self, failure: UpstreamFailure) -> RelayError {
        if self.may_send_again() {
            return RelayError::NoResponse(failure);
        }
        let cause = if self.head_received {
            FailureCause::Endpoint
        } else {
            FailureCause::of(failure, self.spec.is_reused)
        };
        self.exchange.note_upstream_failure(failure, cause);
        Denial::UpstreamFailed.into()
    }

    /// Returns whether the request may be sent again: the client has received nothing, and no head of a response, not even
    /// of an interim one, says that the endpoint has begun to process the request.
    const fn may_send_again(&self) -> bool {
        self.replayable && !self.head_received
    }

    /// Moves the received bytes of the response into the client's write buffer, with the client's framing.
    ///
    /// # Errors
    /// The head of the response is malformed.
    fn process_response(&mut self) -> Result<(), RelayError> {
        loop {
            match &mut self.response {
                ResponseState::Head { searched } => {
                    let Some(end) = head::find_end(&self.upstream.read_buf, *searched) else {
                        *searched = self.upstream.read_buf.len();
                        let start = &HTTP[..HTTP.len().min(*searched)];
                        return if *searched > response::HEAD_BYTES_MAX || !self.upstream.read_buf.starts_with(start) {
                            Err(self.fail(UpstreamFailure::NoHttp))
                        } else {
                            Ok(())
                        };
                    };
                    self.process_head(end)?;
                }
                ResponseState::Body {
                    reader,
                    chunked,
                    downstream_persists,
                    upstream_persists,
                } => {
                    let (downstream, exchange) = (&mut *self.downstream, &mut *self.exchange);
                    let taken = reader.read(&mut self.upstream.read_buf, |data| {
                        exchange.count_response_body(data.len());
                        put_body(&mut downstream.write_buf, data, *chunked);
                    });
                    if taken.is_err() {
                        self.exchange
                            .note_upstream_failure(UpstreamFailure::NoHttp, FailureCause::Endpoint);
                        self.response = ResponseState::Cut;
                        return Ok(());
                    }
                    if !reader.is_complete() {
                        return Ok(());
                    }
                    if *chunked {
                        downstream.write_buf.put(chunks::LAST_CHUNK);
                    }
                    // Bytes after the response belong to no request: the next request on this connection would receive
                    // them.
                    let upstream = *upstream_persists
                        && self.request == RequestState::Complete
                        && self.upstream.read_buf.is_empty();
                    let persistence = Persistence {
                        // Already `false` if the request body was incomplete when the response began.
                        downstream: *downstream_persists,
                        upstream,
                    };
                    self.response = ResponseState::Complete { persistence };
                }
                ResponseState::Tunnel(tunnel) => {
                    tunnel.position.advance(&self.upstream.read_buf);
                    self.exchange.count_response_body(self.upstream.read_buf.len());
                    self.downstream.write_buf.put(&self.upstream.read_buf);
                    self.upstream.read_buf.clear();
                    return Ok(());
                }
                ResponseState::Complete { .. } | ResponseState::Cut => return Ok(()),
            }
        }
    }

    /// Parses a head of `end` bytes and writes the head for the client.
    ///
    /// # Errors
    /// The head is malformed, or switches to a protocol that the client did not ask for.
    fn process_head(&mut self, end: usize) -> Result<(), RelayError> {
        let mut fields = EMPTY_FIELDS;
        let head = Head::parse(
            &self.upstream.read_buf[..end],
            &mut fields,
            &self.exchange.request().method,
        );
        let Ok(head) = head else {
            // A response has come, if a bad one: it is not asked for again.
            self.replayable &= !self.upstream.read_buf.starts_with(HTTP);
            return Err(self.fail(UpstreamFailure::NoHttp));
        };
        if self.may_send_again() && head.status.is_server_error() && self.exchange.retries_status(head.status) {
            return Err(RelayError::UnwantedStatus);
        }
        self.head_received = true;
        self.exchange.end_try();
        self.exchange.note_upstream_head();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Only WebSocket, only if the client asked for it, and only after the whole request.
            if !self.exchange.is_websocket() || !head.switches_to_websocket() || self.request != RequestState::Complete
            {
                return Err(self.fail(UpstreamFailure::NoHttp));
            }
        } else if head.status.is_informational() {
            if !self.spec.downstream.is_http10 {
                response_head::write_interim(&head, &mut self.downstream.write_buf);
            }
            self.upstream.read_buf.consume(end);
            self.response = ResponseState::Head { searched: 0 };
            return Ok(());
        }
        // Do not persist with an incomplete request body: the rest may never arrive, or arrive where the next request
        // is expected.
        let downstream = ResponseMode {
            is_persistent: self.spec.downstream.is_persistent
                && self.body.is_complete()
                && self.downstream.read_buf.is_empty()
                && !*self.spec.shutdown.borrow(),
            ..self.spec.downstream
        };
        let (framing, is_persistent) = response_head::reframe(head.framing, downstream);
        let downstream = ResponseMode {
            is_persistent,
            ..downstream
        };
        let rules = self.exchange.response_rules();
        response_head::write(&head, &rules, framing, downstream, &mut self.downstream.write_buf);
        drop(rules);
        self.exchange
            .note_response(head.status, media_type::is_stream(head.status, head.content_types()));
        self.response = match head.status {
            StatusCode::SWITCHING_PROTOCOLS => ResponseState::Tunnel(Box::new(Tunnel::new(self.spec.shutdown))),
            _ => ResponseState::Body {
                reader: BodyReader::new(head.framing),
                chunked: framing == Framing::Chunked,
                downstream_persists: is_persistent,
                upstream_persists: head.is_persistent && !matches!(head.framing, Framing::CloseDelimited),
            },
        };
        self.upstream.read_buf.consume(end);
        Ok(())
    }

    /// Checks the deadlines while the relay waits for a peer, and sets the timer to the earliest deadline. Never ready
    /// without an error.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<Persistence, RelayError>> {
        loop {
            let activity = Activity {
                downstream: std::mem::take(&mut self.downstream_active),
                upstream: std::mem::take(&mut self.upstream_active),
                wait_target: self.wait_target(),
            };
            let next = match self.exchange.next_deadline(Instant::now(), activity) {
                Err(Interruption::Denied(Denial::UpstreamTimeout))
                    if self.may_send_again() && self.exchange.retries_timeouts() =>
                {
                    return Poll::Ready(Err(RelayError::NoResponse(UpstreamFailure::TimedOut)));
                }
                next => next?,
            };
            if self.downstream.timer.poll(cx, next).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn wait_target(&self) -> WaitTarget {
        if !self.downstream.write_buf.is_empty() {
            WaitTarget::ClientReads
        } else if self.bytes_sent < self.upstream.write_buf.len()
            && !matches!(self.request, RequestState::WriteFailed { .. })
        {
            WaitTarget::UpstreamReads
        } else if self.request == RequestState::Sending {
            self.exchange.wait_for_body(self.head_received)
        } else {
            WaitTarget::Response
        }
    }
}

fn put_body(out: &mut Buffer, data: &[u8], chunked: bool) {
    if chunked {
        chunks::put_chunk(out, data);
    } else {
        out.put(data);
    }
}

/// Copies the bytes of the request behind its head of `head_bytes` from the failed connection `from` to the write buffer of
/// `to`.
pub fn replay(from: &UpstreamConn, head_bytes: usize, to: &mut UpstreamConn) {
    to.write_buf.put(from.write_buf.get(head_bytes..).unwrap_or_default());
}

#[cfg(test)]
mod tests;
