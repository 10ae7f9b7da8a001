//! How is a document of an issuer fetched? By one GET with a time limit and a size limit.

use crate::config::issuer::ConnectSettings;
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

/// The body of a response, at most [`Jwks::BYTES_MAX`] bytes and not yet parsed, and its freshness.
#[derive(Debug)]
pub struct FetchedDocument {
    pub body: Vec<u8>,
    pub freshness: Freshness,
}

/// The kind of document to fetch. The response's `Content-Type` is ignored: many issuers send `text/plain`.
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

/// Fetches the document at `url`. The whole fetch, with name look-up and body, takes at most `connect.timeout` (S048).
///
/// # Errors
/// If `connect` forbids the URL, or no response with status 200 and at most [`Jwks::BYTES_MAX`] bytes arrives in time.
pub async fn fetch(url: &Url, connect: &ConnectSettings, kind: DocumentKind) -> Result<FetchedDocument, FetchError> {
    let target = Target::new(url, connect);
    check_url(target)?;
    let timeout = connect.timeout;
    let bounded = tokio::time::timeout(timeout, get(target, kind)).await;
    bounded.unwrap_or(Err(FetchError::TimedOut { timeout }))
}

async fn get(target: Target<'_>, kind: DocumentKind) -> Result<FetchedDocument, FetchError> {
    // Create a client for each fetch, so that the name is resolved and the trusted authorities are read again. Fetches
    // are minutes apart, so connections are not worth keeping.
    let request = client(target, 0)
        .await?
        .get(target.url.clone())
        .header(ACCEPT, kind.accept());
    let response = request.send().await.map_err(request_error)?;
    check_head(response.status(), response.headers(), target.url)?;
    let freshness = Freshness::of(response.headers());
    let body = bounded_body(response, Jwks::BYTES_MAX).await?;
    Ok(FetchedDocument { body, freshness })
}
