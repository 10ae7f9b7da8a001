//! Is this request admitted? The check runs before every handler, and before the 404 for unknown paths.

use crate::control::admin::access::Peer;
use crate::control::admin::response::problem;
use crate::control::admin::state::Api;
use axum::extract::Request;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use http::StatusCode;
use std::sync::Arc;

/// Passes an authorized request on with its [`crate::control::registry::Actor`], and refuses all others. A refused
/// caller does not learn which paths exist.
pub(super) async fn admit(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return problem(
            StatusCode::FORBIDDEN,
            "no-peer",
            "nobody knows where this request came from",
        )
        .into_response();
    };
    let now = api.parts.clock.now();
    let admitted = api
        .parts
        .access
        .admit(request.headers(), request.method(), peer, now, api.tokens.as_deref());
    match admitted {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(refusal) => refusal.response().into_response(),
    }
}
