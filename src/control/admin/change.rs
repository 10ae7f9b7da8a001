//! Which parts does a request have that changes one record? A path, the expected revision, and a body.

use crate::control::admin::body::NoBody;
use crate::control::admin::query::IfMatch;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::state::Api;
use crate::control::registry::Registry;
use crate::store::Revision;
use axum::extract::FromRequest;
use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A request that changes the record at a path: the operations, the path, the revision of `If-Match`, and the body as
/// [`super::body::Body`] or [`super::body::OptionalBody`].
pub(super) struct Change<P, M = NoBody>(pub Registry, pub P, pub Option<Revision>, pub M);

impl<P, M> FromRequest<Arc<Api>> for Change<P, M>
where
    P: DeserializeOwned + Send,
    M: FromRequest<Arc<Api>, Rejection = AdminResponse>,
{
    type Rejection = Response;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let into_response = |response: AdminResponse| response.into_response();
        let registry = Registry::from_request_parts(&mut parts, api)
            .await
            .map_err(into_response)?;
        let path = Path::from_request_parts(&mut parts, api).await;
        let Path(path) = path.map_err(IntoResponse::into_response)?;
        let expected = IfMatch::from_request_parts(&mut parts, api).await;
        let IfMatch(expected) = expected.map_err(into_response)?;
        let body = M::from_request(Request::from_parts(parts, body), api).await;
        Ok(Self(registry, path, expected, body.map_err(into_response)?))
    }
}
