//! Is an endpoint well? It is asked in the background, as the configuration says.

use crate::config::HealthCheck;
use crate::config::HealthCheckKind;
use crate::proxy::peer;
use crate::upstream::Probe;
use crate::upstream::Upstream;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use http::uri::PathAndQuery;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use std::sync::LazyLock;
use tokio::time::timeout;

/// The part of a body that is read.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The path of the method of gRPC's health checking protocol.
const GRPC_PATH: &str = "/grpc.health.v1.Health/Check";

/// The `status` of a response of that method (field 1, a varint) where the service is well.
const GRPC_SERVING: [u8; 2] = [0x08, 0x01];

/// The length of the prefix of a gRPC message: a flag, and the length of the message in four bytes.
const GRPC_PREFIX_BYTES: usize = 5;

/// The connector of checks: their connections are never shared with requests, and each check has a new one.
static CONNECTOR: LazyLock<Connector> = LazyLock::new(|| Connector::new(None));

/// Asks an endpoint of `upstream`.
///
/// # Errors
/// The problem, for the operator.
pub async fn check(upstream: &Upstream, check: &HealthCheck, probe: &Probe) -> Result<(), String> {
    match timeout(check.timeout, ask(upstream, check, probe)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {:?}", check.timeout)),
    }
}

async fn ask(upstream: &Upstream, check: &HealthCheck, probe: &Probe) -> Result<(), String> {
    let address = probe.endpoint.address();
    let peer = peer::connecting(
        address,
        probe.tls.as_deref(),
        &upstream.settings.timeouts,
        check.timeout,
    );
    let mut peer = peer.map_err(|failure| failure.as_str().to_owned())?;
    if upstream.settings.speaks_http2() {
        peer.options.set_http_version(2, 2);
    }
    let name = || match &probe.tls {
        Some(tls) => HeaderValue::try_from(tls.server_name()),
        None => HeaderValue::try_from(address.host()),
    };
    match &check.kind {
        HealthCheckKind::Http {
            path,
            host,
            statuses,
            body,
        } => {
            let host = host.as_ref().or(upstream.settings.host.as_ref()).cloned();
            let host = host.map_or_else(name, Ok).map_err(|error| error.to_string())?;
            check_http(&peer, path, host, statuses, body.as_deref()).await
        }
        HealthCheckKind::Tcp => {
            let session = CONNECTOR.get_http_session(&peer).await;
            session.map(drop).map_err(|error| peer::problem(&error))
        }
        HealthCheckKind::Grpc { service } => {
            let host = upstream.settings.host.clone();
            let host = host.map_or_else(name, Ok).map_err(|error| error.to_string())?;
            check_grpc(&peer, host, service).await
        }
    }
}

async fn check_http(
    peer: &HttpPeer,
    path: &PathAndQuery,
    host: HeaderValue,
    statuses: &[StatusCode],
    text: Option<&str>,
) -> Result<(), String> {
    let head = head(Method::GET, path.as_str(), host).map_err(|error| error.to_string())?;
    let (status, body) = exchange(peer, head, None, text.is_some())
        .await
        .map_err(|error| peer::problem(&error))?;
    let is_expected = if statuses.is_empty() {
        status.is_success()
    } else {
        statuses.contains(&status)
    };
    if !is_expected {
        return Err(format!("status {}", status.as_u16()));
    }
    match text {
        Some(text) if memchr::memmem::find(&body, text.as_bytes()).is_none() => {
            Err("the body does not contain the text".to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

async fn check_grpc(peer: &HttpPeer, host: HeaderValue, service: &str) -> Result<(), String> {
    let mut head = head(Method::POST, GRPC_PATH, host).map_err(|error| error.to_string())?;
    head.insert_header(header::CONTENT_TYPE, "application/grpc")
        .and_then(|()| head.insert_header(header::TE, "trailers"))
        .map_err(|error| error.to_string())?;
    let message = grpc_request(service).ok_or("the name of the service is too long")?;
    let (status, body) = exchange(peer, head, Some(message), true)
        .await
        .map_err(|error| peer::problem(&error))?;
    if status != StatusCode::OK {
        return Err(format!("status {}", status.as_u16()));
    }
    match body.get(GRPC_PREFIX_BYTES..) {
        Some(message) if message.starts_with(&GRPC_SERVING) => Ok(()),
        Some(_) => Err("the service is not SERVING".to_owned()),
        None => Err("the server knows no such service".to_owned()),
    }
}

/// Returns the message that asks for `service` (field 1, a string) with its prefix; `None` for a name of over 127 bytes, whose
/// length is no single byte.
fn grpc_request(service: &str) -> Option<Bytes> {
    let length = u8::try_from(service.len()).ok().filter(|length| *length < 0x80)?;
    let mut message = Vec::new();
    if length > 0 {
        message.extend([0x0A, length]);
        message.extend(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).ok()?.to_be_bytes());
    framed.extend(message);
    Some(framed.into())
}

fn head(method: Method, path: &str, host: HeaderValue) -> pingora::Result<RequestHeader> {
    let mut head = RequestHeader::build(method, path.as_bytes(), None)?;
    head.insert_header(header::HOST, host)?;
    head.insert_header(header::USER_AGENT, "keygate-health-check")?;
    Ok(head)
}

/// Sends a request on a connection of its own. Returns the status, and with `reads_body` the beginning of the body.
async fn exchange(
    peer: &HttpPeer,
    head: RequestHeader,
    body: Option<Bytes>,
    reads_body: bool,
) -> pingora::Result<(StatusCode, Bytes)> {
    let (mut session, _) = CONNECTOR.get_http_session(peer).await?;
    let sent = send(&mut session, head, body, reads_body).await;
    session.shutdown().await;
    sent
}

async fn send(
    session: &mut HttpSession,
    head: RequestHeader,
    body: Option<Bytes>,
    reads_body: bool,
) -> pingora::Result<(StatusCode, Bytes)> {
    session.write_request_header(Box::new(head)).await?;
    if let Some(body) = body {
        session.write_request_body(body, true).await?;
    }
    session.finish_request_body().await?;
    session.read_response_header().await?;
    let status = session
        .response_header()
        .map_or(StatusCode::BAD_GATEWAY, |head| head.status);
    let mut read = BytesMut::new();
    while reads_body
        && read.len() < BODY_BYTES_MAX
        && let Some(part) = session.read_response_body().await?
    {
        read.extend_from_slice(&part);
    }
    Ok((status, read.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_of_grpc_asks_for_a_service_or_for_the_server() {
        assert_eq!(grpc_request("").unwrap(), [0, 0, 0, 0, 0].as_slice());
        assert_eq!(
            grpc_request("ab").unwrap(),
            [0, 0, 0, 0, 4, 0x0A, 2, b'a', b'b'].as_slice()
        );
        assert!(grpc_request(&"a".repeat(127)).is_some() && grpc_request(&"a".repeat(128)).is_none());
    }
}
