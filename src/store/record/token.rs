//! How are issued tokens stored? Opaque tokens without their text, and JWTs only once they are revoked.

use crate::model::api_key::CredentialDigest;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::scope::ScopeSet;
use crate::store::record::text;
use serde::Deserialize;
use serde::Serialize;

/// An opaque access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpaqueTokenRecord {
    /// SHA-256 of the token's text, whose 256 random bits need no pepper.
    #[serde(with = "text::digest")]
    pub digest: CredentialDigest,
    /// The token's id, as `jti` in a JWT.
    pub id: String,
    #[serde(with = "text")]
    pub client: ClientId,
    #[serde(with = "text")]
    pub scopes: ScopeSet,
    pub audiences: Vec<String>,
    #[serde(with = "text::millis")]
    pub issued_at: Timestamp,
    #[serde(with = "text::millis")]
    pub expires_at: Timestamp,
}

/// An access token that was revoked (RFC 7009); stored until the token would have expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedTokenRecord {
    /// `jti`.
    pub id: String,
    #[serde(with = "text::millis")]
    pub expires_at: Timestamp,
}
