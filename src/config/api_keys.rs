//! API keys: which header carries them, what they look like and where their digests are.

use crate::model::secret::Secret;
use http::HeaderName;
use std::path::PathBuf;

/// `api_keys:`.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    /// Default `x-api-key`.
    pub header: HeaderName,
    /// First part of a key's text: 1 to 16 lower-case letters or digits, a letter first. Default `kg`.
    pub prefix: String,
    /// Key of the digest (HMAC-SHA-256); without it digests are SHA-256.
    pub pepper: Option<Secret<Vec<u8>>>,
    /// Digests of the keys, read again when the file changes.
    pub file: Option<PathBuf>,
}
