//! One request to its upstream and the answer back, both ways at once, under every time limit there is.
//!
//! One state machine, polled by the task of the client's connection: no task, channel or lock of its own per request. A
//! small request and its answer are four system calls: the head is read, written, the answer read, and written.

use crate::gate::denial::Denial;
use crate::proxy::forward::stream_end::StreamEnd;
use crate::proxy::http1::answered;
use crate::proxy::http1::answered::DownstreamSide;
use crate::proxy::http1::answered::Reframed;
use crate::proxy::http1::answered::Says;
use crate::proxy::http1::body::BodyReader;
use crate::proxy::http1::body::Framing;
use crate::proxy::http1::chunks;
use crate::proxy::http1::downstream::Downstream;
use crate::proxy::http1::head;
use crate::proxy::http1::pool::Wire;
use crate::proxy::http1::response;
use crate::proxy::http1::response::Head;
use crate::proxy::http1::response::NO_FIELDS;
use http::Method;
use http::StatusCode;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tokio::time::Instant;

/// So much of a request, head and all, is kept to be sent again (see [`Failed::Unanswered`]).
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// The time limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For each part of the request's body.
    pub downstream_read: Duration,
    /// For each part of the answer that the client takes.
    pub downstream_write: Duration,
    /// For each part of the answer.
    pub upstream_read: Duration,
    /// For each part of the request that the upstream takes.
    pub upstream_write: Duration,
    /// For all of it, but for streams. `None` is never.
    pub total: Option<Instant>,
}

/// What the exchange depends on beside its two connections.
pub struct Asked<'r> {
    pub method: &'r Method,
    /// Whether the upstream was asked to switch protocols.
    pub websocket: bool,
    /// The body goes on in chunks, as it came.
    pub chunked: bool,
    pub body_bytes_max: u64,
    pub downstream: DownstreamSide,
    pub says: Says<'r>,
    pub patience: Patience,
    /// Holds `true` once the gate ends: then every connection ends with its answer.
    pub stopping: &'r watch::Receiver<bool>,
    /// When the answer must end if it is a stream.
    pub stream_end: &'r (dyn Fn() -> Option<StreamEnd> + Sync),
}

/// What is known of an exchange, however far it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Of the final answer; 0 while there is none.
    pub status: u16,
    /// Whether a head has come, be it an interim one.
    pub answered: bool,
    /// Content of the bodies.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// The stream ended with the credential that opened it (S038).
    pub cut: bool,
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

/// Why an exchange ended before its end.
#[derive(Debug)]
pub enum Failed {
    /// The upstream closed its connection without a byte of an answer.
    Unanswered,
    Denied(Denial),
}

impl From<Denial> for Failed {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

/// One exchange under way.
pub struct Relay<'r> {
    asked: &'r Asked<'r>,
    downstream: &'r mut Downstream,
    wire: &'r mut Wire,
    /// What is left of the request's body.
    body: &'r mut BodyReader,
    progress: &'r mut Progress,
    /// How much of `wire.write` was sent. It is not removed while it may have to be sent again.
    sent: usize,
    replayable: bool,
    up: Up,
    down: Down,
    /// When something was last heard from, or taken by, either side.
    downstream_moved: Moved,
    upstream_moved: Moved,
    stream: Option<Streaming>,
}

/// The request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Up {
    Sending,
    Sent,
    /// The upstream takes no more; it may have answered all the same.
    Broken,
    /// Whatever comes is passed on.
    Tunnel,
}

/// The answer's way.
enum Down {
    /// So much of `wire.read` was searched for the end of a head.
    Head {
        searched: usize,
    },
    Body {
        reader: BodyReader,
        reframed: Reframed,
        keep_alive: bool,
        upstream_keeps: bool,
    },
    Tunnel,
    /// All of it was read and nothing follows.
    Read {
        reusable: Reusable,
    },
}

struct Streaming {
    end: Option<StreamEnd>,
    look: Instant,
}

/// When something moved last; `None` until the time is looked at again.
#[derive(Default)]
struct Moved(Option<Instant>);

impl Moved {
    fn note(&mut self) {
        self.0 = None;
    }

    fn at(&mut self, now: Instant) -> Instant {
        *self.0.get_or_insert(now)
    }
}

