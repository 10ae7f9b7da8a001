//! Which JWKS URLs may a client have? Https, unless the configuration allows http.
//! The host's address is checked when the URL is fetched (S137).

use std::fmt;
use url::Url;

/// The URL of a client's JWK set (RFC 7517 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl(String);

pub const URL_BYTES_MAX: usize = 2_048;

/// Why a URL is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksUrlError {
    #[error("not an absolute https URL of printable ASCII, of at most {URL_BYTES_MAX} characters")]
    NotUrl,
    #[error(
        "must be https: keys fetched without TLS could be anyone's (`token_endpoint.client_jwks.allow_http` allows http)"
    )]
    PlainHttp,
    #[error("has a user or password, which would be printed with it")]
    UserInfo,
    #[error("has a fragment (`#…`)")]
    Fragment,
}

impl JwksUrl {
    /// A regular expression without anchors that every https URL of [`Self::parse`] matches, and some other texts, for the
    /// description of the admin API.
    pub const PATTERN: &'static str = "https://[!-\"$-~]+";

    /// Parses an absolute URL; `allow_http` allows http beside https.
    ///
    /// # Errors
    /// The text is not such a URL of printable ASCII, is longer than 2048
    /// bytes, or has no host, or has a user, a password or a fragment.
    pub fn parse(text: &str, allow_http: bool) -> Result<Self, JwksUrlError> {
        if text.len() > URL_BYTES_MAX || text.bytes().any(|byte| byte <= 0x20 || byte >= 0x7F) {
            return Err(JwksUrlError::NotUrl);
        }
        let url = Url::parse(text).map_err(|_| JwksUrlError::NotUrl)?;
        if !url.has_host() {
            return Err(JwksUrlError::NotUrl);
        }
        match url.scheme() {
            "https" => {}
            "http" if allow_http => {}
            "http" => return Err(JwksUrlError::PlainHttp),
            _ => return Err(JwksUrlError::NotUrl),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(JwksUrlError::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(JwksUrlError::Fragment);
        }
        Ok(Self(url.into()))
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, allow_http: bool, expected: Result<(), JwksUrlError>) {
        assert_eq!(JwksUrl::parse(text, allow_http).map(drop), expected, "{text:?}");
    }

    #[test]
    fn s137_a_clients_jwks_url_is_https() {
        check("https://client.example/jwks.json?v=2", false, Ok(()));
        check("http://client.example/jwks", false, Err(JwksUrlError::PlainHttp));
        check("http://client.example/jwks", true, Ok(()));
        check("https://u:p@client.example/", false, Err(JwksUrlError::UserInfo));
        check("https://u@client.example/", true, Err(JwksUrlError::UserInfo));
        check("https://client.example/#a", false, Err(JwksUrlError::Fragment));
        for bad in [
            "",
            "client.example",
            "/jwks",
            "file:///etc/passwd",
            "ftp://client.example/",
            "data:application/json,{}",
            "https://",
            "https://a b/",
            "https://client.example/\n",
            "https://clïent.example/",
            "unix:///run/x",
        ] {
            check(bad, true, Err(JwksUrlError::NotUrl));
        }
        let long = |length: usize| format!("https://c.example/{}", "a".repeat(length - 18));
        check(&long(2_048), false, Ok(()));
        check(&long(2_049), false, Err(JwksUrlError::NotUrl));
    }
}
