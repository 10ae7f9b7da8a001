//! One request to its upstream and the answer back, both ways at once, under every time limit there is.
//!
//! One state machine, polled by the task of the client's connection: no task, channel or lock of its own per request. A
//! small request and its answer are four system calls: the head is read, written, the answer read, and written.

use crate::gate::denial::Denial;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::Interruption;
use crate::proxy::exchange::deadlines::Activity;
use crate::proxy::exchange::deadlines::WaitTarget;
use crate::proxy::forward::media_type;
use crate::proxy::http1::body::BodyReader;
use crate::proxy::http1::body::Framing;
use crate::proxy::http1::buffer::Buffer;
use crate::proxy::http1::chunks;
use crate::proxy::http1::downstream::Downstream;
use crate::proxy::http1::head;
use crate::proxy::http1::pool::UpstreamConn;
use crate::proxy::http1::response;
use crate::proxy::http1::response::EMPTY_FIELDS;
use crate::proxy::http1::response::Head;
use crate::proxy::http1::response_head;
use crate::proxy::http1::response_head::DownstreamMode;
use http::StatusCode;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tokio::time::Instant;

/// So much of a request, head and all, is kept to be sent again (see [`RelayError::NoResponse`]).
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// The facts of one exchange that the relay works by.
pub struct RelaySpec<'r> {
    /// The body goes on in chunks, as it came.
    pub chunked: bool,
    pub downstream: DownstreamMode,
    /// Holds `true` once the gate ends: then every connection ends with its response.
    pub shutdown: &'r watch::Receiver<bool>,
}

/// What can be done with the connections after an exchange that ended as it should.
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

/// Why carrying a request ended before its end.
#[derive(Debug)]
pub enum RelayError {
    /// The upstream closed its connection without a byte of a response: the request may be sent again.
    NoResponse,
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

/// One exchange under way.
pub struct Relay<'r> {
    spec: &'r RelaySpec<'r>,
    exchange: &'r mut Exchange,
    downstream: &'r mut Downstream,
    upstream: &'r mut UpstreamConn,
    /// The rest of the request's body.
    body: &'r mut BodyReader,
    /// How much of `wire.write` was sent. It is not removed while it may have to be sent again.
    bytes_sent: usize,
    replayable: bool,
    request: RequestState,
    response: ResponseState,
    /// Whether a head has come, be it an interim one.
    head_received: bool,
    /// Whether something came from, or was taken by, either side since the deadlines were looked at.
    downstream_active: bool,
    upstream_active: bool,
}

/// The request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestState {
    Sending,
    Complete,
    /// The upstream takes no more; it may have answered all the same.
    WriteFailed,
    /// Whatever comes is passed on.
    Tunnel,
}

/// The answer's way.
enum ResponseState {
    /// So much of `wire.read` was searched for the end of a head.
    Head {
        searched: usize,
    },
    Body {
        reader: BodyReader,
        /// The body goes to the client in chunks.
        chunked: bool,
        downstream_persists: bool,
        upstream_persists: bool,
    },
    Tunnel,
    /// All of it was read and nothing follows.
    Complete {
        persistence: Persistence,
    },
}

