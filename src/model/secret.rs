//! How does a secret stay out of logs, comparison timing and freed memory?

use std::fmt;
use zeroize::Zeroize;

/// The start of the text of an opaque access token. No JWT and no API key of Keygate begins with it.
pub const OPAQUE_TOKEN_PREFIX: &str = "kgt_";
/// The start of the text of a client secret.
pub const CLIENT_SECRET_PREFIX: &str = "kgs_";
/// The starts of the secrets that Keygate makes, besides API keys, whose start is configured. Letters and digits follow. Logs
/// recognize a secret by these.
pub const SECRET_PREFIXES: [&str; 2] = [OPAQUE_TOKEN_PREFIX, CLIENT_SECRET_PREFIX];

/// A value that must not be printed: `Debug` shows `[secret]`, there is no `Display`,
/// memory is wiped on drop, and equality takes constant time.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value. Check at every call that the value is neither printed nor stored.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Calls `work` with the value in place, for example to encrypt it, and returns the result.
    pub fn change<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[secret]")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_ref(), other.0.as_ref()).is_ok()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_no_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "[secret]");
        assert_eq!(format!("{:?}", Some(Secret::new(vec![1_u8, 2]))), "Some([secret])");
    }

    #[test]
    fn secrets_are_equal_when_their_bytes_are() {
        assert_eq!(Secret::new("a".to_owned()), Secret::new("a".to_owned()));
        assert_ne!(Secret::new("a".to_owned()), Secret::new("b".to_owned()));
        assert_ne!(Secret::new("a".to_owned()), Secret::new("ab".to_owned()));
    }
}
