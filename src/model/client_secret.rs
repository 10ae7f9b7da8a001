//! What does a client secret look like, and what is kept of it? `kgs_` and 43 characters of `[0-9A-Za-z]`: as with ids,
//! nothing that a client would have to encode (RFC 6749 section 2.3.1).

use crate::model::api_key::Digester;
use crate::model::api_key::KeyDigest;
use crate::model::id::random_base62;
use crate::model::secret::Secret;

const PREFIX: &str = "kgs_";
/// 62^43 is just above 2^256.
const RANDOM_CHARS: usize = 43;

/// A new one, to be shown once. `random` fills its argument with random bytes; outside tests that is
/// [`crate::model::api_key::system_random`].
pub fn generate(random: &mut dyn FnMut(&mut [u8])) -> Secret<String> {
    let drawn = Secret::new(random_base62(RANDOM_CHARS, random));
    Secret::new([PREFIX, drawn.expose()].concat())
}

/// What is kept of it, and what one that is presented is compared with: made as those of API keys are, under the pepper
/// where there is one.
pub fn digest(digester: &Digester, secret: &str) -> KeyDigest {
    digester.digest(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::system_random;

    #[test]
    fn a_secret_has_only_characters_that_need_no_encoding_and_is_no_other() {
        let one = generate(&mut system_random);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        assert!(one.expose().len() == 47 && one.expose().bytes().all(is_plain));
        assert_ne!(one, generate(&mut system_random));
    }

    #[test]
    fn a_pepper_changes_the_digest() {
        let peppered = Digester::new(Some(&Secret::new(b"pepper".to_vec())));
        let plain = Digester::new(None);
        assert_ne!(digest(&peppered, "kgs_x"), digest(&plain, "kgs_x"));
        assert_eq!(digest(&plain, "kgs_x"), KeyDigest::sha256("kgs_x"));
    }
}
