//! Is an organization's subscription in force?

use crate::model::api_key::ApiKeyEnvironment;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::plan::Payment;
use crate::model::plan::Plan;

/// The state in the life of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscriptionState {
    /// Requested, and not yet approved.
    Pending,
    Active,
    /// Approved, but the resources to serve it could not be set up.
    ProvisioningFailed,
    /// Ended for good.
    Cancelled,
}

impl SubscriptionState {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Active, Self::ProvisioningFailed, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::ProvisioningFailed => "provisioning_failed",
            Self::Cancelled => "cancelled",
        }
    }
}

crate::model::id::words!(SubscriptionState);

/// An organization's right to use routes under a plan, as the data side reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub organization: Name,
    pub plan: Name,
    /// `Test` allows sandbox credentials only, `Live` allows both.
    pub environment: ApiKeyEnvironment,
    pub state: SubscriptionState,
    /// `true` where the price of the plan has been paid; of no meaning for a plan without a price.
    pub paid: bool,
}

/// The standing of a subscription's credentials: valid, or the reason why they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    Good,
    Pending,
    ProvisioningFailed,
    Cancelled,
    /// Live credentials of a plan that is not paid for.
    PaymentDue,
    /// Live credentials of a plan that is not released.
    NotReleased,
    /// Live credentials of a sandbox subscription.
    SandboxOnly,
    /// The plan is no longer in the configuration.
    PlanGone,
}

impl Standing {
    /// Returns the word for this standing in problem types, metrics and records; `None` for [`Self::Good`].
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Good => None,
            Self::Pending => Some("subscription_pending"),
            Self::ProvisioningFailed => Some("subscription_provisioning_failed"),
            Self::Cancelled => Some("subscription_cancelled"),
            Self::PaymentDue => Some("payment_due"),
            Self::NotReleased => Some("plan_not_released"),
            Self::SandboxOnly => Some("sandbox_only"),
            Self::PlanGone => Some("plan_gone"),
        }
    }
}

impl Subscription {
    /// Returns the standing of this subscription's credentials for `environment`. `plan` is the
    /// plan it names, `None` where the configuration has no such plan.
    pub fn standing(&self, plan: Option<&Plan>, environment: ApiKeyEnvironment) -> Standing {
        match self.state {
            SubscriptionState::Pending => return Standing::Pending,
            SubscriptionState::ProvisioningFailed => return Standing::ProvisioningFailed,
            SubscriptionState::Cancelled => return Standing::Cancelled,
            SubscriptionState::Active => {}
        }
        let Some(plan) = plan else {
            return Standing::PlanGone;
        };
        if environment == ApiKeyEnvironment::Test {
            return Standing::Good;
        }
        if self.environment == ApiKeyEnvironment::Test {
            return Standing::SandboxOnly;
        }
        if !plan.released {
            return Standing::NotReleased;
        }
        match plan.payment {
            Payment::Required if !self.paid => Standing::PaymentDue,
            Payment::Required | Payment::None => Standing::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::CredentialKinds;

    fn subscription(state: SubscriptionState, environment: ApiKeyEnvironment, paid: bool) -> Subscription {
        Subscription {
            id: "sub_1".parse().unwrap(),
            organization: "acme".parse().unwrap(),
            plan: "gold".parse().unwrap(),
            environment,
            state,
            paid,
        }
    }

    fn plan(payment: Payment, released: bool) -> Plan {
        Plan {
            payment,
            released,
            ..Plan::open("gold".parse().unwrap(), CredentialKinds::ANY)
        }
    }

    #[test]
    fn s073_each_state_has_its_own_result_and_only_active_is_good() {
        use ApiKeyEnvironment::Live;
        let free = plan(Payment::None, true);
        for (state, expected) in [
            (SubscriptionState::Pending, Standing::Pending),
            (SubscriptionState::ProvisioningFailed, Standing::ProvisioningFailed),
            (SubscriptionState::Cancelled, Standing::Cancelled),
            (SubscriptionState::Active, Standing::Good),
        ] {
            assert_eq!(subscription(state, Live, false).standing(Some(&free), Live), expected);
            // A subscription that is not active does not allow sandbox credentials either.
            let sandbox = subscription(state, Live, true).standing(Some(&free), ApiKeyEnvironment::Test);
            assert_eq!(sandbox, expected);
        }
    }

    #[test]
    fn unpaid_or_unreleased_plans_are_for_sandbox_credentials_only() {
        use ApiKeyEnvironment::Live;
        use ApiKeyEnvironment::Test;
        let active = |environment, paid| subscription(SubscriptionState::Active, environment, paid);
        let (paid, unreleased) = (plan(Payment::Required, true), plan(Payment::None, false));
        assert_eq!(active(Live, false).standing(Some(&paid), Live), Standing::PaymentDue);
        assert_eq!(active(Live, true).standing(Some(&paid), Live), Standing::Good);
        assert_eq!(active(Live, false).standing(Some(&paid), Test), Standing::Good);
        assert_eq!(
            active(Live, true).standing(Some(&unreleased), Live),
            Standing::NotReleased
        );
        assert_eq!(active(Live, true).standing(Some(&unreleased), Test), Standing::Good);
        assert_eq!(active(Test, true).standing(Some(&paid), Live), Standing::SandboxOnly);
        assert_eq!(active(Live, true).standing(None, Test), Standing::PlanGone);
    }
}
