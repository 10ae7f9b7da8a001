//! Plans over HTTP: as the configuration has them.

use crate::control::admin::response::AdminResponse;
use crate::control::registry::Registry;
use crate::model::algorithm::ASSERTION_ALGORITHMS;
use crate::model::algorithm::Algorithm;
use crate::model::plan::Approval;
use crate::model::plan::ClientKeyPlace;
use crate::model::plan::CredentialKind;
use crate::model::plan::Payment;
use crate::model::plan::Plan;
use crate::model::scope::Scope;
use serde::Serialize;
use utoipa::ToSchema;

/// A plan.
#[derive(Serialize, ToSchema)]
#[schema(as = Plan)]
pub(super) struct View {
    #[schema(example = "gold")]
    name: String,
    /// What its credentials are made of: `api_key`, `client_secret`, `private_key_jwt`.
    #[schema(example = json!(["api_key"]))]
    credentials: Vec<&'static str>,
    /// The widest scopes of its credentials; `null`: any.
    #[schema(example = json!(["orders:read"]))]
    scopes: Option<Vec<String>>,
    /// Limits of the configuration that its credentials spend.
    #[schema(example = json!(["per-key"]))]
    limits: Vec<String>,
    /// `required`: live credentials wait until the subscription is paid for. Or `none`.
    #[schema(example = "none")]
    payment: &'static str,
    /// `false`: sandbox credentials only.
    released: bool,
    /// `manual`: subscriptions wait until an operator approves them. Or `automatic`.
    #[schema(example = "manual")]
    approval: &'static str,
    /// API keys that a subscription may have at a time; `null`: as many as it likes.
    #[schema(example = 2)]
    keys_max: Option<u32>,
    /// What assertions may be signed with.
    #[schema(example = json!(["RS256", "ES256", "PS256"]))]
    algorithms: Vec<&'static str>,
    /// `required`: clients with `private_key_jwt` have their keys behind a JWKS URL. Or `optional`.
    #[schema(example = "optional")]
    jwks_url: &'static str,
}

impl View {
    fn of(plan: &Plan) -> Self {
        let scopes = plan.scopes.as_ref();
        Self {
            name: plan.name.to_string(),
            credentials: CredentialKind::ALL
                .into_iter()
                .filter(|kind| plan.credentials.contains(*kind))
                .map(CredentialKind::as_str)
                .collect(),
            scopes: scopes.map(|scopes| scopes.iter().map(Scope::to_string).collect()),
            limits: plan.limits.iter().map(ToString::to_string).collect(),
            payment: match plan.payment {
                Payment::None => "none",
                Payment::Required => "required",
            },
            released: plan.released,
            approval: match plan.approval {
                Approval::Automatic => "automatic",
                Approval::Manual => "manual",
            },
            keys_max: plan.keys_max,
            algorithms: ASSERTION_ALGORITHMS
                .into_iter()
                .filter(|algorithm| plan.allows_assertions(*algorithm))
                .map(Algorithm::as_str)
                .collect(),
            jwks_url: match plan.client_keys {
                ClientKeyPlace::Any => "optional",
                ClientKeyPlace::JwksUrl => "required",
            },
        }
    }
}

/// Every plan.
#[derive(Serialize, ToSchema)]
#[schema(as = PlanList)]
pub(super) struct List {
    items: Vec<View>,
    /// Always `null`: they are all here.
    next: Option<String>,
}

/// Every plan of the configuration in force
#[utoipa::path(get, path = "/admin/v1/plans", tag = "plans", operation_id = "listPlans",
    responses((status = 200, description = "The plans, sorted by name", body = List)))]
pub(super) async fn list(registry: Registry) -> AdminResponse {
    AdminResponse::json(&List {
        items: registry.plans().iter().map(View::of).collect(),
        next: None,
    })
}
