//! How is a private key protected against a reader of the disk? Each file is encrypted with a key that is not on the
//! disk (AES-256-GCM, NIST SP 800-38D).

use crate::jose::pem_file;
use crate::model::secret::Secret;
use aws_lc_rs::aead::AES_256_GCM;
use aws_lc_rs::aead::Aad;
use aws_lc_rs::aead::NONCE_LEN;
use aws_lc_rs::aead::Nonce;
use aws_lc_rs::aead::RandomizedNonceKey;
use std::fmt;

const TAG: &str = "KEYGATE WRAPPED PRIVATE KEY";

/// Why a file cannot be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    #[error("{0}")]
    Form(&'static str),
    #[error("it was encrypted with another `token_endpoint.wrapping_key`, or it was changed")]
    WrongKey,
}

/// The key of `token_endpoint.wrapping_key`.
pub struct WrappingKey(RandomizedNonceKey);

impl WrappingKey {
    /// Returns the wrapping key with these 32 bytes.
    ///
    /// # Errors
    /// `key` has any other length.
    pub fn new(key: &Secret<Vec<u8>>) -> Result<Self, &'static str> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.expose());
        key.map(Self).map_err(|_| "a wrapping key has 32 bytes")
    }

    /// Encrypts `plain`, a private key, and returns the text of its file. The
    /// `kid` is authenticated too, so the files of two keys cannot be exchanged.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn wrap(&self, kid: &str, plain: &Secret<String>) -> Result<String, &'static str> {
        // Reserve room for the tag: if the vector were moved to grow, the plain text would stay in freed memory.
        let mut sealed = Secret::new(Vec::with_capacity(plain.expose().len() + AES_256_GCM.tag_len()));
        sealed.change(|bytes| bytes.extend_from_slice(plain.expose().as_bytes()));
        let nonce = sealed
            .change(|bytes| self.0.seal_in_place_append_tag(Aad::from(kid.as_bytes()), bytes))
            .map_err(|_| "the cryptographic library failed")?;
        let content = [&nonce.as_ref()[..], sealed.expose()].concat();
        Ok(pem_file::write(TAG, &content))
    }

    /// Decrypts the text of the file for `kid`, and returns the private key.
    ///
    /// # Errors
    /// The text has another format, or was encrypted with another key or `kid`, or was changed.
    pub fn unwrap(&self, kid: &str, text: &[u8]) -> Result<Secret<String>, UnwrapError> {
        let content = pem_file::block_with_tag(TAG, text).map_err(UnwrapError::Form)?;
        let (nonce, sealed) = content
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(UnwrapError::Form("too short"))?;
        let mut opened = Secret::new(sealed.to_vec());
        let length = opened
            .change(|bytes| {
                let aad = Aad::from(kid.as_bytes());
                let plain = self.0.open_in_place(Nonce::from(nonce), aad, bytes);
                plain.map(|plain| plain.len())
            })
            .map_err(|_| UnwrapError::WrongKey)?;
        let plain = opened.expose().get(..length).unwrap_or_default().to_vec();
        match String::from_utf8(plain) {
            Ok(text) => Ok(Secret::new(text)),
            Err(_) => Err(UnwrapError::WrongKey),
        }
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("WrappingKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> WrappingKey {
        WrappingKey::new(&Secret::new(vec![byte; 32])).unwrap()
    }

    #[test]
    fn a_wrapped_key_opens_only_with_its_wrapping_key_and_name() {
        let plain = Secret::new("the private key".to_owned());
        let text = key(1).wrap("a", &plain).unwrap();
        assert!(!text.contains("private key of") && text.starts_with("-----BEGIN KEYGATE WRAPPED PRIVATE KEY-----"));
        assert_eq!(key(1).unwrap("a", text.as_bytes()), Ok(plain.clone()));
        assert_eq!(key(2).unwrap("a", text.as_bytes()), Err(UnwrapError::WrongKey));
        assert_eq!(key(1).unwrap("b", text.as_bytes()), Err(UnwrapError::WrongKey));
        // Each encryption differs, so that two files do not reveal that they hold the same key.
        assert_ne!(key(1).wrap("a", &plain).unwrap(), text);
    }

    #[test]
    fn a_changed_or_cut_file_does_not_open() {
        let text = key(1).wrap("a", &Secret::new("x".to_owned())).unwrap();
        let content = pem_file::block_with_tag(TAG, text.as_bytes()).unwrap();
        for index in 0..content.len() {
            let mut changed = content.clone();
            changed[index] ^= 1;
            let changed = pem_file::write(TAG, &changed);
            assert_eq!(
                key(1).unwrap("a", changed.as_bytes()),
                Err(UnwrapError::WrongKey),
                "{index}"
            );
            let cut = pem_file::write(TAG, &content[..index]);
            assert!(key(1).unwrap("a", cut.as_bytes()).is_err(), "{index}");
        }
        assert!(key(1).unwrap("a", b"x").is_err());
        let other = pem_file::write("PRIVATE KEY", &content);
        assert!(matches!(
            key(1).unwrap("a", other.as_bytes()),
            Err(UnwrapError::Form(_))
        ));
    }

    #[test]
    fn a_wrapping_key_has_32_bytes() {
        for length in [0, 16, 31, 33] {
            assert!(WrappingKey::new(&Secret::new(vec![0; length])).is_err(), "{length}");
        }
    }
}
