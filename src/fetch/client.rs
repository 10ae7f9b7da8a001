//! How does Keygate connect to an issuer's server? Only as the issuer's
//! configuration allows, with Keygate's own TLS and resolver, and without redirects.

use crate::config::issuer::ConnectSettings;
use crate::fetch::address::AddressError;
use crate::fetch::address::AddressPolicy;
use crate::fetch::address::Resolver;
use crate::fetch::address::check_literal;
use http::HeaderMap;
use http::StatusCode;
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
use url::Url;

const USER_AGENT: &str = concat!("keygate/", env!("CARGO_PKG_VERSION"));

/// A URL of an issuer, and the connection settings from its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub url: &'a Url,
    pub allow_http: bool,
    pub allow_private_addresses: bool,
    /// PEM certificates of the authorities that are trusted in place of the system's.
    pub ca_file: Option<&'a Path>,
    /// An HTTP proxy.
    pub proxy: Option<&'a Url>,
}

impl<'a> Target<'a> {
    pub fn new(url: &'a Url, connect: &'a ConnectSettings) -> Self {
        Self {
            url,
            allow_http: connect.allow_http,
            allow_private_addresses: connect.allow_private_addresses,
            ca_file: connect.ca_file.as_deref(),
            proxy: connect.proxy.as_ref(),
        }
    }
}

/// The reason why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the URL is not https, and `allow_http` is not set for it")]
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
    #[error("the bearer token in {} cannot be read", path.display())]
    BearerToken {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
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
    #[error("the body is longer than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
}

/// Checks the target before any connection is made (S046, S047).
///
/// # Errors
/// If the configuration does not allow the scheme or a literal address, or if the URL has no host.
pub fn check_url(target: Target<'_>) -> Result<(), FetchError> {
    match target.url.scheme() {
        "https" => {}
        "http" if target.allow_http => {}
        _ => return Err(FetchError::PlainHttp),
    }
    let host = target.url.host().ok_or(FetchError::NoHost)?;
    check_literal(&host, configured_reach(target)).map_err(FetchError::Address)
}

fn configured_reach(target: Target<'_>) -> AddressPolicy {
    if target.allow_private_addresses {
        AddressPolicy::Any
    } else {
        AddressPolicy::PublicOnly
    }
}

/// Checks that a response has status 200 and a body without content encoding.
///
/// # Errors
/// The first deviation.
pub fn check_head(status: StatusCode, headers: &HeaderMap, url: &Url) -> Result<(), FetchError> {
    if status.is_redirection() {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| url.join(location).ok());
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

/// Returns the [`AddressError`] that caused `error`, if any; otherwise `error` without its URL.
pub fn request_error(error: reqwest::Error) -> FetchError {
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if let Some(address) = inner.downcast_ref::<AddressError>() {
            return FetchError::Address(address.clone());
        }
        cause = inner.source();
    }
    FetchError::Request(error.without_url())
}

/// Reads a body of at most `bytes_max` bytes. Counts the received bytes and does not trust Content-Length.
///
/// # Errors
/// If the body is longer, or the connection breaks.
pub async fn bounded_body(mut response: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(request_error)? {
        if chunk.len() > bytes_max - body.len() {
            return Err(FetchError::TooLong { bytes_max });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns a client for `target` only, because the resolver of the client applies
/// the settings of `target`. The client keeps at most `idle_max` idle connections.
///
/// The client checks each resolved address before it connects. A proxy resolves the name and connects instead of the
/// client; then [`check_url`] still checks literal addresses, but the proxy has to restrict names.
///
/// # Errors
/// If no trusted certificate can be read, or the proxy cannot be used.
pub async fn client(target: Target<'_>, idle_max: usize) -> Result<reqwest::Client, FetchError> {
    // With a proxy, the client resolves only the name of the proxy, which the operator chose.
    let policy = if target.proxy.is_some() {
        AddressPolicy::Any
    } else {
        configured_reach(target)
    };
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(USER_AGENT)
        .pool_max_idle_per_host(idle_max)
        .no_proxy()
        .dns_resolver(Resolver { policy });
    if let Some(proxy) = target.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(FetchError::Client)?);
    }
    let proxied_over_tls = target.proxy.is_some_and(|proxy| proxy.scheme() == "https");
    let roots = if target.url.scheme() == "https" || proxied_over_tls {
        let ca_file = target.ca_file.map(Path::to_owned);
        let read = tokio::task::spawn_blocking(move || match ca_file {
            Some(path) => roots_in(&path),
            None => system_roots(),
        });
        read.await
            .expect("reading certificates does not panic and is not aborted")?
    } else {
        // Plain HTTP works on a machine without certificate authorities. An empty store makes every TLS handshake fail.
        RootCertStore::empty()
    };
    let tls = tls_config(roots).map_err(FetchError::Tls)?;
    builder
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(FetchError::Client)
}

/// Returns a TLS configuration with an explicit provider, so that no process-wide default is needed.
fn tls_config(roots: RootCertStore) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Returns the authorities in the file. Fails on the first unusable certificate and on a file without any.
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

/// Returns the authorities of the system. Leaves out those that cannot be read; fails if none is left.
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
