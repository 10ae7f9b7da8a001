//! Where are an issuer's keys, according to its metadata (RFC 8414 section 3, OpenID Connect Discovery 1.0 section 4)?
//! The metadata must name the configured issuer.

use crate::config::discovery::Discovery;
use crate::config::issuer::ConnectSettings;
use crate::fetch::client::FetchError;
use crate::fetch::client::Target;
use crate::fetch::client::check_url;
use crate::fetch::jwks::DocumentKind;
use crate::fetch::jwks::fetch;
use crate::jose::json;
use crate::jose::json::JsonError;
use crate::model::issuer::IssuerUrl;
use serde_json::Value;
use std::error::Error;
use std::fmt;
use url::Url;

/// The longest accepted `jwks_uri`. A longer URL is probably an attack.
const URI_BYTES_MAX: usize = 2048;
/// The number of characters of a document's `issuer` that an error quotes: the document may be hostile.
const ERROR_TEXT_CHARS_MAX: usize = 200;

/// The reason why a metadata document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("{0}")]
    Fetch(#[source] FetchError),
    #[error("{0}")]
    Json(#[source] JsonError),
    #[error("it has no `issuer`")]
    NoIssuer,
    #[error("it is about the issuer `{found}`, not about the configured one (compared byte by byte)")]
    OtherIssuer { found: String },
    #[error("it has no `jwks_uri`")]
    NoJwksUri,
    #[error("its `jwks_uri` is {0}")]
    BadJwksUri(&'static str),
    #[error("its `jwks_uri` cannot be fetched from: {0}")]
    ForbiddenJwksUri(#[source] FetchError),
}

/// The URL path and error of each document, in the order in which the documents were fetched.
#[derive(Debug)]
pub struct DiscoveryError(Vec<(String, DocumentError)>);

impl DiscoveryError {
    /// Returns whether a document was fetched but could not be used.
    pub fn is_about_a_document(&self) -> bool {
        self.0
            .iter()
            .any(|(_, error)| !matches!(error, DocumentError::Fetch(_)))
    }
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (path, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(out, "{separator}{path}: {error}")?;
            // `{error}` printed the `FetchError` itself; its sources, such as the HTTP client's error, follow.
            let mut cause = match error {
                DocumentError::Fetch(inner) | DocumentError::ForbiddenJwksUri(inner) => inner.source(),
                _ => None,
            };
            while let Some(inner) = cause {
                write!(out, ": {inner}")?;
                cause = inner.source();
            }
        }
        Ok(())
    }
}

impl Error for DiscoveryError {}

/// Returns the URL of the issuer's key set from its first usable document. Starts with the document at index `first`,
/// and sets `first` to the index of the usable document.
///
/// # Errors
/// If no document is usable; contains the error of each.
pub async fn find(discovery: &Discovery, connect: &ConnectSettings, first: &mut usize) -> Result<Url, DiscoveryError> {
    let count = discovery.documents.len();
    let mut errors = Vec::new();
    for index in (0..count).map(|offset| (*first + offset) % count) {
        let Some(url) = discovery.documents.get(index) else {
            continue;
        };
        match read(url, &discovery.issuer, connect).await {
            Ok(jwks_uri) => {
                *first = index;
                return Ok(jwks_uri);
            }
            Err(error) => errors.push((url.path().to_owned(), error)),
        }
    }
    Err(DiscoveryError(errors))
}

async fn read(url: &Url, issuer: &IssuerUrl, connect: &ConnectSettings) -> Result<Url, DocumentError> {
    let fetched = fetch(url, connect, None, DocumentKind::Metadata)
        .await
        .map_err(DocumentError::Fetch)?;
    let jwks_uri = jwks_uri(&fetched.body, issuer)?;
    // Checked here too, so that the error names the metadata as the origin of the URL.
    check_url(Target::new(&jwks_uri, connect)).map_err(DocumentError::ForbiddenJwksUri)?;
    Ok(jwks_uri)
}

/// Returns the `jwks_uri` of a metadata document of `issuer`. Does not check whether it may be fetched.
///
/// # Errors
/// If the document is not JSON with unique members, if it is about another issuer (RFC 8414 section 3.3 requires
/// identical text), or if it contains no usable `jwks_uri`.
pub fn jwks_uri(document: &[u8], issuer: &IssuerUrl) -> Result<Url, DocumentError> {
    let members = json::object(document).map_err(DocumentError::Json)?;
    match members.get("issuer") {
        Some(Value::String(found)) if found == issuer.as_str() => {}
        Some(Value::String(found)) => {
            return Err(DocumentError::OtherIssuer {
                found: found.chars().take(ERROR_TEXT_CHARS_MAX).collect(),
            });
        }
        Some(_) | None => return Err(DocumentError::NoIssuer),
    }
    let Some(Value::String(text)) = members.get("jwks_uri") else {
        return Err(DocumentError::NoJwksUri);
    };
    if text.len() > URI_BYTES_MAX {
        return Err(DocumentError::BadJwksUri("longer than 2048 bytes"));
    }
    // The parser would drop line ends and read `\` as `/`: the fetched URL would differ from the written URL.
    if text.bytes().any(|byte| byte <= 0x20 || byte >= 0x7F || byte == b'\\') {
        return Err(DocumentError::BadJwksUri("no URL: it has characters that no URL has"));
    }
    let url = Url::parse(text).map_err(|_| DocumentError::BadJwksUri("no absolute URL"))?;
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        return Err(DocumentError::BadJwksUri("no http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(DocumentError::BadJwksUri("a URL with a user in it"));
    }
    if url.fragment().is_some() {
        return Err(DocumentError::BadJwksUri("a URL with a fragment (`#`)"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ISSUER: &str = "https://issuer.example/x";

    fn read(document: &str) -> Result<Url, DocumentError> {
        jwks_uri(document.as_bytes(), &ISSUER.parse().unwrap())
    }

    #[track_caller]
    fn refused(document: &str, why: &str) {
        let error = read(document).expect_err(document).to_string();
        assert!(error.contains(why), "{document}: {error}");
    }

    #[test]
    fn the_issuer_of_a_document_is_compared_byte_by_byte() {
        let of = |issuer: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://keys.example/jwks"}}"#);
        assert_eq!(read(&of(ISSUER)).unwrap().as_str(), "https://keys.example/jwks");
        for other in [
            "https://issuer.example/x/",
            "https://issuer.example/X",
            "https://ISSUER.example/x",
            "https://issuer.example:443/x",
            "http://issuer.example/x",
            "https://issuer.example/%78",
            "https://issuer.example/",
            "https://evil.example/#https://issuer.example/x",
            "",
        ] {
            refused(&of(other), "it is about the issuer");
        }
        // JSON escapes decode to the same text.
        assert!(read(&of(r"https:\/\/issuer.example\/\u0078")).is_ok());
    }

    #[test]
    fn invalid_metadata_is_rejected() {
        refused("", "not JSON");
        refused("<html>", "not JSON");
        refused("[]", "not a JSON object");
        refused("{}", "no `issuer`");
        refused(r#"{"issuer":["https://issuer.example/x"]}"#, "no `issuer`");
        let twice =
            format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"https://a.example/","jwks_uri":"https://b.example/"}}"#);
        refused(&twice, "twice");
        let twice =
            format!(r#"{{"issuer":"https://evil.example","issuer":"{ISSUER}","jwks_uri":"https://a.example/"}}"#);
        refused(&twice, "twice");
        refused(&format!(r#"{{"issuer":"{ISSUER}"}}"#), "no `jwks_uri`");
        refused(&format!(r#"{{"issuer":"{ISSUER}","jwks_uri":null}}"#), "no `jwks_uri`");
    }

    #[test]
    fn a_jwks_uri_is_a_plain_web_address() {
        for (uri, why) in [
            ("", "no absolute URL"),
            ("/jwks", "no absolute URL"),
            ("//a.example/jwks", "no absolute URL"),
            ("file:///etc/passwd", "no http"),
            ("data:application/json,{}", "no http"),
            ("ftp://a.example/", "no http"),
            ("https://u:p@a.example/", "a user"),
            ("https://a.example/#x", "a fragment"),
            ("https://a.example/ ", "no URL has"),
            ("https:\\\\\\\\a.example/", "no URL has"),
            ("https://a.example/\\n", "no URL has"),
        ] {
            refused(&format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{uri}"}}"#), why);
        }
        let long = |bytes: usize| {
            let path = "a".repeat(bytes - "https://a.example/".len());
            format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"https://a.example/{path}"}}"#)
        };
        assert!(read(&long(2048)).is_ok());
        refused(&long(2049), "longer than");
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = jwks_uri(&bytes, &ISSUER.parse().unwrap());
        }

        #[test]
        fn an_accepted_jwks_uri_has_a_host_no_fragment_and_no_user(uri in "(https?|ftp)?:?/{0,3}[a-z@:#?./%-]{0,30}") {
            let document = serde_json::json!({ "issuer": ISSUER, "jwks_uri": uri }).to_string();
            if let Ok(url) = jwks_uri(document.as_bytes(), &ISSUER.parse().unwrap()) {
                prop_assert!(url.has_host() && url.fragment().is_none() && url.username().is_empty());
            }
        }
    }
}
