//! How is a subscription stored, and how may it change?

use crate::model::api_key::ApiKeyEnvironment;
use crate::model::clock::Timestamp;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::plan::Approval;
use crate::model::plan::Plan;
use crate::model::subscription::Subscription;
use crate::model::subscription::SubscriptionState;
use crate::store::record::text;
use serde::Deserialize;
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionRecord {
    #[serde(with = "text")]
    pub id: SubscriptionId,
    #[serde(with = "text")]
    pub organization: Name,
    #[serde(with = "text")]
    pub plan: Name,
    #[serde(with = "text")]
    pub environment: ApiKeyEnvironment,
    #[serde(with = "text")]
    pub state: SubscriptionState,
    pub paid: bool,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    #[serde(with = "text::millis")]
    pub changed_at: Timestamp,
}

/// Why a subscription cannot change as requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    #[error("the subscription is cancelled, and stays so; make another")]
    AlreadyCancelled,
    #[error("the subscription is active already")]
    AlreadyActive,
    #[error("provisioning of the subscription has failed already")]
    AlreadyFailed,
    #[error("the subscription is active, so its provisioning cannot fail any more; cancel it, or change its plan")]
    AlreadyProvisioned,
    #[error("the subscription is under this plan already")]
    SamePlan,
}

impl SubscriptionError {
    #[cfg(test)]
    pub const ALL: [Self; 5] = [
        Self::AlreadyCancelled,
        Self::AlreadyActive,
        Self::AlreadyFailed,
        Self::AlreadyProvisioned,
        Self::SamePlan,
    ];

    /// Returns the stable word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyCancelled => "already_cancelled",
            Self::AlreadyActive => "already_active",
            Self::AlreadyFailed => "already_failed",
            Self::AlreadyProvisioned => "already_provisioned",
            Self::SamePlan => "same_plan",
        }
    }
}

