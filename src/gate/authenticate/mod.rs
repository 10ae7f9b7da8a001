//! Whose credential it is; gives [`Principal`].

pub mod header_value;
pub mod identity;
pub mod picked;
pub mod token;
pub mod verified;
pub mod introspection;
pub mod issuer;
pub mod jwks_cache;
pub mod api_key;
pub mod holding;
pub mod own;
pub mod trust;
pub mod authenticator;

pub use authenticator::Authenticator;
pub use holding::SubscriptionBinding;
pub use identity::ApiKeyIdentity;
pub use identity::CredentialType;
pub use identity::Identity;
pub use identity::TokenIdentity;
pub use picked::ClaimPicks;
pub use picked::PickedClaims;
pub use trust::Trust;

use crate::gate::authenticate::api_key::ApiKeyError;
use crate::gate::authenticate::introspection::NotGood;
use crate::gate::authenticate::introspection::Unavailable;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::own::OwnTokenError;
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
    holding: Option<SubscriptionBinding>,
}

impl Principal {
    /// The subscription that the credential is under; `None` for one that Keygate did not issue, and for keys of the keys
    /// file.
    pub const fn holding(&self) -> Option<&SubscriptionBinding> {
        self.holding.as_ref()
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The same, for who remembers something about it.
    pub fn shared(&self) -> &Arc<Identity> {
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
    CannotTell(Lack),
}

/// What there is nothing to judge a credential by for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
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
    Asked(NotGood),
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
    of { Token(TokenError), Asked(NotGood), ApiKey(ApiKeyError), Own(OwnTokenError) }
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
    pub const fn lack(&self) -> Lack {
        match self {
            Self::Keys { .. } => Lack::Keys,
            Self::Introspection { .. } => Lack::Introspection(Unavailable::NoResponse),
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
pub fn still_believed(principal: &Principal, directory: &Directory, now: Timestamp) -> bool {
    match (principal.identity.api_key_id(), &principal.holding) {
        (Some(id), _) => directory.get(&id).is_some_and(|entry| !entry.is_revoked(now)),
        (None, Some(_)) => own::holding(&principal.identity, directory).is_ok(),
        (None, None) => true,
    }
}
