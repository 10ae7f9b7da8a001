//! The admin API under `/admin/v1/`: access control, operations and responses.

mod time;
mod number_pattern;
mod formats;
pub mod access;
pub mod response;
pub mod problems;
pub mod body;
pub mod idempotency;
pub mod query;
mod change;
mod read;
mod resource;
mod standing;
mod revocation;
pub mod issuer_health;
pub mod upstream_health;
mod state;
mod admit;
mod conditional;
pub mod openapi;
mod docs;
pub mod issuers;
pub mod upstreams;
pub mod organizations;
pub mod plans;
pub mod subscriptions;
pub mod api_keys;
mod verify;
mod jwks_health;
pub mod clients;
pub mod client_keys;
pub mod client_jwks;
pub mod signing_keys;
pub mod audit;
pub mod backup;

pub use state::AdminDependencies;

use crate::control::admin::access::AccessTokenVerifier;
use crate::control::admin::access::ControlTokenVerifier;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::problem;
use crate::control::admin::state::Api;
use crate::control::registry::Actor;
use crate::control::registry::Registry;
use crate::model::api_key::system_random;
use axum::Router;
use axum::extract::FromRequestParts;
use axum::middleware;
use http::StatusCode;
use http::request::Parts as RequestParts;
use std::sync::Arc;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Returns the router of the API. Every request must have an [`access::Peer`] among its extensions.
pub fn router(parts: AdminDependencies) -> Router {
    let (router, description) = operations();
    let tokens = parts
        .control
        .clone()
        .map(|control| Arc::new(ControlTokenVerifier(control)) as Arc<dyn AccessTokenVerifier>);
    let api = Arc::new(Api {
        parts,
        tokens,
        description: response::json_line(&description),
    });
    router
        .merge(docs::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(conditional::not_modified))
        // The outermost layer, so that unknown paths are protected too.
        .layer(middleware::from_fn_with_state(api.clone(), admit::admit))
        .with_state(api)
}

/// Returns the routes of all operations, and the description of the API. Both come
/// from the same list, so no operation lacks its description.
fn operations() -> (Router<Arc<Api>>, OpenApi) {
    let (router, description) = OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(openapi::show))
        .routes(routes!(organizations::list, organizations::create))
        .routes(routes!(
            organizations::show,
            organizations::change,
            organizations::delete
        ))
        .routes(routes!(plans::list))
        .routes(routes!(subscriptions::list, subscriptions::create))
        .routes(routes!(subscriptions::show))
        .routes(routes!(subscriptions::approve))
        .routes(routes!(subscriptions::fail))
        .routes(routes!(subscriptions::payment))
        .routes(routes!(subscriptions::plan))
        .routes(routes!(subscriptions::cancel))
        .routes(routes!(api_keys::list, api_keys::create))
        .routes(routes!(api_keys::import))
        .routes(routes!(verify::verify))
        .routes(routes!(api_keys::show, api_keys::change))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(api_keys::regenerate))
        .routes(routes!(clients::list, clients::create))
        .routes(routes!(clients::show, clients::change, clients::delete))
        .routes(routes!(clients::rotate_secret))
        .routes(routes!(clients::regenerate))
        .routes(routes!(clients::revoke_tokens))
        .routes(routes!(client_keys::list, client_keys::add))
        .routes(routes!(client_keys::remove))
        .routes(routes!(client_jwks::validate))
        .routes(routes!(signing_keys::list))
        .routes(routes!(signing_keys::rotate))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(backup::make))
        .routes(routes!(issuers::list))
        .routes(routes!(issuers::show))
        .routes(routes!(issuers::refresh))
        .routes(routes!(upstreams::list))
        .routes(routes!(upstreams::show))
        .routes(routes!(upstreams::drain))
        .routes(routes!(upstreams::undrain))
        .split_for_parts();
    (router, openapi::complete(description))
}

/// Returns the description of the API (OpenAPI 3.1), as JSON.
#[cfg(any(test, feature = "internals"))]
pub fn description() -> String {
    let (_, description) = operations();
    String::from_utf8(response::json_line(&description)).expect("JSON is UTF-8")
}

async fn not_found() -> AdminResponse {
    let detail = "there is no such path in the admin API; GET /admin/v1/openapi.json has all there are, and /admin/v1/docs shows them";
    problem(StatusCode::NOT_FOUND, "not-found", detail)
}

async fn method_not_allowed() -> AdminResponse {
    let detail = "this path does not take this method; `Allow` names those it takes";
    problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

/// The operations of the request's actor, at the current time.
impl FromRequestParts<Arc<Api>> for Registry {
    type Rejection = AdminResponse;

    async fn from_request_parts(parts: &mut RequestParts, api: &Arc<Api>) -> Result<Self, AdminResponse> {
        let Some(control) = &api.parts.control else {
            let detail = "this gate keeps no records: set `store` in the configuration (`store: { path: keygate.db }`)";
            return Err(problem(StatusCode::NOT_FOUND, "no-store", detail));
        };
        let actor = parts.extensions.get::<Actor>().cloned();
        // `admit` sets the actor before every handler; without an actor the request is refused.
        let actor = actor.ok_or_else(|| problem(StatusCode::FORBIDDEN, "no-actor", "nobody was let in"))?;
        Ok(
            Self::new(control.clone(), actor, api.parts.clock.now().wall, system_random)
                .with_client_jwks(api.parts.client_jwks.clone()),
        )
    }
}

#[cfg(test)]
mod tests;
