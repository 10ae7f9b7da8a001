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
use crate::model::secret::Secret;
use http::HeaderValue;
use http::header::ACCEPT;
use http::header::AUTHORIZATION;
use std::fs::File;
use std::io::Read;
use std::path::Path;
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

/// Fetches the document at `url`, with the bearer token in a file where the server asks for one. The whole fetch, with name
/// look-up and body, takes at most `connect.timeout` (S048).
///
/// # Errors
/// If `connect` forbids the URL, or no response with status 200 and at most [`Jwks::BYTES_MAX`] bytes arrives in time.
pub async fn fetch(
    url: &Url,
    connect: &ConnectSettings,
    bearer_token_file: Option<&Path>,
    kind: DocumentKind,
) -> Result<FetchedDocument, FetchError> {
    let target = Target::new(url, connect);
    check_url(target)?;
    let timeout = connect.timeout;
    let bounded = tokio::time::timeout(timeout, get(target, bearer_token_file, kind)).await;
    bounded.unwrap_or(Err(FetchError::TimedOut { timeout }))
}

async fn get(
    target: Target<'_>,
    bearer_token_file: Option<&Path>,
    kind: DocumentKind,
) -> Result<FetchedDocument, FetchError> {
    // Create a client for each fetch, so that the name is resolved and the trusted authorities are read again. Fetches
    // are minutes apart, so connections are not worth keeping.
    let mut request = client(target, 0)
        .await?
        .get(target.url.clone())
        .header(ACCEPT, kind.accept());
    if let Some(path) = bearer_token_file {
        request = request.header(AUTHORIZATION, bearer_token(path).await?);
    }
    let response = request.send().await.map_err(request_error)?;
    check_head(response.status(), response.headers(), target.url)?;
    let freshness = Freshness::of(response.headers());
    let body = bounded_body(response, Jwks::BYTES_MAX).await?;
    Ok(FetchedDocument { body, freshness })
}

/// The longest token that is read: those of Kubernetes have about 1 KiB.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// Returns `Authorization` with the token in the file at `path`. Read for every fetch, because the token is replaced before
/// it expires.
async fn bearer_token(path: &Path) -> Result<HeaderValue, FetchError> {
    let failed = |source| FetchError::BearerToken {
        path: path.to_owned(),
        source,
    };
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        File::open(owned)?.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text)?;
        let text = Secret::new(text);
        if text.expose().len() as u64 > TOKEN_BYTES_MAX {
            return Err(std::io::Error::other("the file is longer than a token can be"));
        }
        Ok(text)
    });
    let text: Secret<String> = read.await.map_err(std::io::Error::other).flatten().map_err(failed)?;
    let token = text.expose().trim_ascii();
    let value = Secret::new(format!("Bearer {token}"));
    let mut value = match HeaderValue::try_from(value.expose()) {
        Ok(value) if !token.is_empty() => value,
        Ok(_) | Err(_) => return Err(failed(std::io::Error::other("the file does not hold one token"))),
    };
    value.set_sensitive(true);
    Ok(value)
}
