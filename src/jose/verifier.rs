//! Which library verifies a signature, and how does it keep the key? EC and EdDSA are verified by `jsonwebtoken`, RSA by
//! `aws-lc` itself.
//!
//! `jsonwebtoken` keeps the bytes of a key and parses them for each token. `cargo bench --bench jose -- libraries`, by its
//! least times: a decision on a token that was never seen takes 1.13 times as long with RS256 and PS256 of 2048 bits (24.4
//! against 21.5 µs; 1.16 for the signature alone), 1.00 to 1.03 with ES256 and ES384, 1.01 with EdDSA. Over 1.10 is too
//! much, so RSA goes through `jsonwebtoken` when it keeps a parsed key.
//!
//! The provider is named, never the one of the process: that one panics where another crate of the same program turns on
//! `jsonwebtoken`'s second backend, and installing one is not for a library.

use crate::model::algorithm::Algorithm;
use aws_lc_rs::signature;
use aws_lc_rs::signature::EcdsaVerificationAlgorithm;
use aws_lc_rs::signature::ParsedPublicKey;
use aws_lc_rs::signature::RsaParameters;
use aws_lc_rs::signature::RsaPublicKeyComponents;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

/// A public key and an algorithm, as the library that verifies keeps them.
#[derive(Debug)]
pub enum Verifier {
    /// For `aws-lc`.
    Parsed(ParsedPublicKey),
    /// For `jsonwebtoken`, which finds out about a bad key with the first signature: only keys that `aws-lc` has parsed.
    Bytes(DecodingKey, jsonwebtoken::Algorithm),
}

impl Verifier {
    /// Returns `None` where `algorithm` is none of RSA's, or the numbers are no good key.
    pub fn rsa(n: &[u8], e: &[u8], algorithm: Algorithm) -> Option<Self> {
        let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(rsa_parameters(algorithm)?);
        parsed.map(Self::Parsed).ok()
    }

    /// Returns `None` where `point` (SEC 1 section 2.3.3) is not on the curve.
    pub fn p256(point: &[u8]) -> Option<Self> {
        Self::ecdsa(
            &signature::ECDSA_P256_SHA256_FIXED,
            point,
            jsonwebtoken::Algorithm::ES256,
        )
    }

    /// Returns `None` where `point` (SEC 1 section 2.3.3) is not on the curve.
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

    /// Returns `None` where `key` is no Ed25519 key (RFC 8032 section 5.1.5).
    pub fn ed25519(key: &[u8; 32]) -> Option<Self> {
        ParsedPublicKey::new(&signature::ED25519, key).ok()?;
        let name = jsonwebtoken::Algorithm::EdDSA;
        Some(Self::Bytes(DecodingKey::from_ed_der(key), name))
    }

    /// Returns whether `signature` is this key's over `message`. ECDSA signatures are r and s side by side (RFC 7518
    /// section 3.4), never DER; the salt of PSS is as long as the hash (section 3.5).
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Parsed(key) => key.verify_sig(message, signature).is_ok(),
            Self::Bytes(key, name) => {
                let verifier = (DEFAULT_PROVIDER.verifier_factory)(name, key);
                // Its trait takes no slice.
                verifier.is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
            }
        }
    }
}

/// 2048 to 8192 bits.
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
