//! What became of a subscription, and what may become of it?

use crate::model::api_key::KeyEnvironment;
use crate::model::clock::Timestamp;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
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
    pub environment: KeyEnvironment,
    #[serde(with = "text")]
    pub state: SubscriptionState,
    pub paid: bool,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    #[serde(with = "text::millis")]
    pub changed_at: Timestamp,
}

impl SubscriptionRecord {
    /// As the data side reads it.
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
