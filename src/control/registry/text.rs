//! Which names and descriptions are accepted? Short ones without
//! characters that a terminal or a log viewer would interpret (S144).

use crate::observe::escape::HIDDEN;
use crate::observe::escape::is_hidden;
use std::fmt;
use std::ops::RangeInclusive;

/// The name of a key, a client or an organization: 1 to 200 characters, none of them hidden, no space at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(String);

/// A description: at most 1000 characters, with the same rules as [`Label`], and possibly empty.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Description(String);

pub const LABEL_CHARS_MAX: usize = 200;
pub const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// Why a text is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("cannot be empty")]
    Empty,
    #[error("has at most {max} characters")]
    TooLong { max: usize },
    #[error("has no control characters, line ends or characters that cannot be seen (number {} is one)", .offset + 1)]
    Hidden { offset: usize },
    #[error("does not begin or end with a space")]
    Spaces,
}

/// The characters that [`str::trim`] removes, without the hidden ones.
const SPACES: [RangeInclusive<char>; 7] = [
    ' '..=' ',
    '\u{A0}'..='\u{A0}',
    '\u{1680}'..='\u{1680}',
    '\u{2000}'..='\u{200A}',
    '\u{202F}'..='\u{202F}',
    '\u{205F}'..='\u{205F}',
    '\u{3000}'..='\u{3000}',
];

/// Returns the texts without hidden characters and without a space at either end, as a regular expression without anchors
/// and whatever their length, for the description of the admin API.
pub fn pattern() -> String {
    let hidden = members(HIDDEN);
    let outer = format!("[^{hidden}{}]", members(&SPACES));
    format!("{outer}([^{hidden}]*{outer})?")
}

/// Returns the members of a character class, in a form that the regular expressions of ECMA-262, Python and Rust share: that
/// is the character itself beyond U+FFFF.
fn members(ranges: &[RangeInclusive<char>]) -> String {
    let written = |character: char| match u32::from(character) {
        code @ 0..=0xFFFF => format!("\\u{code:04X}"),
        _ => character.to_string(),
    };
    let range = |range: &RangeInclusive<char>| match (*range.start(), *range.end()) {
        (first, last) if first == last => written(first),
        (first, last) => format!("{}-{}", written(first), written(last)),
    };
    ranges.iter().map(range).collect()
}

fn check(text: &str, max: usize) -> Result<(), TextError> {
    if text.chars().count() > max {
        return Err(TextError::TooLong { max });
    }
    if let Some(offset) = text.chars().position(is_hidden) {
        return Err(TextError::Hidden { offset });
    }
    // Two names that differ only in spaces look the same, so an operator could revoke the wrong key.
    if text.trim() != text {
        return Err(TextError::Spaces);
    }
    Ok(())
}

impl Label {
    /// Parses a name.
    ///
    /// # Errors
    /// The text is empty, has more than 200 characters or a hidden character, or begins or ends with space.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        check(text, LABEL_CHARS_MAX)?;
        Ok(Self(text.to_owned()))
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl Description {
    /// Parses a description.
    ///
    /// # Errors
    /// The text has more than 1000 characters or a hidden character, or begins or ends with space.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        check(text, DESCRIPTION_CHARS_MAX)?;
        Ok(Self(text.to_owned()))
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), TextError>) {
        assert_eq!(Label::parse(text).map(drop), expected, "{text:?}");
    }

    #[test]
    fn s144_a_name_has_no_hidden_characters() {
        check("ci", Ok(()));
        check("Büro 3 – \u{65e5}\u{672c}", Ok(()));
        check("", Err(TextError::Empty));
        for (bad, offset) in [
            ("a\nb", 1),
            ("\u{1b}[31m", 0),
            ("a\0", 1),
            ("a\u{202e}b", 1),
            ("ab\u{200b}", 2),
            ("\u{7f}", 0),
            ("a\u{85}b", 1),
            ("a\u{2028}b", 1),
        ] {
            check(bad, Err(TextError::Hidden { offset }));
        }
        for bad in [" a", "a ", "\u{a0}a", " "] {
            check(bad, Err(TextError::Spaces));
        }
    }

    #[test]
    fn the_pattern_tells_every_character_as_the_parser_does() {
        let matcher = jsonschema::validator_for(&serde_json::json!({ "pattern": format!("^{}$", pattern()) })).unwrap();
        for character in ('\0'..='\u{FFFF}').chain('\u{E0000}'..='\u{E00FF}') {
            for text in [
                format!("a{character}b"),
                format!("{character}b"),
                format!("a{character}"),
            ] {
                let is_valid = matcher.is_valid(&text.as_str().into());
                assert_eq!(is_valid, Label::parse(&text).is_ok(), "{text:?}");
            }
        }
        assert!(!matcher.is_valid(&"".into()));
    }

    #[test]
    fn names_have_200_characters_and_descriptions_1000() {
        check(&"ü".repeat(200), Ok(()));
        check(&"ü".repeat(201), Err(TextError::TooLong { max: 200 }));
        assert!(Description::parse("").is_ok());
        assert!(Description::parse(&"ü".repeat(1_000)).is_ok());
        assert_eq!(
            Description::parse(&"x".repeat(1_001)),
            Err(TextError::TooLong { max: 1_000 })
        );
        assert_eq!(Description::parse("a\r\nb"), Err(TextError::Hidden { offset: 1 }));
    }
}
