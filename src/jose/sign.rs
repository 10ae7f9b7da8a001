//! How are tokens signed? Those that clients get, those that vouch to upstreams, and those of tests.
//!
//! `jsonwebtoken` signs, but for RSA: it parses the key again for each token, and the parts of an RSA key are checked
//! against each other every time, which takes longer than signing (1.5 ms in all).

use crate::jose::base64url;
use crate::jose::pem_file;
use crate::jose::pem_file::PublicDer;
use crate::jose::public_key::PublicKey;
use crate::model::algorithm::Algorithm;
use crate::model::secret::Secret;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair;
use aws_lc_rs::signature::RsaEncoding;
use aws_lc_rs::signature::RsaKeyPair;
use jsonwebtoken::EncodingKey;
use serde_json::Value;
use serde_json::json;
use std::fmt;

/// A new `jti`: 128 random bits, so that no two tokens share one (RFC 7519 section 4.1.7).
pub fn token_id() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    base64url::encode(&bytes)
}

/// A private key and the one algorithm it signs with.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
    /// The same key as `jsonwebtoken` takes it; `None` for RSA.
    signer: Option<EncodingKey>,
    public: PublicKey,
    public_der: Vec<u8>,
    kid: String,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a private key cannot be read, made or used.
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

impl Pair {
    fn to_pkcs8_pem(&self) -> Result<Secret<String>, SignError> {
        let text = match self {
            Self::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                pem_file::write("PRIVATE KEY", der.as_ref())
            }
            Self::Ec(pair) => pem_file::write("PRIVATE KEY", pair.to_pkcs8v1()?.as_ref()),
            Self::Ed25519(pair) => pem_file::write("PRIVATE KEY", pair.to_pkcs8v1()?.as_ref()),
        };
        Ok(Secret::new(text))
    }

    /// The same key as `jsonwebtoken` takes it; `None` for those that sign without it.
    fn signer(&self, algorithm: Algorithm) -> Result<Option<EncodingKey>, SignError> {
        let read = match self {
            Self::Rsa(_) => return Ok(None),
            Self::Ec(_) => EncodingKey::from_ec_pem,
            Self::Ed25519(_) => EncodingKey::from_ed_pem,
        };
        let signer = read(self.to_pkcs8_pem()?.expose().as_bytes());
        signer.map(Some).map_err(|_| SignError::Key(algorithm))
    }
}

impl SigningKey {
    /// A fresh key for `algorithm`; of RSA keys one of 2048 bits, which takes a tenth of a second to find.
    ///
    /// # Errors
    /// The library makes none.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SignError> {
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?),
            Algorithm::Es384 => Pair::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)?),
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::generate()?),
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048)?),
        };
        Self::new(algorithm, pair)
    }

    /// A fresh P-256 key.
    pub fn generate_es256() -> Result<Self, SignError> {
        Self::generate(Algorithm::Es256)
    }

    /// Reads one unencrypted PKCS #8 block (`PRIVATE KEY`).
    ///
    /// # Errors
    /// Another block, several, or a key that does not fit `algorithm`; RSA below 2048 bits.
    pub fn from_pkcs8_pem(algorithm: Algorithm, text: &str) -> Result<Self, SignError> {
        let der = Secret::new(pem_file::private_key(text.as_bytes()).map_err(SignError::Pem)?);
        let ec = |curve| EcdsaKeyPair::from_pkcs8(curve, der.expose()).map(Pair::Ec);
        let pair = match algorithm {
            Algorithm::Es256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(der.expose()).map(Pair::Ed25519),
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => RsaKeyPair::from_pkcs8(der.expose()).map(Pair::Rsa),
        };
        Self::new(algorithm, pair.map_err(|_| SignError::Key(algorithm))?)
    }

    fn new(algorithm: Algorithm, pair: Pair) -> Result<Self, SignError> {
        let spki: PublicKeyX509Der<'_> = match &pair {
            Pair::Rsa(pair) => pair.public_key().as_der()?,
            Pair::Ec(pair) => pair.public_key().as_der()?,
            Pair::Ed25519(pair) => pair.public_key().as_der()?,
        };
        let spki = PublicDer::Spki(spki.as_ref().to_vec());
        let public = PublicKey::from_der(&spki).map_err(SignError::Pem)?;
        let kid = public.thumbprint();
        let (PublicDer::Spki(public_der) | PublicDer::Pkcs1(public_der)) = spki;
        Ok(Self {
            algorithm,
            signer: pair.signer(algorithm)?,
            pair,
            public,
            public_der,
            kid,
        })
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's RFC 7638 SHA-256 thumbprint.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// A `PRIVATE KEY` block, for a file that only its owner reads.
    ///
    /// # Errors
    /// The library cannot write the key.
    pub fn to_pkcs8_pem(&self) -> Result<Secret<String>, SignError> {
        self.pair.to_pkcs8_pem()
    }

    /// A `PUBLIC KEY` block.
    pub fn public_pem(&self) -> String {
        pem_file::write("PUBLIC KEY", &self.public_der)
    }

    /// The public JWK, with `alg`, `kid` and `use` (RFC 7517 section 4).
    pub fn public_jwk(&self) -> Value {
        let mut jwk = self.public.to_jwk();
        jwk.insert("alg".to_owned(), self.algorithm.as_str().into());
        jwk.insert("kid".to_owned(), self.kid.as_str().into());
        jwk.insert("use".to_owned(), "sig".into());
        Value::Object(jwk)
    }

    /// A compact JWS of `claims` whose header has `alg`, this key's `kid`, and `typ`.
    ///
    /// # Errors
    /// The library cannot sign.
    pub fn sign(&self, typ: &str, claims: &Value) -> Result<String, SignError> {
        let header = json!({ "alg": self.algorithm.as_str(), "kid": self.kid, "typ": typ });
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A compact JWS of exactly these texts: what a hostile or broken issuer could make.
    ///
    /// # Errors
    /// The library cannot sign.
    pub fn sign_text(&self, header: &str, payload: &str) -> Result<String, SignError> {
        let mut token = base64url::encode(header.as_bytes());
        token.push('.');
        token.push_str(&base64url::encode(payload.as_bytes()));
        let signature = self.signature(&token)?;
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    /// The third part of a compact JWS, encoded.
    fn signature(&self, message: &str) -> Result<String, SignError> {
        let message = message.as_bytes();
        match (&self.pair, &self.signer) {
            (Pair::Rsa(pair), _) => {
                let encoding = rsa_encoding(self.algorithm).ok_or(SignError::Key(self.algorithm))?;
                let mut signature = vec![0; pair.public_modulus_len()];
                // The library has randomness of its own, which it takes instead of what it is given.
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature)?;
                Ok(base64url::encode(&signature))
            }
            (_, Some(signer)) => {
                let algorithm = jwt_algorithm(self.algorithm).ok_or(SignError::Key(self.algorithm))?;
                jsonwebtoken::crypto::sign(message, signer, algorithm).map_err(|_| SignError::Library)
            }
            (_, None) => Err(SignError::Key(self.algorithm)),
        }
    }
}

/// Of those that `jsonwebtoken` signs with.
const fn jwt_algorithm(algorithm: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    match algorithm {
        Algorithm::Es256 => Some(jsonwebtoken::Algorithm::ES256),
        Algorithm::Es384 => Some(jsonwebtoken::Algorithm::ES384),
        Algorithm::EdDsa => Some(jsonwebtoken::Algorithm::EdDSA),
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => None,
    }
}

/// RFC 7518 sections 3.3 and 3.5; of PSS the salt is as long as the hash.
fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => None,
    }
}

/// No private part is printed.
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
