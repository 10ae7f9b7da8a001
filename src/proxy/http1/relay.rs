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
use crate::proxy::http1::pool::Wire;
use crate::proxy::http1::response;
use crate::proxy::http1::response::Head;
use crate::proxy::http1::response::NO_FIELDS;
use crate::proxy::http1::response_head;
use crate::proxy::http1::response_head::DownstreamSide;
use http::StatusCode;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tokio::time::Instant;

/// So much of a request, head and all, is kept to be sent again (see [`RelayError::Unanswered`]).
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// The facts of one exchange that the relay works by.
pub struct RelaySpec<'r> {
    /// The body goes on in chunks, as it came.
    pub chunked: bool,
    pub downstream: DownstreamSide,
    /// Holds `true` once the gate ends: then every connection ends with its response.
    pub stopping: &'r watch::Receiver<bool>,
}

/// What can be done with the connections after an exchange that ended as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reusable {
    pub downstream: bool,
    pub upstream: bool,
}

impl Reusable {
    const NONE: Self = Self {
        downstream: false,
        upstream: false,
    };
}

/// Why carrying a request ended before its end.
#[derive(Debug)]
pub enum RelayError {
    /// The upstream closed its connection without a byte of a response: the request may be sent again.
    Unanswered,
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
    wire: &'r mut Wire,
    /// The rest of the request's body.
    body: &'r mut BodyReader,
    /// How much of `wire.write` was sent. It is not removed while it may have to be sent again.
    sent: usize,
    replayable: bool,
    up: RequestProgress,
    down: ResponseProgress,
    /// Whether a head has come, be it an interim one.
    responded: bool,
    /// Whether something came from, or was taken by, either side since the deadlines were looked at.
    downstream_moved: bool,
    upstream_moved: bool,
}

/// The request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestProgress {
    Sending,
    Sent,
    /// The upstream takes no more; it may have answered all the same.
    Broken,
    /// Whatever comes is passed on.
    Tunnel,
}

/// The answer's way.
enum ResponseProgress {
    /// So much of `wire.read` was searched for the end of a head.
    Head {
        searched: usize,
    },
    Body {
        reader: BodyReader,
        /// The body goes to the client in chunks.
        chunked: bool,
        keep_alive: bool,
        upstream_keeps: bool,
    },
    Tunnel,
    /// All of it was read and nothing follows.
    Read {
        reusable: Reusable,
    },
}

impl<'r> Relay<'r> {
    /// `wire.write` holds the head for the upstream. `replayable`: the request may have to be sent again.
    pub fn new(
        spec: &'r RelaySpec<'r>,
        exchange: &'r mut Exchange,
        downstream: &'r mut Downstream,
        wire: &'r mut Wire,
        body: &'r mut BodyReader,
        replayable: bool,
    ) -> Self {
        Self {
            spec,
            exchange,
            downstream,
            wire,
            body,
            sent: 0,
            replayable,
            up: RequestProgress::Sending,
            down: ResponseProgress::Head { searched: 0 },
            responded: false,
            downstream_moved: true,
            upstream_moved: true,
        }
    }

    /// Carries the exchange to its end.
    ///
    /// # Errors
    /// It failed. Whether the client has heard a part of a response, the exchange knows.
    pub async fn run(mut self) -> Result<Reusable, RelayError> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reusable, RelayError>> {
        loop {
            self.poll_up(cx)?;
            if let Poll::Ready(reusable) = self.poll_down(cx)? {
                return Poll::Ready(Ok(reusable));
            }
            // Once: an upstream that then takes no more is not tried again.
            if !(matches!(self.down, ResponseProgress::Tunnel) && self.up == RequestProgress::Sent) {
                return self.poll_time(cx);
            }
            // From here on what the client sends is passed on as it is.
            self.up = RequestProgress::Tunnel;
        }
    }

