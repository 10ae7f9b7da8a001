//! Is the subscription of a credential in force, and does its plan allow credentials of this kind?

use crate::gate::authenticate::SubscriptionBinding;
use crate::model::directory::Directory;
use crate::model::names::Name;
use crate::model::plan::Plan;
use crate::model::reason::reasons;
use crate::model::subscription::Standing;
use crate::model::subscription::Subscription;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The plans of a configuration, by name.
pub type Plans = BTreeMap<Name, Plan>;

/// Why the subscription of a valid credential does not allow the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionError {
    /// The standing of the subscription; never [`Standing::Good`].
    NotInForce(Standing),
    /// The plan does not allow credentials of this kind.
    NotInPlan,
    /// The route requires a subscription under another plan.
    Required,
    /// The directory lacks the subscription that the credential names. Answered with 503, because the client is not at
    /// fault.
    Unknown,
}

reasons! {
    SubscriptionError {
        Self::NotInForce(Standing::Pending) => reason_of(Standing::Pending),
        Self::NotInForce(Standing::ProvisioningFailed) => reason_of(Standing::ProvisioningFailed),
        Self::NotInForce(Standing::Cancelled) => reason_of(Standing::Cancelled),
        Self::NotInForce(Standing::PaymentDue) => reason_of(Standing::PaymentDue),
        Self::NotInForce(Standing::NotReleased) => reason_of(Standing::NotReleased),
        Self::NotInForce(Standing::SandboxOnly) => reason_of(Standing::SandboxOnly),
        Self::NotInForce(Standing::PlanGone) => reason_of(Standing::PlanGone),
        Self::NotInPlan => "credential_not_in_plan",
        Self::Required => "subscription_required",
        // `NotInForce(Good)` is never made; the match must be exhaustive.
        Self::Unknown | Self::NotInForce(Standing::Good) => UNKNOWN,
    }
}

const UNKNOWN: &str = "subscription_unknown";

/// Returns the reason of a standing that is not good.
const fn reason_of(standing: Standing) -> &'static str {
    match standing.reason() {
        Some(reason) => reason,
        None => UNKNOWN,
    }
}

/// Returns the subscription of a credential if it is in force. Does not allocate.
///
/// # Errors
/// The subscription is unknown or not in force, or its plan does not allow the kind of the credential. The standing is
/// checked before the kind (S073, S074): the holder of a valid credential may learn the standing of its subscription.
pub fn in_force(
    binding: &SubscriptionBinding,
    plans: &Plans,
    directory: &Directory,
) -> Result<Arc<Subscription>, SubscriptionError> {
    let subscription = directory.subscription(&binding.subscription);
    let subscription = subscription.ok_or(SubscriptionError::Unknown)?;
    let plan = plans.get(&subscription.plan);
    match subscription.standing(plan, binding.environment) {
        Standing::Good => {}
        standing @ (Standing::Pending
        | Standing::ProvisioningFailed
        | Standing::Cancelled
        | Standing::PaymentDue
        | Standing::NotReleased
        | Standing::SandboxOnly
        | Standing::PlanGone) => return Err(SubscriptionError::NotInForce(standing)),
    }
    let plan = plan.ok_or(SubscriptionError::NotInForce(Standing::PlanGone))?;
    if plan.credentials.contains(binding.kind) {
        Ok(subscription)
    } else {
        Err(SubscriptionError::NotInPlan)
    }
}

/// Checks that the subscription is under one of the plans in `required`. An empty `required` allows every request, also
/// a request without a subscription.
///
/// # Errors
/// [`SubscriptionError::Required`].
pub fn check_plan(required: &[Name], in_force: Option<&Subscription>) -> Result<(), SubscriptionError> {
    let has = in_force.is_some_and(|in_force| required.contains(&in_force.plan));
    if required.is_empty() || has {
        Ok(())
    } else {
        Err(SubscriptionError::Required)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::ApiKeyEnvironment;
    use crate::model::id::SubscriptionId;
    use crate::model::plan::CredentialKind;
    use crate::model::plan::CredentialKinds;
    use crate::model::subscription::SubscriptionState;

    fn id() -> SubscriptionId {
        "sub_1".parse().unwrap()
    }

    fn binding(kind: CredentialKind) -> SubscriptionBinding {
        SubscriptionBinding {
            subscription: id(),
            environment: ApiKeyEnvironment::Live,
            kind,
        }
    }

    fn plans() -> Plans {
        let gold: Name = "gold".parse().unwrap();
        let keys_only = CredentialKinds {
            api_key: true,
            client_secret: false,
            private_key_jwt: false,
        };
        Plans::from([(gold.clone(), Plan::open(gold, keys_only))])
    }

    fn directory(state: SubscriptionState) -> Directory {
        let directory = Directory::new();
        let subscription = Subscription {
            id: id(),
            organization: "acme".parse().unwrap(),
            plan: "gold".parse().unwrap(),
            environment: ApiKeyEnvironment::Live,
            state,
            paid: false,
        };
        directory.put_subscription(subscription, 1);
        directory
    }

    #[test]
    fn s074_a_kind_that_the_plan_lacks_is_refused() {
        let directory = directory(SubscriptionState::Active);
        let of = |kind| in_force(&binding(kind), &plans(), &directory).map(|found| found.id.clone());
        assert_eq!(of(CredentialKind::ApiKey), Ok(id()));
        assert_eq!(of(CredentialKind::ClientSecret), Err(SubscriptionError::NotInPlan));
        assert_eq!(of(CredentialKind::PrivateKeyJwt), Err(SubscriptionError::NotInPlan));
    }

    #[test]
    fn s073_the_state_of_the_subscription_is_checked_before_the_kind() {
        for (state, standing) in [
            (SubscriptionState::Pending, Standing::Pending),
            (SubscriptionState::ProvisioningFailed, Standing::ProvisioningFailed),
            (SubscriptionState::Cancelled, Standing::Cancelled),
        ] {
            let found = in_force(&binding(CredentialKind::ClientSecret), &plans(), &directory(state));
            assert_eq!(found, Err(SubscriptionError::NotInForce(standing)));
        }
    }

    #[test]
    fn an_unknown_subscription_and_a_removed_plan_have_their_own_errors() {
        let nobody = in_force(&binding(CredentialKind::ApiKey), &plans(), &Directory::new());
        assert_eq!(nobody, Err(SubscriptionError::Unknown));
        let directory = directory(SubscriptionState::Active);
        let gone = in_force(&binding(CredentialKind::ApiKey), &Plans::new(), &directory);
        assert_eq!(gone, Err(SubscriptionError::NotInForce(Standing::PlanGone)));
    }

    #[test]
    fn s152_a_route_with_plans_refuses_a_request_without_subscription() {
        let gold: Vec<Name> = vec!["gold".parse().unwrap()];
        let silver: Vec<Name> = vec!["silver".parse().unwrap()];
        let found = directory(SubscriptionState::Active).subscription(&id()).unwrap();
        assert_eq!(check_plan(&gold, Some(&found)), Ok(()));
        assert_eq!(check_plan(&silver, Some(&found)), Err(SubscriptionError::Required));
        assert_eq!(check_plan(&gold, None), Err(SubscriptionError::Required));
        assert_eq!(check_plan(&[], None), Ok(()));
    }
}
