//! Which facts are known about an opaque access token?

use crate::model::api_key::CredentialDigest;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::scope::ScopeSet;
use std::sync::Arc;

/// An opaque access token that Keygate issued. Its text, of which only the digest is stored, begins with
/// [`OPAQUE_TOKEN_PREFIX`](crate::model::secret::OPAQUE_TOKEN_PREFIX).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpaqueToken {
    /// The SHA-256 of the token's text.
    pub digest: CredentialDigest,
    /// The token's id, as `jti` in a JWT.
    pub id: Box<str>,
    pub client: ClientId,
    pub scopes: Arc<ScopeSet>,
    pub audiences: Box<[String]>,
    pub issued_at: Timestamp,
    /// The first instant at which the token is refused.
    pub expires_at: Timestamp,
}
