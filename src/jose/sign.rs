//! How are tokens signed? Access tokens, identity tokens, client assertions, and tokens of tests. `jsonwebtoken` signs
//! with EC and EdDSA, by the provider named in this file and not by the process's default (see `verifier.rs`). `aws-lc`
//! signs with RSA.

use crate::jose::base64url;
use crate::jose::pem_file;
use crate::jose::public_key::PublicKey;
use crate::model::algorithm::Algorithm;
use crate::model::api_key::system_random;
use crate::model::secret::Secret;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::EcdsaSigningAlgorithm;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair;
use aws_lc_rs::signature::RsaEncoding;
use aws_lc_rs::signature::RsaKeyPair;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde_json::Value;
use serde_json::json;
use std::fmt;

/// Returns a new `jti` of 128 random bits, so that no two tokens have the same (RFC 7519 section 4.1.7).
pub fn token_id() -> String {
    let mut bytes = [0; 16];
    system_random(&mut bytes);
    base64url::encode(&bytes)
}

/// A private key and the only algorithm it signs with.
pub struct SigningKey {
    algorithm: Algorithm,
    private: PrivateKey,
    public: PublicKey,
    public_der: Vec<u8>,
    kid: String,
}

/// A private key, in the form of its signing library.
enum PrivateKey {
    /// Parsed, for `aws-lc`. `jsonwebtoken` would parse the key for each token and check its parts against each other,
    /// which takes longer than signing (1.5 ms in all).
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    /// PKCS #8, for `jsonwebtoken`.
    Pkcs8(EncodingKey, jsonwebtoken::Algorithm),
}

/// The signing scheme of an algorithm.
enum Scheme {
    Rsa(&'static dyn RsaEncoding),
    Ecdsa(&'static EcdsaSigningAlgorithm, jsonwebtoken::Algorithm),
    Ed25519,
}

/// Why a private key cannot be read, generated or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("{0}")]
    Pem(&'static str),
    #[error("not a PKCS #8 private key for {0}")]
    Key(Algorithm),
    #[error("the cryptographic library failed")]
    Library,
}

impl From<aws_lc_rs::error::Unspecified> for SignError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Library
    }
}