impl<'r> Relay<'r> {
    /// `wire.write` holds the head for the upstream. `replayable`: the request may have to be sent again.
    pub fn new(
        spec: &'r RelaySpec<'r>,
        exchange: &'r mut Exchange,
        downstream: &'r mut Downstream,
        upstream: &'r mut UpstreamConn,
        body: &'r mut BodyReader,
        replayable: bool,
    ) -> Self {
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

    /// Carries the exchange to its end.
    ///
    /// # Errors
    /// It failed. Whether the client has heard a part of a response, the exchange knows.
    pub async fn run(mut self) -> Result<Persistence, RelayError> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Persistence, RelayError>> {
        loop {
            self.poll_request(cx)?;
            if let Poll::Ready(persistence) = self.poll_response(cx)? {
                return Poll::Ready(Ok(persistence));
            }
            // Once: an upstream that then takes no more is not tried again.
            if !(matches!(self.response, ResponseState::Tunnel) && self.request == RequestState::Complete) {
                return self.poll_deadline(cx);
            }
            // From here on what the client sends is passed on as it is.
            self.request = RequestState::Tunnel;
        }
    }

    /// Sends what there is of the request, until there is nothing to do but wait.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<(), RelayError> {
        loop {
            match self.request {
                RequestState::Sending | RequestState::Tunnel => {}
                RequestState::Complete => return self.watch_client(cx),
                RequestState::WriteFailed => return Ok(()),
            }
            match self.poll_write_request(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.request = RequestState::WriteFailed;
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
                // Either side may end what they switched to, and everything of it was passed on.
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

    /// Takes what has arrived of the body; `false` when that is nothing.
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
            // Over the limit it goes nowhere.
            if counted.is_ok() {
                put_body(&mut upstream.write_buf, data, chunked);
            }
        });
        if taken.is_err() {
            return Err(Denial::RefusedByParser.into());
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

    /// After the request, while its answer is not there: whether the client leaves, or sends more than it should.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), RelayError> {
        // What came before is known, and the answer will say that the connection ends.
        if !self.downstream.read_buf.is_empty() {
            return Ok(());
        }
        match self.downstream.read_buf.poll_fill(&mut self.downstream.stream, cx) {
            Poll::Ready(Ok(0) | Err(_)) => Err(Denial::ClientGone.into()),
            // While the answer is under way it is the next request, and waits for its turn.
            Poll::Ready(Ok(_)) if !self.exchange.has_responded() => Err(Denial::Pipelined.into()),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    /// Brings the client what there is of the answer; ready once that was all.
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
            if let ResponseState::Complete { persistence } = self.response {
                return Ok(Poll::Ready(persistence));
            }
            match self.upstream.read_buf.poll_fill(&mut self.upstream.stream, cx) {
                Poll::Ready(Ok(1..)) => self.upstream_active = true,
                Poll::Ready(Ok(0)) => self.finish_at_close()?,
                Poll::Ready(Err(_)) => return Err(self.close_error()),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }

    /// The upstream closed its connection: the end of some bodies, and of nothing else.
    fn finish_at_close(&mut self) -> Result<(), RelayError> {
        let persistence = match &self.response {
            ResponseState::Tunnel => Persistence::NONE,
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
            _ => return Err(self.close_error()),
        };
        self.response = ResponseState::Complete { persistence };
        Ok(())
    }

    fn close_error(&self) -> RelayError {
        let nothing_received = matches!(self.response, ResponseState::Head { .. }) && self.upstream.read_buf.is_empty();
        // An interim answer is one: it was at work.
        if nothing_received && !self.head_received && self.replayable {
            RelayError::NoResponse
        } else {
            Denial::UpstreamFailed.into()
        }
    }

    /// Turns what arrived from the upstream into what goes to the client.
    fn process_response(&mut self) -> Result<(), RelayError> {
        loop {
            match &mut self.response {
                ResponseState::Head { searched } => {
                    let Some(end) = head::find_end(&self.upstream.read_buf, *searched) else {
                        *searched = self.upstream.read_buf.len();
                        return if *searched > response::HEAD_BYTES_MAX {
                            Err(Denial::UpstreamFailed.into())
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
                        return Err(Denial::UpstreamFailed.into());
                    }
                    if !reader.is_complete() {
                        return Ok(());
                    }
                    if *chunked {
                        downstream.write_buf.put(chunks::LAST_CHUNK);
                    }
                    // Bytes that follow belong to no request: nobody may get them as an answer.
                    let upstream = *upstream_persists
                        && self.request == RequestState::Complete
                        && self.upstream.read_buf.is_empty();
                    let persistence = Persistence {
                        // Its request was read to the end, or the head said otherwise.
                        downstream: *downstream_persists,
                        upstream,
                    };
                    self.response = ResponseState::Complete { persistence };
                }
                ResponseState::Tunnel => {
                    self.exchange.count_response_body(self.upstream.read_buf.len());
                    self.downstream.write_buf.put(&self.upstream.read_buf);
                    self.upstream.read_buf.clear();
                    return Ok(());
                }
                ResponseState::Complete { .. } => return Ok(()),
            }
        }
    }

    /// Takes a head of `end` bytes and writes what of it is for the client.
    fn process_head(&mut self, end: usize) -> Result<(), RelayError> {
        let mut fields = EMPTY_FIELDS;
        let head = Head::parse(
            &self.upstream.read_buf[..end],
            &mut fields,
            &self.exchange.request().method,
        );
        let head = head.map_err(|_| Denial::UpstreamFailed)?;
        self.head_received = true;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked, or it switched while the request was not over.
            if !self.exchange.is_websocket() || !head.switches_to_websocket() || self.request != RequestState::Complete
            {
                return Err(Denial::UpstreamFailed.into());
            }
        } else if head.status.is_informational() {
            if !self.spec.downstream.is_http10 {
                response_head::write_interim(&head, &mut self.downstream.write_buf);
            }
            self.upstream.read_buf.consume(end);
            self.response = ResponseState::Head { searched: 0 };
            return Ok(());
        }
        // What of the body has not come by now may never come, or come as the next request.
        let downstream = DownstreamMode {
            is_persistent: self.spec.downstream.is_persistent
                && self.body.is_complete()
                && self.downstream.read_buf.is_empty()
                && !*self.spec.shutdown.borrow(),
            ..self.spec.downstream
        };
        let (framing, is_persistent) = response_head::reframe(head.framing, downstream);
        let downstream = DownstreamMode {
            is_persistent,
            ..downstream
        };
        let rules = self.exchange.response_rules();
        response_head::write(&head, &rules, framing, downstream, &mut self.downstream.write_buf);
        drop(rules);
        self.exchange
            .note_response(head.status, media_type::is_stream(head.status, head.content_types()));
        self.response = match head.status {
            StatusCode::SWITCHING_PROTOCOLS => ResponseState::Tunnel,
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

    /// Nothing moves: looks whether that has lasted too long, and sets the alarm for when it will have.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<Persistence, RelayError>> {
        loop {
            let activity = Activity {
                downstream: std::mem::take(&mut self.downstream_active),
                upstream: std::mem::take(&mut self.upstream_active),
                wait_target: self.wait_target(),
            };
            let next = self.exchange.next_deadline(Instant::now(), activity)?;
            if self.downstream.timer.poll(cx, next).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn wait_target(&self) -> WaitTarget {
        if !self.downstream.write_buf.is_empty() {
            WaitTarget::ClientReads
        } else if self.bytes_sent < self.upstream.write_buf.len() && self.request != RequestState::WriteFailed {
            WaitTarget::UpstreamReads
        } else if self.request == RequestState::Sending {
            WaitTarget::RequestBody
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

/// Puts the bytes that were sent of a request before those that were not, to be sent anew on another connection.
pub fn replay(from: &UpstreamConn, to: &mut UpstreamConn) {
    to.write_buf.put(&from.write_buf);
}
