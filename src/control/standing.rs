//! Do the subscription and the plan of a credential allow its use now? Reads memory only.

use crate::control::Control;
use crate::model::algorithm::ASSERTION_ALGORITHMS;
use crate::model::algorithm::Algorithm;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::id::SubscriptionId;
use crate::model::plan::ClientKeyPlace;
use crate::model::plan::CredentialKind;
use crate::model::plan::Plan;
use crate::model::subscription::Standing;
use crate::store::record::ClientRecord;
use crate::store::record::client::ClientAuthentication;

/// Why the subscription of a credential does not allow its use: the reason and the remedy, for a developer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionCheckError {
    #[error("{}", standing_detail(*.0))]
    Standing(Standing),
    #[error("the plan gives no credentials of this kind, or wants the client's keys behind a JWKS URL; make another")]
    KindNotInPlan,
}

const fn standing_detail(standing: Standing) -> &'static str {
    match standing {
        Standing::Good => "the subscription is in force",
        Standing::Pending => {
            "the subscription waits for approval; credentials can be made once an operator approves it"
        }
        Standing::ProvisioningFailed => {
            "the subscription could not be set up; credentials can be made once an operator has mended and approved it"
        }
        Standing::Cancelled => "the subscription is cancelled, for good; make another one",
        Standing::PaymentDue => {
            "the subscription is not paid for; until it is, only credentials of the environment `sandbox` can be made"
        }
        Standing::NotReleased => {
            "the plan is not released; until it is, only credentials of the environment `sandbox` can be made"
        }
        Standing::SandboxOnly => {
            "this is a sandbox subscription; only credentials of the environment `sandbox` can be made"
        }
        Standing::PlanGone => {
            "the subscription's plan is not in the configuration any more; put it back or change the plan"
        }
    }
}

impl SubscriptionCheckError {
    /// Returns the word that the data side refuses such a credential with.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Standing(standing) => standing.reason().unwrap_or("subscription_not_in_force"),
            Self::KindNotInPlan => "credential_not_in_plan",
        }
    }
}

/// Checks [`check_subscription`] for a client, and that its plan allows the place of its keys.
///
/// # Errors
/// See [`SubscriptionCheckError`].
pub fn check_client(control: &Control, client: &ClientRecord) -> Result<(), SubscriptionCheckError> {
    let kind = client.authentication.kind();
    check_subscription(control, &client.subscription, client.environment, kind)?;
    let allowed = |plan: &Plan| allows_keys(plan, &client.authentication);
    if with_plan(control, &client.subscription, |plan| plan.is_none_or(allowed)) {
        Ok(())
    } else {
        Err(SubscriptionCheckError::KindNotInPlan)
    }
}

/// Returns whether clients under `plan` may have their keys where `authentication` has them.
pub fn allows_keys(plan: &Plan, authentication: &ClientAuthentication) -> bool {
    match (plan.client_keys, authentication) {
        (ClientKeyPlace::JwksUrl, ClientAuthentication::Keys { .. }) => false,
        (ClientKeyPlace::JwksUrl, ClientAuthentication::JwksUrl { .. } | ClientAuthentication::ClientSecret { .. })
        | (ClientKeyPlace::Any, _) => true,
    }
}

/// Returns the algorithms that assertions of clients under `subscription` may be signed with.
pub fn assertion_algorithms(control: &Control, subscription: &SubscriptionId) -> Vec<Algorithm> {
    with_plan(control, subscription, |plan| {
        let is_allowed = |algorithm: &Algorithm| plan.is_none_or(|plan| plan.allows_assertions(*algorithm));
        ASSERTION_ALGORITHMS.into_iter().filter(is_allowed).collect()
    })
}

/// Returns what `read` makes of the plan of `subscription`, which both may be unknown.
fn with_plan<R>(control: &Control, subscription: &SubscriptionId, read: impl FnOnce(Option<&Plan>) -> R) -> R {
    let subscription = control.directory.subscription(subscription);
    let settings = control.settings.load();
    read(subscription.and_then(|subscription| settings.plans.get(&subscription.plan)))
}

/// Checks that the subscription is in force for credentials of `environment`, and that its plan allows `kind`.
///
/// # Errors
/// See [`SubscriptionCheckError`]. A credential without a known subscription is treated like one with a cancelled
/// subscription.
pub fn check_subscription(
    control: &Control,
    subscription: &SubscriptionId,
    environment: ApiKeyEnvironment,
    kind: CredentialKind,
) -> Result<(), SubscriptionCheckError> {
    let subscription = control.directory.subscription(subscription);
    let subscription = subscription.ok_or(SubscriptionCheckError::Standing(Standing::Cancelled))?;
    let settings = control.settings.load();
    let plan = settings.plans.get(&subscription.plan);
    match subscription.standing(plan, environment) {
        Standing::Good => {}
        standing => return Err(SubscriptionCheckError::Standing(standing)),
    }
    if plan.is_some_and(|plan| plan.credentials.contains(kind)) {
        Ok(())
    } else {
        Err(SubscriptionCheckError::KindNotInPlan)
    }
}
