//! Subscriptions over HTTP.

use crate::control::admin::answer::Answer;
use crate::control::admin::answer::Answered;
use crate::control::admin::body::Body;
use crate::control::admin::body::Create;
use crate::control::admin::body::Nothing;
use crate::control::admin::body::OptionalBody;
use crate::control::admin::idempotency::once;
use crate::control::admin::issuers::Time;
use crate::control::admin::query;
use crate::control::admin::query::Asking;
use crate::control::admin::query::IfMatch;
use crate::control::registry::Mistakes;
use crate::control::registry::Refused;
use crate::control::registry::Registry;
use crate::control::registry::subscriptions::NewSubscription;
use crate::control::registry::subscriptions::SubscriptionMove;
use crate::model::api_key::KeyEnvironment;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::store::Versioned;
use crate::store::record::SubscriptionRecord;
use axum::extract::Path;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// A subscription.
#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
pub(in crate::control::admin) struct View {
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
    created_at: Time,
    changed_at: Time,
}

impl View {
    fn of(record: &SubscriptionRecord) -> Self {
        Self {
            id: record.id.to_string(),
            organization: record.organization.to_string(),
            plan: record.plan.to_string(),
            environment: environment_word(record.environment),
            state: record.state.as_str(),
            paid: record.paid,
            created_at: Time(record.created_at),
            changed_at: Time(record.changed_at),
        }
    }
}

/// As developers say it; a key's text says `test`.
pub(in crate::control::admin) const fn environment_word(environment: KeyEnvironment) -> &'static str {
    match environment {
        KeyEnvironment::Live => "live",
        KeyEnvironment::Test => "sandbox",
    }
}

/// # Errors
/// Not one of the words; `test` is taken for `sandbox`.
pub(in crate::control::admin) fn environment(text: &str) -> Result<KeyEnvironment, &'static str> {
    match text {
        "live" => Ok(KeyEnvironment::Live),
        "sandbox" | "test" => Ok(KeyEnvironment::Test),
        _ => Err("must be `live` or `sandbox`"),
    }
}

/// A part of the list of subscriptions.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionList)]
pub(in crate::control::admin) struct List {
    items: Vec<View>,
    /// The `after` of the next page; `null` on the last.
    next: Option<String>,
}

/// What a subscription is made with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSubscription)]
pub(in crate::control::admin) struct New {
    /// Whose it is: the caller's own when absent, and `default` for operators.
    #[schema(example = "acme", required = false)]
    organization: Option<String>,
    /// A plan of the configuration.
    #[schema(example = "gold")]
    plan: String,
    /// `live` (when absent) or `sandbox`.
    #[schema(example = "live", required = false)]
    environment: Option<String>,
}

/// Whether a subscription is paid for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionPayment)]
pub(in crate::control::admin) struct Paying {
    paid: bool,
}

/// The plan that a subscription is to be under.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionPlan)]
pub(in crate::control::admin) struct Planning {
    /// A plan of the configuration.
    #[schema(example = "silver")]
    plan: String,
}

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct Listing {
    /// Of this organization alone.
    #[param(required = false)]
    organization: Option<String>,
    /// At most so many items.
    #[param(minimum = 1, maximum = 200, default = 50, required = false)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(required = false)]
    after: Option<String>,
}

fn id(text: &str) -> Result<SubscriptionId, Refused> {
    text.parse().map_err(|_| Refused::NotFound("subscription"))
}

fn told(found: &Versioned<SubscriptionRecord>) -> Answer {
    Answer::json(&View::of(&found.record)).at(found.revision)
}

/// Every subscription
#[utoipa::path(get, path = "/admin/v1/subscriptions", tag = "subscriptions", operation_id = "listSubscriptions",
    params(Listing), responses((status = 200, description = "A part of the list", body = List)))]
pub(in crate::control::admin) async fn list(registry: Registry, Asking(asked): Asking<Listing>) -> Answered {
    let page = query::page(asked.limit, asked.after)?;
    let organization = query::parsed("organization", asked.organization.as_deref())?;
    let found = registry.subscriptions(organization, &page).await?;
    Ok(query::listed(
        found,
        &page,
        |found| found.record.id.to_string(),
        |found| View::of(&found.record),
    ))
}

/// One subscription
#[utoipa::path(get, path = "/admin/v1/subscriptions/{id}", tag = "subscriptions", operation_id = "showSubscription",
    params(("id" = String, Path, description = "The subscription's id", example = "sub_default")),
    responses((status = 200, description = "The subscription", body = View)))]
pub(in crate::control::admin) async fn show(registry: Registry, Path(text): Path<String>) -> Answered {
    Ok(told(&registry.subscription(&id(&text)?).await?))
}

/// Ask for a subscription
///
/// Active at once where its plan approves by itself, pending otherwise.
#[utoipa::path(post, path = "/admin/v1/subscriptions", tag = "subscriptions", operation_id = "createSubscription",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes it once, however often it is sent: 1 to 255 visible ASCII characters")),
    request_body = New, responses((status = 201, description = "It is made", body = View)))]
