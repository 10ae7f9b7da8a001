//! Subscriptions over HTTP.

use crate::control::admin::body::Body;
use crate::control::admin::change::Change;
use crate::control::admin::formats;
use crate::control::admin::idempotency::Idempotency;
use crate::control::admin::query;
use crate::control::admin::query::Parameters;
use crate::control::admin::read;
use crate::control::admin::resource::Resource;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::response::environment_word;
use crate::control::admin::revocation::PendingRevocation;
use crate::control::admin::standing;
use crate::control::admin::time::Time;
use crate::control::registry::Condition;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::ValidationErrors;
use crate::control::registry::subscriptions::OperatorChange;
use crate::control::registry::subscriptions::SubscriptionSpec;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::plan::CredentialKind;
use crate::model::subscription::SubscriptionState;
use crate::store::Filter;
use crate::store::Revision;
use crate::store::record::SubscriptionRecord;
use axum::extract::Path;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// A subscription.
#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
pub(super) struct View {
    #[schema(example = "sub_5K1jVnT0hBq2sXc9RzWe4a")]
    id: String,
    #[schema(example = "acme")]
    organization: String,
    #[schema(example = "gold")]
    plan: String,
    /// `live` (credentials of both environments) or `sandbox` (sandbox credentials only).
    #[schema(example = "live")]
    environment: &'static str,
    /// `pending`, `active`, `provisioning_failed` or `cancelled`.
    #[schema(example = "active")]
    state: &'static str,
    /// What the plan costs was paid; of no meaning where it costs nothing.
    paid: bool,
    /// What its plan gives: `api_key`, `client_secret`, `private_key_jwt`; empty where the plan is gone.
    #[schema(example = json!(["client_secret"]))]
    credentials: Vec<&'static str>,
    /// Whether live credentials can be made and used under it now.
    live: standing::View,
    /// Whether sandbox credentials can be made and used under it now.
    sandbox: standing::View,
    created_at: Time,
    changed_at: Time,
}

impl Resource for SubscriptionRecord {
    type View = View;

    fn view(&self, registry: &Registry) -> View {
        let kinds = registry.credential_kinds(self).into_iter();
        let standing = |environment| standing::View::of(registry.check_environment(self, environment));
        View {
            id: self.id.to_string(),
            organization: self.organization.to_string(),
            plan: self.plan.to_string(),
            environment: environment_word(self.environment),
            state: self.state.as_str(),
            paid: self.paid,
            credentials: kinds.map(CredentialKind::as_str).collect(),
            live: standing(ApiKeyEnvironment::Live),
            sandbox: standing(ApiKeyEnvironment::Test),
            created_at: Time(self.created_at),
            changed_at: Time(self.changed_at),
        }
    }
}

/// A part of the list of subscriptions.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionList)]
pub(super) struct List {
    items: Vec<View>,
    /// The `after` of the next page; `null` on the last.
    next: Option<String>,
}

/// What a subscription is made with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSubscription)]
pub(super) struct NewSubscription {
    /// Whose it is: the caller's own when absent, and `default` for operators.
    #[schema(value_type = Option<formats::OrganizationId>, required = false)]
    organization: Option<String>,
    /// A plan of the configuration.
    #[schema(value_type = formats::PlanName)]
    plan: String,
    /// `live` (when absent) or `sandbox`.
    #[schema(value_type = Option<formats::Environment>, required = false)]
    environment: Option<String>,
}

/// Whether a subscription is paid for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionPayment)]
pub(super) struct Payment {
    paid: bool,
}

/// The plan that a subscription is to be under.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionPlan)]
pub(super) struct PlanChange {
    /// A plan of the configuration.
    #[schema(value_type = formats::PlanName)]
    plan: String,
}

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SubscriptionQuery {
    /// Of this organization alone.
    #[param(inline, value_type = formats::OrganizationId, required = false)]
    organization: Option<String>,
    /// In this `state` alone, such as those that wait: `pending`.
    #[param(inline, value_type = formats::SubscriptionState, required = false)]
    state: Option<String>,
    /// At most so many items.
    #[param(minimum = 1, maximum = 200, default = 50, required = false)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(inline, value_type = formats::SubscriptionId, required = false)]
    after: Option<String>,
}

/// The subscription in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SubscriptionPath {
    /// The subscription's id
    #[param(inline, value_type = formats::SubscriptionId, example = "sub_5K1jVnT0hBq2sXc9RzWe4a")]
    id: String,
}

impl SubscriptionPath {
    fn id(&self) -> Result<SubscriptionId, RegistryError> {
        self.id.parse().map_err(|_| RegistryError::NotFound("subscription"))
    }
}

/// Every subscription
#[utoipa::path(get, path = "/admin/v1/subscriptions", tag = "subscriptions", operation_id = "listSubscriptions",
    params(SubscriptionQuery), responses((status = 200, description = "A part of the list", body = List)))]
pub(super) async fn list(registry: Registry, Parameters(query): Parameters<SubscriptionQuery>) -> HandlerResult {
    let page = query::page::<SubscriptionId>(query.limit, query.after)?;
    let filter = Filter {
        organization: query::parsed("organization", query.organization.as_deref())?,
        subscription: None,
    };
    let state = query::state(query.state, &SubscriptionState::ALL.map(SubscriptionState::as_str))?;
    let condition = |found: &SubscriptionRecord| state.as_deref() == Some(found.state.as_str());
    let condition: Option<Condition<'_, _>> = state.is_some().then_some(&condition);
    let found = registry.subscriptions(filter, &page, condition).await?;
    Ok(AdminResponse::record_page(&registry, found, &page))
}

