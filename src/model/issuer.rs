//! How is an issuer named? Issuer identifiers (RFC 8414 section 2), compared with `iss` (RFC 7519 section 4.1.1).

use std::fmt;
use std::str::FromStr;

/// An issuer identifier. Compared byte by byte with `iss`, never normalized.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerUrl(Box<str>);

/// Why a text is not an [`IssuerUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerUrlError {
    #[error("not a URL with scheme and host, such as https://login.example.com")]
    NotUrl,
    #[error("an issuer URL has the scheme https (or http for development)")]
    Scheme,
    #[error("an issuer URL has no user, query or fragment (RFC 8414 section 2)")]
    Extra,
}

impl IssuerUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the URL to derive other URLs from. Not for comparisons: the URL parser normalizes.
    pub fn to_url(&self) -> url::Url {
        url::Url::parse(&self.0).expect("it was a URL when it was parsed first")
    }
}

impl FromStr for IssuerUrl {
    type Err = IssuerUrlError;

    fn from_str(text: &str) -> Result<Self, IssuerUrlError> {
        // The URL standard reads `\` as `/`. A URL that two parsers split differently does not identify an issuer.
        if text.bytes().any(|byte| byte <= 0x20 || byte >= 0x7F || byte == b'\\') {
            return Err(IssuerUrlError::NotUrl);
        }
        let url = url::Url::parse(text).map_err(|_| IssuerUrlError::NotUrl)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(IssuerUrlError::Scheme);
        }
        // The parser drops an empty user, so look for `@` in the text.
        let authority = text.split('/').nth(2).unwrap_or_default();
        if authority.contains('@') || url.query().is_some() || url.fragment().is_some() {
            return Err(IssuerUrlError::Extra);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_urls_keep_their_exact_text() {
        for good in [
            "https://a.example",
            "https://a.example/",
            "http://127.0.0.1:9000/realms/x",
        ] {
            assert_eq!(good.parse::<IssuerUrl>().unwrap().as_str(), good);
        }
        let check = |text: &str, error| assert_eq!(text.parse::<IssuerUrl>(), Err(error), "{text:?}");
        check("a.example", IssuerUrlError::NotUrl);
        check("", IssuerUrlError::NotUrl);
        check("https://a.example/ ", IssuerUrlError::NotUrl);
        check("ftp://a.example", IssuerUrlError::Scheme);
        check("https://u:p@a.example", IssuerUrlError::Extra);
        check("https://a.example?x", IssuerUrlError::Extra);
        check("https://@a.example", IssuerUrlError::Extra);
        check("https://u@a.example/x", IssuerUrlError::Extra);
        check("https://a.example#", IssuerUrlError::Extra);
        check("https://a.example/?", IssuerUrlError::Extra);
        check("https:\\\\a.example", IssuerUrlError::NotUrl);
        check("https://good.example\\@evil.example", IssuerUrlError::NotUrl);
        // `@` in a path is an ordinary character.
        assert!("https://a.example/@tenant".parse::<IssuerUrl>().is_ok());
    }

    #[test]
    fn s054_an_issuer_with_a_fragment_cannot_be_named() {
        for text in [
            "https://evil.example/#.good.example",
            "https://evil.example#.good.example",
            "https://evil.example/?x#.good.example",
            "https://evil.example/?.good.example",
            "https://good.example@evil.example",
        ] {
            assert_eq!(text.parse::<IssuerUrl>(), Err(IssuerUrlError::Extra), "{text}");
        }
    }
}
