//! Which names does a certificate have, and which fingerprint identifies it?

use crate::model::hex;
use aws_lc_rs::digest;
use std::fmt;
use std::net::IpAddr;

/// A certificate that a client showed in a handshake, and that an authority of the listener signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The DNS names, IP addresses and URIs among the subject alternative names (RFC 5280 section 4.2.1.6). The subject
    /// itself is not read: its form is for people.
    pub names: Vec<CertificateName>,
    pub fingerprint: Fingerprint,
}

/// The SHA-256 digest of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub fn of(der: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, der);
        Self(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
    }

    /// Parses 64 hexadecimal digits of either case, with colons between all bytes or without colons. Returns `None` for
    /// any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits = text.to_ascii_lowercase();
        if digits.contains(':') {
            let bytes: Vec<&str> = digits.split(':').collect();
            if bytes.iter().any(|byte| byte.len() != 2) {
                return None;
            }
            digits = bytes.concat();
        }
        hex::read(digits.as_bytes()).map(Self)
    }
}

/// Writes 64 lower-case hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::text(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A name that a certificate has, or that a peer asks for (RFC 9525 section 6.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// A DNS name in lower case.
    Dns(String),
    /// `*.` and a parent name in lower case: matches exactly one label in place of the `*`.
    Wildcard(String),
    Ip(IpAddr),
    /// A URI as written, such as a SPIFFE ID. Only of clients' certificates: a server is not asked for by a URI.
    Uri(String),
}

impl CertificateName {
    /// Parses a DNS name or a wildcard. Returns `None` for any other text, also for an IP address: a certificate states
    /// addresses in a form of their own, and a DNS name must not pass for one.
    pub fn of_dns(text: &str) -> Option<Self> {
        match Self::of_host(text)? {
            Self::Ip(_) => None,
            name @ (Self::Dns(_) | Self::Wildcard(_) | Self::Uri(_)) => Some(name),
        }
    }

    /// Parses a URI: a scheme, `:`, and one or more of the bytes that RFC 3986 section 2 allows. Returns `None` for any
    /// other text, also for an IPv6 address, which may have the same form.
    pub fn of_uri(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let begins_with_letter = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let in_uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
        let is_uri = begins_with_letter
            && scheme.bytes().all(in_scheme)
            && !rest.is_empty()
            && rest.bytes().all(in_uri)
            && text.parse::<IpAddr>().is_err();
        is_uri.then(|| Self::Uri(text.to_owned()))
    }

    /// Parses an IP address, a DNS name or a wildcard. Returns `None` for any other text.
    pub fn of_host(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Ip(address));
        }
        let text = text.to_ascii_lowercase();
        let (parent, wildcard) = match text.strip_prefix("*.") {
            Some(parent) => (parent.to_owned(), true),
            None => (text, false),
        };
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        // Numbers and dots alone are a mistyped address.
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        let is_like_address = parent.contains('.') && parent.split('.').all(is_number);
        let is_name = parent.len() <= 253 && parent.split('.').all(is_label) && !is_like_address;
        is_name.then_some(if wildcard {
            Self::Wildcard(parent)
        } else {
            Self::Dns(parent)
        })
    }

    /// Returns whether a certificate with this name may be shown to a client that asks for `host`, which is in lower
    /// case and without a trailing dot.
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Dns(name) => name == host,
            Self::Wildcard(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            Self::Ip(address) => host.parse::<IpAddr>().is_ok_and(|host| host == *address),
            Self::Uri(_) => false,
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Uri(name) => out.write_str(name),
            Self::Wildcard(parent) => write!(out, "*.{parent}"),
            Self::Ip(address) => address.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_covers(name: &str, host: &str, expected: bool) {
        assert_eq!(
            CertificateName::of_host(name).unwrap().covers(host),
            expected,
            "{name} {host}"
        );
    }

    #[test]
    fn a_wildcard_covers_exactly_one_label() {
        check_covers("api.example.com", "api.example.com", true);
        check_covers("API.Example.com", "api.example.com", true);
        check_covers("api.example.com", "www.example.com", false);
        check_covers("*.example.com", "api.example.com", true);
        check_covers("*.example.com", "example.com", false);
        check_covers("*.example.com", ".example.com", false);
        check_covers("*.example.com", "a.b.example.com", false);
        check_covers("192.0.2.1", "192.0.2.1", true);
        check_covers("192.0.2.1", "192.0.2.2", false);
    }

    #[test]
    fn names_are_dns_names_wildcards_and_addresses() {
        for bad in [
            "",
            ".",
            "a..b",
            "a b",
            "*",
            "*.",
            "a.*.b",
            "ü.example",
            &"a".repeat(64),
            "a.",
            "10.0.0.300",
            "*.0.0.1",
        ] {
            assert_eq!(CertificateName::of_host(bad), None, "{bad:?}");
        }
        for good in ["a", "*.b.c", "::1", "xn--bcher-kva.example", "_x.a"] {
            assert_eq!(CertificateName::of_host(good).unwrap().to_string(), good);
        }
    }

    #[test]
    fn a_uri_has_a_scheme_and_no_other_name_passes_for_one() {
        for good in [
            "spiffe://example.org/billing",
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "https://a.example/b?c,d%20e",
        ] {
            let name = CertificateName::of_uri(good).unwrap();
            assert_eq!(name, CertificateName::Uri(good.to_owned()));
            assert_eq!(name.to_string(), good);
            assert!(!name.covers(good));
        }
        for bad in [
            "",
            ":",
            "a",
            "a:",
            ":a",
            "1a:b",
            "a.example",
            "a b:c",
            "spiffe://a b",
            "spiffe://\u{fc}",
            "spiffe://a\r\nb",
            "spiffe://a\"",
            "fe80::1",
        ] {
            assert_eq!(CertificateName::of_uri(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_dns_name_is_no_address() {
        assert_eq!(
            CertificateName::of_dns("A.example"),
            Some(CertificateName::Dns("a.example".to_owned()))
        );
        for address in ["192.0.2.1", "::1"] {
            assert_eq!(CertificateName::of_dns(address), None);
        }
    }

    #[test]
    fn a_fingerprint_is_read_in_either_case_with_colons_or_without() {
        // The digest of `abc` (FIPS 180-2, appendix B.1).
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let fingerprint = Fingerprint::of(b"abc");
        assert_eq!(fingerprint.to_string(), abc);
        let colons: Vec<String> = abc
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).to_string())
            .collect();
        let colons = colons.join(":");
        for good in [abc, &abc.to_uppercase(), &colons, &colons.to_uppercase()] {
            assert_eq!(Fingerprint::parse(good), Some(fingerprint), "{good}");
        }
        for bad in [
            "",
            &abc[1..],
            &format!("{abc}0"),
            &format!("{abc}00"),
            &format!(":{abc}"),
            &format!("{colons}:"),
            &format!("{}:{}", &abc[..32], &abc[32..]),
            &colons.replace(':', "-"),
            &abc.replacen('b', "g", 1),
        ] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad}");
        }
    }
}
