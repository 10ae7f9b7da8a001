//! Is a token that Keygate issued still valid? Its client and its id are looked up in memory on every request, even for
//! a cached token: a revocation applies at once.

use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::Identity;
use crate::gate::authenticate::PickedClaims;
use crate::gate::authenticate::SubscriptionBinding;
use crate::gate::authenticate::TokenIdentity;
use crate::gate::authenticate::issuer::IssuerState;
use crate::model::api_key::CredentialDigest;
use crate::model::clock::Timestamp;
use crate::model::directory::Directory;
use crate::model::directory::OpaqueToken;
use crate::model::reason::reasons;
use crate::model::scope::ScopeSet;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Why a token that Keygate issued is refused: an opaque token that is unknown or expired, or a verified token that was
/// revoked. For operators; clients get fewer details.
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

/// Returns the binding of the client that the token was issued to. Allocates nothing.
///
/// # Errors
/// The client is unknown, its earlier tokens were revoked, or the token itself was revoked.
pub fn find_binding(identity: &Identity, directory: &Directory) -> Result<SubscriptionBinding, OwnTokenError> {
    let client = identity.client_id.as_deref().and_then(|id| directory.client(id));
    let client = client.ok_or(OwnTokenError::UnknownClient)?;
    // A token without `iat` is treated as older than any revocation.
    let issued_at = identity.issued_at.unwrap_or_default();
    // A token without an id could not be revoked. Keygate issues no such token.
    let jti = identity.credential_id.as_deref().unwrap_or_default();
    if !client.accepts_token(jti, issued_at) {
        return Err(OwnTokenError::ClientRevoked);
    }
    if jti.is_empty() || directory.is_token_revoked(jti) {
        return Err(OwnTokenError::Revoked);
    }
    Ok(SubscriptionBinding::of_client(&client))
}

/// The largest number of cached identities, about 1 KB each.
const IDENTITIES_MAX: usize = 16_384;

/// The opaque tokens of a [`Directory`], with their identities. Each configuration gets an empty cache, because an
/// identity depends on the configuration.
#[derive(Debug)]
pub struct OpaqueTokens {
    directory: Arc<Directory>,
    /// A cached identity is valid only while the directory has the same `OpaqueToken`.
    identities: Cache<[u8; 32], CachedToken>,
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
            identities: Cache::new(IDENTITIES_MAX),
        }
    }

    /// Returns the identity for the opaque token `text`. The caller checks for a revocation with [`find_binding`].
    ///
    /// # Errors
    /// The token or its client is unknown, or the token is expired: then with its identity. No skew applies, because
    /// Keygate's own clock set the expiry.
    pub(super) fn authenticate(
        &self,
        text: &str,
        issuer: &IssuerState,
        now: Timestamp,
    ) -> Result<Arc<Identity>, (OwnTokenError, Option<Arc<Identity>>)> {
        let digest = CredentialDigest::sha256(text);
        let token = self.directory.opaque(&digest).ok_or((OwnTokenError::Unknown, None))?;
        let expires_at = token.expires_at;
        let identity = self.identity(digest, token, issuer).map_err(|error| (error, None))?;
        if now >= expires_at {
            return Err((OwnTokenError::Expired, Some(identity)));
        }
        Ok(identity)
    }

    /// Returns the identity of the opaque token with `digest`.
    ///
    /// # Errors
    /// Its client is unknown.
    fn identity(
        &self,
        digest: CredentialDigest,
        token: Arc<OpaqueToken>,
        issuer: &IssuerState,
    ) -> Result<Arc<Identity>, OwnTokenError> {
        if let Some(cached) = self.identities.get(digest.as_bytes())
            && Arc::ptr_eq(&cached.token, &token)
        {
            return Ok(cached.identity);
        }
        let client = self.directory.client(token.client.as_str());
        let client = client.ok_or(OwnTokenError::UnknownClient)?;
        let identity = Arc::new(Identity::of_token(
            issuer.name().clone(),
            TokenIdentity {
                tenant_issuer: None,
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
        let cached = CachedToken {
            token,
            identity: Arc::clone(&identity),
        };
        self.identities.insert(*digest.as_bytes(), cached);
        Ok(identity)
    }
}
