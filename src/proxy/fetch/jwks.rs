//! How is a key set brought from its URL? One bounded GET; whatever goes wrong with it changes nothing.

use crate::config::issuer::JwksUrl;
use crate::jose::jwks::Jwks;
use crate::proxy::fetch::address::AddressError;
use crate::proxy::fetch::address::Reach;
use crate::proxy::fetch::address::Resolver;
use crate::proxy::fetch::address::check_literal;
use crate::proxy::fetch::schedule::Freshness;
use http::HeaderMap;
use http::StatusCode;
use http::header::ACCEPT;
use http::header::CONTENT_ENCODING;
use http::header::LOCATION;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const USER_AGENT: &str = concat!("keygate/", env!("CARGO_PKG_VERSION"));

/// What an issuer answered: at most [`Jwks::BYTES_MAX`] bytes, not yet read as a key set.
#[derive(Debug)]
pub struct Fetched {
    pub body: Vec<u8>,
    pub freshness: Freshness,
}

/// Why a fetch brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the URL is not https, and the issuer does not have `allow_http`")]
    PlainHttp,
    #[error("the URL names no host")]
    NoHost,
    #[error("the address is not dialled")]
    Address(#[source] AddressError),
    #[error("the certificates in {} cannot be read", path.display())]
    CaFile {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("a certificate in {} cannot be trusted", path.display())]
    CaCertificate {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("no certificate in {}", path.display())]
    CaFileEmpty { path: PathBuf },
    #[error("this machine has no certificate authorities (the package is often called ca-certificates): {details}")]
    NoSystemRoots { details: String },
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    #[error("no answer")]
    Request(#[source] reqwest::Error),
    #[error("no whole answer within {} ms", timeout.as_millis())]
    TimedOut { timeout: Duration },
    #[error("redirected to `{}`, and redirects are not followed", host.as_deref().unwrap_or("no readable place"))]
    Redirected { host: Option<String> },
    #[error("status {status} instead of 200")]
    Status { status: StatusCode },
    #[error("the body is encoded, and nothing was offered to be")]
    Encoded,
    #[error("the body is longer than {} bytes", Jwks::BYTES_MAX)]
    TooLong,
}

/// Gets the document behind `source.url`. The whole of it, name look-up and body included, takes at most
/// `source.timeout` (S048).
///
/// Addresses are checked where they are dialled. With a proxy it is the proxy that resolves and dials: then only a URL
/// whose host is an address is checked here, and what names may lead to is for the proxy to say.
///
/// # Errors
/// Whatever keeps the answer from being a 200 of at most [`Jwks::BYTES_MAX`] bytes.
pub async fn fetch(source: &JwksUrl) -> Result<Fetched, FetchError> {
    check_url(source)?;
    let timeout = source.timeout;
    let bounded = tokio::time::timeout(timeout, get(source)).await;
    bounded.unwrap_or(Err(FetchError::TimedOut { timeout }))
}

/// What can be refused before anything is dialled (S046, S047).
fn check_url(source: &JwksUrl) -> Result<(), FetchError> {
    match source.url.scheme() {
        "https" => {}
        "http" if source.allow_http => {}
        _ => return Err(FetchError::PlainHttp),
    }
    let host = source.url.host().ok_or(FetchError::NoHost)?;
    check_literal(&host, configured_reach(source)).map_err(FetchError::Address)
}

fn configured_reach(source: &JwksUrl) -> Reach {
    if source.allow_private_addresses {
        Reach::Any
    } else {
        Reach::PublicOnly
    }
}

async fn get(source: &JwksUrl) -> Result<Fetched, FetchError> {
    let client = client(source).await?;
    let request = client
        .get(source.url.clone())
        .header(ACCEPT, "application/json, application/jwk-set+json");
    let mut response = request.send().await.map_err(request_error)?;
    check_head(response.status(), response.headers(), source)?;
    let freshness = Freshness::of(response.headers());
    // Content-Length is not looked at: what counts is what comes.
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(request_error)? {
        if chunk.len() > Jwks::BYTES_MAX - body.len() {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched { body, freshness })
}

fn check_head(status: StatusCode, headers: &HeaderMap, source: &JwksUrl) -> Result<(), FetchError> {
    if status.is_redirection() {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| source.url.join(location).ok());
        return Err(FetchError::Redirected {
            host: target.and_then(|target| target.host_str().map(str::to_owned)),
        });
    }
    if status != StatusCode::OK {
        return Err(FetchError::Status { status });
    }
    let encodings = headers.get_all(CONTENT_ENCODING);
    if encodings
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(FetchError::Encoded);
    }
    Ok(())
}

/// Says which address was refused instead of burying it in the client's error, whose own text repeats the URL.
fn request_error(error: reqwest::Error) -> FetchError {
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if let Some(address) = inner.downcast_ref::<AddressError>() {
            return FetchError::Address(address.clone());
        }
        cause = inner.source();
    }
    FetchError::Request(error.without_url())
}

/// A new client for each fetch: fetches are minutes apart, so no connection is worth keeping, the name is resolved and
/// checked each time, and replaced certificates of the authorities are noticed.
async fn client(source: &JwksUrl) -> Result<reqwest::Client, FetchError> {
    // With a proxy the only name that is resolved here is the proxy's own, which the operator chose.
    let reach = if source.proxy.is_some() {
        Reach::Any
    } else {
        configured_reach(source)
    };
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(USER_AGENT)
        .pool_max_idle_per_host(0)
        .no_proxy()
        .dns_resolver(Resolver { reach });
    if let Some(proxy) = &source.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(FetchError::Client)?);
    }
    let proxied_over_tls = source.proxy.as_ref().is_some_and(|proxy| proxy.scheme() == "https");
    let roots = if source.url.scheme() == "https" || proxied_over_tls {
        let ca_file = source.ca_file.clone();
        let read = tokio::task::spawn_blocking(move || match ca_file {
            Some(path) => roots_in(&path),
            None => system_roots(),
        });
        read.await
            .expect("reading certificates does not panic and is not aborted")?
    } else {
        // A machine without certificate authorities can still fetch over plain HTTP; with no roots no TLS succeeds.
        RootCertStore::empty()
    };
    let tls = tls_config(roots).map_err(FetchError::Tls)?;
    builder
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(FetchError::Client)
}

/// Always our own, so that it depends neither on the provider some other part of the process installed nor on defaults.
fn tls_config(roots: RootCertStore) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The authorities of `ca_file`, and none beside them.
fn roots_in(path: &Path) -> Result<RootCertStore, FetchError> {
    let unreadable = |source| FetchError::CaFile {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let added = roots.add(certificate.map_err(unreadable)?);
        added.map_err(|source| FetchError::CaCertificate {
            path: path.to_owned(),
            source,
        })?;
    }
    if roots.is_empty() {
        return Err(FetchError::CaFileEmpty { path: path.to_owned() });
    }
    Ok(roots)
}

/// The machine's authorities. One that cannot be read is left out: the others are no less trusted for it.
fn system_roots() -> Result<RootCertStore, FetchError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(FetchError::NoSystemRoots {
            details: if errors.is_empty() {
                "none found".to_owned()
            } else {
                errors.join("; ")
            },
        });
    }
    Ok(roots)
}
