//! Answers that no upstream gives: refusals, documents, and what the control side says.

use crate::config::EndpointKind;
use crate::gate::accept::hygiene;
use crate::gate::admit;
use crate::gate::answer::OwnAnswer;
use crate::gate::answer::built_in;
use crate::gate::answer::control::BODY_BYTES_MAX;
use crate::gate::answer::control::ControlAnswer;
use crate::gate::answer::control::ControlCall;
use crate::gate::answer::control::ControlError;
use crate::gate::answer::control::ControlRequest;
use crate::gate::answer::cors;
use crate::gate::answer::refusal;
use crate::gate::answer::refusal::Answer;
use crate::gate::answer::refusal::Asked;
use crate::gate::denial::Denial;
use crate::observe::metrics::AnswerLabel;
use crate::observe::trace;
use crate::proxy::exchange::ControlOutcome;
use crate::proxy::http1::answered;
use crate::proxy::http1::downstream::Lost;
use crate::proxy::http1::exchange::Exchange;
use crate::proxy::http1::exchange::abandoned;
use crate::proxy::http1::relay::has_media_type;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Version;
use http::header;
use std::time::Duration;
use tokio::time::Instant;

/// A refused request with a body up to this size keeps its connection: the body is read and dropped.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// A larger one ends its connection, and for so long its bytes are still read.
const LINGER: Duration = Duration::from_secs(2);
/// The control side waits 500 ms for the keys of a client and writes to a disk; far more is something broken.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);

