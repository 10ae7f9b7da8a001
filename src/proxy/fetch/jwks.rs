//! How is a key set brought from its URL? One bounded GET; whatever goes wrong with it changes nothing.

use crate::config::issuer::JwksUrl;
use crate::jose::jwks::Jwks;
use crate::proxy::fetch::client::FetchError;
use crate::proxy::fetch::client::Target;
use crate::proxy::fetch::client::bounded_body;
use crate::proxy::fetch::client::check_head;
use crate::proxy::fetch::client::check_url;
use crate::proxy::fetch::client::client;
use crate::proxy::fetch::client::request_error;
use crate::proxy::fetch::schedule::Freshness;
use http::header::ACCEPT;

/// What an issuer answered: at most [`Jwks::BYTES_MAX`] bytes, not yet read as a key set.
#[derive(Debug)]
pub struct Fetched {
    pub body: Vec<u8>,
    pub freshness: Freshness,
}

/// Gets the document behind `source.url`. The whole of it, name look-up and body included, takes at most
/// `source.timeout` (S048).
///
/// # Errors
/// Whatever keeps the answer from being a 200 of at most [`Jwks::BYTES_MAX`] bytes.
pub async fn fetch(source: &JwksUrl) -> Result<Fetched, FetchError> {
    check_url(source.into())?;
    let timeout = source.timeout;
    let bounded = tokio::time::timeout(timeout, get(source.into())).await;
    bounded.unwrap_or(Err(FetchError::TimedOut { timeout }))
}

async fn get(target: Target<'_>) -> Result<Fetched, FetchError> {
    // A new client for each fetch: fetches are minutes apart, so no connection is worth keeping, the name is resolved and
    // checked each time, and replaced certificates of the authorities are noticed.
    let request = client(target, 0)
        .await?
        .get(target.url.clone())
        .header(ACCEPT, "application/json, application/jwk-set+json");
    let response = request.send().await.map_err(request_error)?;
    check_head(response.status(), response.headers(), target.url)?;
    let freshness = Freshness::of(response.headers());
    let body = bounded_body(response, Jwks::BYTES_MAX).await?;
    Ok(Fetched { body, freshness })
}
