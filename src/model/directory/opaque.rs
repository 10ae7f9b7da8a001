//! What is known of an access token that is no JWT?

use crate::model::api_key::KeyDigest;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::scope::ScopeSet;
use std::sync::Arc;

/// An opaque access token of the gate's own. Its text begins with [`OPAQUE_PREFIX`]; only its digest is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpaqueToken {
    /// SHA-256 of its text.
    pub digest: KeyDigest,
    /// As a JWT's `jti`.
    pub id: Box<str>,
    pub client: ClientId,
    pub scopes: Arc<ScopeSet>,
    pub audiences: Box<[String]>,
    pub issued_at: Timestamp,
    /// The first instant at which it is refused.
    pub expires_at: Timestamp,
}

/// How the text of an opaque token begins: no JWT does, and no key of ours.
pub const OPAQUE_PREFIX: &str = "kgt_";
