//! Under which subscription is a credential used?

use crate::model::api_key::KeyEnvironment;
use crate::model::directory::ClientEntry;
use crate::model::directory::KeyEntry;
use crate::model::id::SubscriptionId;
use crate::model::plan::CredentialKind;

/// What the standing of a credential of ours depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionBinding {
    pub subscription: SubscriptionId,
    pub environment: KeyEnvironment,
    /// What the plan must allow.
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
