//! How does a command call the admin API: over the admin listener, over the socket beside a store, or in this process?
//! One request at a time, with limits on time and size.

use crate::cli::http::exchange;
use crate::cli::http::exchange::TIMEOUT;
use crate::cli::http::exchange::read_json;
use crate::config::Config;
use crate::model::secret::Secret;
use crate::observe::log::ErrorChain;
use crate::runtime::first_administrator::AdministratorNotice;
use crate::runtime::first_administrator::SecretPlace;
use crate::runtime::local_admin;
use crate::runtime::local_admin::LocalStore;
use axum::Router;
use axum::body::Body;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::header;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::error::Error;
use std::io;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// The prefix of every path of the admin API.
const ROOT: &str = "/admin/v1/";
/// The longest response, a page of a list, is far shorter.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ACCEPTED_TYPES: HeaderValue = HeaderValue::from_static("application/json, application/problem+json");
/// The header field of draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A request to the admin API.
#[derive(Debug)]
pub struct AdminRequest<'a> {
    pub method: Method,
    /// The path below [`ROOT`], with its query.
    pub path: &'a str,
    pub body: Option<&'a Value>,
    /// A repeated request with the same key creates nothing new.
    pub idempotency_key: Option<&'a str>,
}

/// A response of the admin API, possibly a refusal.
#[derive(Debug)]
pub struct AdminResponse {
    pub status: u16,
    /// Null if the response has no body.
    pub body: Value,
}

/// The reason why there is no response of the admin API.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("`{0}` is no http or https URL such as http://127.0.0.1:9090")]
    Url(String),
    #[error("the token has characters that no header may have")]
    Token,
    #[error("the idempotency key has characters that no header may have")]
    IdempotencyKey,
    #[error("nothing answers at {at}: {problem} (is `keygate run` running, and is this its `admin.address`?)")]
    NotThere { at: String, problem: String },
    #[error("{}: {problem}", at.display())]
    Socket { at: PathBuf, problem: String },
    #[error("no answer from {at} within {} s; whether it was done is not known", TIMEOUT.as_secs())]
    TimedOut { at: String },
    #[error("what answers at {at} is not Keygate's admin API: status {status}, and no JSON")]
    NotOurs { at: String, status: u16 },
    #[error("cannot start a runtime: {0}")]
    Runtime(io::Error),
}

impl AdminError {
    /// Returns whether no gate responded. A retry may then succeed.
    pub const fn is_unreachable(&self) -> bool {
        match self {
            Self::NotThere { .. } | Self::Socket { .. } | Self::TimedOut { .. } | Self::NotOurs { .. } => true,
            Self::Url(_) | Self::Token | Self::IdempotencyKey | Self::Runtime(_) => false,
        }
    }
}

/// A client of the admin API of one gate, or of its store.
pub struct AdminClient {
    runtime: Runtime,
    transport: Transport,
}

enum Transport {
    /// `base` is the URL that the user gave. It may end with `/`.
    Listener {
        base: String,
        token: Secret<Vec<u8>>,
    },
    Socket(PathBuf),
    InProcess {
        router: Router,
        store: LocalStore,
    },
}

impl Drop for AdminClient {
    fn drop(&mut self) {
        match &self.transport {
            Transport::InProcess { router: _, store } => self.runtime.block_on(store.close()),
            Transport::Listener { .. } | Transport::Socket(_) => {}
        }
    }
}

impl AdminClient {
    /// Returns a client of the admin listener at `base` (scheme, host and port), with its token.
    ///
    /// # Errors
    /// If no runtime can be started. [`AdminClient::send`] checks `base` and the token.
    pub fn over_listener(base: &str, token: Secret<Vec<u8>>) -> Result<Self, AdminError> {
        let base = base.to_owned();
        Ok(Self {
            runtime: runtime()?,
            transport: Transport::Listener { base, token },
        })
    }

    /// Returns a client of the socket at `path`; `None` if no process listens on it, that is, if no gate runs.
    ///
    /// # Errors
    /// If the socket may not be used, or no runtime can be started.
    pub fn over_socket(path: &Path) -> Result<Option<Self>, AdminError> {
        let runtime = runtime()?;
        match runtime.block_on(UnixStream::connect(path)) {
            Ok(_) => Ok(Some(Self {
                runtime,
                transport: Transport::Socket(path.to_owned()),
            })),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
            Err(error) => Err(socket_error(path, &error)),
        }
    }

    /// Opens the store of `config` and returns a client of the store. For a new store, also returns the notice of its
    /// first administrator.
    ///
    /// # Errors
    /// If the store cannot be opened, or no runtime can be started.
    pub fn on_store(config: &Config) -> Result<(Self, Option<AdministratorNotice>), Box<dyn Error>> {
        let runtime = runtime()?;
        let opened = runtime.block_on(local_admin::open(config, SecretPlace::of_stderr()))?;
        let transport = Transport::InProcess {
            router: opened.router,
            store: opened.store,
        };
        Ok((Self { runtime, transport }, opened.administrator))
    }

    /// Returns the URL of the admin listener; `None` for a socket or a store in this process.
    pub fn listener(&self) -> Option<&str> {
        match &self.transport {
            Transport::Listener { base, .. } => Some(base),
            Transport::Socket(_) | Transport::InProcess { .. } => None,
        }
    }

