//! May this JWK verify signatures, and with which algorithms (RFC 7517 section 4)?

use crate::jose::pem_file;
use crate::jose::public_key::PublicKey;
use crate::jose::verifier::Verifier;
use crate::model::algorithm::Algorithm;
use serde_json::Map;
use serde_json::Value;

/// A public key, and the algorithms that it may verify.
#[derive(Debug)]
pub struct VerifyingKey {
    /// The `kid` of the key in its set.
    kid: Option<Box<str>>,
    thumbprint: Box<str>,
    /// Never empty. One entry if the JWK has an `alg`.
    verifiers: Box<[(Algorithm, Verifier)]>,
}

/// The error for an invalid signature. It gives no details, so that clients learn none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

/// Returns a member unless it states nothing: `null` or an empty text. An empty list states something: a key with an empty
/// `key_ops` is for no operation.
pub(crate) fn stated<'j>(jwk: &'j Map<String, Value>, name: &str) -> Option<&'j Value> {
    jwk.get(name).filter(|value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        // Other primes of an RSA key, of which there are none.
        Value::Array(members) => name != "oth" || !members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    })
}

impl VerifyingKey {
    /// Reads the key of one JWK. `x5c`, `x5u` and unknown members are ignored, and so are members that are `null` or empty.
    ///
    /// # Errors
    /// The reason, for the operator: an unsupported type or curve, an invalid key, or a `use`, `key_ops` or `alg` that
    /// excludes verification (RFC 7517 sections 4.2 to 4.4).
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let kid = match stated(jwk, "kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.as_str()),
            Some(_) => return Err("`kid` is no string"),
        };
        match stated(jwk, "use") {
            None => {}
            // SPIFFE has a word of its own for keys of JWTs (JWT-SVID section 5).
            Some(Value::String(purpose)) if purpose == "sig" || purpose == "jwt-svid" => {}
            Some(_) => return Err("`use` is not `sig`"),
        }
        match stated(jwk, "key_ops") {
            None => {}
            Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {}
            Some(_) => return Err("`key_ops` does not hold `verify`"),
        }
        let declared = match stated(jwk, "alg") {
            None => None,
            Some(Value::String(name)) => match name.parse::<Algorithm>() {
                Ok(algorithm) => Some(algorithm),
                Err(_) => return Err("`alg` is none of the signature algorithms we accept"),
            },
            Some(_) => return Err("`alg` is no string"),
        };
        Self::new(kid, &PublicKey::from_jwk(jwk)?, declared)
    }

    /// Reads one PEM public key, with the given `kid`. The key may verify those of `algorithms` that fit its type.
    ///
    /// # Errors
    /// `text` is not exactly one public key, or none of the algorithms fits.
    pub fn from_pem(kid: &str, text: &str, algorithms: &[Algorithm]) -> Result<Self, &'static str> {
        let key = PublicKey::from_der(&pem_file::public_key(text.as_bytes())?)?;
        let mut read = Self::new(Some(kid), &key, None)?;
        let verifiers = std::mem::take(&mut read.verifiers).into_vec();
        read.verifiers = verifiers
            .into_iter()
            .filter(|(algorithm, _)| algorithms.contains(algorithm))
            .collect();
        if read.verifiers.is_empty() {
            return Err("none of its algorithms fits the type of the key");
        }
        Ok(read)
    }

    /// Returns a key for the algorithm `declared`, or for all algorithms of its type if `declared` is `None`.
    ///
    /// # Errors
    /// `declared` does not fit the type of the key.
    pub(crate) fn new(kid: Option<&str>, key: &PublicKey, declared: Option<Algorithm>) -> Result<Self, &'static str> {
        let verifiers: Box<[_]> = key
            .algorithms()
            .iter()
            .filter(|algorithm| declared.is_none_or(|declared| declared == **algorithm))
            .filter_map(|algorithm| Some((*algorithm, key.verifier(*algorithm)?)))
            .collect();
        if verifiers.is_empty() {
            return Err("`alg` does not fit the type of the key");
        }
        let thumbprint = key.thumbprint().into();
        let kid = kid.map(Into::into);
        Ok(Self {
            kid,
            thumbprint,
            verifiers,
        })
    }

    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns the SHA-256 thumbprint in base64url (RFC 7638).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Returns whether `kid` names this key: by its `kid`, compared byte by byte, or, where it has none, by its thumbprint.
    pub fn is_named(&self, kid: &str) -> bool {
        self.kid().unwrap_or_else(|| self.thumbprint()) == kid
    }

    /// Returns the algorithms that the key may be used for; one at least.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.verifiers.iter().map(|(algorithm, _)| *algorithm)
    }

    /// Returns whether the key may verify `algorithm`.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.verifiers.iter().any(|(one, _)| *one == algorithm)
    }

    /// Returns whether key, `kid` and algorithms of both are the same.
    pub fn is_duplicate_of(&self, other: &Self) -> bool {
        let algorithms = |key: &Self| key.verifiers.iter().map(|(one, _)| *one).collect::<Vec<_>>();
        self.kid == other.kid && self.thumbprint == other.thumbprint && algorithms(self) == algorithms(other)
    }

    /// Verifies `signature` over `message` (RFC 7515 section 5.2).
    ///
    /// # Errors
    /// The signature is invalid, or `algorithm` does not fit the key.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let fitting = self.verifiers.iter().find(|(one, _)| *one == algorithm);
        if fitting.is_some_and(|(_, verifier)| verifier.verifies(message, signature)) {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }
}
