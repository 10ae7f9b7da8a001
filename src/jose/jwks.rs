//! Which usable keys are in a JWK set (RFC 7517 section 5), and which of them verifies a token?

use crate::jose::json;
use crate::jose::json::JsonError;
use crate::jose::jwk::VerifyingKey;
use crate::jose::jwk::stated;
use crate::jose::pem_file;
use crate::jose::public_key::PublicKey;
use crate::model::algorithm::Algorithm;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fmt;

/// The keys of one issuer or one client. At least one key is usable.
#[derive(Debug)]
pub struct Jwks {
    keys: Vec<VerifyingKey>,
    skipped: Vec<SkippedKey>,
    publishes_private_keys: bool,
}

/// A key of the set that Keygate cannot use, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// The `kid` of the key: untrusted text, so escape it before printing.
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
    #[error("all keys in it are published with their private parts, so that anyone can sign with them")]
    PrivateParts,
    #[error("no usable key in it{}", Reasons(skipped))]
    NoUsableKey { skipped: Vec<SkippedKey> },
    #[error("file {} of the list: {reason}", index + 1)]
    Pem { index: usize, reason: &'static str },
}

/// Prints why keys are skipped, those of the first few keys. A `kid` is untrusted text.
struct Reasons<'a>(&'a [SkippedKey]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().take(REASONS_MAX).enumerate() {
            out.write_str(if index == 0 { ": " } else { "; " })?;
            match &key.kid {
                Some(kid) => {
                    let shown: String = kid.chars().take(KID_CHARS_SHOWN).collect();
                    write!(out, "key {shown:?}: {}", key.reason)?;
                }
                None => write!(out, "key {}: {}", index + 1, key.reason)?,
            }
        }
        match self.0.len().saturating_sub(REASONS_MAX) {
            0 => Ok(()),
            more => write!(out, "; and {more} more"),
        }
    }
}

/// An operator finds the fault by a few of the keys.
const REASONS_MAX: usize = 3;
const KID_CHARS_SHOWN: usize = 64;

/// Why a set has no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyLookupError {
    /// No key of the set has this `kid`. A newer set may have one.
    #[error("the issuer has no key of this id")]
    UnknownKid,
    /// A newer set may have one: an issuer that changes its algorithm may keep the `kid`.
    #[error("no key of the issuer fits the algorithm")]
    NoneFits,
    /// More than one key fits a token without a `kid`, or more than [`KeyCandidates::MAX`] keys a token with one.
    #[error("several keys of the issuer fit")]
    Ambiguous,
}

/// Why a key is skipped that is not strict JSON.
const MALFORMED: &str = "it has a member twice, is nested too deep, or has a text or a number that JSON does not allow";
/// Why a key with private parts is skipped.
const PRIVATE: &str = "it is published with its private parts, so that anyone can sign with it";
/// Why the public half of such a key is skipped.
const PRIVATE_BESIDE: &str = "its private parts are published beside it, so that anyone can sign with it";

/// The members that only a private or a symmetric key has (RFC 7518 sections 6.2.2, 6.3.2 and 6.4, RFC 8037 section 2).
/// `priv` belongs to the AKP keys of the post-quantum drafts.
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

impl Jwks {
    /// The maximum size of a set, fetched or in a file.
    pub const BYTES_MAX: usize = 1024 * 1024;
    pub const KEYS_MAX: usize = 1000;

