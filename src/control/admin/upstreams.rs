//! Which endpoints are in service, and which shall be? The state of the data side, as plain values.

pub use crate::control::admin::upstream_health::DrainOutcome;
pub use crate::control::admin::upstream_health::EndpointHealth;
pub use crate::control::admin::upstream_health::EndpointStateView;
pub use crate::control::admin::upstream_health::NameHealth;
pub use crate::control::admin::upstream_health::NoUpstreams;
pub use crate::control::admin::upstream_health::UpstreamHealth;
pub use crate::control::admin::upstream_health::Upstreams;

use crate::control::admin::body::Body;
use crate::control::admin::formats;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::response::problem;
use crate::control::admin::state::Api;
use crate::control::admin::time::Time;
use crate::control::registry::Actor;
use crate::control::registry::Registry;
use crate::model::names::Name;
use crate::observe::log::ErrorChain;
use axum::Extension;
use axum::extract::Path;
use axum::extract::State as Served;
use http::StatusCode;
use serde::Deserialize;
use serde::Serialize;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// The upstreams of the configuration in force.
#[derive(Serialize, ToSchema)]
#[schema(as = UpstreamList)]
pub(super) struct List {
    upstreams: Vec<UpstreamHealth>,
    at: Time,
}

/// The upstream in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct UpstreamPath {
    /// The upstream's name in the configuration
    #[param(inline, value_type = formats::UpstreamName, example = "orders")]
    name: String,
}

impl UpstreamPath {
    fn name(&self) -> Result<Name, AdminResponse> {
        self.name.parse().map_err(|_| unknown_upstream())
    }
}

/// The endpoint that gets no more requests, or gets them again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndpointChange)]
pub(super) struct EndpointChange {
    /// As in the list of endpoints.
    #[schema(value_type = formats::EndpointAddress)]
    endpoint: String,
}

/// Every upstream and its endpoints
///
/// What the configuration in force names, sorted by name. For operators.
#[utoipa::path(get, path = "/admin/v1/upstreams", tag = "upstreams", operation_id = "listUpstreams",
    responses((status = 200, description = "The upstreams", body = List)))]
pub(super) async fn list(Served(api): Served<Arc<Api>>, Extension(actor): Extension<Actor>) -> HandlerResult {
    // Addresses in the network behind the gate are for operators only.
    actor.operators_only()?;
    Ok(AdminResponse::json(&List {
        upstreams: api.parts.upstreams.all(),
        at: Time(api.parts.clock.now().wall),
    }))
}

/// One upstream and its endpoints
///
/// For operators.
#[utoipa::path(get, path = "/admin/v1/upstreams/{name}", tag = "upstreams", operation_id = "showUpstream",
    params(UpstreamPath), responses((status = 200, description = "The upstream", body = UpstreamHealth)))]
pub(super) async fn show(
    Served(api): Served<Arc<Api>>,
    Extension(actor): Extension<Actor>,
    Path(upstream): Path<UpstreamPath>,
) -> HandlerResult {
    actor.operators_only()?;
    let name = upstream.name()?;
    let health = api.parts.upstreams.one(&name).ok_or_else(unknown_upstream)?;
    Ok(AdminResponse::json(&health))
}

/// Send an endpoint no more requests
///
/// Those that it has go on. It stays so over reloads, until `undrain` or a restart of the gate. For operators.
#[utoipa::path(post, path = "/admin/v1/upstreams/{name}/drain", tag = "upstreams", operation_id = "drainEndpoint",
    params(UpstreamPath), request_body = EndpointChange,
    responses((status = 200, description = "The endpoint gets no more requests", body = UpstreamHealth)))]
pub(super) async fn drain(
    Served(api): Served<Arc<Api>>,
    Extension(actor): Extension<Actor>,
    Path(upstream): Path<UpstreamPath>,
    registry: Result<Registry, AdminResponse>,
    Body { body, .. }: Body<EndpointChange>,
) -> HandlerResult {
    actor.operators_only()?;
    change(&api, &upstream, registry.ok(), &body.endpoint, true).await
}

/// Send a drained endpoint requests again
///
/// Slowly at first. For operators.
#[utoipa::path(post, path = "/admin/v1/upstreams/{name}/undrain", tag = "upstreams", operation_id = "undrainEndpoint",
    params(UpstreamPath), request_body = EndpointChange,
    responses((status = 200, description = "The endpoint gets requests again", body = UpstreamHealth)))]
pub(super) async fn undrain(
    Served(api): Served<Arc<Api>>,
    Extension(actor): Extension<Actor>,
    Path(upstream): Path<UpstreamPath>,
    registry: Result<Registry, AdminResponse>,
    Body { body, .. }: Body<EndpointChange>,
) -> HandlerResult {
    actor.operators_only()?;
    change(&api, &upstream, registry.ok(), &body.endpoint, false).await
}

async fn change(
    api: &Api,
    upstream: &UpstreamPath,
    registry: Option<Registry>,
    endpoint: &str,
    is_drained: bool,
) -> HandlerResult {
    let name = upstream.name()?;
    match api.parts.upstreams.drain(&name, endpoint, is_drained) {
        DrainOutcome::UnknownUpstream => Err(unknown_upstream()),
        DrainOutcome::UnknownEndpoint => {
            let detail = "the upstream has no such endpoint; `endpoints` of the upstream are their addresses";
            Err(problem(StatusCode::NOT_FOUND, "unknown-endpoint", detail))
        }
        DrainOutcome::Done { upstream, has_changed } => {
            if has_changed && let Some(registry) = registry {
                // The store keeps no gate from leaving an endpoint alone.
                if let Err(error) = registry.record_drain(&name, endpoint, is_drained).await {
                    tracing::error!(error = %ErrorChain(&error), upstream = %name, endpoint, is_drained, "Audit event lost");
                }
            }
            Ok(AdminResponse::json(&upstream))
        }
    }
}

fn unknown_upstream() -> AdminResponse {
    let detail = "the configuration in force names no such upstream";
    problem(StatusCode::NOT_FOUND, "unknown-upstream", detail)
}