impl Exchange<'_> {
    /// Answers a denied request and says whether its connection may go on.
    pub(super) async fn refuse(&mut self, denial: Denial) -> bool {
        let ctx = &self.ctx;
        let request = &ctx.request.headers;
        let asked = Asked {
            route: ctx.trail.route.as_deref(),
            api_key_header: &ctx.snapshot.api_key_header,
            request_id: ctx.request_id.as_str(),
            grpc: is_grpc(request),
        };
        let mut answer = refusal::answer(&denial, &asked);
        let families = ctx.snapshot.rate_limit_headers;
        match (&denial, &ctx.permit) {
            (Denial::LimitSpent(spent), _) => answer.headers.extend(admit::headers::of_refusal(spent, families)),
            // It was let through and failed further on: it cost the client what any request costs.
            (_, Some(permit)) => answer
                .headers
                .extend(admit::headers::of_admission(permit.admission(), families)),
            (_, None) => {}
        }
        if let Some(cors) = ctx.trail.route.as_ref().and_then(|route| route.cors.as_ref()) {
            // Else a page could not read why it was refused, and what to send instead.
            answer.headers.extend(cors.of_response(request));
            answer
                .headers
                .extend(cors.varies().then_some((header::VARY, cors::VARY_ORIGIN)));
        }
        self.ctx.denial = Some(denial);
        self.write(answer).await
    }

    /// Gives an answer out of memory and says whether the connection may go on.
    pub(super) async fn answer(&mut self, own: OwnAnswer) -> bool {
        self.ctx.answered = Some(own.kind);
        self.write(Answer {
            status: own.status,
            headers: own.headers,
            body: own.body,
            close: false,
        })
        .await
    }

    /// Has the control side answer, and says whether the connection may go on. Its work goes on if the client leaves: what
    /// was asked for is done whole or not at all.
    pub(super) async fn ask_control(&mut self, call: ControlCall) -> bool {
        let Some(control) = self.gate.live.control.get() else {
            return self.refuse(Denial::ControlUnavailable).await;
        };
        let body = match self.whole_body().await {
            Ok(body) => body,
            Err(denial) => return self.fail(denial).await,
        };
        let head = &self.ctx.request;
        let public = call.endpoint == EndpointKind::Metadata;
        let answering = control.answer(ControlRequest {
            // The length of what GET would bring is all that HEAD asks for.
            method: match head.method {
                Method::HEAD => Method::GET,
                ref method => method.clone(),
            },
            uri: call.uri,
            headers: head.headers.clone(),
            body,
            client_ip: call.client_ip,
            confidential: call.confidential,
            request_id: self.ctx.request_id.as_str().to_owned(),
        });
        let answered = tokio::select! {
            answered = tokio::time::timeout(CONTROL_TIMEOUT, answering) => answered,
            denial = abandoned(self.downstream, &self.body) => return self.fail(denial).await,
        };
        match answered {
            Ok(Ok(answer)) => {
                self.ctx.answered = Some(AnswerLabel::Endpoint);
                self.ctx.control = Some(ControlOutcome {
                    reason: answer.reason,
                    client_id: answer.client_id.clone(),
                });
                self.write(answer_of_control(answer, public)).await
            }
            Ok(Err(ControlError::Panicked)) => self.refuse(Denial::Panicked).await,
            Ok(Err(ControlError::Unavailable)) | Err(_) => self.refuse(Denial::ControlUnavailable).await,
        }
    }

    /// The whole body of a request to the control side.
    ///
    /// # Errors
    /// It is too large, comes too slowly or not at all.
    async fn whole_body(&mut self) -> Result<Bytes, Denial> {
        let patience = self.ctx.snapshot.requests.body_read_timeout;
        let mut whole = BytesMut::new();
        // HTTP/1.0 knows no interim answers (RFC 9110 section 10.1.1).
        let asked_first =
            self.ctx.request.version != Version::HTTP_10 && self.ctx.request.headers.contains_key(header::EXPECT);
        // The whole of it, not each part: 64 KiB come at once, or somebody holds the connection for its own sake.
        let deadline = Instant::now().checked_add(patience);
        let mut told = false;
        loop {
            let taken = self
                .body
                .take(&mut self.downstream.read, |data| whole.extend_from_slice(data));
            self.ctx.progress.bytes_in = whole.len() as u64;
            taken.map_err(|_| Denial::RefusedByParser)?;
            if self.ctx.progress.bytes_in > BODY_BYTES_MAX {
                return Err(Denial::BodyTooLarge);
            }
            if self.body.is_done() {
                return Ok(whole.freeze());
            }
            if asked_first && !std::mem::replace(&mut told, true) {
                // Whoever waits for this has sent nothing yet (RFC 9110 section 10.1.1).
                self.downstream.write.put(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.downstream.flush(patience).await.map_err(|_| Denial::ClientGone)?;
            }
            self.downstream.fill(deadline).await.map_err(|lost| match lost {
                Lost::Gone => Denial::ClientGone,
                Lost::Late => Denial::BodyTimeout,
            })?;
        }
    }

    /// Writes `answer` and says whether the connection may go on.
    async fn write(&mut self, answer: Answer) -> bool {
        let keep = self.keep_alive && !answer.close && !*self.stopping.borrow() && self.can_drain();
        let out = &mut self.downstream.write;
        answered::put_status(out, answer.status, answer.status.canonical_reason().unwrap_or_default());
        for (name, value) in &answer.headers {
            answered::put(out, name.as_str().as_bytes(), value.as_bytes());
        }
        let id = self.ctx.request_id.header_value();
        answered::put(out, trace::REQUEST_ID.as_str().as_bytes(), id.as_bytes());
        answered::put_date(out, self.gate.clock.now().wall);
        out.put(answered::connection(keep));
        self.ctx.progress.status = answer.status.as_u16();
        // RFC 9110 section 9.3.2: an answer to HEAD says how long its body would be, and has none.
        if self.ctx.request.method != Method::HEAD {
            out.put(&answer.body);
            self.ctx.progress.bytes_out = answer.body.len() as u64;
        }
        if self
            .downstream
            .flush(self.ctx.snapshot.requests.idle_timeout)
            .await
            .is_err()
        {
            return false;
        }
        match keep {
            true => self.drain(DRAIN_TIMEOUT).await,
            false => {
                if self.sends_its_body() {
                    self.linger().await;
                }
                false
            }
        }
    }

    /// Whether what is left of the request's body is known to be small, so that the connection can go on after a refusal.
    fn can_drain(&self) -> bool {
        if self.body.is_done() {
            return true;
        }
        let headers = &self.ctx.request.headers;
        // A client that asked first may never send its body; what comes next would then be taken for it (S103).
        !headers.contains_key(header::EXPECT)
            && hygiene::announced_length(headers).is_some_and(|length| length <= DRAIN_BYTES_MAX)
    }

    /// A client that asked first (`Expect`) and has sent nothing reads our answer before it sends anything.
    pub(super) fn sends_its_body(&self) -> bool {
        !self.body.is_done()
            && (self.ctx.progress.bytes_in > 0 || !self.ctx.request.headers.contains_key(header::EXPECT))
    }

    /// Reads what still comes and drops it. Closing while it comes would reset the connection, and a client that sends all
    /// of its body before it reads (browsers, `fetch`, `urllib`) would see the reset and not the answer.
    pub(super) async fn linger(&mut self) {
        // Whatever comes of it, the connection is closed afterwards.
        self.drain(LINGER).await;
    }

    /// Reads the rest of the body and drops it; `true` when all of it came in time.
    async fn drain(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now().checked_add(patience);
        loop {
            if self.body.take(&mut self.downstream.read, |_| {}).is_err() {
                return false;
            }
            if self.body.is_done() {
                return true;
            }
            if self.downstream.fill(deadline).await.is_err() {
                return false;
            }
        }
    }
}

/// What the control side says, without what is the connection's to say (RFC 9110 section 7.6.1).
fn answer_of_control(answer: ControlAnswer, public: bool) -> Answer {
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
        body: answer.body,
        close: false,
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| has_media_type(value.as_bytes(), b"application/grpc"))
}
