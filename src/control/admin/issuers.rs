//! Which keys do the issuers have, and does a fetch bring newer keys? The state of the data side, as plain values.

pub use crate::control::admin::issuer_health::IssuerHealth;
pub use crate::control::admin::issuer_health::Issuers;
pub use crate::control::admin::issuer_health::Key;
pub use crate::control::admin::issuer_health::KeysFrom;
pub use crate::control::admin::issuer_health::NoIssuers;
pub use crate::control::admin::issuer_health::RefreshOutcome;
pub use crate::control::admin::issuer_health::SkippedKey;
pub use crate::control::admin::issuer_health::Source;
pub use crate::control::admin::issuer_health::State;
pub use crate::control::admin::time::Time;

use crate::control::admin::body::NoBody;
use crate::control::admin::formats;
use crate::control::admin::openapi::Problem;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::response::problem;
use crate::control::admin::response::problem_with;
use crate::control::admin::state::Api;
use crate::control::registry::Actor;
use crate::model::names::Name;
use axum::Extension;
use axum::extract::Path;
use axum::extract::State as Served;
use http::StatusCode;
use serde::Deserialize;
use serde::Serialize;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// The issuers of the configuration in force.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuerList)]
pub(super) struct List {
    issuers: Vec<IssuerHealth>,
    at: Time,
}

/// What came of a fetch.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuerRefresh)]
pub(super) struct Outcome {
    outcome: &'static str,
    issuer: IssuerHealth,
}

/// The issuer in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct IssuerPath {
    /// The issuer's name in the configuration
    #[param(inline, value_type = formats::IssuerName, example = "sixtyfour")]
    name: String,
}

impl IssuerPath {
    fn name(&self) -> Result<Name, AdminResponse> {
        self.name.parse().map_err(|_| unknown_issuer())
    }
}

/// Every issuer and how its keys are
///
/// What the configuration in force names, sorted by name. For operators.
#[utoipa::path(get, path = "/admin/v1/issuers", tag = "issuers", operation_id = "listIssuers",
    responses((status = 200, description = "The issuers", body = List)))]
pub(super) async fn list(Served(api): Served<Arc<Api>>, Extension(actor): Extension<Actor>) -> HandlerResult {
    // The trusted servers and their errors are for operators only.
    actor.operators_only()?;
    Ok(AdminResponse::json(&List {
        issuers: api.parts.issuers.all(),
        at: Time(api.parts.clock.now().wall),
    }))
}

/// One issuer and how its keys are
///
/// For operators.
#[utoipa::path(get, path = "/admin/v1/issuers/{name}", tag = "issuers", operation_id = "showIssuer",
    params(IssuerPath), responses((status = 200, description = "The issuer", body = IssuerHealth)))]
pub(super) async fn show(
    Served(api): Served<Arc<Api>>,
    Extension(actor): Extension<Actor>,
    Path(issuer): Path<IssuerPath>,
) -> HandlerResult {
    actor.operators_only()?;
    let name = issuer.name()?;
    let health = api.parts.issuers.one(&name).ok_or_else(unknown_issuer)?;
    Ok(AdminResponse::json(&health))
}

/// Fetch an issuer's keys now
///
/// Whatever its cooldown says; or waits for the fetch that is under way. For operators.
#[utoipa::path(post, path = "/admin/v1/issuers/{name}/refresh", tag = "issuers", operation_id = "refreshIssuer",
    params(IssuerPath), responses(
        (status = 200, description = "The fetch succeeded", body = Outcome),
        (status = 502, description = "The fetch failed; what was good before still serves", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The fetch goes on", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn refresh(
    Served(api): Served<Arc<Api>>,
    Extension(actor): Extension<Actor>,
    Path(issuer): Path<IssuerPath>,
    _: NoBody,
) -> HandlerResult {
    actor.operators_only()?;
    let name = issuer.name()?;
    Ok(refresh_response(api.parts.issuers.refresh(&name).await))
}

fn refresh_response(outcome: RefreshOutcome) -> AdminResponse {
    match outcome {
        RefreshOutcome::Unknown => unknown_issuer(),
        RefreshOutcome::Good(issuer) => AdminResponse::json(&Outcome {
            outcome: "good",
            issuer,
        }),
        RefreshOutcome::NotFetched(issuer) => {
            let detail =
                "its keys are in files, which are read again by themselves (a JWK set) or with the configuration (PEM)";
            problem_with_health(
                StatusCode::CONFLICT,
                "issuer-not-fetched",
                detail,
                "not_fetched",
                &issuer,
            )
        }
        // The error of a gateway: the issuer failed, not this server (RFC 9110 section 15.6.3).
        RefreshOutcome::Failed(issuer) => {
            let detail = match &issuer.last_error {
                Some(error) => format!("the fetch failed: {error}"),
                None => "the fetch failed".to_owned(),
            };
            problem_with_health(
                StatusCode::BAD_GATEWAY,
                "issuer-fetch-failed",
                &detail,
                "failed",
                &issuer,
            )
        }
        RefreshOutcome::Unfinished(issuer) => {
            let detail = "the fetch goes on; ask for the issuer again in a while";
            let status = StatusCode::GATEWAY_TIMEOUT;
            problem_with_health(status, "issuer-fetch-unfinished", detail, "unfinished", &issuer)
        }
    }
}

fn unknown_issuer() -> AdminResponse {
    let detail = "the configuration in force names no such issuer";
    problem(StatusCode::NOT_FOUND, "unknown-issuer", detail)
}

/// Returns a problem that contains the issuer's health.
fn problem_with_health(
    status: StatusCode,
    slug: &str,
    detail: &str,
    outcome: &str,
    issuer: &IssuerHealth,
) -> AdminResponse {
    let health = serde_json::to_value(issuer).expect("names, numbers and texts are JSON");
    problem_with(status, slug, detail, &[("outcome", outcome.into()), ("issuer", health)])
}
