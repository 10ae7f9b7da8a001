//! How is a request answered without an upstream's response? With a refusal, a document, or a response of the control
//! side.

use crate::gate::answer::Answer;
use crate::gate::answer::control::ControlCall;
use crate::gate::denial::Denial;
use crate::observe::trace;
use crate::proxy::forward::drain;
use crate::proxy::head::Framing;
use crate::proxy::http1::downstream::DownstreamError;
use crate::proxy::http1::lane::Lane;
use crate::proxy::http1::lane::wait_for_client_close;
use crate::proxy::http1::response_head;
use bytes::Bytes;
use bytes::BytesMut;
use http::Method;
use http::Version;
use http::header;
use std::time::Duration;
use tokio::time::Instant;

/// The time for which the bytes of any other body are read and dropped before the connection closes.
const LINGER: Duration = Duration::from_secs(2);

impl Lane<'_> {
    /// Reads the whole body of a request to the control side, and returns the answer to it.
    ///
    /// # Errors
    /// The body is malformed, too large, too slow or incomplete, the client closes its connection, or the control side
    /// does not respond.
    pub(super) async fn call_control(&mut self, call: ControlCall) -> Result<Answer, Denial> {
        let body = self.read_whole_body().await?;
        let client_gone = wait_for_client_close(self.downstream, &self.body);
        self.exchange.call_control(call, body, client_gone).await
    }

    /// Reads and returns the whole body.
    ///
    /// # Errors
    /// The body is malformed, too large, too slow or incomplete.
    async fn read_whole_body(&mut self) -> Result<Bytes, Denial> {
        let request = self.exchange.request();
        let timeout = self.exchange.request_limits().body_read_timeout;
        let mut whole = BytesMut::new();
        // A server must ignore the expectation in HTTP/1.0, which has no interim responses (RFC 9110 section 10.1.1).
        let expects_continue = request.version != Version::HTTP_10 && request.headers.contains_key(header::EXPECT);
        // One deadline for the whole body, because a slow sender holds the connection: 64 KiB arrive in time.
        let deadline = Instant::now().checked_add(timeout);
        let mut continue_sent = false;
        loop {
            let exchange = &mut self.exchange;
            let mut counted = Ok(());
            let taken = self.body.read(&mut self.downstream.read_buf, |data| {
                counted = exchange.count_request_body(data.len());
                whole.extend_from_slice(data);
            });
            taken.map_err(|_| Denial::MalformedChunk)?;
            counted?;
            if self.body.is_complete() {
                return Ok(whole.freeze());
            }
            if expects_continue && !std::mem::replace(&mut continue_sent, true) {
                // The client may wait for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
                self.downstream.write_buf.put(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.downstream.flush(timeout).await.map_err(|_| Denial::ClientGone)?;
            }
            self.downstream.fill(deadline).await.map_err(|error| match error {
                DownstreamError::Closed => Denial::ClientGone,
                DownstreamError::TimedOut => Denial::BodyTimeout,
            })?;
        }
    }

    /// Sends `answer`, reads and drops the rest of the request body, and returns whether the connection persists.
    pub(super) async fn send_answer(&mut self, answer: Answer) -> bool {
        let persists = self.is_persistent && !answer.close && !*self.shutdown.borrow() && self.can_drain();
        let out = &mut self.downstream.write_buf;
        response_head::put_status(out, answer.status, answer.status.canonical_reason().unwrap_or_default());
        for (name, value) in &answer.headers {
            response_head::put(out, name.as_str().as_bytes(), value.as_bytes());
        }
        let id = self.exchange.request_id();
        response_head::put(out, trace::REQUEST_ID.as_str().as_bytes(), id.as_bytes());
        response_head::put_date(out, self.exchange.now().wall);
        out.put(response_head::connection_field(persists));
        self.exchange.note_response(answer.status, false);
        // A response to HEAD announces the length of its body and has none (RFC 9110 section 9.3.2).
        if self.exchange.request().method != Method::HEAD {
            out.put(&answer.body);
            self.exchange.count_response_body(answer.body.len());
        }
        let idle_timeout = self.exchange.request_limits().idle_timeout;
        if self.downstream.flush(idle_timeout).await.is_err() {
            return false;
        }
        if persists {
            return self.drain(drain::TIMEOUT).await;
        }
        if self.is_body_pending() {
            self.linger().await;
        }
        false
    }

    /// Returns whether the rest of the request body is known to be small, so that the connection can persist after an
    /// answer.
    fn can_drain(&self) -> bool {
        if self.body.is_complete() {
            return true;
        }
        // A client that expects `100 Continue` may never send the body, and its next request would be read as the body
        // (S103).
        !self.expects_continue() && matches!(self.framing, Framing::ContentLength(length) if length <= drain::BYTES_MAX)
    }

    /// Returns whether the client may be sending the body now. A client that expects `100 Continue` reads the answer
    /// before it sends a byte of the body.
    pub(super) fn is_body_pending(&self) -> bool {
        !self.body.is_complete() && (self.exchange.has_body_begun() || !self.expects_continue())
    }

    fn expects_continue(&self) -> bool {
        self.exchange.request().headers.contains_key(header::EXPECT)
    }

    /// Reads the rest of the body and drops it, for at most [`LINGER`]. Closing at once would reset the connection, and
    /// a client that sends its whole body before it reads (browsers, `fetch`, `urllib`) would see the reset in place of
    /// the answer.
    pub(super) async fn linger(&mut self) {
        // Best effort: the connection is closed either way.
        self.drain(LINGER).await;
    }

    /// Reads the rest of the body and drops it. Returns whether the whole body arrived within `timeout`.
    async fn drain(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if self.body.read(&mut self.downstream.read_buf, |_| {}).is_err() {
                return false;
            }
            if self.body.is_complete() {
                return true;
            }
            if self.downstream.fill(deadline).await.is_err() {
                return false;
            }
        }
    }
}
