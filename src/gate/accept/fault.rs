//! Which byte of a request breaks a rule, and where does it stand? Computed only for the text of a refusal.

use crate::gate::accept::AcceptError;
use crate::gate::accept::HeadError;
use crate::gate::accept::inbound::is_query_byte;
use crate::gate::accept::normalize::PathError;
use crate::gate::accept::normalize::escape_at;
use crate::gate::accept::syntax;
use http::Uri;
use std::fmt;

/// The byte that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteFault {
    /// The byte itself, or the byte that an escape stands for.
    pub byte: u8,
    /// The number of bytes before it.
    pub offset: usize,
    pub part: RequestPart,
}

/// The part of a request that an offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPart {
    Head,
    Target,
    Path,
    Query,
}

impl RequestPart {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Target => "target",
            Self::Path => "path",
            Self::Query => "query",
        }
    }

    const fn at(self, offset: usize, byte: u8) -> ByteFault {
        ByteFault {
            byte,
            offset,
            part: self,
        }
    }
}

impl fmt::Display for ByteFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "0x{:02X}", self.byte)?;
        if self.byte.is_ascii_graphic() {
            write!(out, " (`{}`)", char::from(self.byte))?;
        }
        write!(out, ", at offset {} of the {}", self.offset, self.part.as_str())
    }
}

/// Returns the byte of `target` that causes `error`; `None` for a rule that is not about one byte.
pub fn of_accept(error: AcceptError, target: &Uri) -> Option<ByteFault> {
    match error {
        AcceptError::Path(error) => {
            let path = target.path().as_bytes();
            of_path(path, error)
                .filter(|fault| is_as_sent(&path[..fault.offset], |byte| matches!(byte, b'<' | b'>' | b'`')))
        }
        AcceptError::QueryByte => {
            let query = target.query()?.as_bytes();
            first(query, RequestPart::Query, |byte| !is_query_byte(byte)).filter(|fault| {
                is_as_sent(&query[..fault.offset], |byte| {
                    !byte.is_ascii() || matches!(byte, b'<' | b'>' | b'"')
                })
            })
        }
        AcceptError::HostMissing
        | AcceptError::HostRepeated
        | AcceptError::HostInvalid
        | AcceptError::HostMismatch
        | AcceptError::MethodRefused
        | AcceptError::MethodUnknown
        | AcceptError::Framing
        | AcceptError::HeaderAlias
        | AcceptError::ConnectionNomination => None,
    }
}

/// Returns whether the client sent `part` as it is. Bytes for which `is_escaped` holds get their escapes before the decision,
/// unless the client has sent these; then the place of a byte behind them is not known.
fn is_as_sent(part: &[u8], is_escaped: impl Fn(u8) -> bool) -> bool {
    !escapes(part).any(|(_, _, value)| value.is_some_and(&is_escaped))
}

fn of_path(path: &[u8], error: PathError) -> Option<ByteFault> {
    if error == PathError::InvalidUtf8 {
        let decoded: Vec<(usize, u8)> = escapes(path)
            .map(|(at, raw, value)| (at, value.unwrap_or(raw)))
            .collect();
        let bytes: Vec<u8> = decoded.iter().map(|(_, byte)| *byte).collect();
        let valid = std::str::from_utf8(&bytes).err()?.valid_up_to();
        let (offset, byte) = *decoded.get(valid)?;
        return Some(RequestPart::Path.at(offset, byte));
    }
    let mut bytes = escapes(path);
    bytes.find_map(|(offset, raw, value)| {
        let byte = value.unwrap_or(raw);
        let is_fault = match error {
            PathError::InvalidEscape => raw == b'%' && value.is_none(),
            PathError::Control => byte.is_ascii_control() || raw == b' ',
            PathError::NonAscii => !raw.is_ascii(),
            PathError::Backslash => byte == b'\\',
            PathError::Fragment => matches!(raw, b'#' | b'?'),
            PathError::NoLeadingSlash
            | PathError::InvalidUtf8
            | PathError::DotSegment
            | PathError::DoubleEncoding
            | PathError::EncodedSlash
            | PathError::EmptySegment => false,
        };
        is_fault.then_some(RequestPart::Path.at(offset, byte))
    })
}

/// Returns the bytes of `path` with their offsets, and at the `%` of an escape the byte that the escape stands for.
fn escapes(path: &[u8]) -> impl Iterator<Item = (usize, u8, Option<u8>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let raw = *path.get(at)?;
        let (offset, value) = (at, escape_at(path, at));
        at += if value.is_some() { 3 } else { 1 };
        Some((offset, raw, value))
    })
}

