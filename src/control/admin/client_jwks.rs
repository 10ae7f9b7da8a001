//! Can the key set at a client's URL be fetched now, and which keys does it contain?

use crate::control::admin::body::NoBody;
use crate::control::admin::clients::ClientPath;
use crate::control::admin::jwks_health::View;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::response::problem;
use crate::control::admin::state::Api;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::store::record::ClientError;
use crate::store::record::client::ClientAuthentication;
use axum::extract::Path;
use axum::extract::State;
use http::StatusCode;
use std::sync::Arc;

/// Fetch the keys behind a client's URL now
///
/// Whatever the cooldown says, and tell how they are.
#[utoipa::path(post, path = "/admin/v1/clients/{id}/jwks/validate", tag = "clients", operation_id = "validateClientJwks",
    params(ClientPath),
    responses((status = 200, description = "How they are, also where the fetch failed", body = View)))]
pub(super) async fn validate(
    State(api): State<Arc<Api>>,
    registry: Registry,
    Path(client): Path<ClientPath>,
    _: NoBody,
) -> HandlerResult {
    let id = client.id()?;
    let client = registry.client(&id).await?;
    let ClientAuthentication::JwksUrl { url } = &client.record.authentication else {
        let error = ClientError::NoJwksUrl;
        return Err(RegistryError::state_conflict(error.as_str(), error).into());
    };
    let Some(client_jwks) = &api.parts.client_jwks else {
        let detail = "this gate fetches no keys of clients: set `token_endpoint` in the configuration, and start it";
        return Err(problem(StatusCode::NOT_FOUND, "no-token-endpoint", detail));
    };
    Ok(AdminResponse::json(&View::of(client_jwks.validate(&id, url).await)))
}
