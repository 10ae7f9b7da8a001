//! Which form of a path is matched and forwarded (RFC 3986 section 6.2.2)?

use crate::config::is_dot_segment;
use crate::model::reason::reasons;
use std::borrow::Cow;

/// A path with exactly one reading. Percent-escapes of unreserved characters are decoded, hex digits are upper case.
/// Bytes that RFC 3986 forbids unescaped in a path but that have one meaning (`|`, `{` …) are escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'r> {
    pub text: Cow<'r, str>,
    pub oddities: Oddities,
}

/// Forms that are refused unless the matched route allows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// `%2F`: one segment for Keygate, perhaps two for the upstream.
    pub encoded_slash: bool,
    /// `//`: some upstreams merge the slashes.
    pub empty_segment: bool,
}

/// Why a path is invalid, or has more than one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("does not start with `/`")]
    NoLeadingSlash,
    #[error("`%` without two hexadecimal digits")]
    InvalidEscape,
    #[error("control byte, raw or encoded")]
    Control,
    #[error("raw byte outside ASCII")]
    NonAscii,
    #[error("backslash, raw or encoded")]
    Backslash,
    #[error("fragment or query in the path")]
    Fragment,
    #[error("not UTF-8 once decoded")]
    InvalidUtf8,
    #[error("dot segment")]
    DotSegment,
    #[error("encoded twice")]
    DoubleEncoding,
    #[error("encoded slash")]
    EncodedSlash,
    #[error("empty segment")]
    EmptySegment,
}

reasons! {
    PathError {
        Self::NoLeadingSlash => "path_no_leading_slash",
        Self::InvalidEscape => "path_invalid_escape",
        Self::Control => "path_control_byte",
        Self::NonAscii => "path_non_ascii",
        Self::Backslash => "path_backslash",
        Self::Fragment => "path_fragment",
        Self::InvalidUtf8 => "path_invalid_utf8",
        Self::DotSegment => "path_dot_segment",
        Self::DoubleEncoding => "path_double_encoding",
        Self::EncodedSlash => "path_encoded_slash",
        Self::EmptySegment => "path_empty_segment",
    }
}

/// The number of times that a path may be decoded before decoding changes nothing; deeper nesting is refused.
const DECODE_ROUNDS_MAX: usize = 3;

/// Returns the normal form of `raw`, the path of a request target without its query. Borrows
/// where `raw` is in normal form.
///
/// The normal form of a normal form is itself. Decoding it twice yields no `/`, `.`, `;`, `\` or control byte that
/// decoding it once does not.
///
/// # Errors
/// The first [`PathError`] that applies, but never `EncodedSlash` or `EmptySegment`: the route decides on these,
/// so they are returned as [`Oddities`] and refused by [`check_oddities`](super::hygiene::check_oddities).
pub fn path(raw: &str) -> Result<NormalPath<'_>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NoLeadingSlash);
    }
    if is_plain(raw.as_bytes()) {
        return Ok(NormalPath {
            text: Cow::Borrowed(raw),
            oddities: Oddities::default(),
        });
    }
    let text = if is_normal(raw.as_bytes()) {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(rewrite(raw)?)
    };
    let oddities = inspect(&text)?;
    Ok(NormalPath { text, oddities })
}

/// Returns whether `raw` consists of path bytes without an escape, an empty segment or a segment that begins with a
/// dot. This pass saves the passes of [`is_normal`], which would return `true`, and of [`inspect`], which would find
/// nothing.
fn is_plain(raw: &[u8]) -> bool {
    let mut before = 0;
    raw.iter().all(|&byte| {
        let starts_odd = before == b'/' && matches!(byte, b'/' | b'.');
        before = byte;
        KIND[usize::from(byte)].in_path && !starts_odd
    })
}

/// Returns whether [`rewrite`] would return the same bytes.
fn is_normal(raw: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte == b'%' {
            let upper = raw[at + 1..].iter().take(2).all(|digit| !digit.is_ascii_lowercase());
            match escape_at(raw, at) {
                Some(value) if upper && !is_unreserved(value) => at += 3,
                _ => return false,
            }
        } else if is_path_byte(byte) {
            at += 1;
        } else {
            return false;
        }
    }
    true
}

/// Returns the normal form of `raw`, as described at [`NormalPath`].
fn rewrite(raw: &str) -> Result<String, PathError> {
    let bytes = raw.as_bytes();
    let mut text = String::with_capacity(bytes.len() + 8);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let value = escape_at(bytes, at - 1).ok_or(PathError::InvalidEscape)?;
                at += 2;
                if is_unreserved(value) {
                    text.push(char::from(value));
                } else {
                    push_escape(&mut text, value);
                }
            }
            b'\\' => return Err(PathError::Backslash),
            b'#' | b'?' => return Err(PathError::Fragment),
            0x00..=0x20 | 0x7F => return Err(PathError::Control),
            0x80.. => return Err(PathError::NonAscii),
            _ if is_path_byte(byte) => text.push(char::from(byte)),
            // RFC 3986 section 3.3 allows none of `"<>[]^`{|}` in a path, but clients send some of them. Every parser
            // reads them alike, so they are escaped rather than refused.
            _ => push_escape(&mut text, byte),
        }
    }
    Ok(text)
}

