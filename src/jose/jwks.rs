//! Which keys does an issuer have (RFC 7517 section 5), and which one signed?

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

/// A key of the set that is never used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// As it stands in the set: a stranger's text, to be escaped where it is printed.
    pub kid: Option<String>,
    pub reason: &'static str,
}

/// Why a set is refused whole.
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

/// Why no key answers to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// A newer set may have it.
    #[error("the issuer has no key of this id")]
    UnknownKid,
    #[error("no key of the issuer fits the algorithm")]
    NoneFits,
    #[error("several keys of the issuer fit")]
    Ambiguous,
}

/// Members that only a private or a symmetric key has (RFC 7518 sections 6.2.2, 6.3.2 and 6.4, RFC 8037 section 2; `priv` of
/// the AKP keys of the post-quantum drafts).
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

impl Jwks {
    /// What a fetch or a file may hold at most.
    pub const BYTES_MAX: usize = 256 * 1024;
    pub const KEYS_MAX: usize = 100;

    /// Reads a JWK set. A key that cannot be used is skipped with its reason (RFC 7517 section 5); `BYTES_MAX` and
    /// `KEYS_MAX` bound the whole. The same key under the same name twice counts once.
    ///
    /// # Errors
    /// Nothing usable, not a set, a member twice, or private parts in it (S049): then the whole is not to be trusted.
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

    /// Reads PEM files: `PUBLIC KEY` (RSA, P-256, P-384, Ed25519) or `RSA PUBLIC KEY`, one key in each. Such keys have no
    /// `kid`: see [`Self::find`].
    ///
    /// # Errors
    /// The first file that is not one public key, by its place in the list.
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
            if !keys.iter().any(|known| known.is_double_of(&key)) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey);
        }
        Ok(Self { keys, skipped })
    }

    /// Keys of the set that are not used.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Its usable keys, in the order of the set.
    pub fn keys(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.iter()
    }

    /// The names the set gives to its usable keys.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(VerifyingKey::kid)
    }

    /// Usable keys; one at least.
    #[allow(clippy::len_without_is_empty, reason = "a set without a usable key cannot be made")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The one key that a token with this `kid` and `alg` can have been signed with.
    ///
    /// A `kid` is compared byte by byte and chooses among the keys of that name; several keys of one name are told apart
    /// by the algorithm alone. Where two still fit, the token is refused: trying each would let a sloppy set decide, and
    /// an issuer that rotates gives new names. Where no key of the set has a name (PEM files), `kid` may be a key's RFC
    /// 7638 thumbprint, or says nothing. Without `kid`, and where it says nothing, exactly one key must fit (S053).
    ///
    /// # Errors
    /// [`NoKey::UnknownKid`] where a newer set may help, else why no key of this set answers.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&VerifyingKey, NoKey> {
        let Some(kid) = kid else {
            return the_one(self.keys.iter(), algorithm);
        };
        if self.key_ids().next().is_none() {
            let named = self.keys.iter().find(|key| key.thumbprint() == kid);
            return match named {
                Some(key) => the_one([key].into_iter(), algorithm),
                None => the_one(self.keys.iter(), algorithm),
            };
        }
        if self.key_ids().all(|known| known != kid) {
            return Err(NoKey::UnknownKid);
        }
        the_one(self.keys.iter().filter(|key| key.kid() == Some(kid)), algorithm)
    }
}

fn the_one<'a>(keys: impl Iterator<Item = &'a VerifyingKey>, algorithm: Algorithm) -> Result<&'a VerifyingKey, NoKey> {
    let mut fitting = keys.filter(|key| key.fits(algorithm));
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(key),
        (None, _) => Err(NoKey::NoneFits),
        (Some(_), Some(_)) => Err(NoKey::Ambiguous),
    }
}

fn has_private_part(jwk: &Map<String, Value>) -> bool {
    PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name))
}

#[cfg(test)]
mod tests;
