//! Which actions may a credential take? Scope tokens and sets of them (RFC 6749 section 3.3).

use std::fmt;
use std::str::FromStr;

/// A `scope-token` (RFC 6749 section 3.3): one or more bytes of %x21, %x23-5B, %x5D-7E. Case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Box<str>);

/// Why a text is not a [`Scope`] or a [`ScopeSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("a scope cannot be empty")]
    Empty,
    #[error("byte {offset} cannot stand in a scope")]
    ForbiddenByte { offset: usize },
    #[error("scopes are separated by exactly one space")]
    Spacing,
}

impl Scope {
    /// The scopes, as a regular expression without anchors, for descriptions of files and of the admin API.
    pub const PATTERN: &'static str = "[!#-\\[\\]-~]+";

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Err(ScopeError::Empty);
        }
        match text.bytes().position(|byte| !is_scope_byte(byte)) {
            Some(offset) => Err(ScopeError::ForbiddenByte { offset }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A sorted set of scopes without duplicates. Prints as the space-separated list of RFC 6749.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct ScopeSet(Box<[Scope]>);

impl ScopeSet {
    /// Parses the space-separated list of RFC 6749 section 3.3. The empty text is the empty set.
    ///
    /// # Errors
    /// A forbidden byte (its offset within its token), or spaces other than a single one between tokens.
    pub fn parse_list(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(' ')
            .map(|token| {
                if token.is_empty() {
                    Err(ScopeError::Spacing)
                } else {
                    token.parse()
                }
            })
            .collect()
    }

    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes.into())
    }
}

impl FromStr for ScopeSet {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::parse_list(text)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str(" ")?;
            }
            out.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(scope: &str, expected: Result<(), ScopeError>) {
        assert_eq!(scope.parse::<Scope>().map(drop), expected, "{scope:?}");
    }

    #[test]
    fn scope_is_the_character_set_of_rfc6749_section_3_3() {
        check("orders:read", Ok(()));
        check("", Err(ScopeError::Empty));
        check("a b", Err(ScopeError::ForbiddenByte { offset: 1 }));
        check("a\"b", Err(ScopeError::ForbiddenByte { offset: 1 }));
        check("a\\b", Err(ScopeError::ForbiddenByte { offset: 1 }));
        check("é", Err(ScopeError::ForbiddenByte { offset: 0 }));
        for byte in 0..=0x7F_u8 {
            let text = char::from(byte).to_string();
            let allowed = byte > 0x20 && byte < 0x7F && byte != b'"' && byte != b'\\';
            assert_eq!(text.parse::<Scope>().is_ok(), allowed, "{byte:#x}");
        }
    }

    #[test]
    fn a_scope_list_has_single_spaces() {
        assert_eq!(
            ScopeSet::parse_list("b a b").map(|set| set.to_string()),
            Ok("a b".to_owned())
        );
        assert_eq!(ScopeSet::parse_list(""), Ok(ScopeSet::default()));
        for bad in [" a", "a ", "a  b", " "] {
            assert_eq!(ScopeSet::parse_list(bad), Err(ScopeError::Spacing), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_scope_set_parses_back(text in "[!#-\\[\\]-~]{1,8}( [!#-\\[\\]-~]{1,8}){0,4}") {
            let set = ScopeSet::parse_list(&text).unwrap();
            prop_assert_eq!(ScopeSet::parse_list(&set.to_string()).unwrap(), set);
        }

        #[test]
        fn parsing_scopes_never_panics(text in ".*") {
            let _ = ScopeSet::parse_list(&text);
        }
    }
}
