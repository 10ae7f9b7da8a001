//! Whose credential it is; gives [`Principal`].

pub mod header_value;
pub mod identity;
pub mod claim_picks;
pub mod token;
pub mod verified;
pub mod introspection;
pub mod issuer;
pub mod jwks_cache;
pub mod api_key;
pub mod subscription_binding;
pub mod own_token;
pub mod trust;
pub mod authenticator;

pub use authenticator::Authenticator;
pub use claim_picks::ClaimPicks;
pub use claim_picks::PickedClaims;
pub use identity::ApiKeyIdentity;
pub use identity::CredentialType;
pub use identity::Identity;
pub use identity::TokenIdentity;
pub use subscription_binding::SubscriptionBinding;
pub use trust::Trust;

use crate::gate::authenticate::api_key::ApiKeyError;
use crate::gate::authenticate::introspection::IntrospectionRefusal;
use crate::gate::authenticate::introspection::Unavailable;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::own_token::OwnTokenError;
use crate::gate::authenticate::token::TokenError;
use crate::model::clock::Timestamp;
use crate::model::directory::Directory;
use crate::model::reason::reasons;
use crate::model::secret::Secret;
use std::sync::Arc;
use std::time::Duration;

/// Who a credential was proved to belong to. Only this stage can make one, so holding it proves that the stage ran.
#[derive(Clone, Debug)]
pub struct Principal {
    identity: Arc<Identity>,
    binding: Option<SubscriptionBinding>,
}

impl Principal {
    /// The subscription that the credential is under; `None` for one that Keygate did not issue, and for keys of the keys
    /// file.
    pub const fn binding(&self) -> Option<&SubscriptionBinding> {
        self.binding.as_ref()
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The same, for who remembers something about it.
    pub fn shared_identity(&self) -> &Arc<Identity> {
        &self.identity
    }
}

/// Why there is no [`Principal`].
#[derive(Debug)]
pub enum Failure {
    /// The credential is not good; its bearer is told little, the operator exactly.
    Refused(Refusal),
    /// Its issuer knows something that is not known here yet.
    Needs(Need),
    /// What to judge it by is not there: ours to answer for, never the caller's.
    Unverifiable(MissingProof),
}

/// What there is nothing to judge a credential by for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingProof {
    /// The issuer's keys were never loaded, or are too old.
    Keys,
    /// The issuer's word.
    Introspection(Unavailable),
}

/// What is wrong with a credential.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Token(TokenError),
    #[error(transparent)]
    Introspection(IntrospectionRefusal),
    #[error(transparent)]
    ApiKey(ApiKeyError),
    #[error(transparent)]
    Own(OwnTokenError),
    #[error("the token names an issuer that this route does not trust")]
    UnknownIssuer,
    #[error("the token is meant for another audience")]
    WrongAudience,
}

reasons! {
    Refusal {
        Self::UnknownIssuer => "unknown_issuer",
        Self::WrongAudience => "wrong_audience",
    }
    of { Token(TokenError), Introspection(IntrospectionRefusal), ApiKey(ApiKeyError), Own(OwnTokenError) }
}

/// What has to be brought before a credential can be judged.
pub enum Need {
    /// The keys of an issuer, fetched once more.
    Keys {
        keys: Arc<IssuerKeys>,
        /// The fetch that may bring the key, and how long it is worth waiting for.
        attempt: u64,
        wait: Duration,
    },
    /// An issuer's word about a token.
    Introspection {
        issuer: Arc<IssuerState>,
        token: Secret<String>,
    },
}

impl Need {
    /// What is lacking as long as the need is not met.
    pub const fn missing_proof(&self) -> MissingProof {
        match self {
            Self::Keys { .. } => MissingProof::Keys,
            Self::Introspection { .. } => MissingProof::Introspection(Unavailable::NoResponse),
        }
    }
}

impl std::fmt::Debug for Need {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keys { attempt, .. } => out
                .debug_struct("Keys")
                .field("attempt", attempt)
                .finish_non_exhaustive(),
            Self::Introspection { issuer, .. } => out
                .debug_struct("Introspection")
                .field("issuer", issuer.name())
                .finish_non_exhaustive(),
        }
    }
}

/// Whether a principal's credential was not revoked since. Keys of the keys file can be, and whatever Keygate issued.
pub fn is_still_valid(principal: &Principal, directory: &Directory, now: Timestamp) -> bool {
    match (principal.identity.api_key_id(), &principal.binding) {
        (Some(id), _) => directory.get(&id).is_some_and(|entry| !entry.is_revoked(now)),
        (None, Some(_)) => own_token::find_binding(&principal.identity, directory).is_ok(),
        (None, None) => true,
    }
}
