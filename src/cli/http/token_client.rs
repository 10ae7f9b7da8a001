//! How does a command get, introspect and revoke a token as a client? It reads the endpoints from the issuer's metadata
//! (RFC 8414) and authenticates with the client's secret or key.

use crate::cli::http::exchange;
use crate::cli::http::exchange::TIMEOUT;
use crate::cli::http::exchange::read_json;
use crate::jose::sign::SignError;
use crate::jose::sign::SigningKey;
use crate::jose::sign::token_id;
use crate::jose::uploaded::ASSERTION_TYPE;
use crate::model::algorithm::Algorithm;
use crate::model::clock::Timestamp;
use crate::model::issuer::IssuerUrl;
use crate::model::secret::Secret;
use crate::observe::log::ErrorChain;
use http::Method;
use http::header;
use reqwest::RequestBuilder;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use url::Url;
use url::form_urlencoded;

/// The longest response. A token with many claims has a few kilobytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The lifetime of a client assertion. Short, because the assertion is sent immediately.
const ASSERTION_SECS: u64 = 60;

/// The client, and its credential.
pub struct Identity {
    pub client_id: String,
    pub proof: Proof,
}

pub enum Proof {
    /// `client_secret_basic`.
    Secret(Secret<Vec<u8>>),
    /// `private_key_jwt`.
    Key { key: Box<SigningKey>, kid: String },
}

/// The issuer, and the certificate authorities for its server.
#[derive(Clone, Copy)]
pub struct Issuer<'a> {
    pub url: &'a IssuerUrl,
    /// PEM certificates that are trusted in place of the system's.
    pub ca_file: Option<&'a Path>,
}

/// A request to an endpoint of the issuer.
pub enum TokenRequest {
    Token {
        scope: Option<String>,
        /// RFC 8707 section 2.
        resources: Vec<String>,
    },
    Introspect(Secret<Vec<u8>>),
    Revoke(Secret<Vec<u8>>),
}

impl TokenRequest {
    /// Returns the metadata member that contains the endpoint's URL (RFC 8414 section 2).
    const fn endpoint(&self) -> &'static str {
        match self {
            Self::Token { .. } => "token_endpoint",
            Self::Introspect(_) => "introspection_endpoint",
            Self::Revoke(_) => "revocation_endpoint",
        }
    }
}

/// The reason why a request to the issuer failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("nothing answers at {at}: {problem}")]
    NotThere { at: String, problem: String },
    #[error("no answer from {at} within {} s", TIMEOUT.as_secs())]
    TimedOut { at: String },
    #[error("{at} has no metadata of an issuer: {problem}")]
    Metadata { at: String, problem: String },
    /// An error response of the issuer (RFC 6749 section 5.2), or of the gate in front of its endpoint (RFC 9457).
    #[error("{error} (status {status}){description}")]
    Refused {
        status: u16,
        error: String,
        /// Begins with a colon unless it is empty.
        description: String,
    },
    #[error("the private key cannot sign: {0}")]
    Sign(#[from] SignError),
    #[error("cannot start a runtime: {0}")]
    Runtime(std::io::Error),
}

impl TokenError {
    /// Returns whether no server responded as the issuer. A retry may then succeed.
    pub const fn is_unreachable(&self) -> bool {
        match self {
            Self::NotThere { .. } | Self::TimedOut { .. } | Self::Metadata { .. } => true,
            Self::Refused { .. } | Self::Sign(_) | Self::Runtime(_) => false,
        }
    }
}

/// Sends a request to `issuer` as `identity` and returns the JSON value of the response: null without a body.
///
/// # Errors
/// See [`TokenError`]. The timeout covers the metadata and the request together.
pub fn send(
    issuer: Issuer<'_>,
    identity: &Identity,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<Value, TokenError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TokenError::Runtime)?;
    let exchange = async {
        let endpoint = endpoint(issuer, request.endpoint()).await?;
        post(issuer, &endpoint, identity, request, now).await
    };
    let response = runtime.block_on(async { tokio::time::timeout(TIMEOUT, exchange).await });
    response.unwrap_or_else(|_| {
        Err(TokenError::TimedOut {
            at: issuer.url.to_string(),
        })
    })
}