    /// Returns whether this process writes to the store, because no gate runs.
    pub const fn is_in_process(&self) -> bool {
        matches!(self.transport, Transport::InProcess { .. })
    }

    /// Waits.
    pub fn pause(&self, duration: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(duration).await });
    }

    /// Sends a request and waits for the response.
    ///
    /// # Errors
    /// If `request`, the URL or the token is invalid, if there is no response, or if the response is not JSON.
    pub fn send(&self, request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
        let at = match &self.transport {
            Transport::Listener { base, .. } => base.trim_end_matches('/').to_owned(),
            Transport::Socket(path) => path.display().to_string(),
            Transport::InProcess { .. } => "the store".to_owned(),
        };
        let exchange = async {
            match &self.transport {
                Transport::Listener { token, .. } => over_listener(&at, token, request).await,
                Transport::Socket(path) => over_socket(path, local(request)?).await,
                Transport::InProcess { router, store: _ } => {
                    let Ok(response) = router.clone().oneshot(local(request)?).await;
                    Ok(read(response).await)
                }
            }
        };
        let response = self
            .runtime
            .block_on(async { tokio::time::timeout(TIMEOUT, exchange).await });
        let (status, body) = response.unwrap_or_else(|_| Err(AdminError::TimedOut { at: at.clone() }))?;
        match body {
            Some(body) => Ok(AdminResponse { status, body }),
            None => Err(AdminError::NotOurs { at, status }),
        }
    }
}

/// A status and the JSON value of the body; `None` if the body is not JSON.
type StatusAndJson = (u16, Option<Value>);

fn runtime() -> Result<Runtime, AdminError> {
    // The worker thread runs the tasks of an opened store, even while this thread is not in `block_on`.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(AdminError::Runtime)
}

fn socket_error(path: &Path, error: &io::Error) -> AdminError {
    let problem = match error.kind() {
        ErrorKind::PermissionDenied => {
            "only the user that the gate runs as may use this socket; run the command as that user, or name the admin \
             listener with --admin"
                .to_owned()
        }
        _ => error.to_string(),
    };
    AdminError::Socket {
        at: path.to_owned(),
        problem,
    }
}

fn headers(request: &AdminRequest<'_>) -> Result<HeaderMap, AdminError> {
    let mut headers = HeaderMap::from_iter([(header::ACCEPT, ACCEPTED_TYPES)]);
    if request.body.is_some() {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    if let Some(key) = request.idempotency_key {
        let key = HeaderValue::from_str(key).map_err(|_| AdminError::IdempotencyKey)?;
        headers.insert(IDEMPOTENCY_KEY, key);
    }
    Ok(headers)
}

/// Returns `request` as an HTTP request for a socket or a router.
fn local(request: &AdminRequest<'_>) -> Result<Request<Body>, AdminError> {
    let body = request
        .body
        .map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let local = Request::builder()
        .method(request.method.clone())
        .uri(format!("{ROOT}{}", request.path))
        .body(body);
    let mut local = local.map_err(|_| AdminError::Url(request.path.to_owned()))?;
    *local.headers_mut() = headers(request)?;
    let localhost = HeaderValue::from_static("localhost");
    local.headers_mut().insert(header::HOST, localhost);
    Ok(local)
}

async fn over_socket(path: &Path, request: Request<Body>) -> Result<StatusAndJson, AdminError> {
    let failed = |error: hyper::Error| AdminError::Socket {
        at: path.to_owned(),
        problem: ErrorChain(&error).to_string(),
    };
    let stream = UnixStream::connect(path).await;
    let stream = stream.map_err(|error| socket_error(path, &error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    let read = read(response.map(Body::new)).await;
    connection.abort();
    Ok(read)
}

async fn read(response: Response<Body>) -> StatusAndJson {
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), BODY_BYTES_MAX).await;
    (status, body.ok().and_then(|body| read_json(&body)))
}

async fn over_listener(
    base: &str,
    token: &Secret<Vec<u8>>,
    request: &AdminRequest<'_>,
) -> Result<StatusAndJson, AdminError> {
    let bad_url = || AdminError::Url(base.to_owned());
    if !(base.starts_with("http://") || base.starts_with("https://")) {
        return Err(bad_url());
    }
    let url = format!("{base}{ROOT}{}", request.path).parse().map_err(|_| bad_url())?;
    let authorization = Secret::new([b"Bearer ".as_slice(), token.expose()].concat());
    let mut authorization = HeaderValue::from_bytes(authorization.expose()).map_err(|_| AdminError::Token)?;
    authorization.set_sensitive(true);
    let mut headers = headers(request)?;
    headers.insert(header::AUTHORIZATION, authorization);
    let sent = exchange::send(request.method.clone(), &url, None, BODY_BYTES_MAX, |builder| {
        let builder = builder.headers(headers);
        match request.body {
            Some(body) => builder.body(body.to_string()),
            None => builder,
        }
    });
    let (status, body) = sent.await.map_err(|error| AdminError::NotThere {
        at: base.to_owned(),
        problem: ErrorChain(&error).to_string(),
    })?;
    Ok((status, read_json(&body)))
}
