//! Which principal does a credential prove? Returns a [`Principal`].

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

/// The principal that a credential proves. Only this stage makes one, so a `Principal` proves that the stage ran.
#[derive(Clone, Debug)]
pub struct Principal {
    identity: Arc<Identity>,
    binding: Option<SubscriptionBinding>,
}

impl Principal {
    /// Returns the binding of the credential to a subscription; `None` for a credential that Keygate did not
    /// issue, and for keys of the keys file.
    pub const fn binding(&self) -> Option<&SubscriptionBinding> {
        self.binding.as_ref()
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the shared identity, for caches that hold it.
    pub fn shared_identity(&self) -> &Arc<Identity> {
        &self.identity
    }
}

/// Why there is no [`Principal`].
#[derive(Debug)]
pub enum Failure {
    /// The credential is invalid. The client learns little, the operator the exact reason.
    Refused {
        refusal: Refusal,
        /// The identity that the credential proved before it was refused: its secret or its signature is right. For the
        /// access record alone.
        owner: Option<Arc<Identity>>,
    },
    /// Keys or an introspection must be fetched from the issuer before the credential can be validated.
    Needs(Need),
    /// The credential cannot be validated now. The client is not at fault (503).
    Unverifiable(MissingProof),
}

impl Failure {
    /// Returns the refusal of a credential that proved nothing.
    const fn refused(refusal: Refusal) -> Self {
        Self::Refused { refusal, owner: None }
    }
}

/// The data that Keygate lacks to validate a credential; answered with 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingProof {
    /// The issuer's keys: never loaded, too old, or without the token's key while no newer set can be fetched.
    Keys,
    /// The introspection of the token by its issuer.
    Introspection(Unavailable),
}

/// Why a credential is invalid.
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

impl Refusal {
    /// Returns the name of the claim that the token was refused for.
    pub fn claim(&self) -> Option<&str> {
        match self {
            Self::Token(error) | Self::Introspection(IntrospectionRefusal::Token(error)) => error.claim(),
            Self::WrongAudience => Some("aud"),
            Self::Introspection(_) | Self::ApiKey(_) | Self::Own(_) | Self::UnknownIssuer => None,
        }
    }
}

reasons! {
    Refusal {
        Self::UnknownIssuer => "unknown_issuer",
        Self::WrongAudience => "wrong_audience",
    }
    of { Token(TokenError), Introspection(IntrospectionRefusal), ApiKey(ApiKeyError), Own(OwnTokenError) }
}

/// A fetch that a credential needs before it can be validated.
pub enum Need {
    /// A new fetch of the issuer's keys.
    Keys {
        keys: Arc<IssuerKeys>,
        /// The number of the fetch that may bring the key.
        attempt: u64,
        /// The longest time to wait for the fetch.
        wait: Duration,
    },
    /// An introspection of the token by its issuer.
    Introspection {
        issuer: Arc<IssuerState>,
        token: Secret<String>,
    },
}

impl Need {
    /// Returns what Keygate lacks while the need is not met.
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

/// Returns whether the credential of `principal` is still known, and neither revoked nor disabled. Always `true` for a token
/// of another issuer, which cannot be revoked here. Does not check the expiry.
pub fn is_still_valid(principal: &Principal, directory: &Directory, now: Timestamp) -> bool {
    match (principal.identity.api_key_id(), &principal.binding) {
        (Some(id), _) => directory
            .get(&id)
            .is_some_and(|entry| !entry.is_revoked(now) && !entry.is_disabled()),
        (None, Some(_)) => own_token::find_binding(&principal.identity, directory).is_ok(),
        (None, None) => true,
    }
}