/// The changes of a subscription. Only operators may approve a
/// subscription or mark it as paid; the registry checks that.
impl SubscriptionRecord {
    /// Returns a new subscription: active where `plan` approves automatically, otherwise pending; not paid.
    pub fn new(
        id: SubscriptionId,
        organization: Name,
        plan: &Plan,
        environment: ApiKeyEnvironment,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            organization,
            plan: plan.name.clone(),
            environment,
            state: match plan.approval {
                Approval::Automatic => SubscriptionState::Active,
                Approval::Manual => SubscriptionState::Pending,
            },
            paid: false,
            created_at: now,
            changed_at: now,
        }
    }

    /// Activates the subscription, after approval or after a failure was repaired.
    ///
    /// # Errors
    /// The subscription is active or cancelled.
    pub fn approve(self, now: Timestamp) -> Result<Self, SubscriptionError> {
        match self.state {
            SubscriptionState::Pending | SubscriptionState::ProvisioningFailed => {
                Ok(self.into_state(SubscriptionState::Active, now))
            }
            SubscriptionState::Active => Err(SubscriptionError::AlreadyActive),
            SubscriptionState::Cancelled => Err(SubscriptionError::AlreadyCancelled),
        }
    }

    /// Records that the resources to serve the subscription could not be set up.
    ///
    /// # Errors
    /// The subscription is active: its credentials are in use, and only a cancellation ends them. Or the failure is
    /// recorded already, or the subscription is cancelled.
    pub fn fail(self, now: Timestamp) -> Result<Self, SubscriptionError> {
        match self.state {
            SubscriptionState::Pending => Ok(self.into_state(SubscriptionState::ProvisioningFailed, now)),
            SubscriptionState::Active => Err(SubscriptionError::AlreadyProvisioned),
            SubscriptionState::ProvisioningFailed => Err(SubscriptionError::AlreadyFailed),
            SubscriptionState::Cancelled => Err(SubscriptionError::AlreadyCancelled),
        }
    }

    /// Records whether the price of the plan is paid. A repeated report is
    /// no error, because payment services repeat theirs.
    ///
    /// # Errors
    /// The subscription is cancelled.
    pub fn pay(self, paid: bool, now: Timestamp) -> Result<Self, SubscriptionError> {
        self.check_not_cancelled()?;
        Ok(Self {
            paid,
            changed_at: now,
            ..self
        })
    }

    /// Moves the subscription to another plan. A payment for the old plan does not pay
    /// for the new one. A plan that requires approval requires it for subscriptions from
    /// other plans as well; otherwise the approval could be bypassed.
    ///
    /// # Errors
    /// The subscription is under `plan` already, or cancelled.
    pub fn change_plan(self, plan: &Plan, now: Timestamp) -> Result<Self, SubscriptionError> {
        self.check_not_cancelled()?;
        if self.plan == plan.name {
            return Err(SubscriptionError::SamePlan);
        }
        let state = match (plan.approval, self.state) {
            (Approval::Manual, _) => SubscriptionState::Pending,
            (Approval::Automatic, SubscriptionState::Pending) => SubscriptionState::Active,
            (Approval::Automatic, state) => state,
        };
        Ok(Self {
            plan: plan.name.clone(),
            state,
            paid: false,
            changed_at: now,
            ..self
        })
    }

    /// Cancels the subscription for good. The caller ends its keys and
    /// its clients' tokens in the same batch.
    ///
    /// # Errors
    /// The subscription is cancelled already.
    pub fn cancel(self, now: Timestamp) -> Result<Self, SubscriptionError> {
        self.check_not_cancelled()?;
        Ok(self.into_state(SubscriptionState::Cancelled, now))
    }

    fn check_not_cancelled(&self) -> Result<(), SubscriptionError> {
        match self.state {
            SubscriptionState::Cancelled => Err(SubscriptionError::AlreadyCancelled),
            SubscriptionState::Pending | SubscriptionState::Active | SubscriptionState::ProvisioningFailed => Ok(()),
        }
    }

    fn into_state(self, state: SubscriptionState, now: Timestamp) -> Self {
        Self {
            state,
            changed_at: now,
            ..self
        }
    }

    /// Returns the subscription as the data side reads it.
    pub fn to_subscription(&self) -> Subscription {
        Subscription {
            id: self.id.clone(),
            organization: self.organization.clone(),
            plan: self.plan.clone(),
            environment: self.environment,
            state: self.state,
            paid: self.paid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::CredentialKinds;
    use SubscriptionError::AlreadyActive;
    use SubscriptionError::AlreadyCancelled;
    use SubscriptionError::AlreadyFailed;
    use SubscriptionError::AlreadyProvisioned;
    use SubscriptionError::SamePlan;
    use SubscriptionState::Active;
    use SubscriptionState::Cancelled;
    use SubscriptionState::Pending;
    use SubscriptionState::ProvisioningFailed;

    const MADE: Timestamp = Timestamp::from_unix_millis(1_000);
    const NOW: Timestamp = Timestamp::from_unix_millis(2_000);

    fn plan(name: &str, approval: Approval) -> Plan {
        Plan {
            approval,
            ..Plan::open(name.parse().unwrap(), CredentialKinds::ANY)
        }
    }

    fn subscription(state: SubscriptionState) -> SubscriptionRecord {
        let made = SubscriptionRecord::new(
            "sub_1".parse().unwrap(),
            "acme".parse().unwrap(),
            &plan("gold", Approval::Manual),
            ApiKeyEnvironment::Live,
            MADE,
        );
        SubscriptionRecord {
            state,
            paid: true,
            ..made
        }
    }

    /// Checks the result of `change` for every state.
    #[track_caller]
    fn check(
        change: impl Fn(SubscriptionRecord) -> Result<SubscriptionRecord, SubscriptionError>,
        expected: [Result<SubscriptionState, SubscriptionError>; 4],
    ) {
        for (state, expected) in SubscriptionState::ALL.into_iter().zip(expected) {
            let before = subscription(state);
            let after = change(before.clone());
            assert_eq!(
                after.as_ref().map(|after| after.state),
                expected.as_ref().copied(),
                "{state}"
            );
            if let Ok(after) = after {
                assert_eq!((after.changed_at, after.created_at), (NOW, MADE), "{state}");
                assert_eq!(after.id, before.id);
            }
        }
    }

    #[test]
    fn each_state_goes_only_where_it_may() {
        // Pending, active, provisioning_failed, cancelled.
        check(
            |it| it.approve(NOW),
            [Ok(Active), Err(AlreadyActive), Ok(Active), Err(AlreadyCancelled)],
        );
        check(
            |it| it.fail(NOW),
            [
                Ok(ProvisioningFailed),
                Err(AlreadyProvisioned),
                Err(AlreadyFailed),
                Err(AlreadyCancelled),
            ],
        );
        check(
            |it| it.pay(true, NOW),
            [Ok(Pending), Ok(Active), Ok(ProvisioningFailed), Err(AlreadyCancelled)],
        );
        check(
            |it| it.cancel(NOW),
            [Ok(Cancelled), Ok(Cancelled), Ok(Cancelled), Err(AlreadyCancelled)],
        );
        check(
            |it| it.change_plan(&plan("silver", Approval::Automatic), NOW),
            [Ok(Active), Ok(Active), Ok(ProvisioningFailed), Err(AlreadyCancelled)],
        );
        check(
            |it| it.change_plan(&plan("silver", Approval::Manual), NOW),
            [Ok(Pending), Ok(Pending), Ok(Pending), Err(AlreadyCancelled)],
        );
        check(
            |it| it.change_plan(&plan("gold", Approval::Automatic), NOW),
            [Err(SamePlan), Err(SamePlan), Err(SamePlan), Err(AlreadyCancelled)],
        );
    }

    #[test]
    fn a_new_subscription_waits_unless_its_plan_approves_by_itself() {
        for (approval, state) in [(Approval::Manual, Pending), (Approval::Automatic, Active)] {
            let made = SubscriptionRecord::new(
                "sub_1".parse().unwrap(),
                "acme".parse().unwrap(),
                &plan("gold", approval),
                ApiKeyEnvironment::Live,
                MADE,
            );
            assert_eq!((made.state, made.paid), (state, false));
        }
    }

    #[test]
    fn another_plan_has_to_be_paid_again() {
        let changed = subscription(Active).change_plan(&plan("silver", Approval::Automatic), NOW);
        let changed = changed.unwrap();
        assert_eq!((changed.plan.as_str(), changed.paid), ("silver", false));
        // A payment can be withdrawn.
        assert!(!subscription(Active).pay(false, NOW).unwrap().paid);
    }

    #[test]
    fn each_refusal_has_a_word_of_its_own() {
        let mut words: Vec<&str> = SubscriptionError::ALL.map(SubscriptionError::as_str).into();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), SubscriptionError::ALL.len());
    }
}
