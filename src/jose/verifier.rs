//! Which library verifies a signature? `jsonwebtoken` verifies EC and EdDSA, `aws-lc` RSA. The provider of
//! `jsonwebtoken` is named in this file: the process's default panics if another crate of the program enables a second
//! backend, and a library should not install a default.

use crate::model::algorithm::Algorithm;
use aws_lc_rs::signature;
use aws_lc_rs::signature::EcdsaVerificationAlgorithm;
use aws_lc_rs::signature::ParsedPublicKey;
use aws_lc_rs::signature::RsaParameters;
use aws_lc_rs::signature::RsaPublicKeyComponents;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

/// A public key and an algorithm, in the form of the verifying library.
#[derive(Debug)]
pub enum Verifier {
    /// For `aws-lc`, for RSA keys. `jsonwebtoken` keeps the bytes of a key and parses them for each token: a decision
    /// on a new token would take 1.13 times as long for RSA of 2048 bits, but at most 1.03 times for EC and EdDSA
    /// (`cargo bench --bench jose -- libraries`). The accepted limit is 1.10.
    Parsed(ParsedPublicKey),
    /// For `jsonwebtoken`, which detects an invalid key only at the first signature. So `aws-lc` must have parsed the
    /// key before.
    Bytes(DecodingKey, jsonwebtoken::Algorithm),
}

impl Verifier {
    /// Returns a verifier; `None` if `algorithm` is not for RSA or the key is invalid.
    pub fn rsa(n: &[u8], e: &[u8], algorithm: Algorithm) -> Option<Self> {
        let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(rsa_parameters(algorithm)?);
        parsed.map(Self::Parsed).ok()
    }

    /// Returns a verifier for ES256; `None` if `point` (SEC 1 section 2.3.3) is not on the curve.
    pub fn p256(point: &[u8]) -> Option<Self> {
        Self::ecdsa(
            &signature::ECDSA_P256_SHA256_FIXED,
            point,
            jsonwebtoken::Algorithm::ES256,
        )
    }

    /// Returns a verifier for ES384; `None` if `point` (SEC 1 section 2.3.3) is not on the curve.
    pub fn p384(point: &[u8]) -> Option<Self> {
        Self::ecdsa(
            &signature::ECDSA_P384_SHA384_FIXED,
            point,
            jsonwebtoken::Algorithm::ES384,
        )
    }

    fn ecdsa(curve: &'static EcdsaVerificationAlgorithm, point: &[u8], name: jsonwebtoken::Algorithm) -> Option<Self> {
        ParsedPublicKey::new(curve, point).ok()?;
        Some(Self::Bytes(DecodingKey::from_ec_der(point), name))
    }

    /// Returns a verifier for EdDSA; `None` if `key` is not an Ed25519 key (RFC 8032 section 5.1.5).
    pub fn ed25519(key: &[u8; 32]) -> Option<Self> {
        ParsedPublicKey::new(&signature::ED25519, key).ok()?;
        let name = jsonwebtoken::Algorithm::EdDSA;
        Some(Self::Bytes(DecodingKey::from_ed_der(key), name))
    }

    /// Returns whether `signature` over `message` is valid for this key. An ECDSA signature is `r || s` (RFC 7518
    /// section 3.4), never DER. The salt of PSS is as long as the hash (section 3.5).
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Parsed(key) => key.verify_sig(message, signature).is_ok(),
            Self::Bytes(key, name) => {
                let verifier = (DEFAULT_PROVIDER.verifier_factory)(name, key);
                // The library's trait takes a vector, not a slice.
                verifier.is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
            }
        }
    }
}

/// Returns the parameters for RSA keys of 2048 to 8192 bits; `None` if `algorithm` is not for RSA.
fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => None,
    }
}
