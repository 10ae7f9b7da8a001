//! How is a client secret built, and how is its digest made? `kgs_` and 43 characters of
//! `[0-9A-Za-z]`: a client need not encode any of them (RFC 6749 section 2.3.1).

use crate::model::api_key::CredentialDigest;
use crate::model::api_key::Digester;
use crate::model::id::random_base62;
use crate::model::secret::CLIENT_SECRET_PREFIX;
use crate::model::secret::Secret;

/// 62^43 is just above 2^256.
const RANDOM_CHARS: usize = 43;

/// Returns a new secret, to be shown once. `random` fills its argument with random bytes;
/// outside tests it is [`crate::model::api_key::system_random`].
pub fn generate(random: &mut dyn FnMut(&mut [u8])) -> Secret<String> {
    let drawn = Secret::new(random_base62(RANDOM_CHARS, random));
    Secret::new([CLIENT_SECRET_PREFIX, drawn.expose()].concat())
}

/// The characters of a secret that its obfuscated form shows: 24 of its 256 random bits.
const HINT_CHARS: usize = 4;

/// Returns the obfuscated form of `secret`, by which its owner knows it again.
pub fn hint(secret: &str) -> String {
    let end = secret.len().saturating_sub(HINT_CHARS);
    format!("{CLIENT_SECRET_PREFIX}…{}", secret.get(end..).unwrap_or_default())
}

/// Returns the digest of `secret`, for storage and for comparison. As for
/// API keys, it depends on the pepper if `digester` has one.
pub fn digest(digester: &Digester, secret: &str) -> CredentialDigest {
    digester.digest(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::system_random;

    #[test]
    fn a_secret_has_only_characters_that_need_no_encoding_and_is_no_other() {
        let secret = generate(&mut system_random);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        assert!(secret.expose().len() == 47 && secret.expose().bytes().all(is_plain));
        assert_ne!(secret, generate(&mut system_random));
    }

    #[test]
    fn an_obfuscated_secret_shows_its_last_four_characters_alone() {
        assert_eq!(hint(&format!("kgs_{}wxyz", "a".repeat(39))), "kgs_…wxyz");
        assert_eq!(hint("ü"), "kgs_…ü");
    }

    #[test]
    fn a_pepper_changes_the_digest() {
        let peppered = Digester::new(Some(&Secret::new(b"pepper".to_vec())));
        let plain = Digester::new(None);
        assert_ne!(digest(&peppered, "kgs_x"), digest(&plain, "kgs_x"));
        assert_eq!(digest(&plain, "kgs_x"), CredentialDigest::sha256("kgs_x"));
    }
}