/// One subscription
#[utoipa::path(get, path = "/admin/v1/subscriptions/{id}", tag = "subscriptions", operation_id = "showSubscription",
    params(("id" = inline(formats::SubscriptionId), Path, description = "The subscription's id", example = "sub_default")),
    responses((status = 200, description = "The subscription", body = View)))]
pub(super) async fn show(registry: Registry, Path(subscription): Path<SubscriptionPath>) -> HandlerResult {
    let found = registry.subscription(&subscription.id()?).await?;
    Ok(AdminResponse::record(&registry, &found))
}

/// Ask for a subscription
///
/// Active at once where its plan approves by itself, pending otherwise.
#[utoipa::path(post, path = "/admin/v1/subscriptions", tag = "subscriptions", operation_id = "createSubscription",
    params(Idempotency),
    request_body = NewSubscription, responses((status = 201, description = "It is made", body = View)))]
pub(super) async fn create(registry: Registry, Body { body, idempotency }: Body<NewSubscription>) -> HandlerResult {
    let spec = ValidationErrors::collect(|errors| {
        let organization = read::parsed("/organization", body.organization.as_deref(), errors);
        let plan = errors.take("/plan", body.plan.parse::<Name>());
        let environment = body.environment.as_deref().unwrap_or("live");
        let environment = read::environment(Some(environment), errors);
        Some(SubscriptionSpec {
            organization,
            plan: plan?,
            environment: environment?,
        })
    })?;
    let stored_response = idempotency.stored_response(&registry);
    let make = registry.create_subscription(spec, &stored_response);
    idempotency
        .run_once(&registry, make, |new| AdminResponse::created_record(&registry, &new))
        .await
}

async fn apply_move(
    registry: &Registry,
    id: &SubscriptionId,
    to: &OperatorChange,
    expected: Option<Revision>,
) -> HandlerResult {
    let moved = registry.apply_change(id, to, expected).await?;
    Ok(AdminResponse::record(registry, &moved))
}

/// Approve a subscription
///
/// It counts from now on: it was looked at, or what failed was mended. For operators.
#[utoipa::path(post, path = "/admin/v1/subscriptions/{id}/approve", tag = "subscriptions", operation_id = "approveSubscription",
    params(SubscriptionPath), responses((status = 200, description = "It is active", body = View)))]
pub(super) async fn approve(Change(registry, subscription, expected, _): Change<SubscriptionPath>) -> HandlerResult {
    apply_move(&registry, &subscription.id()?, &OperatorChange::Approve, expected).await
}

/// Say that a subscription could not be set up
///
/// Until it is approved again. An active one is refused: cancel it. For operators.
#[utoipa::path(post, path = "/admin/v1/subscriptions/{id}/fail", tag = "subscriptions", operation_id = "failSubscription",
    params(SubscriptionPath),
    responses((status = 200, description = "Its state is `provisioning_failed`", body = View)))]
pub(super) async fn fail(Change(registry, subscription, expected, _): Change<SubscriptionPath>) -> HandlerResult {
    apply_move(&registry, &subscription.id()?, &OperatorChange::Fail, expected).await
}

/// Say whether a subscription is paid for
///
/// Where its plan costs something, live credentials count only while it is. For operators.
#[utoipa::path(post, path = "/admin/v1/subscriptions/{id}/payment", tag = "subscriptions", operation_id = "paySubscription",
    params(SubscriptionPath),
    request_body = Payment, responses((status = 200, description = "It is noted", body = View)))]
pub(super) async fn payment(
    Change(registry, subscription, expected, Body { body, .. }): Change<SubscriptionPath, Body<Payment>>,
) -> HandlerResult {
    let to = OperatorChange::Pay { paid: body.paid };
    apply_move(&registry, &subscription.id()?, &to, expected).await
}

/// Put a subscription under another plan
///
/// It is pending again where that plan wants to be approved, and not paid for. For operators.
#[utoipa::path(post, path = "/admin/v1/subscriptions/{id}/plan", tag = "subscriptions", operation_id = "changeSubscriptionPlan",
    params(SubscriptionPath),
    request_body = PlanChange, responses((status = 200, description = "It is under that plan", body = View)))]
pub(super) async fn plan(
    Change(registry, subscription, expected, Body { body, .. }): Change<SubscriptionPath, Body<PlanChange>>,
) -> HandlerResult {
    let id = subscription.id()?;
    let plan = ValidationErrors::collect(|errors| errors.take("/plan", body.plan.parse()))?;
    apply_move(&registry, &id, &OperatorChange::ChangePlan { plan }, expected).await
}

/// Cancel a subscription
///
/// For good. Every key of it is revoked and every token of its clients ends, at the same instant.
#[utoipa::path(post, path = "/admin/v1/subscriptions/{id}/cancel", tag = "subscriptions", operation_id = "cancelSubscription",
    params(SubscriptionPath), responses((status = 200, description = "It is cancelled", body = View),
        (status = 202, description = "In force on this gate; its store cannot be written now", body = PendingRevocation)))]
pub(super) async fn cancel(Change(registry, subscription, expected, _): Change<SubscriptionPath>) -> HandlerResult {
    let cancelled = registry.cancel_subscription(&subscription.id()?, expected).await?;
    Ok(AdminResponse::revocation(&registry, cancelled))
}