    /// Parses a JWK set. An unusable key is skipped with its reason (RFC 7517 section 5). So is a key with private parts, and
    /// its public half where that is published too: anyone can sign with it (S049). A key that appears twice with the same
    /// `kid` and algorithms is used once.
    ///
    /// # Errors
    /// `body` is longer than `BYTES_MAX`, is not a JWK set, or has more than `KEYS_MAX` keys or no usable key.
    pub fn parse(body: &[u8]) -> Result<Self, JwksError> {
        if body.len() > Self::BYTES_MAX {
            return Err(JwksError::TooLarge);
        }
        let entries: Vec<Entry> = entries(body)?.into_iter().map(Entry::read).collect();
        if entries.len() > Self::KEYS_MAX {
            return Err(JwksError::TooManyKeys);
        }
        let leaked: Vec<&Map<String, Value>> = entries
            .iter()
            .filter_map(|entry| entry.loose.as_ref())
            .filter(|jwk| has_private_part(jwk))
            .collect();
        let known_to_all: BTreeSet<String> = leaked
            .iter()
            .filter_map(|jwk| PublicKey::from_jwk(jwk).ok())
            .map(|key| key.thumbprint())
            .collect();
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for entry in &entries {
            let read = match (&entry.loose, &entry.strict) {
                (Some(jwk), _) if has_private_part(jwk) => Err(PRIVATE),
                (_, Err(JsonError::NotAnObject)) => Err("not a JSON object"),
                (_, Err(JsonError::Text(_))) => Err(MALFORMED),
                (_, Ok(jwk)) => VerifyingKey::from_jwk(jwk).and_then(|key| {
                    if known_to_all.contains(key.thumbprint()) {
                        return Err(PRIVATE_BESIDE);
                    }
                    Ok(key)
                }),
            };
            match read {
                Ok(key) => keys.push(key),
                Err(reason) => {
                    let kid = entry.loose.as_ref().and_then(|jwk| jwk.get("kid")?.as_str());
                    let kid = kid.map(str::to_owned);
                    skipped.push(SkippedKey { kid, reason });
                }
            }
        }
        match Self::new(keys, skipped) {
            Err(JwksError::NoUsableKey { .. }) if !leaked.is_empty() => Err(JwksError::PrivateParts),
            made => made.map(|set| Self {
                publishes_private_keys: !leaked.is_empty(),
                ..set
            }),
        }
    }

    /// Reads PEM files: `PUBLIC KEY` (RSA, P-256, P-384, Ed25519) or `RSA PUBLIC KEY`, one key in each. Such keys have
    /// no `kid`; see [`Self::find`].
    ///
    /// # Errors
    /// The first file that is not one usable public key, by its index in the list. Also for an empty list or more than
    /// `KEYS_MAX` files.
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

    /// Returns the set of `all` keys without duplicates.
    ///
    /// # Errors
    /// There are no keys.
    fn new(all: Vec<VerifyingKey>, skipped: Vec<SkippedKey>) -> Result<Self, JwksError> {
        let mut keys: Vec<VerifyingKey> = Vec::with_capacity(all.len());
        for key in all {
            if !keys.iter().any(|known| known.is_duplicate_of(&key)) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey { skipped });
        }
        Ok(Self {
            keys,
            skipped,
            publishes_private_keys: false,
        })
    }

    /// Returns the keys of the set that Keygate cannot use.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Returns whether the set has a key with private parts: an alarm.
    pub const fn publishes_private_keys(&self) -> bool {
        self.publishes_private_keys
    }

    /// Returns the usable keys, in the order of the set.
    pub fn keys(&self) -> impl Iterator<Item = &VerifyingKey> + Clone {
        self.keys.iter()
    }

    /// Returns the `kid`s of the usable keys that have one.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(VerifyingKey::kid)
    }

    /// Returns the number of usable keys; one at least.
    #[allow(clippy::len_without_is_empty, reason = "a set without a usable key cannot be made")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the keys that can have signed a token with this `kid` and `alg`; each of them fits `algorithm`.
    ///
    /// A key is named by its `kid`, compared byte by byte, or, where it has none, by its RFC 7638 thumbprint. A `kid` may
    /// name several keys: RFC 7517 section 4.5 allows it for keys of different types, and issuers that reuse a name
    /// (`default`) publish the old and the new key side by side while they rotate. The token is good if one of them
    /// verifies it; there are at most [`KeyCandidates::MAX`]. A key that is published twice, under one name or
    /// several, with or without `alg`, is one key.
    ///
    /// Without a `kid`, exactly one key of the set must fit (S053), so that the number of keys does not decide how many
    /// signatures a nameless token may try. The same holds if no key of the set has a `kid` (PEM files): then a `kid`
    /// that is no thumbprint is ignored. So is `x5t`, which names a certificate and not a key.
    ///
    /// # Errors
    /// No key is named `kid`, none fits, or more keys fit than may be tried. A newer set may have a key in the first two
    /// cases.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<KeyCandidates<'_>, KeyLookupError> {
        let Some(kid) = kid else {
            return KeyCandidates::select(self.keys.iter(), algorithm, 1);
        };
        match KidMeaning::of(kid, self.keys.iter()) {
            KidMeaning::Named => {
                let named = self.keys.iter().filter(|key| key.is_named(kid));
                KeyCandidates::select(named, algorithm, KeyCandidates::MAX)
            }
            KidMeaning::Nothing => KeyCandidates::select(self.keys.iter(), algorithm, 1),
            KidMeaning::Unknown => Err(KeyLookupError::UnknownKid),
        }
    }
}

