//! Is this request admitted? The check runs before every handler, and before the 404 for unknown paths.

use crate::control::admin::access::Peer;
use crate::control::admin::access::RefusalReason;
use crate::control::admin::access::Right;
use crate::control::admin::docs;
use crate::control::admin::openapi;
use crate::control::admin::response::problem;
use crate::control::admin::state::Api;
use axum::extract::Request;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use http::Method;
use http::StatusCode;
use std::sync::Arc;

/// Passes a request for the description of the API or its page on, and an authorized request with its
/// [`crate::control::registry::Actor`], and refuses all others. A refused caller does not learn which paths exist. The
/// response has the actor or the [`RefusalReason`] among its extensions.
pub(super) async fn admit(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_description = path == openapi::PATH || docs::is_part_of_page(path);
    if matches!(*request.method(), Method::GET | Method::HEAD) && is_description {
        return next.run(request).await;
    }
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        let detail = "nobody knows where this request came from";
        let response = problem(StatusCode::FORBIDDEN, "no-peer", detail).into_response();
        return with(response, RefusalReason::NO_PEER);
    };
    let now = api.parts.clock.now();
    let right = Right::of(request.method(), request.uri().path());
    let admitted = api
        .parts
        .access
        .admit(request.headers(), right, peer, now, api.tokens.as_deref());
    match admitted {
        Ok(actor) => {
            request.extensions_mut().insert(actor.clone());
            with(next.run(request).await, actor)
        }
        Err(refusal) => with(refusal.response().into_response(), refusal.reason()),
    }
}

fn with<T: Clone + Send + Sync + 'static>(mut response: Response, extension: T) -> Response {
    response.extensions_mut().insert(extension);
    response
}
