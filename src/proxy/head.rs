//! Is a request head well-formed, byte by byte (RFC 9112)? HTTP parsers repair a bare LF, Content-Length beside
//! Transfer-Encoding, or a missing Host, and the next hop may repair the same head differently. This check repairs
//! nothing: a head passes unchanged or is refused. `gate::accept::normalize` checks the path of the target.

use crate::gate::accept::HeadError;
use crate::gate::accept::authority::Authority;
use crate::gate::accept::syntax;

/// The framing of a message body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    /// The length in bytes; may be 0.
    ContentLength(u64),
    Chunked,
    /// The body of a response ends where the upstream closes the connection.
    CloseDelimited,
}

/// The limits of a head; see `config::RequestLimits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    pub head_bytes_max: usize,
    pub header_count_max: usize,
    pub target_bytes_max: usize,
}

/// Returns the offset after the empty line that ends the head; `None` until the empty line has arrived. `searched` is
/// the length of `buf` at the previous call, so that each byte of a slow head is searched once.
///
/// A bare LF ends a line here too, so that [`check`] refuses such a head at once. Waiting for CRLF would let the client
/// hold the connection until the head timeout.
pub fn find_end(buf: &[u8], searched: usize) -> Option<usize> {
    // The last two bytes of the previous search may be `\n\r`, the beginning of the empty line.
    let start = searched.saturating_sub(2).min(buf.len());
    let mut at = start;
    while let Some(found) = memchr::memchr(b'\n', &buf[at..]) {
        at += found + 1;
        match buf[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Checks a whole head, empty line included, against RFC 9112 without any of its leniencies. Returns the framing of the
/// body.
///
/// # Errors
/// The first broken rule: the size of the head, then its lines in order, then the rules that concern several lines.
pub fn check(head: &[u8], limits: &HeadLimits) -> Result<Framing, HeadError> {
    if head.len() > limits.head_bytes_max {
        return Err(HeadError::HeadTooLong);
    }
    let mut lines = Lines { rest: head };
    // RFC 9112 section 2.2 recommends to skip an empty line before the request line. Keygate refuses it: the clients
    // that needed this are gone, and bytes that one hop skips and another adds to the previous body enable request
    // smuggling.
    let line = RequestLine::parse(lines.next_line()?.ok_or(HeadError::RequestLine)?, limits)?;
    let mut fields = Fields::default();
    let mut count = 0;
    while let Some(field) = lines.next_line()? {
        count += 1;
        if count > limits.header_count_max {
            return Err(HeadError::TooManyFields);
        }
        let (name, value) = split_field(field)?;
        fields.note(name, value)?;
    }
    if !lines.rest.is_empty() {
        return Err(HeadError::LineEnding);
    }
    fields.conclude(&line)
}

/// Checks the values of `Expect` of one head: `100-continue` once, or none (RFC 9110 section 10.1.1).
///
/// # Errors
/// [`HeadError::Expectation`].
pub fn check_expectations<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<(), HeadError> {
    values.fold(Expectation::None, Expectation::and).conclude()
}

struct Lines<'r> {
    rest: &'r [u8],
}

impl<'r> Lines<'r> {
    /// Returns the next line without its CRLF; `None` for the empty line.
    ///
    /// # Errors
    /// The line has no CRLF at its end, or a bare CR or LF.
    fn next_line(&mut self) -> Result<Option<&'r [u8]>, HeadError> {
        let rest = self.rest;
        let end = memchr::memchr2(b'\r', b'\n', rest).ok_or(HeadError::LineEnding)?;
        self.rest = rest[end..].strip_prefix(b"\r\n").ok_or(HeadError::LineEnding)?;
        Ok((end > 0).then_some(&rest[..end]))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

struct RequestLine<'r> {
    version: Version,
    /// The authority of a target in absolute form.
    authority: Option<Authority<'r>>,
}

impl<'r> RequestLine<'r> {
    fn parse(line: &'r [u8], limits: &HeadLimits) -> Result<Self, HeadError> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadError::RequestLine);
        };
        if !syntax::is_token(method) {
            return Err(HeadError::RequestLine);
        }
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                return Err(HeadError::Version);
            }
            _ => return Err(HeadError::RequestLine),
        };
        if target.len() > limits.target_bytes_max {
            return Err(HeadError::TargetTooLong);
        }
        if method == b"CONNECT" {
            return Err(HeadError::Connect);
        }
        Ok(Self {
            version,
            authority: target_authority(target)?,
        })
    }
}