/// Returns the URL of an issuer's metadata: the well-known path is inserted before the issuer's path (RFC 8414 section
/// 3.1).
fn metadata_url(issuer: &IssuerUrl) -> Url {
    let mut url = issuer.to_url();
    let path = url.path().strip_suffix('/').unwrap_or(url.path());
    url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    url
}

/// Fetches the metadata of `issuer` and returns the URL in its member `name`.
async fn endpoint(issuer: Issuer<'_>, name: &str) -> Result<Url, TokenError> {
    let url = metadata_url(issuer.url);
    let problem = |problem: String| TokenError::Metadata {
        at: url.to_string(),
        problem,
    };
    let (status, body) = call(issuer, Method::GET, &url, |request| request).await?;
    if status != 200 {
        return Err(problem(format!("status {status}")));
    }
    let metadata: Value = serde_json::from_slice(&body).map_err(|_| problem("no JSON".to_owned()))?;
    // RFC 8414 section 3.3: a server that names another issuer must not get a credential for this one.
    if metadata["issuer"].as_str() != Some(issuer.url.as_str()) {
        return Err(problem(format!("they are not those of {}", issuer.url)));
    }
    let endpoint = metadata[name].as_str().and_then(|text| text.parse::<Url>().ok());
    let endpoint = endpoint.ok_or_else(|| problem(format!("there is no `{name}` in them")))?;
    if issuer.url.as_str().starts_with("https://") && endpoint.scheme() != "https" {
        return Err(problem(format!("`{name}` is not https")));
    }
    Ok(endpoint)
}

