//! Which names may routes, issuers, plans, organizations and the like have?

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a route, an issuer, an upstream, a limit, a plan, an organization and the like: 1 to 64 characters,
/// a lower-case letter or a digit first, then also `-`, `_` and `.`. Names become metric labels and structured-field
/// strings, so they must never need escaping. Cloning shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name cannot be empty")]
    Empty,
    #[error("a name has at most 64 characters")]
    TooLong,
    #[error("a name starts with a lower-case letter or a digit and goes on with these, `-`, `_` or `.`")]
    ForbiddenCharacter,
}

const NAME_CHARS_MAX: usize = 64;

impl Name {
    /// The names, as a regular expression without anchors, for descriptions of files and of the admin API.
    pub const PATTERN: &'static str = "[a-z0-9][a-z0-9._-]{0,63}";

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the shared text.
    pub const fn shared(&self) -> &Arc<str> {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some(first) = text.bytes().next() else {
            return Err(NameError::Empty);
        };
        if text.len() > NAME_CHARS_MAX {
            return Err(NameError::TooLong);
        }
        let starts_well = first.is_ascii_lowercase() || first.is_ascii_digit();
        let goes_on_well = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.'));
        if starts_well && goes_on_well {
            Ok(Self(text.into()))
        } else {
            Err(NameError::ForbiddenCharacter)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), NameError>) {
        assert_eq!(text.parse::<Name>().map(drop), expected, "{text:?}");
    }

    #[test]
    fn names_need_no_escaping_anywhere() {
        check("orders-read", Ok(()));
        check("v1.orders_2", Ok(()));
        check(&"a".repeat(64), Ok(()));
        check("", Err(NameError::Empty));
        check(&"a".repeat(65), Err(NameError::TooLong));
        for bad in ["Orders", "-a", ".a", "a b", "a\"b", "a\nb", "é"] {
            check(bad, Err(NameError::ForbiddenCharacter));
        }
    }
}