/// Returns the authority of a target in absolute form; `None` for a path.
///
/// # Errors
/// The target has a byte that ends it for some parsers, or it is neither a path nor an absolute URL. That includes `*` (of
/// `OPTIONS *`), which no route could match.
fn target_authority(target: &[u8]) -> Result<Option<Authority<'_>>, HeadError> {
    let text = std::str::from_utf8(target).map_err(|_| HeadError::TargetUtf8)?;
    // `gate::accept` checks path and query, for every lane alike. These two it would not see: the line ends before a control
    // byte for some parsers, and the crate `http` drops a fragment. One pass without an early exit, because every target is
    // checked.
    let is_odd = |byte: u8| byte.is_ascii_control() | (byte == b'#');
    if text.bytes().fold(false, |any, byte| any | is_odd(byte)) {
        let has_control = text.bytes().any(|byte| byte.is_ascii_control());
        return Err(if has_control {
            HeadError::TargetControl
        } else {
            HeadError::TargetFragment
        });
    }
    if text.starts_with('/') {
        return Ok(None);
    }
    let after_scheme = ["http://", "https://"].into_iter().find_map(|scheme| {
        let (start, rest) = text.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let rest = after_scheme.ok_or(HeadError::Target)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = Authority::parse(&rest[..end]).ok_or(HeadError::TargetHost)?;
    Ok(Some(authority))
}

/// Splits a field line into its name and its trimmed value.
///
/// # Errors
/// The line is folded, the name is not a token right before the colon, or the value has control bytes. A space before
/// the colon would hide the name from parsers that do not trim names (S007).
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(HeadError::ObsFold);
    }
    // The colon is not a `tchar`, so a name ends at the first byte that is not one.
    let end = line
        .iter()
        .position(|byte| !syntax::is_tchar(byte))
        .ok_or(HeadError::FieldName)?;
    let (name, [b':', value @ ..]) = line.split_at(end) else {
        return Err(HeadError::FieldName);
    };
    if name.is_empty() {
        return Err(HeadError::FieldName);
    }
    // Bytes from 0x80 are obs-text (RFC 9110 section 5.5) and pass; `intake` refuses them in credentials. The fold has
    // no early exit, so that sixteen bytes are checked in one step.
    let is_forbidden = |byte: u8| byte.is_ascii_control() & (byte != b'\t');
    if value.iter().fold(false, |any, &byte| any | is_forbidden(byte)) {
        return Err(HeadError::FieldValue);
    }
    Ok((name, value.trim_ascii()))
}

/// The fields that the rules about several lines need.
#[derive(Default)]
struct Fields<'r> {
    host: Option<&'r [u8]>,
    length: Option<u64>,
    chunked: bool,
    expectation: Expectation,
    upgrade: Option<Upgrade>,
}

/// The fields `Expect` of a head, together.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Expectation {
    #[default]
    None,
    /// `100-continue`, once.
    Continue,
    Unknown,
}

impl Expectation {
    fn and(self, value: &[u8]) -> Self {
        if self == Self::None && value.eq_ignore_ascii_case(b"100-continue") {
            Self::Continue
        } else {
            Self::Unknown
        }
    }

    const fn conclude(self) -> Result<(), HeadError> {
        match self {
            Self::None | Self::Continue => Ok(()),
            Self::Unknown => Err(HeadError::Expectation),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    /// Nothing but `h2c`, HTTP/2 over plain TCP. Some clients offer this upgrade on every first request, with or
    /// without a body. Keygate never accepts or forwards the offer, so the request may have a body.
    OnlyH2c,
    Other,
}

impl<'r> Fields<'r> {
    fn note(&mut self, name: &[u8], value: &'r [u8]) -> Result<(), HeadError> {
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.replace(value).is_some() {
                return Err(HeadError::HostRepeated);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = syntax::length(value).ok_or(HeadError::ContentLength)?;
            if self.length.replace(length).is_some() {
                return Err(HeadError::ContentLengthRepeated);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::TransferEncoding);
            }
            if self.chunked {
                return Err(HeadError::TransferEncodingRepeated);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"expect") {
            self.expectation = self.expectation.and(value);
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            let only_h2c = syntax::members(value).all(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
            let only_h2c = only_h2c && self.upgrade != Some(Upgrade::Other);
            self.upgrade = Some(if only_h2c { Upgrade::OnlyH2c } else { Upgrade::Other });
        }
        // `TE` and `Trailer` need no check: Keygate forwards neither these fields nor trailers.
        Ok(())
    }

    fn conclude(self, line: &RequestLine<'_>) -> Result<Framing, HeadError> {
        self.check_host(line)?;
        let body = match (self.length, self.chunked) {
            (Some(_), true) => return Err(HeadError::LengthAndEncoding),
            (None, true) if line.version == Version::Http10 => return Err(HeadError::TransferEncodingHttp10),
            (None, true) => Framing::Chunked,
            (Some(length), false) => Framing::ContentLength(length),
            (None, false) => Framing::None,
        };
        let is_upgrade = self.upgrade == Some(Upgrade::Other);
        // With a body, Keygate could read bytes as the body that the upstream reads as the new protocol
        // (CVE-2026-2833). In HTTP/1.0, a server must ignore Upgrade (RFC 9110 section 7.8), but some servers switch.
        let has_body = !matches!(body, Framing::None | Framing::ContentLength(0));
        if is_upgrade && has_body {
            return Err(HeadError::UpgradeWithBody);
        }
        if is_upgrade && line.version == Version::Http10 {
            return Err(HeadError::UpgradeHttp10);
        }
        self.expectation.conclude().map(|()| body)
    }

    fn check_host(&self, line: &RequestLine<'_>) -> Result<(), HeadError> {
        let Some(value) = self.host else {
            return match line.version {
                Version::Http11 => Err(HeadError::HostMissing),
                Version::Http10 => Ok(()),
            };
        };
        let text = std::str::from_utf8(value).map_err(|_| HeadError::HostInvalid)?;
        let host = Authority::parse(text).ok_or(HeadError::HostInvalid)?;
        match line.authority {
            // Identical, including case (RFC 9112 section 3.2).
            Some(authority) if authority != host => Err(HeadError::HostMismatch),
            _ => Ok(()),
        }
    }
}

/// Returns whether `byte` can be the first byte of a request: a method is a token (RFC 9110 section 9.1).
pub fn may_begin(byte: u8) -> bool {
    syntax::is_tchar(&byte)
}

#[cfg(test)]
mod tests;
