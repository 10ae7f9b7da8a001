//! Which bytes of a target are escaped before anything reads them? Clients send bytes that RFC 3986 does not allow: curl,
//! consoles of PromQL and browsers leave `{`, `|`, `"` or UTF-8 as they are. Each has one meaning, with its escape or without.

use crate::gate::accept::normalize;
use bytes::Bytes;
use http::Uri;
use http::uri::InvalidUri;

/// Returns whether [`target`] may change `raw`.
pub fn is_needed(raw: &str) -> bool {
    // Without an early exit, so that sixteen bytes are checked in one step: nearly every target needs nothing.
    let may_need = |byte: u8| !byte.is_ascii() | matches!(byte, b'"' | b'<' | b'>' | b'`');
    raw.bytes().fold(false, |any, byte| any | may_need(byte))
}

/// Returns the URI of `raw`, which stands in `text`, with the escapes of [`target`]. Nearly every target needs none and is not
/// copied.
///
/// # Errors
/// The crate `http` refuses the target.
pub fn uri(text: &Bytes, raw: &str) -> Result<Uri, InvalidUri> {
    match Uri::from_maybe_shared(text.slice_ref(raw.as_bytes())) {
        Ok(uri) if uri.query().is_none_or(str::is_ascii) => Ok(uri),
        // UTF-8 in the query, or a byte that the crate refuses.
        Ok(_) | Err(_) => Uri::from_maybe_shared(Bytes::from(target(raw))),
    }
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
            let text = Bytes::copy_from_slice(raw.as_bytes());
            let shared = std::str::from_utf8(&text).unwrap();
            let read = super::uri(&text, shared).map(|uri| uri.to_string());
            assert_eq!(read.ok().as_deref(), Some(expected), "{raw}");
        }
    }
}