/// The meaning of a `kid` for the keys of one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KidMeaning {
    /// It names keys of the set; see [`VerifyingKey::is_named`].
    Named,
    /// Nothing: no key of the set has a `kid`, which is optional there (RFC 7517 section 4.5).
    Nothing,
    /// It names a key that the set does not have.
    Unknown,
}

impl KidMeaning {
    pub fn of<'k>(kid: &str, mut keys: impl Iterator<Item = &'k VerifyingKey> + Clone) -> Self {
        if keys.clone().any(|key| key.is_named(kid)) {
            Self::Named
        } else if keys.any(|key| key.kid().is_some()) {
            Self::Unknown
        } else {
            Self::Nothing
        }
    }
}

/// The keys of a set that can have signed one token: at least one, and at most [`KeyCandidates::MAX`].
#[derive(Clone, Copy, Debug)]
pub struct KeyCandidates<'a> {
    first: &'a VerifyingKey,
    others: [Option<&'a VerifyingKey>; KeyCandidates::MAX - 1],
}

impl<'a> KeyCandidates<'a> {
    /// The maximum number of signature checks for one token. Issuers that reuse a name publish the previous, the current
    /// and the next key under it.
    pub const MAX: usize = 4;

    /// Returns the keys of `named` that fit `algorithm`; keys of the same thumbprint are one key.
    ///
    /// # Errors
    /// No key fits, or more than `most`.
    fn select(
        named: impl Iterator<Item = &'a VerifyingKey>,
        algorithm: Algorithm,
        most: usize,
    ) -> Result<Self, KeyLookupError> {
        let mut fitting = named.filter(|key| key.fits(algorithm));
        let first = fitting.next().ok_or(KeyLookupError::NoneFits)?;
        let mut found = Self {
            first,
            others: [None; Self::MAX - 1],
        };
        for key in fitting {
            if found.iter().any(|known| known.thumbprint() == key.thumbprint()) {
                continue;
            }
            let free = found.others.iter_mut().take(most - 1).find(|place| place.is_none());
            *free.ok_or(KeyLookupError::Ambiguous)? = Some(key);
        }
        Ok(found)
    }

    /// Returns the first key in the order of the set.
    #[cfg(any(test, feature = "internals"))]
    pub const fn first(self) -> &'a VerifyingKey {
        self.first
    }

    /// Returns the keys in the order of the set.
    pub fn iter(self) -> impl Iterator<Item = &'a VerifyingKey> {
        std::iter::once(self.first).chain(self.others.into_iter().flatten())
    }
}

/// The text of a key set. Its keys are read one by one, so that a key that cannot be read does not take the others with it
/// (RFC 7517 section 5).
#[derive(Deserialize)]
struct SetText<'a> {
    #[serde(borrow)]
    keys: Option<&'a RawValue>,
}

/// Returns the texts of the keys of the set in `body`.
///
/// # Errors
/// `body` is not a JSON object, has `keys` twice, or has no array there.
fn entries(body: &[u8]) -> Result<Vec<&RawValue>, JwksError> {
    let set: SetText<'_> = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data if !body.trim_ascii_start().starts_with(b"{") => {
            JwksError::Json(JsonError::NotAnObject)
        }
        _ => JwksError::Json(JsonError::Text(error.to_string())),
    })?;
    let keys = set.keys.ok_or(JwksError::NoKeysMember)?;
    serde_json::from_str(keys.get()).map_err(|_| JwksError::NoKeysMember)
}

/// One key of a set, read twice.
struct Entry {
    strict: Result<Map<String, Value>, JsonError>,
    /// The key as most libraries read it: of two members, the last one counts. It names a key that is skipped, and shows
    /// private parts. `None` if these libraries could not read it either.
    loose: Option<Map<String, Value>>,
}

impl Entry {
    fn read(text: &RawValue) -> Self {
        Self {
            strict: json::object(text.get().as_bytes()),
            loose: serde_json::from_str(text.get()).ok(),
        }
    }
}

/// Returns whether `jwk` has a private part. Some libraries write the members that a public key does not have as `null`.
fn has_private_part(jwk: &Map<String, Value>) -> bool {
    PRIVATE_MEMBERS.iter().any(|name| stated(jwk, name).is_some())
}

#[cfg(test)]
mod find_tests;
#[cfg(test)]
mod pem_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof_tests;
