//! Which keys does an issuer have (RFC 7517 section 5), and which of them signed a token?

use crate::jose::json;
use crate::jose::json::JsonError;
use crate::jose::jwk::VerifyingKey;
use crate::jose::pem_file;
use crate::jose::public_key::PublicKey;
use crate::model::algorithm::Algorithm;
use serde_json::Map;
use serde_json::Value;

/// The keys of one issuer. Never empty.
#[derive(Debug)]
pub struct Jwks {
    keys: Vec<VerifyingKey>,
    skipped: Vec<SkippedKey>,
}

/// A key of the set that is never used, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// The key's name in the set: untrusted text, to be escaped before it is printed.
    pub kid: Option<String>,
    pub reason: &'static str,
}

/// Why an entire set is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    #[error("more than {} bytes", Jwks::BYTES_MAX)]
    TooLarge,
    #[error("not a JWK set")]
    Json(#[source] JsonError),
    #[error("no `keys` array in it")]
    NoKeysMember,
    #[error("more than {} keys", Jwks::KEYS_MAX)]
    TooManyKeys,
    #[error(
        "private or symmetric key material is published in it: every key of this set must be taken as known to all"
    )]
    PrivateParts,
    #[error("no usable key in it")]
    NoUsableKey,
    #[error("file {} of the list: {reason}", index + 1)]
    Pem { index: usize, reason: &'static str },
}

/// Why a set has no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyLookupError {
    /// A newer set may have the key.
    #[error("the issuer has no key of this id")]
    UnknownKid,
    #[error("no key of the issuer fits the algorithm")]
    NoneFits,
    #[error("several keys of the issuer fit")]
    Ambiguous,
}

/// Members that only a private or a symmetric key has (RFC 7518 sections 6.2.2, 6.3.2 and 6.4, RFC
/// 8037 section 2; `priv` of the AKP keys of the post-quantum drafts).
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

impl Jwks {
    /// The maximum size of a fetched set or a file.
    pub const BYTES_MAX: usize = 256 * 1024;
    pub const KEYS_MAX: usize = 100;

    /// Parses a JWK set of at most `BYTES_MAX` bytes and `KEYS_MAX` keys. An unusable key is skipped with its reason
    /// (RFC 7517 section 5). A key that appears twice with the same name is used once.
    ///
    /// # Errors
    /// No usable key, not a set, a duplicate member, or private parts in
    /// it (S049): the entire set is then untrustworthy.
    pub fn parse(body: &[u8]) -> Result<Self, JwksError> {
        if body.len() > Self::BYTES_MAX {
            return Err(JwksError::TooLarge);
        }
        let set = json::object(body).map_err(JwksError::Json)?;
        let Some(Value::Array(entries)) = set.get("keys") else {
            return Err(JwksError::NoKeysMember);
        };
        if entries.len() > Self::KEYS_MAX {
            return Err(JwksError::TooManyKeys);
        }
        if entries.iter().filter_map(Value::as_object).any(has_private_part) {
            return Err(JwksError::PrivateParts);
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for entry in entries {
            let read = entry
                .as_object()
                .ok_or("not a JSON object")
                .and_then(VerifyingKey::from_jwk);
            match read {
                Ok(key) => keys.push(key),
                Err(reason) => {
                    let kid = entry.get("kid").and_then(Value::as_str).map(str::to_owned);
                    skipped.push(SkippedKey { kid, reason });
                }
            }
        }
        Self::new(keys, skipped)
    }

    /// Reads PEM files: `PUBLIC KEY` (RSA, P-256, P-384, Ed25519) or `RSA PUBLIC KEY`,
    /// one key in each. Such keys have no `kid`: see [`Self::find`].
    ///
    /// # Errors
    /// The first file that is not one public key, by its index in the list.
    pub fn from_pems(pems: &[Vec<u8>]) -> Result<Self, JwksError> {
        let keys = pems
            .iter()
            .enumerate()
            .map(|(index, text)| {
                pem_file::public_key(text)
                    .and_then(|der| PublicKey::from_der(&der))
                    .and_then(|key| VerifyingKey::new(None, &key, None))
                    .map_err(|reason| JwksError::Pem { index, reason })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.len() > Self::KEYS_MAX {
            return Err(JwksError::TooManyKeys);
        }
        Self::new(keys, Vec::new())
    }

    fn new(all: Vec<VerifyingKey>, skipped: Vec<SkippedKey>) -> Result<Self, JwksError> {
        let mut keys: Vec<VerifyingKey> = Vec::with_capacity(all.len());
        for key in all {
            if !keys.iter().any(|known| known.is_duplicate_of(&key)) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey);
        }
        Ok(Self { keys, skipped })
    }

    /// Returns the keys of the set that are not used.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Returns the usable keys, in the order of the set.
    pub fn keys(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.iter()
    }

    /// Returns the names of the usable keys.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(VerifyingKey::kid)
    }

    /// Returns the number of usable keys; one at least.
    #[allow(clippy::len_without_is_empty, reason = "a set without a usable key cannot be made")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the only key that can have signed a token with this `kid` and `alg`.
    ///
    /// A `kid` is compared byte by byte and selects the keys of that name; among several, only the algorithm decides.
    /// Where two keys fit, the token is refused: to try each would trust a badly kept set, and an issuer that rotates
    /// keys gives them new names. Where no key of the set has a name (PEM files), `kid` may be the RFC 7638 thumbprint
    /// of a key and is otherwise ignored. Without a `kid`, or with an ignored one, exactly one key must fit (S053).
    ///
    /// # Errors
    /// [`KeyLookupError::UnknownKid`] where a newer set may have the key; otherwise the reason why no key of this set fits.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&VerifyingKey, KeyLookupError> {
        let Some(kid) = kid else {
            return only_fit(self.keys.iter(), algorithm);
        };
        if self.key_ids().next().is_none() {
            let named = self.keys.iter().find(|key| key.thumbprint() == kid);
            return match named {
                Some(key) => only_fit([key].into_iter(), algorithm),
                None => only_fit(self.keys.iter(), algorithm),
            };
        }
        if self.key_ids().all(|known| known != kid) {
            return Err(KeyLookupError::UnknownKid);
        }
        only_fit(self.keys.iter().filter(|key| key.kid() == Some(kid)), algorithm)
    }
}

fn only_fit<'a>(
    keys: impl Iterator<Item = &'a VerifyingKey>,
    algorithm: Algorithm,
) -> Result<&'a VerifyingKey, KeyLookupError> {
    let mut fitting = keys.filter(|key| key.fits(algorithm));
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(key),
        (None, _) => Err(KeyLookupError::NoneFits),
        (Some(_), Some(_)) => Err(KeyLookupError::Ambiguous),
    }
}

fn has_private_part(jwk: &Map<String, Value>) -> bool {
    PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name))
}

#[cfg(test)]
mod tests;
