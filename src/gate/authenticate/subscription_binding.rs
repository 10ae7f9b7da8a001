//! Which subscription is a credential under?

use crate::model::api_key::ApiKeyEnvironment;
use crate::model::directory::ClientEntry;
use crate::model::directory::KeyEntry;
use crate::model::id::SubscriptionId;
use crate::model::plan::CredentialKind;

/// The binding of a credential that Keygate issued: the inputs to the standing of its subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionBinding {
    pub subscription: SubscriptionId,
    pub environment: ApiKeyEnvironment,
    /// The kind of credential that the plan must allow.
    pub kind: CredentialKind,
}

impl SubscriptionBinding {
    pub(super) fn of_key(key: &KeyEntry) -> Option<Self> {
        Some(Self {
            subscription: key.subscription()?.clone(),
            environment: key.environment(),
            kind: CredentialKind::ApiKey,
        })
    }

    pub(super) fn of_client(client: &ClientEntry) -> Self {
        Self {
            subscription: client.subscription.clone(),
            environment: client.environment,
            kind: client.kind,
        }
    }
}