/// How often it is looked whether the credential that opened a stream still counts.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl<'r> Relay<'r> {
    /// `wire.write` holds the head for the upstream. `replayable`: the request may have to be sent again.
    pub fn new(
        asked: &'r Asked<'r>,
        downstream: &'r mut Downstream,
        wire: &'r mut Wire,
        body: &'r mut BodyReader,
        progress: &'r mut Progress,
        replayable: bool,
    ) -> Self {
        Self {
            asked,
            downstream,
            wire,
            body,
            progress,
            sent: 0,
            replayable,
            up: Up::Sending,
            down: Down::Head { searched: 0 },
            downstream_moved: Moved::default(),
            upstream_moved: Moved::default(),
            stream: None,
        }
    }

    /// Carries the exchange to its end.
    ///
    /// # Errors
    /// It failed. Whether the client has heard a part of an answer is in `progress`.
    pub async fn run(mut self) -> Result<Reusable, Failed> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reusable, Failed>> {
        loop {
            self.poll_up(cx)?;
            if let Poll::Ready(reusable) = self.poll_down(cx)? {
                return Poll::Ready(Ok(reusable));
            }
            // Once: an upstream that then takes no more is not tried again.
            if !(matches!(self.down, Down::Tunnel) && self.up == Up::Sent) {
                return self.poll_time(cx);
            }
            // From here on what the client sends is passed on as it is.
            self.up = Up::Tunnel;
        }
    }

    /// Sends what there is of the request, until there is nothing to do but wait.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        loop {
            match self.up {
                Up::Sending | Up::Tunnel => {}
                Up::Sent => return self.watch(cx),
                Up::Broken => return Ok(()),
            }
            match self.poll_send(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.up = Up::Broken;
                    continue;
                }
                Poll::Pending => return Ok(()),
            }
            if self.up == Up::Sending && self.body.is_done() {
                self.up = Up::Sent;
                continue;
            }
            if self.pass_on()? {
                continue;
            }
            match self.downstream.read.poll_fill(&mut self.downstream.stream, cx) {
                Poll::Ready(Ok(1..)) => self.downstream_moved.note(),
                // Either side may end what they switched to, and everything of it was passed on.
                Poll::Ready(Ok(0)) if self.up == Up::Tunnel => {
                    self.down = Down::Read {
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
    fn pass_on(&mut self) -> Result<bool, Failed> {
        let (downstream, wire) = (&mut *self.downstream, &mut *self.wire);
        if self.up == Up::Tunnel {
            let arrived = downstream.read.len();
            wire.write.put(&downstream.read);
            downstream.read.clear();
            self.progress.bytes_in += arrived as u64;
            return Ok(arrived > 0);
        }
        let before = wire.write.len();
        let (bytes_in, chunked) = (&mut self.progress.bytes_in, self.asked.chunked);
        let max = self.asked.body_bytes_max;
        let taken = self.body.take(&mut downstream.read, |data| {
            *bytes_in += data.len() as u64;
            // Over the limit it goes nowhere: see below.
            if *bytes_in <= max {
                match chunked {
                    true => chunks::put(&mut wire.write, data),
                    false => wire.write.put(data),
                }
            }
        });
        if taken.is_err() {
            return Err(Denial::RefusedByParser.into());
        }
        if *bytes_in > max {
            return Err(Denial::BodyTooLarge.into());
        }
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
            self.upstream_moved.note();
        }
        self.replayable &= self.sent <= REPLAY_BYTES_MAX;
        if !self.replayable {
            self.sent = 0;
            wire.write.clear();
        }
        Pin::new(&mut wire.stream).poll_flush(cx)
    }

    /// After the request, while its answer is not there: whether the client leaves, or sends more than it should.
    fn watch(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        // What came before is known, and the answer will say that the connection ends.
        if !self.downstream.read.is_empty() {
            return Ok(());
        }
        match self.downstream.read.poll_fill(&mut self.downstream.stream, cx) {
            Poll::Ready(Ok(0) | Err(_)) => Err(Denial::ClientGone.into()),
            // While the answer is under way it is the next request, and waits for its turn.
            Poll::Ready(Ok(_)) if self.progress.status == 0 => Err(Denial::Pipelined.into()),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    /// Brings the client what there is of the answer; ready once that was all.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<Poll<Reusable>, Failed> {
        loop {
            self.take_answer()?;
            if !self.downstream.write.is_empty() {
                let before = self.downstream.write.len();
                let flushed = self.downstream.write.poll_flush(&mut self.downstream.stream, cx);
                if self.downstream.write.len() < before {
                    self.downstream_moved.note();
                }
                match flushed {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Err(Denial::ClientGone.into()),
                    Poll::Pending => return Ok(Poll::Pending),
                }
            }
            if let Down::Read { reusable } = self.down {
                return Ok(Poll::Ready(reusable));
            }
            match self.wire.read.poll_fill(&mut self.wire.stream, cx) {
                Poll::Ready(Ok(1..)) => self.upstream_moved.note(),
                Poll::Ready(Ok(0)) => self.end_of_upstream()?,
                Poll::Ready(Err(_)) => return Err(self.broken_off()),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }

    /// The upstream closed its connection: the end of some bodies, and of nothing else.
    fn end_of_upstream(&mut self) -> Result<(), Failed> {
        let reusable = match &self.down {
            Down::Tunnel => Reusable::NONE,
            Down::Body {
                reader,
                reframed,
                keep_alive,
                ..
            } if reader.ends_with_connection() => {
                if *reframed == Reframed::Chunked {
                    self.downstream.write.put(chunks::LAST);
                }
                Reusable {
                    downstream: *keep_alive,
                    upstream: false,
                }
            }
            _ => return Err(self.broken_off()),
        };
        self.down = Down::Read { reusable };
        Ok(())
    }

    fn broken_off(&self) -> Failed {
        let nothing_came = matches!(self.down, Down::Head { .. }) && self.wire.read.is_empty();
        // An interim answer is one: it was at work.
        match nothing_came && !self.progress.answered && self.replayable {
            true => Failed::Unanswered,
            false => Denial::UpstreamFailed.into(),
        }
    }

    /// Turns what arrived from the upstream into what goes to the client.
    fn take_answer(&mut self) -> Result<(), Failed> {
        loop {
            match &mut self.down {
                Down::Head { searched } => {
                    let Some(end) = head::find_end(&self.wire.read, *searched) else {
                        *searched = self.wire.read.len();
                        return match *searched > response::HEAD_BYTES_MAX {
                            true => Err(Denial::UpstreamFailed.into()),
                            false => Ok(()),
                        };
                    };
                    self.take_head(end)?;
                }
                Down::Body {
                    reader,
                    reframed,
                    keep_alive,
                    upstream_keeps,
                } => {
                    let (downstream, bytes_out) = (&mut *self.downstream, &mut self.progress.bytes_out);
                    let taken = reader.take(&mut self.wire.read, |data| {
                        *bytes_out += data.len() as u64;
                        match reframed {
                            Reframed::Chunked => chunks::put(&mut downstream.write, data),
                            Reframed::Plain => downstream.write.put(data),
                        }
                    });
                    if taken.is_err() {
                        return Err(Denial::UpstreamFailed.into());
                    }
                    if !reader.is_done() {
                        return Ok(());
                    }
                    if *reframed == Reframed::Chunked {
                        downstream.write.put(chunks::LAST);
                    }
                    // Bytes that follow belong to no request: nobody may get them as an answer.
                    let upstream = *upstream_keeps && self.up == Up::Sent && self.wire.read.is_empty();
                    let reusable = Reusable {
                        // Its request was read to the end, or the head said otherwise.
                        downstream: *keep_alive,
                        upstream,
                    };
                    self.down = Down::Read { reusable };
                }
                Down::Tunnel => {
                    self.progress.bytes_out += self.wire.read.len() as u64;
                    self.downstream.write.put(&self.wire.read);
                    self.wire.read.clear();
                    return Ok(());
                }
                Down::Read { .. } => return Ok(()),
            }
        }
    }

    /// Takes a head of `end` bytes and writes what of it is for the client.
    fn take_head(&mut self, end: usize) -> Result<(), Failed> {
        let mut fields = NO_FIELDS;
        let head = Head::parse(&self.wire.read[..end], &mut fields, self.asked.method);
        let head = head.map_err(|_| Denial::UpstreamFailed)?;
        self.progress.answered = true;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked, or it switched while the request was not over.
            if !self.asked.websocket || !head.switches_to_websocket() || self.up != Up::Sent {
                return Err(Denial::UpstreamFailed.into());
            }
        } else if head.status.is_informational() {
            if !self.asked.downstream.is_http10 {
                answered::write_interim(&head, &mut self.downstream.write);
            }
            self.wire.read.take(end);
            self.down = Down::Head { searched: 0 };
            return Ok(());
        }
        self.progress.status = head.status.as_u16();
        // What of the body has not come by now may never come, or come as the next request.
        let downstream = DownstreamSide {
            keep_alive: self.asked.downstream.keep_alive
                && self.body.is_done()
                && self.downstream.read.is_empty()
                && !*self.asked.stopping.borrow(),
            ..self.asked.downstream
        };
        let (reframed, keep_alive) = answered::reframe(head.framing, downstream);
        let downstream = DownstreamSide {
            keep_alive,
            ..downstream
        };
        answered::write(
            &head,
            &self.asked.says,
            reframed,
            downstream,
            &mut self.downstream.write,
        );
        let streams = is_stream(&head);
        self.down = match head.status {
            StatusCode::SWITCHING_PROTOCOLS => Down::Tunnel,
            _ => Down::Body {
                reader: BodyReader::new(head.framing),
                reframed,
                keep_alive,
                upstream_keeps: head.keeps_alive && !matches!(head.framing, Framing::UntilClose),
            },
        };
        if streams {
            self.stream = Some(Streaming {
                end: (self.asked.stream_end)(),
                look: Instant::now() + LOOK_EVERY,
            });
        }
        self.wire.read.take(end);
        Ok(())
    }

    /// Nothing moves: looks whether that has lasted too long, and sets the alarm for when it will have.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reusable, Failed>> {
        loop {
            let now = Instant::now();
            let next = self.next_limit(now)?;
            if self.downstream.alarm.poll(cx, next).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// The limit that is reached first, of those that hold now.
    ///
    /// # Errors
    /// One that has been reached.
    fn next_limit(&mut self, now: Instant) -> Result<Option<Instant>, Failed> {
        let patience = &self.asked.patience;
        let (downstream_moved, upstream_moved) = (self.downstream_moved.at(now), self.upstream_moved.at(now));
        let mut next: Option<Instant> = None;
        let mut limit = |at: Option<Instant>, denial: Denial| match at {
            Some(at) if at <= now => Err(Failed::Denied(denial)),
            Some(at) => {
                next = Some(next.map_or(at, |next| next.min(at)));
                Ok(())
            }
            None => Ok(()),
        };
        let sends = self.sent < self.wire.write.len();
        let takes = !self.downstream.write.is_empty();
        if let Some(stream) = &mut self.stream {
            if stream
                .end
                .as_ref()
                .is_some_and(|end| end.at.is_some_and(|at| at <= now))
            {
                self.progress.cut = true;
            }
            if stream.look <= now {
                stream.look = now + LOOK_EVERY;
                let counts = stream.end.as_ref().and_then(|end| end.counts.as_ref());
                self.progress.cut |= counts.is_some_and(|counts| !counts());
            }
            if self.progress.cut {
                return Err(Denial::ClientGone.into());
            }
            if let Some(end) = &stream.end {
                limit(end.at, Denial::ClientGone)?;
                limit(end.counts.is_some().then_some(stream.look), Denial::ClientGone)?;
            }
        } else {
            limit(patience.total, Denial::UpstreamTimeout)?;
        }
        if takes {
            limit(
                downstream_moved.checked_add(patience.downstream_write),
                Denial::ClientGone,
            )?;
        } else if sends && self.up != Up::Broken {
            limit(
                upstream_moved.checked_add(patience.upstream_write),
                Denial::UpstreamTimeout,
            )?;
        } else {
            if self.up == Up::Sending {
                limit(
                    downstream_moved.checked_add(patience.downstream_read),
                    Denial::BodyTimeout,
                )?;
            }
            limit(
                upstream_moved.checked_add(patience.upstream_read),
                Denial::UpstreamTimeout,
            )?;
        }
        Ok(next)
    }
}

/// Whether an answer goes on for as long as somebody listens.
fn is_stream(head: &Head<'_, '_>) -> bool {
    const STREAMS: [&[u8]; 2] = [b"text/event-stream", b"application/grpc"];
    head.status == StatusCode::SWITCHING_PROTOCOLS
        || head.fields.iter().any(|field| {
            field.name.len() == 12
                && field.name.eq_ignore_ascii_case("content-type")
                && STREAMS.iter().any(|name| has_media_type(field.value, name))
        })
}

/// Whether `value` begins with `name`, in any case (RFC 9110 section 8.3.1).
pub fn has_media_type(value: &[u8], name: &[u8]) -> bool {
    value
        .get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// Puts the bytes that were sent of a request before those that were not, to be sent anew on another connection.
pub fn replay(from: &Wire, to: &mut Wire) {
    to.write.put(&from.write);
}
