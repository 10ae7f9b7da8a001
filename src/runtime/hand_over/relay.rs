//! How does a call of the token endpoint reach the process that has the store now? Connections of the gate before still carry
//! requests while it drains, and its store is the successor's.

use crate::control::token::CallContext;
use crate::gate::answer::control::ControlError;
use crate::model::client_address::ClientAddress;
use crate::runtime::admin::socket::Socket;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Fields of the relay alone. The socket is this user's alone, so that nobody else writes them.
const CLIENT: HeaderName = HeaderName::from_static("keygate-relay-client");
const PROXY: HeaderName = HeaderName::from_static("keygate-relay-proxy");
const REQUEST_ID: HeaderName = HeaderName::from_static("keygate-relay-request-id");

/// The time limit of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Sends `request`, with its context, to the process that listens at `path`.
///
/// # Errors
/// That process does not answer.
pub async fn send(
    path: &Path,
    mut request: http::Request<Body>,
    context: &CallContext,
) -> Result<http::Response<Body>, ControlError> {
    let (name, address) = match context.client {
        ClientAddress::Known(address) => (CLIENT, address),
        ClientAddress::Unknown { proxy } => (PROXY, proxy),
    };
    let headers = request.headers_mut();
    headers.remove(CLIENT);
    headers.remove(PROXY);
    headers.insert(name, value(&address.to_string())?);
    headers.insert(REQUEST_ID, value(&context.request_id)?);
    let exchange = async {
        let stream = UnixStream::connect(path).await.map_err(|_| ControlError::Unavailable)?;
        let shaking = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = shaking.await.map_err(|_| ControlError::Unavailable)?;
        // Ends with the response's body.
        tokio::spawn(connection);
        let response = sender.send_request(request).await;
        Ok(response.map_err(|_| ControlError::Unavailable)?.map(Body::new))
    };
    timeout(CALL_TIMEOUT, exchange)
        .await
        .unwrap_or(Err(ControlError::Unavailable))
}

fn value(text: &str) -> Result<HeaderValue, ControlError> {
    HeaderValue::from_str(text).map_err(|_| ControlError::Unavailable)
}

/// Answers the calls that the gate before relays, with `router`, until aborted.
///
/// # Errors
/// The system has no file descriptor left.
pub async fn serve(router: Router, socket: Socket) -> io::Result<()> {
    let listener = socket.listener()?;
    let router = router.layer(from_fn(with_context));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // The gate before has given the call up.
            let _ = serving.await;
        });
    }
}

/// Gives a relayed request the context that it had in the gate before.
async fn with_context(mut request: Request, next: Next) -> Response {
    let headers = request.headers_mut();
    let mut take = |name| headers.remove(name);
    let (client, proxy, request_id) = (take(CLIENT), take(PROXY), take(REQUEST_ID));
    let address = |value: HeaderValue| value.to_str().ok()?.parse::<IpAddr>().ok();
    let client = match (client.and_then(address), proxy.and_then(address)) {
        (Some(client), None) => ClientAddress::Known(client),
        (None, Some(proxy)) => ClientAddress::Unknown { proxy },
        _ => return StatusCode::BAD_REQUEST.into_response(),
    };
    let request_id = request_id
        .as_ref()
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    request.extensions_mut().insert(CallContext { client, request_id });
    next.run(request).await
}
