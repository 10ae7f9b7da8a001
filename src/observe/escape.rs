//! Which characters of a client's text could mislead an operator, and how are they escaped? A path, a `kid` or a
//! subject could clear the terminal (ANSI), begin a new line (CR, LF, U+2028), or reverse the text after it
//! (bidirectional controls; S144).

use serde::Serialize;
use serde_json::ser::CharEscape;
use serde_json::ser::Formatter;
use std::io;
use std::ops::RangeInclusive;

/// Defines [`is_hidden`] and [`HIDDEN`] from one list.
macro_rules! hidden {
    ($($first:literal..=$last:literal),+ $(,)?) => {
        /// Returns whether `character` is always written as `\uXXXX`: C0 and C1 controls, DEL, line and paragraph
        /// separators, bidirectional and other invisible formatting characters, and the invisible tag characters.
        pub const fn is_hidden(character: char) -> bool {
            matches!(character, $($first..=$last)|+)
        }

        /// The characters of [`is_hidden`], for descriptions of texts that have none of them.
        pub const HIDDEN: &[RangeInclusive<char>] = &[$($first..=$last),+];
    };
}

hidden! {
    '\0'..='\x1F',
    '\x7F'..='\u{9F}',
    '\u{AD}'..='\u{AD}',
    '\u{61C}'..='\u{61C}',
    '\u{180E}'..='\u{180E}',
    '\u{200B}'..='\u{200F}',
    '\u{2028}'..='\u{202E}',
    '\u{2060}'..='\u{206F}',
    '\u{FEFF}'..='\u{FEFF}',
    '\u{FFF9}'..='\u{FFFB}',
    '\u{E0000}'..='\u{E007F}',
}

/// Appends `text` to `out`, with hidden characters as the `\uXXXX` of JSON (a surrogate pair above U+FFFF).
pub fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut clean_from = 0;
    for (index, character) in text.char_indices() {
        if is_hidden(character) {
            out.extend_from_slice(&text.as_bytes()[clean_from..index]);
            push_unicode_escape(out, character);
            clean_from = index + character.len_utf8();
        }
    }
    out.extend_from_slice(&text.as_bytes()[clean_from..]);
}

fn push_unicode_escape(out: &mut Vec<u8>, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            out.push(b"0123456789abcdef"[usize::from(*unit >> shift & 0xF)]);
        }
    }
}

/// Appends `value` to `out` as one line of JSON. Also escapes hidden characters, which RFC 8259 section 7 does not
/// require.
///
/// # Errors
/// `value` has no form in JSON, such as a map whose keys are not text.
pub fn push_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(out, EscapingFormatter))
}

/// Writes the compact form of `serde_json`, with hidden characters escaped in strings.
struct EscapingFormatter;

impl Formatter for EscapingFormatter {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Nearly every string is printable ASCII, without hidden characters.
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut escaped = Vec::with_capacity(fragment.len() + 16);
        push_escaped(&mut escaped, fragment);
        writer.write_all(&escaped)
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut out = Vec::new();
        push_escaped(&mut out, text);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{text:?}");
    }

    #[test]
    fn s144_control_and_format_characters_are_escaped() {
        check("/v1/orders?é=日本", "/v1/orders?é=日本");
        check("\x1B[31m", "\\u001b[31m");
        check("a\r\nb\0", "a\\u000d\\u000ab\\u0000");
        check(
            "\x7F\u{80}\u{9B}31m\u{9F}\u{A0}",
            "\\u007f\\u0080\\u009b31m\\u009f\u{A0}",
        );
        check("\u{2027}\u{2028}\u{2029}", "\u{2027}\\u2028\\u2029");
        check(
            "\u{202E}evil\u{2066}\u{200F}\u{61C}",
            "\\u202eevil\\u2066\\u200f\\u061c",
        );
        check("\u{FEFF}\u{E0041}", "\\ufeff\\udb40\\udc41");
    }

    proptest! {
        #[test]
        fn json_with_hidden_characters_escaped_reads_back_as_it_was(text in any::<String>()) {
            let mut out = Vec::new();
            push_json(&mut out, &text).unwrap();
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            let out = String::from_utf8(out).unwrap();
            prop_assert!(!out.chars().any(is_hidden), "{:?}", out);
        }
    }
}