    /// Sends what there is of the request, until there is nothing to do but wait.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), RelayError> {
        loop {
            match self.up {
                RequestProgress::Sending | RequestProgress::Tunnel => {}
                RequestProgress::Sent => return self.watch(cx),
                RequestProgress::Broken => return Ok(()),
            }
            match self.poll_send(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.up = RequestProgress::Broken;
                    continue;
                }
                Poll::Pending => return Ok(()),
            }
            if self.up == RequestProgress::Sending && self.body.is_done() {
                self.up = RequestProgress::Sent;
                continue;
            }
            if self.pass_on()? {
                continue;
            }
            match self.downstream.read.poll_fill(&mut self.downstream.stream, cx) {
                Poll::Ready(Ok(1..)) => self.downstream_moved = true,
                // Either side may end what they switched to, and everything of it was passed on.
                Poll::Ready(Ok(0)) if self.up == RequestProgress::Tunnel => {
                    self.down = ResponseProgress::Read {
                        reusable: Reusable::NONE,
                    };
                    return Ok(());
                }
                Poll::Ready(Ok(0) | Err(_)) => return Err(Denial::ClientGone.into()),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Takes what has arrived of the body; `false` when that is nothing.
    fn pass_on(&mut self) -> Result<bool, RelayError> {
        let (downstream, wire) = (&mut *self.downstream, &mut *self.wire);
        if self.up == RequestProgress::Tunnel {
            let arrived = downstream.read.len();
            wire.write.put(&downstream.read);
            downstream.read.clear();
            self.exchange.took_tunnel(arrived);
            return Ok(arrived > 0);
        }
        let before = wire.write.len();
        let (exchange, chunked) = (&mut *self.exchange, self.spec.chunked);
        let mut counted = Ok(());
        let taken = self.body.take(&mut downstream.read, |data| {
            counted = exchange.took_body(data.len());
            // Over the limit it goes nowhere.
            if counted.is_ok() {
                put_content(&mut wire.write, data, chunked);
            }
        });
        if taken.is_err() {
            return Err(Denial::RefusedByParser.into());
        }
        counted?;
        if chunked && self.body.is_done() {
            wire.write.put(chunks::LAST);
        }
        Ok(wire.write.len() > before)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let wire = &mut *self.wire;
        while self.sent < wire.write.len() {
            match std::task::ready!(Pin::new(&mut wire.stream).poll_write(cx, &wire.write[self.sent..]))? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
            self.upstream_moved = true;
        }
        self.replayable &= self.sent <= REPLAY_BYTES_MAX;
        if !self.replayable {
            self.sent = 0;
            wire.write.clear();
        }
        Pin::new(&mut wire.stream).poll_flush(cx)
    }

    /// After the request, while its answer is not there: whether the client leaves, or sends more than it should.
    fn watch(&mut self, cx: &mut Context<'_>) -> Result<(), RelayError> {
        // What came before is known, and the answer will say that the connection ends.
        if !self.downstream.read.is_empty() {
            return Ok(());
        }
        match self.downstream.read.poll_fill(&mut self.downstream.stream, cx) {
            Poll::Ready(Ok(0) | Err(_)) => Err(Denial::ClientGone.into()),
            // While the answer is under way it is the next request, and waits for its turn.
            Poll::Ready(Ok(_)) if !self.exchange.has_responded() => Err(Denial::Pipelined.into()),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    /// Brings the client what there is of the answer; ready once that was all.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<Poll<Reusable>, RelayError> {
        loop {
            self.take_answer()?;
            if !self.downstream.write.is_empty() {
                let before = self.downstream.write.len();
                let flushed = self.downstream.write.poll_flush(&mut self.downstream.stream, cx);
                if self.downstream.write.len() < before {
                    self.downstream_moved = true;
                }
                match flushed {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Err(Denial::ClientGone.into()),
                    Poll::Pending => return Ok(Poll::Pending),
                }
            }
            if let ResponseProgress::Read { reusable } = self.down {
                return Ok(Poll::Ready(reusable));
            }
            match self.wire.read.poll_fill(&mut self.wire.stream, cx) {
                Poll::Ready(Ok(1..)) => self.upstream_moved = true,
                Poll::Ready(Ok(0)) => self.end_of_upstream()?,
                Poll::Ready(Err(_)) => return Err(self.broken_off()),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }

    /// The upstream closed its connection: the end of some bodies, and of nothing else.
    fn end_of_upstream(&mut self) -> Result<(), RelayError> {
        let reusable = match &self.down {
            ResponseProgress::Tunnel => Reusable::NONE,
            ResponseProgress::Body {
                reader,
                chunked,
                keep_alive,
                ..
            } if reader.ends_with_connection() => {
                if *chunked {
                    self.downstream.write.put(chunks::LAST);
                }
                Reusable {
                    downstream: *keep_alive,
                    upstream: false,
                }
            }
            _ => return Err(self.broken_off()),
        };
        self.down = ResponseProgress::Read { reusable };
        Ok(())
    }

    fn broken_off(&self) -> RelayError {
        let nothing_came = matches!(self.down, ResponseProgress::Head { .. }) && self.wire.read.is_empty();
        // An interim answer is one: it was at work.
        if nothing_came && !self.responded && self.replayable {
            RelayError::Unanswered
        } else {
            Denial::UpstreamFailed.into()
        }
    }

    /// Turns what arrived from the upstream into what goes to the client.
    fn take_answer(&mut self) -> Result<(), RelayError> {
        loop {
            match &mut self.down {
                ResponseProgress::Head { searched } => {
                    let Some(end) = head::find_end(&self.wire.read, *searched) else {
                        *searched = self.wire.read.len();
                        return if *searched > response::HEAD_BYTES_MAX {
                            Err(Denial::UpstreamFailed.into())
                        } else {
                            Ok(())
                        };
                    };
                    self.take_head(end)?;
                }
                ResponseProgress::Body {
                    reader,
                    chunked,
                    keep_alive,
                    upstream_keeps,
                } => {
                    let (downstream, exchange) = (&mut *self.downstream, &mut *self.exchange);
                    let taken = reader.take(&mut self.wire.read, |data| {
                        exchange.gave_body(data.len());
                        put_content(&mut downstream.write, data, *chunked);
                    });
                    if taken.is_err() {
                        return Err(Denial::UpstreamFailed.into());
                    }
                    if !reader.is_done() {
                        return Ok(());
                    }
                    if *chunked {
                        downstream.write.put(chunks::LAST);
                    }
                    // Bytes that follow belong to no request: nobody may get them as an answer.
                    let upstream = *upstream_keeps && self.up == RequestProgress::Sent && self.wire.read.is_empty();
                    let reusable = Reusable {
                        // Its request was read to the end, or the head said otherwise.
                        downstream: *keep_alive,
                        upstream,
                    };
                    self.down = ResponseProgress::Read { reusable };
                }
                ResponseProgress::Tunnel => {
                    self.exchange.gave_body(self.wire.read.len());
                    self.downstream.write.put(&self.wire.read);
                    self.wire.read.clear();
                    return Ok(());
                }
                ResponseProgress::Read { .. } => return Ok(()),
            }
        }
    }

    /// Takes a head of `end` bytes and writes what of it is for the client.
    fn take_head(&mut self, end: usize) -> Result<(), RelayError> {
        let mut fields = NO_FIELDS;
        let head = Head::parse(&self.wire.read[..end], &mut fields, &self.exchange.request().method);
        let head = head.map_err(|_| Denial::UpstreamFailed)?;
        self.responded = true;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked, or it switched while the request was not over.
            if !self.exchange.is_websocket() || !head.switches_to_websocket() || self.up != RequestProgress::Sent {
                return Err(Denial::UpstreamFailed.into());
            }
        } else if head.status.is_informational() {
            if !self.spec.downstream.is_http10 {
                response_head::write_interim(&head, &mut self.downstream.write);
            }
            self.wire.read.take(end);
            self.down = ResponseProgress::Head { searched: 0 };
            return Ok(());
        }
        // What of the body has not come by now may never come, or come as the next request.
        let downstream = DownstreamSide {
            keep_alive: self.spec.downstream.keep_alive
                && self.body.is_done()
                && self.downstream.read.is_empty()
                && !*self.spec.stopping.borrow(),
            ..self.spec.downstream
        };
        let (framing, keep_alive) = response_head::reframe(head.framing, downstream);
        let downstream = DownstreamSide {
            keep_alive,
            ..downstream
        };
        let rules = self.exchange.response();
        response_head::write(&head, &rules, framing, downstream, &mut self.downstream.write);
        drop(rules);
        self.exchange
            .took_response(head.status, media_type::is_stream(head.status, head.content_types()));
        self.down = match head.status {
            StatusCode::SWITCHING_PROTOCOLS => ResponseProgress::Tunnel,
            _ => ResponseProgress::Body {
                reader: BodyReader::new(head.framing),
                chunked: framing == Framing::Chunked,
                keep_alive,
                upstream_keeps: head.keeps_alive && !matches!(head.framing, Framing::UntilClose),
            },
        };
        self.wire.read.take(end);
        Ok(())
    }

    /// Nothing moves: looks whether that has lasted too long, and sets the alarm for when it will have.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reusable, RelayError>> {
        loop {
            let activity = Activity {
                downstream: std::mem::take(&mut self.downstream_moved),
                upstream: std::mem::take(&mut self.upstream_moved),
                waiting: self.waiting(),
            };
            let next = self.exchange.next_deadline(Instant::now(), activity)?;
            if self.downstream.alarm.poll(cx, next).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn waiting(&self) -> WaitTarget {
        if !self.downstream.write.is_empty() {
            WaitTarget::ClientReads
        } else if self.sent < self.wire.write.len() && self.up != RequestProgress::Broken {
            WaitTarget::UpstreamReads
        } else if self.up == RequestProgress::Sending {
            WaitTarget::RequestBody
        } else {
            WaitTarget::Response
        }
    }
}

fn put_content(out: &mut Buffer, data: &[u8], chunked: bool) {
    if chunked {
        chunks::put(out, data);
    } else {
        out.put(data);
    }
}

/// Puts the bytes that were sent of a request before those that were not, to be sent anew on another connection.
pub fn replay(from: &Wire, to: &mut Wire) {
    to.write.put(&from.write);
}

#[cfg(test)]
mod tests;
