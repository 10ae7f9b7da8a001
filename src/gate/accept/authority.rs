//! Is this text a `host[:port]`, and which host does it name?

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The longest name in DNS as text, with the trailing dot: 255 octets in a message (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 254;

/// The `host[:port]` of `Host`, `:authority` or an absolute-form target, borrowed and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'r> {
    host: &'r str,
    port: Option<u16>,
}

impl<'r> Authority<'r> {
    /// Parses `uri-host [ ":" port ]` (RFC 9110 section 7.2), but accepts less than RFC 3986: a name of letters,
    /// digits, `-`, `_` and `.` without empty labels, or an IPv6 address in brackets. Returns `None` for userinfo,
    /// percent-escapes, an empty host and an empty port: parsers disagree on them, and clients do not need them.
    pub fn parse(text: &'r str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inner, after) = rest.split_once(']')?;
                inner.parse::<Ipv6Addr>().ok()?;
                (&text[..inner.len() + 2], after)
            }
            None => text.split_at(name_end(text)?),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
            None if port.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }

    /// Returns the host in the form that is matched against routes: lower case, without port and trailing dot; an IPv6
    /// address in brackets and in its shortest form.
    pub fn normal_host(&self) -> Cow<'r, str> {
        let address = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Some(address) = address.and_then(|text| text.parse::<Ipv6Addr>().ok()) {
            // `[0::1]` must match the routes of `[::1]`, not fall back to those of any host.
            return Cow::Owned(format!("[{address}]"));
        }
        let host = self.host.strip_suffix('.').unwrap_or(self.host);
        // `fold`, not `any`: without an early exit, the compiled loop checks sixteen bytes at a time.
        if host.bytes().fold(false, |any, byte| any | byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        }
    }

    /// Returns whether both have the same host, ignoring case, and the same port. An absent port equals only an absent
    /// port, because RFC 9112 section 3.2 requires identical text.
    pub fn is_same(&self, other: &Authority<'_>) -> bool {
        self.host.eq_ignore_ascii_case(other.host) && self.port == other.port
    }
}

/// Returns the length in bytes of the name at the start of `text`: labels separated by single dots, with or without a
/// dot at the end. `None` for no name, and for more than [`HOST_BYTES_MAX`].
fn name_end(text: &str) -> Option<usize> {
    // Starts as a dot, so that a dot at the start of the text ends the name like a second dot in a row.
    let mut before = b'.';
    let mut end = 0;
    for &byte in text.as_bytes() {
        if !IS_NAME[usize::from(byte)] || (byte == b'.' && before == b'.') {
            break;
        }
        before = byte;
        end += 1;
    }
    let is_name = (1..=HOST_BYTES_MAX).contains(&end);
    is_name.then_some(end)
}

/// Indexed by byte: `true` for a character of a name.
const IS_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    loop {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let host = Authority::parse(text).map(|authority| authority.normal_host());
        assert_eq!(host.as_deref(), expected, "{text:?}");
    }

    #[test]
    fn a_host_is_read_without_case_port_and_trailing_dot() {
        check("api.example.com", Some("api.example.com"));
        check("API.Example.com:8080", Some("api.example.com"));
        check("api.example.com.", Some("api.example.com"));
        check("api.example.com.:443", Some("api.example.com"));
        check("orders_1", Some("orders_1"));
        check("10.0.0.1:65535", Some("10.0.0.1"));
        check("[::1]", Some("[::1]"));
        check("[2001:DB8::1]:80", Some("[2001:db8::1]"));
        check("[0:0:0::0001]", Some("[::1]"));
    }

    #[test]
    fn s093_an_ambiguous_host_is_refused() {
        for bad in [
            "",
            ".",
            "..",
            ":80",
            "a:",
            "a:65536",
            "a:+5",
            "a:8o",
            "a:80:80",
            "a b",
            "a,b",
            "a..b",
            ".a",
            "user@a",
            "a@b",
            "a/b",
            "a%2eb",
            "é",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[x]",
            "[]",
            "a#b",
            "a?b",
            "a\\b",
            "a\tb",
            "[::1%25e]",
        ] {
            check(bad, None);
        }
        check(&"a".repeat(254), Some(&"a".repeat(254)));
        check(&"a".repeat(255), None);
    }

    proptest! {
        #[test]
        fn a_name_is_labels_with_a_dot_after_each(text in "[aZ9._:@-]{0,8}") {
            let end = text.find(|char: char| !char.is_ascii_alphanumeric() && !"-_.".contains(char));
            let (name, after) = text.split_at(end.unwrap_or(text.len()));
            let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(name).split('.').collect();
            let is_name = labels.iter().all(|label| !label.is_empty());
            prop_assert_eq!(Authority::parse(&text).is_some(), is_name && is_port(after), "{}", text);
        }
    }

    fn is_port(after: &str) -> bool {
        let digits = after.strip_prefix(':');
        after.is_empty() || digits.is_some_and(|digits| digits.parse::<u16>().is_ok())
    }

    #[test]
    fn the_same_authority_has_the_same_port() {
        let same = |a: &str, b: &str| Authority::parse(a).unwrap().is_same(&Authority::parse(b).unwrap());
        assert!(same("A.example", "a.EXAMPLE"));
        assert!(same("a:80", "a:80"));
        assert!(!same("a", "a:80"));
        assert!(!same("a:80", "a:81"));
        assert!(!same("a", "b"));
    }
}
