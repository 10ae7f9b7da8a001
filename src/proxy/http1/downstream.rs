//! How is a client's connection read and written, under a time limit?

use crate::proxy::http1::buffer::Buffer;
use pingora::protocols::Stream;
use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::Sleep;

/// The limit of bytes after a request that are read before its response has ended. Reading them reveals that the client has
/// closed its connection. If the client sends more before it closes, only the next write reveals the close.
const AFTER_REQUEST_BYTES_MAX: usize = 8 * 1024;

/// The next act of a client after its whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRequest {
    /// It sends the first bytes of another request.
    SendsMore,
    /// It closes its connection, or the connection broke.
    Closes,
}

/// Why a read from the client or a write to the client failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownstreamError {
    /// The client closed its connection, or the connection broke.
    Closed,
    TimedOut,
}

/// A client's connection and its buffers, which live as long as the connection, so that no request allocates a buffer.
pub struct Downstream {
    pub stream: Stream,
    pub read_buf: Buffer,
    pub write_buf: Buffer,
    pub timer: Timer,
}

impl Downstream {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            read_buf: Buffer::default(),
            write_buf: Buffer::default(),
            timer: Timer::new(),
        }
    }

    /// Shrinks large buffers; see [`Buffer::shrink`].
    pub fn shrink(&mut self) {
        self.read_buf.shrink();
        self.write_buf.shrink();
    }

    /// Gives back the room of empty buffers; see [`Buffer::release`].
    pub fn release(&mut self) {
        self.read_buf.release();
        self.write_buf.release();
    }

    /// Waits until a client whose request is complete closes its connection, or sends bytes where none had arrived. Also
    /// behind bytes that arrived with the request, which would otherwise hide that the client is gone (S108).
    pub fn poll_after_request(&mut self, cx: &mut Context<'_>) -> Poll<AfterRequest> {
        while self.read_buf.len() < AFTER_REQUEST_BYTES_MAX {
            let had_bytes = !self.read_buf.is_empty();
            match ready!(self.read_buf.poll_fill(&mut self.stream, cx)) {
                Ok(1..) if had_bytes => {}
                Ok(1..) => return Poll::Ready(AfterRequest::SendsMore),
                Ok(0) | Err(_) => return Poll::Ready(AfterRequest::Closes),
            }
        }
        Poll::Pending
    }

    /// Waits until more bytes are in `read_buf`.
    ///
    /// # Errors
    /// The client closes the connection, or `deadline` is reached first.
    pub async fn fill(&mut self, deadline: Option<Instant>) -> Result<(), DownstreamError> {
        poll_fn(|cx| {
            if let Poll::Ready(read) = self.read_buf.poll_fill(&mut self.stream, cx) {
                return Poll::Ready(match read {
                    Ok(1..) => Ok(()),
                    Ok(0) | Err(_) => Err(DownstreamError::Closed),
                });
            }
            self.timer.poll(cx, deadline).map(|()| Err(DownstreamError::TimedOut))
        })
        .await
    }

    /// Sends all of `write_buf`.
    ///
    /// # Errors
    /// The connection is closed, or the client accepts no byte within `timeout` after the last one.
    pub async fn flush(&mut self, timeout: Duration) -> Result<(), DownstreamError> {
        let mut unsent = self.write_buf.len();
        let mut deadline = None;
        poll_fn(|cx| {
            match self.write_buf.poll_flush(&mut self.stream, cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(DownstreamError::Closed)),
                Poll::Pending => {}
            }
            if deadline.is_none() || self.write_buf.len() < unsent {
                unsent = self.write_buf.len();
                deadline = Instant::now().checked_add(timeout);
            }
            self.timer.poll(cx, deadline).map(|()| Err(DownstreamError::TimedOut))
        })
        .await
    }
}

/// One timer for all time limits of a connection. Setting a timer takes a lock and a list entry, and most deadlines
/// move before they are reached. So the timer is set again only if it would fire too late or has fired.
pub struct Timer(Pin<Box<Sleep>>);

impl Timer {
    fn new() -> Self {
        Self(Box::pin(tokio::time::sleep_until(Instant::now())))
    }

    /// Returns ready once `at` is reached; never for `None`.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else {
            return Poll::Pending;
        };
        if self.0.deadline() > at || self.0.is_elapsed() {
            self.0.as_mut().reset(at);
        }
        loop {
            ready!(self.0.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(at);
        }
    }
}