async fn call(
    issuer: Issuer<'_>,
    method: Method,
    url: &Url,
    complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<(u16, Vec<u8>), TokenError> {
    let sent = exchange::send(method, url, issuer.ca_file, BODY_BYTES_MAX, |request| {
        complete(request.header(header::ACCEPT, "application/json"))
    });
    sent.await.map_err(|error| TokenError::NotThere {
        at: url.to_string(),
        problem: ErrorChain(&error).to_string(),
    })
}

async fn post(
    issuer: Issuer<'_>,
    endpoint: &Url,
    identity: &Identity,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<Value, TokenError> {
    let form = form(issuer.url, identity, request, now)?;
    let complete = |request: RequestBuilder| {
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = match &identity.proof {
            // RFC 6749 section 2.3.1: client id and secret are form-encoded before they are joined.
            Proof::Secret(secret) => request.basic_auth(
                form_encoded(identity.client_id.as_bytes()).expose(),
                Some(form_encoded(secret.expose()).expose()),
            ),
            Proof::Key { .. } => request,
        };
        request.body(form)
    };
    let (status, body) = call(issuer, Method::POST, endpoint, complete).await?;
    match (status, read_json(&body)) {
        (200..=299, Some(body)) => Ok(body),
        (status, body) => Err(refusal_error(status, &body.unwrap_or_default())),
    }
}

fn refusal_error(status: u16, body: &Value) -> TokenError {
    let text = |name: &str| body[name].as_str();
    // The gate in front of the endpoint responds with problem details (RFC 9457), which have other member names.
    let error = text("error").or_else(|| text("title")).unwrap_or("refused");
    let description = text("error_description").or_else(|| text("detail"));
    TokenError::Refused {
        status,
        error: error.to_owned(),
        description: description.map_or_else(String::new, |text| format!(": {text}")),
    }
}

fn form_encoded(bytes: &[u8]) -> Secret<String> {
    Secret::new(form_urlencoded::byte_serialize(bytes).collect())
}

fn form(issuer: &IssuerUrl, identity: &Identity, request: &TokenRequest, now: Timestamp) -> Result<String, TokenError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    match request {
        TokenRequest::Token { scope, resources } => {
            form.append_pair("grant_type", "client_credentials");
            if let Some(scope) = scope {
                form.append_pair("scope", scope);
            }
            form.extend_pairs(resources.iter().map(|resource| ("resource", resource)));
        }
        TokenRequest::Introspect(token) | TokenRequest::Revoke(token) => {
            form.append_pair("token", &String::from_utf8_lossy(token.expose()));
        }
    }
    if let Proof::Key { key, kid } = &identity.proof {
        form.append_pair("client_assertion_type", ASSERTION_TYPE);
        form.append_pair(
            "client_assertion",
            &assertion(issuer, &identity.client_id, key, kid, now)?,
        );
    }
    Ok(form.finish())
}

/// Returns a client assertion (RFC 7523 section 3). Its audience is the issuer, which every profile accepts.
fn assertion(
    issuer: &IssuerUrl,
    client_id: &str,
    key: &SigningKey,
    kid: &str,
    now: Timestamp,
) -> Result<String, SignError> {
    let now = now.as_unix_secs();
    let header = json!({ "alg": key.algorithm().as_str(), "kid": kid, "typ": "JWT" });
    let claims = json!({
        "iss": client_id,
        "sub": client_id,
        "aud": issuer.as_str(),
        "jti": token_id(),
        "iat": now,
        "exp": now + ASSERTION_SECS,
    });
    key.sign_text(&header.to_string(), &claims.to_string())
}

/// Reads a private key. Without `algorithm`, the type of the key determines the algorithm; an RSA key gets RS256, which
/// most servers support.
///
/// # Errors
/// If `pem` is not one PKCS #8 private key, or the key does not fit `algorithm`.
pub fn private_key(pem: &str, algorithm: Option<Algorithm>) -> Result<SigningKey, SignError> {
    let read = |algorithm| SigningKey::from_pkcs8_pem(algorithm, pem);
    match algorithm {
        Some(algorithm) => read(algorithm),
        None => read(Algorithm::Rs256)
            .or_else(|_| read(Algorithm::Es256))
            .or_else(|_| read(Algorithm::Es384))
            .or_else(|_| read(Algorithm::EdDsa)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_path_is_inserted_between_host_and_path() {
        for (issuer, expected) in [
            (
                "https://a.example",
                "https://a.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/oauth-authorization-server",
            ),
            (
                "http://127.0.0.1:8080/realms/x",
                "http://127.0.0.1:8080/.well-known/oauth-authorization-server/realms/x",
            ),
        ] {
            assert_eq!(metadata_url(&issuer.parse().unwrap()).as_str(), expected);
        }
    }

    fn by_secret(secret: &str) -> Identity {
        Identity {
            client_id: "client_a".to_owned(),
            proof: Proof::Secret(Secret::new(secret.as_bytes().to_vec())),
        }
    }

    #[test]
    fn the_form_does_not_contain_the_client_secret() {
        assert_eq!(form_encoded(b"a:b c%").expose(), "a%3Ab+c%25");
        let request = TokenRequest::Token {
            scope: Some("a b".to_owned()),
            resources: vec!["https://a.example".to_owned(), "urn:b".to_owned()],
        };
        let issuer = "https://a.example".parse().unwrap();
        let form = form(&issuer, &by_secret("hidden"), &request, Timestamp::default()).unwrap();
        assert_eq!(
            form,
            "grant_type=client_credentials&scope=a+b&resource=https%3A%2F%2Fa.example&resource=urn%3Ab"
        );
    }

    #[test]
    fn an_assertion_is_for_the_issuer_alone_for_a_minute_and_once() {
        let pem = include_str!("../../../tests/data/jose/p256.private.pem");
        let key = private_key(pem, None).unwrap();
        let issuer = "https://a.example/x".parse().unwrap();
        let now = Timestamp::from_unix_secs(1_800_000_000);
        let read = || {
            let text = assertion(&issuer, "c", &key, "k", now).unwrap();
            let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(&text).unwrap().claims;
            (jsonwebtoken::decode_header(&text).unwrap(), claims)
        };
        let ((header, claims), (_, other)) = (read(), read());
        assert_eq!(
            (header.alg, header.kid.as_deref(), header.typ.as_deref()),
            (jsonwebtoken::Algorithm::ES256, Some("k"), Some("JWT"))
        );
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("c"), &json!("c")));
        assert_eq!(claims["aud"], "https://a.example/x");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
        assert_ne!(claims["jti"], other["jti"]);
    }
}
