//! How is an issuer's server spoken to? Only where its configuration allows, by our own TLS and resolver, without redirects.

use crate::config::issuer::Dial;
use crate::fetch::address::AddressError;
use crate::fetch::address::Reach;
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

/// One URL of an issuer's, and what its configuration says about reaching it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub url: &'a Url,
    pub allow_http: bool,
    pub allow_private_addresses: bool,
    /// PEM certificates trusted instead of the system's.
    pub ca_file: Option<&'a Path>,
    /// An HTTP proxy.
    pub proxy: Option<&'a Url>,
}

impl<'a> Target<'a> {
    pub fn new(url: &'a Url, dial: &'a Dial) -> Self {
        Self {
            url,
            allow_http: dial.allow_http,
            allow_private_addresses: dial.allow_private_addresses,
            ca_file: dial.ca_file.as_deref(),
            proxy: dial.proxy.as_ref(),
        }
    }
}

/// Why a fetch brought nothing.
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

/// What can be refused before anything is dialled (S046, S047).
///
/// # Errors
/// A scheme or an address that the configuration does not allow.
pub fn check_url(target: Target<'_>) -> Result<(), FetchError> {
    match target.url.scheme() {
        "https" => {}
        "http" if target.allow_http => {}
        _ => return Err(FetchError::PlainHttp),
    }
    let host = target.url.host().ok_or(FetchError::NoHost)?;
    check_literal(&host, configured_reach(target)).map_err(FetchError::Address)
}

fn configured_reach(target: Target<'_>) -> Reach {
    if target.allow_private_addresses {
        Reach::Any
    } else {
        Reach::PublicOnly
    }
}

/// Whether the head is that of an answer whose body is worth reading: 200, and its bytes as they are.
///
/// # Errors
/// What else it is.
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

/// Says which address was refused instead of burying it in the client's error, whose own text repeats the URL.
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

/// Reads a body of at most `bytes_max` bytes. Content-Length is not looked at: what counts is what comes.
///
/// # Errors
/// A longer one, or a connection that breaks.
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

/// A client for `target`, and for no other URL: its resolver goes where that one may. Of connections that have answered,
/// at most `idle_max` are kept.
///
/// Addresses are checked where they are dialled. With a proxy it is the proxy that resolves and dials: then only a URL
/// whose host is an address is checked here, by [`check_url`], and what names may lead to is for the proxy to say.
///
/// # Errors
/// Certificates that cannot be read, or a proxy that cannot be used.
pub async fn client(target: Target<'_>, idle_max: usize) -> Result<reqwest::Client, FetchError> {
    // With a proxy the only name that is resolved here is the proxy's own, which the operator chose.
    let reach = if target.proxy.is_some() {
        Reach::Any
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
        .dns_resolver(Resolver { reach });
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
