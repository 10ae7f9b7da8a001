//! How does the data side call the control side? It calls the router of the token endpoint in this process, but not on
//! the threads of the workers.

use crate::control::token::CallContext;
use crate::control::token::Outcome;
use crate::gate::answer::Answer;
use crate::gate::answer::control::ControlError;
use crate::gate::answer::control::ControlPlane;
use crate::gate::answer::control::ControlRequest;
use crate::gate::answer::control::ControlResponse;
use crate::runtime::hand_over::Ownership;
use crate::runtime::hand_over::StoreOwner;
use crate::runtime::hand_over::relay;
use axum::Router;
use axum::body::Body;
use axum::body::to_bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::header;
use std::pin::Pin;
use tokio::runtime::Handle;
use tower::ServiceExt;

/// A control plane in this process: the router of the token endpoint and the related paths.
pub struct InProcessControlPlane {
    router: Router,
    ownership: Ownership,
    background: Handle,
}

/// The maximum size of a response body. A response contains one token, the claims of one token, or a small document.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;

impl InProcessControlPlane {
    /// Returns a control plane that runs `router` on the threads of `background`, while this process has the store.
    pub const fn new(router: Router, ownership: Ownership, background: Handle) -> Self {
        Self {
            router,
            ownership,
            background,
        }
    }
}

/// The fields of a response that are about the router's connection or its framing.
const CONNECTION_FIELDS: [HeaderName; 4] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl ControlPlane for InProcessControlPlane {
    fn answer(
        &self,
        request: ControlRequest,
    ) -> Pin<Box<dyn Future<Output = Result<ControlResponse, ControlError>> + Send>> {
        // Spawn a task, which continues when the client disconnects: a change is never left half done.
        let task = self
            .background
            .spawn(call(self.router.clone(), self.ownership.clone(), request));
        Box::pin(async move {
            match task.await {
                Ok(response) => response,
                Err(error) if error.is_panic() => Err(ControlError::Panicked),
                // The runtime is shutting down.
                Err(_) => Err(ControlError::Unavailable),
            }
        })
    }
}

async fn call(router: Router, ownership: Ownership, request: ControlRequest) -> Result<ControlResponse, ControlError> {
    let mut http_request = Request::new(Body::from(request.body));
    *http_request.method_mut() = request.method;
    *http_request.uri_mut() = request.uri;
    *http_request.headers_mut() = request.headers;
    let context = CallContext {
        client: request.client,
        request_id: request.request_id,
    };
    let response = match &*ownership.current().await {
        StoreOwner::This => {
            http_request.extensions_mut().insert(context);
            let Ok(response) = router.oneshot(http_request).await;
            response
        }
        StoreOwner::Successor(socket) => relay::send(socket, http_request, &context).await?,
    };
    let (head, body) = response.into_parts();
    let outcome = head.extensions.get::<Outcome>().cloned().unwrap_or_default();
    let body = to_bytes(body, RESPONSE_BYTES_MAX)
        .await
        .map_err(|_| ControlError::Unavailable)?;
    // Drop the connection fields (RFC 9110 section 7.6.1): the lane of the downstream connection writes its own.
    let fields = head
        .headers
        .iter()
        .filter(|(name, _)| !CONNECTION_FIELDS.contains(name));
    let mut headers: Vec<_> = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
    headers.push((header::CONTENT_LENGTH, HeaderValue::from(body.len())));
    Ok(ControlResponse {
        answer: Answer {
            status: head.status,
            headers,
            body,
            close: false,
        },
        reason: outcome.reason,
        client_id: outcome.client_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client_address::ClientAddress;
    use axum::Extension;
    use axum::routing::post;
    use bytes::Bytes;
    use http::HeaderMap;
    use http::Method;
    use http::StatusCode;

    fn request(path: &str) -> ControlRequest {
        ControlRequest {
            method: Method::POST,
            uri: path.parse().unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"body"),
            client: ClientAddress::Known([192, 0, 2, 1].into()),
            request_id: "r1".to_owned(),
        }
    }

    fn router() -> Router {
        let echo = async |Extension(caller): Extension<CallContext>, body: Bytes| {
            let outcome = Outcome {
                reason: Some("invalid_client"),
                client_id: Some("client_1".to_owned()),
            };
            let ip = caller.client.known().unwrap();
            let text = format!("{ip} {} {}", caller.request_id, body.len());
            (StatusCode::CREATED, Extension(outcome), text)
        };
        Router::new()
            .route("/echo", post(echo))
            .route("/panic", post(async || -> &'static str { panic!("on purpose") }))
    }

    #[test]
    fn the_response_of_the_router_is_the_answer() {
        let background = tokio::runtime::Runtime::new().unwrap();
        let plane = InProcessControlPlane::new(router(), Ownership::default(), background.handle().clone());
        let response = background.block_on(plane.answer(request("/echo"))).unwrap();
        assert_eq!(response.answer.status, StatusCode::CREATED);
        assert_eq!(response.answer.body, "192.0.2.1 r1 4");
        assert_eq!(response.reason, Some("invalid_client"));
        assert_eq!(response.client_id.as_deref(), Some("client_1"));
    }

    #[test]
    fn a_panic_and_a_stopping_process_have_their_own_errors() {
        let background = tokio::runtime::Runtime::new().unwrap();
        let plane = InProcessControlPlane::new(router(), Ownership::default(), background.handle().clone());
        let panicked = background.block_on(plane.answer(request("/panic")));
        assert_eq!(panicked.err(), Some(ControlError::Panicked));
        background.shutdown_background();
        let here = tokio::runtime::Runtime::new().unwrap();
        let gone = here.block_on(plane.answer(request("/echo")));
        assert_eq!(gone.err(), Some(ControlError::Unavailable));
    }
}