/// Returns the byte of `head` that causes `error`; `None` for a rule that is not about one byte.
pub fn of_head(error: HeadError, head: &[u8]) -> Option<ByteFault> {
    let target = || head.split(|byte| matches!(byte, b' ' | b'\r' | b'\n')).nth(1);
    match error {
        HeadError::TargetControl => first(target()?, RequestPart::Target, |byte| byte.is_ascii_control()),
        HeadError::TargetFragment => first(target()?, RequestPart::Target, |byte| byte == b'#'),
        HeadError::TargetUtf8 => {
            let target = target()?;
            let offset = std::str::from_utf8(target).err()?.valid_up_to();
            Some(RequestPart::Target.at(offset, *target.get(offset)?))
        }
        HeadError::LineEnding => {
            let is_fault = |&at: &usize| match head[at] {
                b'\r' => head.get(at + 1).is_some_and(|next| *next != b'\n'),
                b'\n' => at == 0 || head[at - 1] != b'\r',
                _ => false,
            };
            let offset = (0..head.len()).find(is_fault)?;
            Some(RequestPart::Head.at(offset, head[offset]))
        }
        HeadError::FieldName => fields(head).find_map(|(start, line)| {
            let end = line.iter().position(|byte| !syntax::is_tchar(byte))?;
            let is_fault = end == 0 || line[end] != b':';
            is_fault.then_some(RequestPart::Head.at(start + end, line[end]))
        }),
        HeadError::FieldValue => fields(head).find_map(|(start, line)| {
            let end = line.iter().position(|byte| byte.is_ascii_control() && *byte != b'\t')?;
            Some(RequestPart::Head.at(start + end, line[end]))
        }),
        HeadError::HeadTooLong
        | HeadError::TooManyFields
        | HeadError::TargetTooLong
        | HeadError::RequestLine
        | HeadError::PlainHttp
        | HeadError::Version
        | HeadError::Connect
        | HeadError::Target
        | HeadError::TargetHost
        | HeadError::ObsFold
        | HeadError::HostMissing
        | HeadError::HostRepeated
        | HeadError::HostInvalid
        | HeadError::HostMismatch
        | HeadError::ContentLength
        | HeadError::ContentLengthRepeated
        | HeadError::TransferEncoding
        | HeadError::TransferEncodingRepeated
        | HeadError::TransferEncodingHttp10
        | HeadError::LengthAndEncoding
        | HeadError::UpgradeWithBody
        | HeadError::UpgradeHttp10
        | HeadError::Expectation
        | HeadError::Timeout
        | HeadError::RefusedByParser => None,
    }
}

/// Returns the field lines of `head` with their offsets, without their line ends.
fn fields(head: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    let lines = head.split(|byte| *byte == b'\n').map(move |line| {
        let start = at;
        at += line.len() + 1;
        (start, line.strip_suffix(b"\r").unwrap_or(line))
    });
    lines.skip(1)
}

fn first(bytes: &[u8], part: RequestPart, is_fault: impl Fn(u8) -> bool) -> Option<ByteFault> {
    let offset = bytes.iter().position(|&byte| is_fault(byte))?;
    Some(part.at(offset, bytes[offset]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::accept::normalize;

    #[track_caller]
    fn check(found: Option<ByteFault>, expected: &str) {
        let found = found.map(|fault| fault.to_string());
        assert_eq!(found.as_deref(), Some(expected));
    }

    #[test]
    fn the_fault_of_a_path_is_the_byte_that_normalization_refuses() {
        for (path, expected) in [
            ("/a%zz", "0x25 (`%`), at offset 2 of the path"),
            ("/a%00", "0x00, at offset 2 of the path"),
            ("/%61%7F", "0x7F, at offset 4 of the path"),
            ("/a b", "0x20, at offset 2 of the path"),
            ("/a\\b", "0x5C (`\\`), at offset 2 of the path"),
            ("/%5cb", "0x5C (`\\`), at offset 1 of the path"),
            ("/a\u{e9}", "0xC3, at offset 2 of the path"),
            ("/a#", "0x23 (`#`), at offset 2 of the path"),
            ("/%c3%a9%ff", "0xFF, at offset 7 of the path"),
        ] {
            let error = normalize::path(path).unwrap_err();
            check(of_path(path.as_bytes(), error), expected);
        }
        assert_eq!(of_path(b"/..", PathError::DotSegment), None);
    }

    #[test]
    fn the_fault_of_a_head_is_the_byte_that_breaks_the_rule() {
        for (error, head, expected) in [
            (
                HeadError::TargetControl,
                "GET /a\tb HTTP/1.1\r\n",
                "0x09, at offset 2 of the target",
            ),
            (
                HeadError::TargetFragment,
                "GET /#a HTTP/1.1\r\n",
                "0x23 (`#`), at offset 1 of the target",
            ),
            (
                HeadError::LineEnding,
                "GET / HTTP/1.1\nHost: a\r\n",
                "0x0A, at offset 14 of the head",
            ),
            (
                HeadError::LineEnding,
                "GET / HTTP/1.1\r\nA: b\rc\r\n",
                "0x0D, at offset 20 of the head",
            ),
            (
                HeadError::FieldName,
                "GET / HTTP/1.1\r\nA: b\r\nX : c\r\n",
                "0x20, at offset 23 of the head",
            ),
            (
                HeadError::FieldName,
                "GET / HTTP/1.1\r\n: c\r\n",
                "0x3A (`:`), at offset 16 of the head",
            ),
            (
                HeadError::FieldValue,
                "GET / HTTP/1.1\r\nA: \tb\u{1}\r\n",
                "0x01, at offset 21 of the head",
            ),
        ] {
            check(of_head(error, head.as_bytes()), expected);
        }
        check(
            of_head(HeadError::TargetUtf8, b"GET /?a=\xE9 HTTP/1.1\r\n"),
            "0xE9, at offset 4 of the target",
        );
        assert_eq!(of_head(HeadError::HostMissing, b"GET / HTTP/1.1\r\n\r\n"), None);
        assert_eq!(
            of_head(HeadError::FieldName, b"GET / HTTP/1.1\r\nno colon\r\n\r\n").map(|fault| fault.byte),
            Some(b' ')
        );
        assert_eq!(
            of_head(HeadError::FieldName, b"GET / HTTP/1.1\r\nnocolon\r\n\r\n"),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn no_head_panics(head in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            for error in [HeadError::TargetUtf8, HeadError::TargetControl, HeadError::LineEnding, HeadError::FieldName, HeadError::FieldValue] {
                of_head(error, &head);
            }
        }
    }
}