pub(in crate::control::admin) async fn create(registry: Registry, Create { body, remember }: Create<New>) -> Answered {
    let mut mistakes = Mistakes::default();
    let organization = body
        .organization
        .map(|text| mistakes.take("/organization", text.parse::<Name>()));
    let plan = mistakes.take("/plan", body.plan.parse::<Name>());
    let environment = mistakes.take(
        "/environment",
        environment(body.environment.as_deref().unwrap_or("live")),
    );
    let (Some(plan), Some(environment)) = (plan, environment) else {
        return Err(Refused::from(mistakes).into());
    };
    mistakes.none()?;
    let asked = NewSubscription {
        organization: organization.flatten(),
        plan,
        environment,
    };
    let keep = |made: &Versioned<SubscriptionRecord>| {
        let remember = remember.as_ref()?;
        Some(remember.answer(&View::of(&made.record), registry.now()))
    };
    let make = registry.create_subscription(asked, &keep);
    once(&registry, remember.as_ref(), make, |made| {
        Answer::created(&View::of(&made.record)).at(made.revision)
    })
    .await
}

/// Approve a subscription
///
/// It counts from now on: it was looked at, or what failed was mended. For operators.
#[utoipa::path(post, path = "/admin/v1/subscriptions/{id}/approve", tag = "subscriptions", operation_id = "approveSubscription",
    params(("id" = String, Path, description = "The subscription's id", example = "sub_5K1jVnT0hBq2sXc9RzWe4a")),
    responses((status = 200, description = "It is active", body = View)))]
pub(in crate::control::admin) async fn approve(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    _: OptionalBody<Nothing>,
) -> Answered {
    let id = id(&text)?;
    let moved = registry
        .move_subscription(&id, &SubscriptionMove::Approve, expected)
        .await?;
    Ok(told(&moved))
}

/// Say that a subscription could not be set up
///
/// Its credentials stop counting until it is approved again. For operators.
#[utoipa::path(post, path = "/admin/v1/subscriptions/{id}/fail", tag = "subscriptions", operation_id = "failSubscription",
    params(("id" = String, Path, description = "The subscription's id", example = "sub_5K1jVnT0hBq2sXc9RzWe4a")),
    responses((status = 200, description = "Its state is `provisioning_failed`", body = View)))]
pub(in crate::control::admin) async fn fail(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    _: OptionalBody<Nothing>,
) -> Answered {
    let id = id(&text)?;
    let moved = registry
        .move_subscription(&id, &SubscriptionMove::Fail, expected)
        .await?;
    Ok(told(&moved))
}

/// Say whether a subscription is paid for
///
/// Where its plan costs something, live credentials count only while it is. For operators.
#[utoipa::path(post, path = "/admin/v1/subscriptions/{id}/payment", tag = "subscriptions", operation_id = "paySubscription",
    params(("id" = String, Path, description = "The subscription's id", example = "sub_5K1jVnT0hBq2sXc9RzWe4a")),
    request_body = Paying, responses((status = 200, description = "It is noted", body = View)))]
pub(in crate::control::admin) async fn payment(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    Body(body): Body<Paying>,
) -> Answered {
    let to = SubscriptionMove::Pay { paid: body.paid };
    Ok(told(&registry.move_subscription(&id(&text)?, &to, expected).await?))
}

/// Put a subscription under another plan
///
/// It is pending again where that plan wants to be approved, and not paid for. For operators.
#[utoipa::path(post, path = "/admin/v1/subscriptions/{id}/plan", tag = "subscriptions", operation_id = "changeSubscriptionPlan",
    params(("id" = String, Path, description = "The subscription's id", example = "sub_5K1jVnT0hBq2sXc9RzWe4a")),
    request_body = Planning, responses((status = 200, description = "It is under that plan", body = View)))]
pub(in crate::control::admin) async fn plan(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    Body(body): Body<Planning>,
) -> Answered {
    let id = id(&text)?;
    let mut mistakes = Mistakes::default();
    let Some(plan) = mistakes.take("/plan", body.plan.parse::<Name>()) else {
        return Err(Refused::from(mistakes).into());
    };
    let to = SubscriptionMove::ChangePlan { plan };
    Ok(told(&registry.move_subscription(&id, &to, expected).await?))
}

/// Cancel a subscription
///
/// For good. Every key of it is revoked and every token of its clients ends, at the same instant.
#[utoipa::path(post, path = "/admin/v1/subscriptions/{id}/cancel", tag = "subscriptions", operation_id = "cancelSubscription",
    params(("id" = String, Path, description = "The subscription's id", example = "sub_5K1jVnT0hBq2sXc9RzWe4a")),
    responses((status = 200, description = "It is cancelled", body = View)))]
pub(in crate::control::admin) async fn cancel(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    _: OptionalBody<Nothing>,
) -> Answered {
    Ok(told(&registry.cancel_subscription(&id(&text)?, expected).await?))
}
