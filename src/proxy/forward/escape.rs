//! Which bytes of a target are escaped before anything reads them? Clients send bytes that RFC 3986 does not allow: curl,
//! consoles of PromQL and browsers leave `{`, `|`, `"` or UTF-8 as they are. Each has one meaning, with its escape or without.

use crate::gate::accept::normalize;

/// The bytes for which [`target`] may change a target, by their value.
const MAY_NEED: [bool; 256] = {
    let mut may_need = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        may_need[byte] = is_rare(byte as u8);
        byte += 1;
    }
    may_need
};

const fn is_rare(byte: u8) -> bool {
    !byte.is_ascii() | (byte == b'"') | (byte == b'<') | (byte == b'>') | (byte == b'`')
}

/// Returns whether [`target`] may change `raw`.
pub fn is_needed(raw: &str) -> bool {
    // Without an early exit, because nearly every target needs nothing: sixteen bytes in one step, the rest by the table.
    let (chunks, rest) = raw.as_bytes().as_chunks::<16>();
    let in_chunk = |chunk: &[u8; 16]| chunk.iter().fold(false, |any, byte| any | is_rare(*byte));
    chunks.iter().fold(false, |any, chunk| any | in_chunk(chunk))
        | rest.iter().fold(false, |any, byte| any | MAY_NEED[usize::from(*byte)])
}

/// Returns `raw` with escapes for the bytes that the crate `http` refuses (`<`, `>`, in the path also `` ` ``, in the query
/// also `"`), and for the bytes of UTF-8 in the query, because servers that read a request line as Latin-1 take some of them
/// (0x85, 0xA0) for blanks. UTF-8 in the path stays, and is refused.
pub fn target(raw: &str) -> String {
    let path = raw.find('?').unwrap_or(raw.len());
    let mut text = String::with_capacity(raw.len() + 16);
    for (at, char) in raw.char_indices() {
        let is_escaped = match char {
            '<' | '>' => true,
            '`' => at < path,
            '"' => at > path,
            _ => at > path && !char.is_ascii(),
        };
        if is_escaped {
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                normalize::push_escape(&mut text, byte);
            }
        } else {
            text.push(char);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_without_another_reading_are_escaped() {
        for (raw, expected) in [
            ("/a?b=c", "/a?b=c"),
            ("/{a}|^[b]?{a}|^[b]\\`", "/{a}|^[b]?{a}|^[b]\\`"),
            ("/<`>\"?<`>\"", "/%3C%60%3E\"?%3C`%3E%22"),
            ("/\u{e9}?\u{e9}?\"", "/\u{e9}?%C3%A9?%22"),
            ("/?up{job=\"a\"}", "/?up{job=%22a%22}"),
        ] {
            assert_eq!(target(raw), expected);
            assert!(is_needed(raw) || raw == expected);
        }
        assert!(!is_needed("/a?{b}|[c]\\^"));
        // In each place of a long target.
        let long = "/0123456789abcdef0123456789abcdef?a=b";
        for at in 1..long.len() {
            let changed = format!("{}<{}", &long[..at], &long[at..]);
            assert!(is_needed(&changed), "{changed}");
        }
        assert!(!is_needed(long));
    }
}
