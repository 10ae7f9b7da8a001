//! Which names does a certificate have?

use std::fmt;
use std::net::IpAddr;

/// A name that a certificate has, or that a client asks for (RFC 9525 section 6.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// A DNS name in lower case.
    Dns(String),
    /// `*.` and a parent name in lower case: matches exactly one label in place of the `*`.
    Wildcard(String),
    Ip(IpAddr),
}

impl CertificateName {
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
        let is_name = parent.len() <= 253 && parent.split('.').all(is_label);
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
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => out.write_str(name),
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
        ] {
            assert_eq!(CertificateName::of_host(bad), None, "{bad:?}");
        }
        for good in ["a", "*.b.c", "::1", "xn--bcher-kva.example", "_x.a"] {
            assert_eq!(CertificateName::of_host(good).unwrap().to_string(), good);
        }
    }
}
