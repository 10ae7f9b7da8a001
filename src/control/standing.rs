//! Do the subscription and the plan of a credential allow its use now? Reads memory only.

use crate::control::Control;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::id::SubscriptionId;
use crate::model::plan::CredentialKind;
use crate::model::subscription::Standing;

/// Why the subscription of a credential does not allow its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionCheckError {
    Standing(Standing),
    KindNotInPlan,
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
