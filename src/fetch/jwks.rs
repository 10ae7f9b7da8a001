//! How is a document of an issuer brought from its URL? One bounded GET; whatever goes wrong with it changes nothing.

use crate::config::issuer::Dial;
use crate::fetch::client::FetchError;
use crate::fetch::client::Target;
use crate::fetch::client::bounded_body;
use crate::fetch::client::check_head;
use crate::fetch::client::check_url;
use crate::fetch::client::client;
use crate::fetch::client::request_error;
use crate::fetch::schedule::Freshness;
use crate::jose::jwks::Jwks;
use http::header::ACCEPT;
use url::Url;

/// What an issuer answered: at most [`Jwks::BYTES_MAX`] bytes, not yet read.
#[derive(Debug)]
pub struct FetchedDocument {
    pub body: Vec<u8>,
    pub freshness: Freshness,
}

/// What is asked for. What comes is read whatever its type says: many issuers say `text/plain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    Jwks,
    Metadata,
}

impl DocumentKind {
    const fn accept(self) -> &'static str {
        match self {
            Self::Jwks => "application/json, application/jwk-set+json",
            Self::Metadata => "application/json",
        }
    }
}

/// Gets the document behind `url`. The whole of it, name look-up and body included, takes at most `dial.timeout` (S048).
///
/// # Errors
/// Whatever keeps the answer from being a 200 of at most [`Jwks::BYTES_MAX`] bytes.
pub async fn fetch(url: &Url, dial: &Dial, wanted: DocumentKind) -> Result<FetchedDocument, FetchError> {
    let target = Target::new(url, dial);
    check_url(target)?;
    let timeout = dial.timeout;
    let bounded = tokio::time::timeout(timeout, get(target, wanted)).await;
    bounded.unwrap_or(Err(FetchError::TimedOut { timeout }))
}

async fn get(target: Target<'_>, wanted: DocumentKind) -> Result<FetchedDocument, FetchError> {
    // A new client for each fetch: fetches are minutes apart, so no connection is worth keeping, the name is resolved and
    // checked each time, and replaced certificates of the authorities are noticed.
    let request = client(target, 0)
        .await?
        .get(target.url.clone())
        .header(ACCEPT, wanted.accept());
    let response = request.send().await.map_err(request_error)?;
    check_head(response.status(), response.headers(), target.url)?;
    let freshness = Freshness::of(response.headers());
    let body = bounded_body(response, Jwks::BYTES_MAX).await?;
    Ok(FetchedDocument { body, freshness })
}
