//! Can the key set at a client's URL be fetched now, and which keys does it contain?

use crate::control::admin::body::NoBody;
use crate::control::admin::clients::ClientPath;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::response::problem;
use crate::control::admin::state::Api;
use crate::control::admin::time::Time;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::token::client_jwks::JwksHealth;
use crate::control::token::client_jwks::JwksState;
use crate::store::record::ClientError;
use crate::store::record::client::ClientAuthentication;
use axum::extract::Path;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// How the keys behind a client's URL are; never key material.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientJwksHealth)]
pub(super) struct View {
    /// `ok`, `failing` (the last good set serves, if there was one), or `never_fetched`.
    #[schema(example = "ok")]
    state: &'static str,
    last_good_at: Option<Time>,
    last_attempt_at: Option<Time>,
    /// Of the last attempt; `null` once one has succeeded since.
    #[schema(example = json!(null))]
    last_error: Option<String>,
    /// Of the last good set.
    keys: Vec<Key>,
}

/// A key of the set.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientJwksKey)]
struct Key {
    #[schema(example = "2027-01")]
    kid: Option<String>,
    /// Of those that assertions may be signed with.
    #[schema(example = json!(["RS256", "PS256"]))]
    algorithms: Vec<&'static str>,
}

impl View {
    fn of(health: JwksHealth) -> Self {
        Self {
            state: match health.state {
                JwksState::Ok => "ok",
                JwksState::Failing => "failing",
                JwksState::NeverFetched => "never_fetched",
            },
            last_good_at: health.last_good_at.map(Time),
            last_attempt_at: health.last_attempt_at.map(Time),
            last_error: health.last_error,
            keys: health
                .keys
                .into_iter()
                .map(|key| Key {
                    kid: key.kid,
                    algorithms: key.algorithms,
                })
                .collect(),
        }
    }
}

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
