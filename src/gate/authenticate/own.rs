//! Does a token of the gate's own still count? Its client and its id are looked up on every request, in memory, also when
//! the token was verified before: a revocation holds at once.

use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::Identity;
use crate::gate::authenticate::PickedClaims;
use crate::gate::authenticate::SubscriptionBinding;
use crate::gate::authenticate::TokenIdentity;
use crate::gate::authenticate::issuer::IssuerState;
use crate::model::api_key::KeyDigest;
use crate::model::clock::Timestamp;
use crate::model::directory::Directory;
use crate::model::directory::OpaqueToken;
use crate::model::reason::reasons;
use crate::model::scope::ScopeSet;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Why a token of the gate's own was refused though its signature holds. For operators; a client is told less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnTokenError {
    #[error("no opaque token has this text")]
    Unknown,
    #[error("the opaque token is expired")]
    Expired,
    #[error("the token names no client that is known here")]
    UnknownClient,
    #[error("the token was revoked")]
    Revoked,
    #[error("the tokens that its client got before were revoked")]
    ClientRevoked,
}

reasons! {
    OwnTokenError {
        Self::Unknown => "token_unknown",
        Self::Expired => "token_expired",
        Self::UnknownClient => "client_unknown",
        Self::Revoked => "token_revoked",
        Self::ClientRevoked => "client_tokens_revoked",
    }
}

/// Whose client got the token, and under which subscription. Allocates nothing.
///
/// # Errors
/// The client is not known here, or its tokens of before, or this one, were revoked.
pub fn holding(identity: &Identity, directory: &Directory) -> Result<SubscriptionBinding, OwnTokenError> {
    let client = identity.client_id.as_deref().and_then(|id| directory.client(id));
    let client = client.ok_or(OwnTokenError::UnknownClient)?;
    // Without `iat` nobody can say that it is from after a revocation.
    let issued_at = identity.issued_at.unwrap_or_default();
    if !client.accepts_token_issued_at(issued_at) {
        return Err(OwnTokenError::ClientRevoked);
    }
    // One without an id could never be revoked; we issue none.
    match identity.credential_id.as_deref() {
        Some(jti) if !directory.is_token_revoked(jti) => Ok(SubscriptionBinding::of_client(&client)),
        Some(_) | None => Err(OwnTokenError::Revoked),
    }
}

/// Identities remembered at most, about 1 KB each.
const IDENTITIES_MAX: usize = 16_384;

/// Finds opaque tokens in a [`Directory`]. Made anew with each configuration, which says what identities are like.
#[derive(Debug)]
pub struct OpaqueTokens {
    directory: Arc<Directory>,
    /// Only counts while the token it was made from is the one in the directory.
    remembered: Cache<[u8; 32], CachedToken>,
}

#[derive(Clone, Debug)]
struct CachedToken {
    token: Arc<OpaqueToken>,
    identity: Arc<Identity>,
}

impl OpaqueTokens {
    pub fn new(directory: Arc<Directory>) -> Self {
        Self {
            directory,
            remembered: Cache::new(IDENTITIES_MAX),
        }
    }

    /// Whose the token of this text is. Its client is still to be looked at.
    ///
    /// # Errors
    /// There is none, or it is over. There is one clock, ours, so no skew is forgiven.
    pub(super) fn authenticate(
        &self,
        text: &str,
        issuer: &IssuerState,
        now: Timestamp,
    ) -> Result<Arc<Identity>, OwnTokenError> {
        let digest = KeyDigest::sha256(text);
        let token = self.directory.opaque(&digest).ok_or(OwnTokenError::Unknown)?;
        if now >= token.expires_at {
            return Err(OwnTokenError::Expired);
        }
        if let Some(remembered) = self.remembered.get(digest.as_bytes())
            && Arc::ptr_eq(&remembered.token, &token)
        {
            return Ok(remembered.identity);
        }
        let client = self.directory.client(token.client.as_str());
        let client = client.ok_or(OwnTokenError::UnknownClient)?;
        let identity = Arc::new(Identity::of_token(
            issuer.name().clone(),
            TokenIdentity {
                credential_type: CredentialType::Opaque,
                subject: Some(token.client.to_string()),
                client_id: Some(token.client.to_string()),
                organization: Some(client.organization.to_string()),
                token_id: Some(token.id.to_string()),
                scopes: ScopeSet::clone(&token.scopes),
                audiences: token.audiences.to_vec(),
                claims: PickedClaims::default(),
                issued_at: Some(token.issued_at),
                expires_at: token.expires_at,
                usable_until: token.expires_at,
            },
        ));
        let remembered = CachedToken {
            token,
            identity: Arc::clone(&identity),
        };
        self.remembered.insert(*digest.as_bytes(), remembered);
        Ok(identity)
    }
}
