//! Is an uploaded text a public key for client assertions? It must have one `PUBLIC KEY` block (RFC 7468 section 13)
//! that fits an assertion algorithm; everything else is rejected with the reason (S055).

use crate::jose::pem_file;
use crate::jose::pem_file::PublicDer;
use crate::jose::public_key::PublicKey;
use crate::model::algorithm::ASSERTION_ALGORITHMS;
use crate::model::algorithm::Algorithm;

/// The `client_assertion_type` of a client that authenticates with a JWT (RFC 7523 section 2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A valid public key for client assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedKey {
    /// The SHA-256 thumbprint in base64url (RFC 7638).
    pub kid: String,
    /// One `PUBLIC KEY` block without other text.
    pub pem: String,
    /// The assertion algorithms that fit the key. Never empty.
    pub algorithms: Vec<Algorithm>,
}

/// The limit of an uploaded text, in bytes. An RSA key of 8192 bits has 1500 bytes of PEM.
pub const PEM_BYTES_MAX: usize = 8 * 1024;

/// Reads an uploaded public key.
///
/// # Errors
/// The reason, for the person who uploaded the text: too long, no PEM, a private key, a certificate or a chain, several
/// keys, an `RSA PUBLIC KEY` block, RSA below 2048 bits, or a curve that assertions may not use.
pub fn public_key(text: &str) -> Result<UploadedKey, &'static str> {
    if text.len() > PEM_BYTES_MAX {
        return Err("longer than any public key");
    }
    let der = pem_file::public_key(text.as_bytes())?;
    let PublicDer::Spki(spki) = &der else {
        return Err("an `RSA PUBLIC KEY` block, where `PUBLIC KEY` is expected (openssl rsa -RSAPublicKey_in -pubout)");
    };
    let key = PublicKey::from_der(&der)?;
    let fits = |algorithm: &Algorithm| key.algorithms().contains(algorithm);
    let algorithms: Vec<Algorithm> = ASSERTION_ALGORITHMS.into_iter().filter(fits).collect();
    if algorithms.is_empty() {
        return Err("a P-384 key: assertions are signed with RS256, PS256, ES256 (P-256) or EdDSA (Ed25519)");
    }
    Ok(UploadedKey {
        kid: key.thumbprint(),
        pem: pem_file::write("PUBLIC KEY", spki),
        algorithms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::sign::SigningKey;

    fn good() -> SigningKey {
        SigningKey::generate_es256().unwrap()
    }

    #[track_caller]
    fn refused(text: &str, reason: &str) {
        let error = public_key(text).unwrap_err();
        assert!(error.contains(reason), "{error} for {text}");
    }

    #[test]
    fn one_public_key_is_taken_and_named_by_its_thumbprint() {
        let key = good();
        let text = format!("some words\n{}more\n", key.public_pem());
        let uploaded = public_key(&text).unwrap();
        assert_eq!(
            (uploaded.kid.as_str(), &*uploaded.algorithms),
            (key.kid(), &[Algorithm::Es256][..])
        );
        assert_eq!(uploaded.pem, key.public_pem());
        // The stored PEM gives the same key.
        assert_eq!(public_key(&uploaded.pem), Ok(uploaded));
    }

    #[test]
    fn a_file_is_read_up_to_8_kib() {
        let pem = good().public_pem();
        let fill = |bytes: usize| format!("{}\n{pem}", "x".repeat(bytes - pem.len() - 1));
        assert!(public_key(&fill(8_192)).is_ok());
        refused(&fill(8_193), "longer than any public key");
    }

    #[test]
    fn s055_anything_but_exactly_one_public_key_is_refused_with_the_reason() {
        let pem = good().public_pem();
        refused("", "no PEM block");
        refused("hello", "no PEM block");
        refused(&format!("{pem}{}", good().public_pem()), "more than one PEM block");
        refused(&format!("{pem}{pem}"), "more than one PEM block");
        refused(good().to_pkcs8_pem().unwrap().expose(), "a private key");
        refused(
            &format!("{pem}{}", good().to_pkcs8_pem().unwrap().expose()),
            "a private key",
        );
        refused(&pem.replace("PUBLIC KEY", "CERTIFICATE"), "a certificate");
        let certificate = pem.replace("PUBLIC KEY", "CERTIFICATE");
        refused(&format!("{certificate}{certificate}"), "a chain of certificates");
        refused(&format!("{certificate}{pem}"), "a certificate");
        refused(
            &pem.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
            "an `RSA PUBLIC KEY` block",
        );
        refused(&pem.replace("PUBLIC KEY", "EC PARAMETERS"), "not a `PUBLIC KEY`");
        refused(&pem[..pem.len() - 40], "no PEM block");
        refused(&"x".repeat(PEM_BYTES_MAX + 1), "longer");
    }

    #[test]
    fn s055_a_curve_that_assertions_are_not_signed_with_is_refused() {
        let p384 = SigningKey::generate(Algorithm::Es384).unwrap();
        refused(&p384.public_pem(), "a P-384 key");
        let ed25519 = SigningKey::generate(Algorithm::EdDsa).unwrap();
        assert_eq!(
            public_key(&ed25519.public_pem()).unwrap().algorithms,
            [Algorithm::EdDsa]
        );
        let rsa = SigningKey::generate(Algorithm::Ps256).unwrap();
        let uploaded = public_key(&rsa.public_pem()).unwrap();
        assert_eq!(uploaded.algorithms, [Algorithm::Rs256, Algorithm::Ps256]);
    }
}