impl SigningKey {
    /// Generates a key for `algorithm`. An RSA key has 2048 bits and takes about a tenth of a second.
    ///
    /// # Errors
    /// The library cannot generate a key.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SignError> {
        match Scheme::of(algorithm) {
            Scheme::Rsa(encoding) => Self::rsa(algorithm, RsaKeyPair::generate(KeySize::Rsa2048)?, encoding),
            Scheme::Ecdsa(curve, name) => Self::ecdsa(algorithm, &EcdsaKeyPair::generate(curve)?, name),
            Scheme::Ed25519 => Self::ed25519(&Ed25519KeyPair::generate()?),
        }
    }

    /// Generates a P-256 key.
    ///
    /// # Errors
    /// Those of [`Self::generate`].
    pub fn generate_es256() -> Result<Self, SignError> {
        Self::generate(Algorithm::Es256)
    }

    /// Reads one unencrypted PKCS #8 block (`PRIVATE KEY`).
    ///
    /// # Errors
    /// `text` is not exactly one such block, the key does not fit `algorithm`, or the key is RSA below 2048 bits.
    pub fn from_pkcs8_pem(algorithm: Algorithm, text: &str) -> Result<Self, SignError> {
        let der = Secret::new(pem_file::private_key(text.as_bytes()).map_err(SignError::Pem)?);
        let der = der.expose();
        let unfit = |_| SignError::Key(algorithm);
        match Scheme::of(algorithm) {
            Scheme::Rsa(encoding) => Self::rsa(algorithm, RsaKeyPair::from_pkcs8(der).map_err(unfit)?, encoding),
            Scheme::Ecdsa(curve, name) => {
                Self::ecdsa(algorithm, &EcdsaKeyPair::from_pkcs8(curve, der).map_err(unfit)?, name)
            }
            Scheme::Ed25519 => Self::ed25519(&Ed25519KeyPair::from_pkcs8(der).map_err(unfit)?),
        }
    }

    fn rsa(algorithm: Algorithm, pair: RsaKeyPair, encoding: &'static dyn RsaEncoding) -> Result<Self, SignError> {
        let public = pair.public_key().as_der()?;
        Self::new(algorithm, PrivateKey::Rsa(pair, encoding), &public)
    }

    fn ecdsa(algorithm: Algorithm, pair: &EcdsaKeyPair, name: jsonwebtoken::Algorithm) -> Result<Self, SignError> {
        let private = EncodingKey::from_ec_der(pair.to_pkcs8v1()?.as_ref());
        Self::new(
            algorithm,
            PrivateKey::Pkcs8(private, name),
            &pair.public_key().as_der()?,
        )
    }

    fn ed25519(pair: &Ed25519KeyPair) -> Result<Self, SignError> {
        let private = EncodingKey::from_ed_der(pair.to_pkcs8v1()?.as_ref());
        let private = PrivateKey::Pkcs8(private, jsonwebtoken::Algorithm::EdDSA);
        Self::new(Algorithm::EdDsa, private, &pair.public_key().as_der()?)
    }

    fn new(algorithm: Algorithm, private: PrivateKey, spki: &PublicKeyX509Der<'_>) -> Result<Self, SignError> {
        let public_der = spki.as_ref().to_vec();
        let public = PublicKey::from_spki(&public_der).map_err(SignError::Pem)?;
        Ok(Self {
            algorithm,
            kid: public.thumbprint(),
            private,
            public,
            public_der,
        })
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the RFC 7638 SHA-256 thumbprint of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns the private key as a `PRIVATE KEY` block.
    ///
    /// # Errors
    /// The library cannot write the key.
    pub fn to_pkcs8_pem(&self) -> Result<Secret<String>, SignError> {
        let text = match &self.private {
            PrivateKey::Rsa(pair, _) => {
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                pem_file::write("PRIVATE KEY", der.as_ref())
            }
            PrivateKey::Pkcs8(key, _) => pem_file::write("PRIVATE KEY", key.as_bytes()),
        };
        Ok(Secret::new(text))
    }

    /// Returns the public key as a `PUBLIC KEY` block.
    pub fn public_pem(&self) -> String {
        pem_file::write("PUBLIC KEY", &self.public_der)
    }

    /// Returns the public JWK, with `alg`, `kid` and `use` (RFC 7517 section 4).
    pub fn public_jwk(&self) -> Value {
        let mut jwk = self.public.to_jwk();
        jwk.insert("alg".to_owned(), self.algorithm.as_str().into());
        jwk.insert("kid".to_owned(), self.kid.as_str().into());
        jwk.insert("use".to_owned(), "sig".into());
        Value::Object(jwk)
    }

    /// Returns a compact JWS of `claims`, with the header members `alg`, `kid` (of this key) and `typ`.
    ///
    /// # Errors
    /// The library cannot sign.
    pub fn sign(&self, typ: &str, claims: &Value) -> Result<String, SignError> {
        let header = json!({ "alg": self.algorithm.as_str(), "kid": self.kid, "typ": typ });
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Returns a compact JWS of exactly these texts. For a `kid` that is not the thumbprint, and for malformed tokens
    /// in tests.
    ///
    /// # Errors
    /// The library cannot sign.
    pub fn sign_text(&self, header: &str, payload: &str) -> Result<String, SignError> {
        let mut token = base64url::encode(header.as_bytes());
        token.push('.');
        token.push_str(&base64url::encode(payload.as_bytes()));
        let signature = self.private.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&base64url::encode(&signature));
        Ok(token)
    }
}

impl PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                // The library ignores the random generator and uses its own.
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature)?;
                Ok(signature)
            }
            Self::Pkcs8(key, name) => {
                let signer = (DEFAULT_PROVIDER.signer_factory)(name, key).map_err(|_| SignError::Library)?;
                signer.try_sign(message).map_err(|_| SignError::Library)
            }
        }
    }
}

impl Scheme {
    /// Returns the scheme of `algorithm` (RFC 7518 sections 3.3 to 3.5, RFC 8037 section 3.1). The salt of PSS is as
    /// long as the hash.
    fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256 => Self::Rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::Rs384 => Self::Rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::Rs512 => Self::Rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::Ps256 => Self::Rsa(&signature::RSA_PSS_SHA256),
            Algorithm::Ps384 => Self::Rsa(&signature::RSA_PSS_SHA384),
            Algorithm::Ps512 => Self::Rsa(&signature::RSA_PSS_SHA512),
            Algorithm::Es256 => Self::Ecdsa(
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
                jsonwebtoken::Algorithm::ES256,
            ),
            Algorithm::Es384 => Self::Ecdsa(
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
                jsonwebtoken::Algorithm::ES384,
            ),
            Algorithm::EdDsa => Self::Ed25519,
        }
    }
}

/// Prints no private part.
impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
