//! Who signs tokens, and for whom? Issuer identifiers (RFC 8414 section 2) and audiences (RFC 7519 section 4.1.3).

use std::fmt;
use std::str::FromStr;

/// An issuer identifier: compared byte by byte with `iss`, never normalized (RFC 8414 section 2, RFC 7519 section 4.1.1).
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
}

impl FromStr for IssuerUrl {
    type Err = IssuerUrlError;

    fn from_str(text: &str) -> Result<Self, IssuerUrlError> {
        if text.bytes().any(|byte| byte <= 0x20 || byte >= 0x7F) {
            return Err(IssuerUrlError::NotUrl);
        }
        let url = url::Url::parse(text).map_err(|_| IssuerUrlError::NotUrl)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(IssuerUrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
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
        check("https://evil.example/#.good.example", IssuerUrlError::Extra);
    }
}
