//! How is a request answered that goes to no upstream: with a refusal, or by the control side?

use crate::gate::answer::Answer;
use crate::gate::answer::control::ControlCall;
use crate::gate::denial::Denial;
use crate::observe::trace;
use crate::proxy::exchange::Exchange;
use crate::proxy::filter::client;
use crate::proxy::filter::failure;
use crate::proxy::forward::drain;
use bytes::Bytes;
use bytes::BytesMut;
use http::Method;
use http::Version;
use http::header;
use http::request::Parts;
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use tokio::time::timeout;

/// Reads the whole body of a request to the control side, and returns the answer to it.
pub(super) async fn call_control(
    session: &mut Session,
    exchange: &mut Exchange,
    call: ControlCall,
) -> Result<Answer, Denial> {
    let limit = exchange.request_limits().body_read_timeout;
    // One deadline for the whole body, because a slow sender holds the connection.
    let body = timeout(limit, read_whole_body(&mut session.downstream_session, exchange))
        .await
        .map_err(|_| Denial::BodyTimeout)??;
    let gone = client::client_gone(&mut session.downstream_session);
    exchange.call_control(call, body, gone).await
}

async fn read_whole_body(session: &mut ServerSession, exchange: &mut Exchange) -> Result<Bytes, Denial> {
    let request = exchange.request();
    let expects_continue = request.version == Version::HTTP_11 && request.headers.contains_key(header::EXPECT);
    if expects_continue && !session.is_body_done() {
        // The client may wait for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
        session
            .write_continue_response()
            .await
            .map_err(|error| failure::denial(&error.into_down()))?;
    }
    let mut whole = BytesMut::new();
    loop {
        let part = session.read_request_body().await;
        match part.map_err(|error| failure::denial(&error.into_down()))? {
            Some(part) => {
                exchange.count_request_body(part.len())?;
                whole.extend_from_slice(&part);
            }
            None => return Ok(whole.freeze()),
        }
    }
}

/// Sends `answer` to the request of `exchange`.
///
/// # Errors
/// The client is gone.
pub(super) async fn send_answer(
    session: &mut Session,
    exchange: &mut Exchange,
    mut answer: Answer,
) -> pingora::Result<()> {
    answer.headers.push((trace::REQUEST_ID, exchange.request_id().clone()));
    if answer.close || !can_drain(session, exchange.request()) {
        session.set_keepalive(None);
    } else {
        session.set_close_on_response_before_downstream_finish(false);
        session.set_total_drain_timeout(Some(drain::TIMEOUT));
    }
    exchange.note_response(answer.status, false);
    // A response to HEAD announces the length of its body and has none (RFC 9110 section 9.3.2).
    if exchange.request().method == Method::HEAD {
        answer.body = Bytes::new();
    }
    exchange.count_response_body(answer.body.len());
    write_answer(session, answer).await
}

/// Returns whether the rest of the request body is known to be small, so that the connection can persist after an
/// answer.
fn can_drain(session: &mut Session, request: &Parts) -> bool {
    // A client that expects `100 Continue` may never send the body, and its next request would be read as the body
    // (S103).
    session.is_http2()
        || session.is_body_done()
        || (has_short_length(request) && !request.headers.contains_key(header::EXPECT))
}

/// Returns whether the body is announced to be short.
pub(super) fn has_short_length(request: &Parts) -> bool {
    content_length(request).is_some_and(|length| length <= drain::BYTES_MAX)
}

/// Returns the announced length of the body; `None` where there is none, or no number.
fn content_length(request: &Parts) -> Option<u64> {
    let length = request.headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

pub(super) async fn write_answer(session: &mut Session, answer: Answer) -> pingora::Result<()> {
    let mut head = ResponseHeader::build_no_case(answer.status, Some(answer.headers.len() + 1))?;
    for (name, value) in answer.headers {
        head.append_header(name, value)?;
    }
    let has_body = !answer.body.is_empty();
    // In one call: without a body, the head ends an HTTP/2 stream, as clients of gRPC expect of a refusal.
    let mut tasks = vec![HttpTask::Header(Box::new(head), !has_body)];
    if has_body {
        tasks.push(HttpTask::Body(Some(answer.body), true));
    }
    session.write_response_tasks(tasks).await.map(drop)
}