/// Returns the oddities of `text`, which is in normal form. Refuses a path that an upstream could read differently.
fn inspect(text: &str) -> Result<Oddities, PathError> {
    let mut oddities = Oddities {
        encoded_slash: false,
        empty_segment: text.contains("//"),
    };
    if text.contains('%') {
        let once = decode(text.as_bytes());
        if once.iter().any(|byte| byte.is_ascii_control()) {
            return Err(PathError::Control);
        }
        if once.contains(&b'\\') {
            return Err(PathError::Backslash);
        }
        if std::str::from_utf8(&once).is_err() {
            return Err(PathError::InvalidUtf8);
        }
        refuse_double_encoding(once)?;
        oddities.encoded_slash = text.contains("%2F");
    }
    let mut segments = text.split('/').flat_map(|segment| segment.split("%2F"));
    if segments.any(is_dot_segment) {
        Err(PathError::DotSegment)
    } else {
        Ok(oddities)
    }
}

/// Refuses a path that means something else to an upstream that decodes it more than once (S090). `once` is the path
/// decoded once: decoding it further must yield valid UTF-8 with the same number of separators and control bytes.
fn refuse_double_encoding(once: Vec<u8>) -> Result<(), PathError> {
    let separators = |bytes: &[u8]| {
        let is_separator = |byte: &u8| matches!(byte, b'/' | b'.' | b'\\' | b';') || byte.is_ascii_control();
        bytes.iter().filter(|byte| is_separator(byte)).count()
    };
    let expected = separators(&once);
    let mut text = once;
    for _ in 0..DECODE_ROUNDS_MAX {
        let next = decode(&text);
        if next == text {
            return Ok(());
        }
        if separators(&next) != expected || std::str::from_utf8(&next).is_err() {
            return Err(PathError::DoubleEncoding);
        }
        text = next;
    }
    Err(PathError::DoubleEncoding)
}

/// Returns the path as the most lenient upstream could read it: fully decoded, in lower case, with `/` for `\`, without
/// a decoded query, parameters, trailing dots and spaces of a segment, empty segments and a trailing `/`. Compare a
/// folded path only with other folded paths; never forward it.
///
/// Borrows where [`is_folded`], the usual case.
pub fn fold(path: &str) -> Cow<'_, str> {
    if is_folded(path) {
        return Cow::Borrowed(path);
    }
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..=DECODE_ROUNDS_MAX {
        bytes = decode(&bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        // Convert to upper and then to lower case, because U+212A (Kelvin) equals `k` only in lower case and U+017F
        // (long s) equals `s` only in upper case.
        text.to_uppercase().to_lowercase()
    };
    // An upstream that decodes the path before it splits off the query ends the path at a decoded `?` or `#`.
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let mut folded = String::with_capacity(text.len());
    for segment in text.split(['/', '\\']) {
        let name = segment
            .split(';')
            .next()
            .unwrap_or_default()
            .trim_end_matches(['.', ' ']);
        if !name.is_empty() {
            folded.push('/');
            folded.push_str(name);
        }
    }
    if folded.is_empty() {
        folded.push('/');
    }
    Cow::Owned(folded)
}

/// Returns `true` only for a path that [`fold`] does not change, and `false` for any path with a `%`, a space or a
/// non-ASCII byte.
pub(super) fn is_folded(path: &str) -> bool {
    let ends_well = path == "/" || !matches!(path.as_bytes().last(), None | Some(b'/' | b'.'));
    let mut before = 0;
    ends_well
        && path.bytes().all(|byte| {
            let ends_odd = byte == b'/' && matches!(before, b'/' | b'.');
            before = byte;
            KIND[usize::from(byte)].folded && !ends_odd
        })
}

/// Returns `bytes`, percent-decoded once. A `%` without two hexadecimal digits stays.
fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match escape_at(bytes, at) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// Returns the byte that the escape at `at` stands for, or `None` where there is no escape.
pub(crate) fn escape_at(bytes: &[u8], at: usize) -> Option<u8> {
    let &[b'%', high, low] = bytes.get(at..at + 3)? else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// Appends the escape of `byte`.
pub(crate) fn push_escape(text: &mut String, byte: u8) {
    text.push('%');
    for nibble in [byte >> 4, byte & 0x0F] {
        text.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
    }
}

/// Returns whether `byte` is unreserved (RFC 3986 section 2.3).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Returns whether `byte` is a `pchar` without escapes, or `/` (RFC 3986 section 3.3).
fn is_path_byte(byte: u8) -> bool {
    KIND[usize::from(byte)].in_path
}

/// The properties of a byte in a path.
#[derive(Clone, Copy)]
struct Kind {
    /// `true` for a `pchar` without escapes and for `/`.
    in_path: bool,
    /// `true` for a byte that [`fold`] keeps; it keeps `/` and `.` only in some places.
    folded: bool,
}

/// Indexed by byte. A table, because [`is_plain`] and [`is_folded`] check every byte of every path.
const KIND: [Kind; 256] = {
    let mut table = [Kind {
        in_path: false,
        folded: false,
    }; 256];
    let mut byte: u8 = 0;
    loop {
        let sub_delimiter = matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        );
        table[byte as usize] = Kind {
            in_path: is_unreserved(byte) || sub_delimiter || matches!(byte, b':' | b'@' | b'/'),
            folded: byte.is_ascii()
                && !byte.is_ascii_uppercase()
                && !matches!(byte, b'%' | b';' | b'\\' | b'?' | b'#' | b' '),
        };
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

#[cfg(test)]
mod tests;
