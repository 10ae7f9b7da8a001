//! How is shown whether a credential can be used, and what its developer can do about it?

use crate::control::standing::SubscriptionCheckError;
use crate::model::plan::CredentialKind;
use serde::Serialize;
use utoipa::ToSchema;

/// Whether credentials of one environment can be made and used under a subscription now.
#[derive(Serialize, ToSchema)]
#[schema(as = EnvironmentStanding)]
pub(super) struct View {
    /// `good`, or why not: the words of a client's `standing`.
    #[schema(example = "good")]
    standing: &'static str,
    /// The same for people, and what to do about it; `null` where it is `good`.
    #[schema(example = json!(null))]
    locked: Option<String>,
}

impl View {
    pub(super) fn of(checked: Result<(), SubscriptionCheckError>) -> Self {
        Self {
            standing: word(checked),
            locked: lock(checked),
        }
    }
}

/// Returns `good`, or the word for the reason.
pub(super) fn word(checked: Result<(), SubscriptionCheckError>) -> &'static str {
    match checked {
        Ok(()) => "good",
        Err(error) => error.reason(),
    }
}

/// Returns the reason and the remedy, for people.
pub(super) fn lock(checked: Result<(), SubscriptionCheckError>) -> Option<String> {
    checked.err().map(|error| error.to_string())
}

/// Returns the operation that a portal offers for a credential of this kind: the one that keeps the most.
pub(super) const fn action(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::ClientSecret => "rotate_secret",
        CredentialKind::ApiKey | CredentialKind::PrivateKeyJwt => "regenerate",
    }
}
