//! How is a running gate asked about itself? One request to its admin API, bounded in time and size.

use crate::model::secret::Secret;
use crate::observe::log::ErrorChain;
use crate::proxy::fetch::client::FetchError;
use crate::proxy::fetch::client::Target;
use crate::proxy::fetch::client::bounded_body;
use crate::proxy::fetch::client::client;
use crate::proxy::fetch::client::request_error;
use http::HeaderValue;
use http::Method;
use http::header;
use serde_json::Value;
use std::time::Duration;

/// A set has at most 100 keys, and there are not many thousand issuers.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The gate itself cuts an answer after 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);

/// What the gate answered.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub body: Value,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("`{0}` is no http or https URL such as http://127.0.0.1:9090")]
    Url(String),
    #[error("the token has characters that no header may have")]
    Token,
    #[error("nothing answers at {at}: {problem} (is `keygate run` running, and is this its `admin.address`?)")]
    NotThere { at: String, problem: String },
    #[error("no answer from {at} within {} s", TIMEOUT.as_secs())]
    TimedOut { at: String },
    #[error("what answers at {at} is not Keygate's admin API: status {status}, and no JSON")]
    NotOurs { at: String, status: u16 },
    #[error("cannot start a runtime: {0}")]
    Runtime(std::io::Error),
}

/// Asks `base` (scheme, host and port) for `path` with the token of its admin API. Waits for the answer.
///
/// # Errors
/// No answer, or one that is not the admin API's. A refusal is an answer.
pub fn ask(base: &str, token: &Secret<Vec<u8>>, method: &Method, path: &str) -> Result<Answered, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AskError::Runtime)?;
    let asking = exchange(base, token, method, path);
    let at = base.to_owned();
    runtime.block_on(async {
        let bounded = tokio::time::timeout(TIMEOUT, asking).await;
        bounded.unwrap_or(Err(AskError::TimedOut { at }))
    })
}

async fn exchange(base: &str, token: &Secret<Vec<u8>>, method: &Method, path: &str) -> Result<Answered, AskError> {
    let bad_url = || AskError::Url(base.to_owned());
    if !(base.starts_with("http://") || base.starts_with("https://")) {
        return Err(bad_url());
    }
    let text = format!("{}{path}", base.trim_end_matches('/'));
    let url = text.parse().map_err(|_| bad_url())?;
    // Chosen by the person who runs the command, so it may be anywhere.
    let target = Target {
        url: &url,
        allow_http: true,
        allow_private_addresses: true,
        ca_file: None,
        proxy: None,
    };
    let not_there = |error: FetchError| AskError::NotThere {
        at: base.to_owned(),
        problem: ErrorChain(&error).to_string(),
    };
    let authorization = Secret::new([b"Bearer ".as_slice(), token.expose()].concat());
    let mut authorization = HeaderValue::from_bytes(authorization.expose()).map_err(|_| AskError::Token)?;
    authorization.set_sensitive(true);
    let request = client(target, 0)
        .await
        .map_err(not_there)?
        .request(method.clone(), target.url.clone())
        .header(header::AUTHORIZATION, authorization)
        .header(header::ACCEPT, "application/json, application/problem+json");
    let response = request.send().await.map_err(|error| not_there(request_error(error)))?;
    let status = response.status().as_u16();
    let body = bounded_body(response, BODY_BYTES_MAX).await.map_err(not_there)?;
    match serde_json::from_slice(&body) {
        Ok(body) => Ok(Answered { status, body }),
        Err(_) => Err(AskError::NotOurs {
            at: base.to_owned(),
            status,
        }),
    }
}
