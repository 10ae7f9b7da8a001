//! How are the ids of clients and subscriptions written? One grammar for both; random where Keygate chooses them.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const ID_CHARS_MAX: usize = 64;
const ID_PATTERN: &str = "[A-Za-z0-9_-]{1,64}";
/// Random characters of a generated id, after its prefix: 62^22 is above 2^130, so an id cannot be guessed or repeat.
const RANDOM_CHARS: usize = 22;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The error for a text that is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to 64 characters of letters, digits, `-` and `_`")]
pub struct IdError;

/// The error for a text that is not a word of a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of the words that can stand here")]
pub struct UnknownWord;

/// Implements `Display` and `FromStr` for an enum with `ALL` and `as_str`.
macro_rules! words {
    ($($name:ident),+) => {
        $(
            impl std::fmt::Display for $name {
                fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    out.write_str(self.as_str())
                }
            }

            impl std::str::FromStr for $name {
                type Err = $crate::model::id::UnknownWord;

                fn from_str(text: &str) -> Result<Self, $crate::model::id::UnknownWord> {
                    let found = Self::ALL.into_iter().find(|word| word.as_str() == text);
                    found.ok_or($crate::model::id::UnknownWord)
                }
            }
        )+
    };
}
pub(crate) use words;

fn is_id(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Returns `length` random characters of `[0-9A-Za-z]`. `random` fills its argument with random
/// bytes; outside tests it is [`crate::model::api_key::system_random`].
pub fn random_base62(length: usize, random: &mut dyn FnMut(&mut [u8])) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut byte = [0];
        random(&mut byte);
        // 248 is the largest multiple of 62 in a byte; larger values would make the first characters more likely.
        if byte[0] < 248 {
            text.push(char::from(BASE62[usize::from(byte[0] % 62)]));
        }
    }
    text
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The ids, as a regular expression without anchors, for the description of the admin API.
            pub const PATTERN: &'static str = ID_PATTERN;

            /// Returns a new random id: the prefix, then 22 characters of `[0-9A-Za-z]`.
            pub fn generate(random: &mut dyn FnMut(&mut [u8])) -> Self {
                Self(format!("{}{}", $prefix, random_base62(RANDOM_CHARS, random)).into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if is_id(text) { Ok(Self(text.into())) } else { Err(IdError) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}({})", stringify!($name), self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// `client_id` (RFC 6749 section 2.2), of `[A-Za-z0-9_-]` alone: many clients do
    /// not form-encode the credentials in Basic (section 2.3.1).
    ClientId,
    "client_"
);
id!(
    /// The id of a subscription.
    SubscriptionId,
    "sub_"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::system_random;

    #[test]
    fn an_id_has_only_characters_that_need_no_encoding() {
        for good in ["a", "client_0-9", "A_b-C", &"x".repeat(64)] {
            assert_eq!(good.parse::<ClientId>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a:b", "a%", "a.b", "a/b", "\u{e9}", &"x".repeat(65)] {
            assert_eq!(bad.parse::<ClientId>(), Err(IdError), "{bad:?}");
        }
    }

    #[test]
    fn a_made_id_parses_back_and_is_no_other() {
        let id = ClientId::generate(&mut system_random);
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_ne!(id, ClientId::generate(&mut system_random));
    }
}
