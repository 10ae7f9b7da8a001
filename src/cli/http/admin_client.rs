//! How is the admin API asked? Over its listener, over the socket beside a store, or in this process; one request at a
//! time, bounded in time and size.

use crate::fetch::client::FetchError;
use crate::fetch::client::Target;
use crate::fetch::client::bounded_body;
use crate::fetch::client::client;
use crate::fetch::client::request_error;
use crate::model::secret::Secret;
use crate::observe::log::ErrorChain;
use axum::Router;
use axum::body::Body;
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

/// A page of a list is the longest answer there is.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The gate itself cuts an answer after 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json, application/problem+json");
/// draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One question.
#[derive(Debug)]
pub struct AdminRequest<'a> {
    pub method: Method,
    /// With its query.
    pub path: &'a str,
    pub body: Option<&'a Value>,
    /// The same key with the same question makes nothing twice.
    pub idempotency_key: Option<&'a str>,
}

/// What was answered.
#[derive(Debug)]
pub struct AdminResponse {
    pub status: u16,
    /// Null where there was none.
    pub body: Value,
}

/// Why there is no answer.
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
    /// Whether nobody could be asked, so that trying again later may help.
    pub const fn nobody_answered(&self) -> bool {
        match self {
            Self::NotThere { .. } | Self::Socket { .. } | Self::TimedOut { .. } | Self::NotOurs { .. } => true,
            Self::Url(_) | Self::Token | Self::IdempotencyKey | Self::Runtime(_) => false,
        }
    }
}

/// The admin API of one gate, or of its store.
pub struct AdminClient {
    runtime: Runtime,
    way: Way,
}

enum Way {
    Listener { base: String, token: Secret<Vec<u8>> },
    Socket(PathBuf),
    InProcess(Router),
}

impl AdminClient {
    /// Over the admin listener at `base` (scheme, host and port), with its token.
    ///
    /// # Errors
    /// No runtime.
    pub fn over_listener(base: &str, token: Secret<Vec<u8>>) -> Result<Self, AdminError> {
        Ok(Self {
            runtime: runtime()?,
            way: Way::Listener {
                base: base.trim_end_matches('/').to_owned(),
                token,
            },
        })
    }

    /// Over the socket at `path`; `None` where nobody listens, which is so when no gate runs.
    ///
    /// # Errors
    /// A socket that is there and may not be used.
    pub fn over_socket(path: &Path) -> Result<Option<Self>, AdminError> {
        let runtime = runtime()?;
        match runtime.block_on(UnixStream::connect(path)) {
            Ok(_) => Ok(Some(Self {
                runtime,
                way: Way::Socket(path.to_owned()),
            })),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
            Err(error) => Err(socket_error(path, &error)),
        }
    }

    /// In this process: `open` gives the router, on the runtime that it will live on, and whatever else came of it.
    ///
    /// # Errors
    /// Those of `open`, and no runtime.
    pub fn in_process<T, E: Error + 'static>(
        open: impl AsyncFnOnce() -> Result<(Router, T), E>,
    ) -> Result<(Self, T), Box<dyn Error>> {
        let runtime = runtime()?;
        let (router, more) = runtime.block_on(open())?;
        let way = Way::InProcess(router);
        Ok((Self { runtime, way }, more))
    }

    /// Asks and waits for the answer. A refusal is an answer.
    ///
    /// # Errors
    /// No answer, or one that is not the admin API's.
    pub fn send(&self, question: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
        let at = self.at();
        let asking = async {
            match &self.way {
                Way::Listener { base, token } => by_listener(base, token, question).await,
                Way::Socket(path) => by_socket(path, request(question)?).await,
                Way::InProcess(router) => {
                    let answer = router.clone().oneshot(request(question)?).await;
                    let Ok(answer) = answer;
                    read(answer, || self.at()).await
                }
            }
        };
        self.runtime.block_on(async {
            let bounded = tokio::time::timeout(TIMEOUT, asking).await;
            bounded.unwrap_or(Err(AdminError::TimedOut { at }))
        })
    }

    fn at(&self) -> String {
        match &self.way {
            Way::Listener { base, .. } => base.clone(),
            Way::Socket(path) => path.display().to_string(),
            Way::InProcess(_) => "the store".to_owned(),
        }
    }
}

fn runtime() -> Result<Runtime, AdminError> {
    // One thread more than the one that waits: a store that is opened here has tasks of its own.
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

fn idempotency_key(question: &AdminRequest<'_>) -> Result<Option<HeaderValue>, AdminError> {
    let key = question.idempotency_key.map(HeaderValue::from_str).transpose();
    key.map_err(|_| AdminError::IdempotencyKey)
}

/// The question as it goes over a socket or into a router.
fn request(question: &AdminRequest<'_>) -> Result<Request<Body>, AdminError> {
    let mut request = Request::new(
        question
            .body
            .map_or_else(Body::empty, |body| Body::from(body.to_string())),
    );
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = question
        .path
        .parse()
        .map_err(|_| AdminError::Url(question.path.to_owned()))?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    headers.insert(header::ACCEPT, ACCEPTED);
    if question.body.is_some() {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    if let Some(key) = idempotency_key(question)? {
        headers.insert(IDEMPOTENCY_KEY, key);
    }
    Ok(request)
}

async fn by_socket(path: &Path, request: Request<Body>) -> Result<AdminResponse, AdminError> {
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
    let answer = sender.send_request(request).await.map_err(failed)?;
    let answered = read(answer.map(Body::new), || path.display().to_string()).await;
    connection.abort();
    answered
}

async fn read(answer: Response<Body>, at: impl FnOnce() -> String) -> Result<AdminResponse, AdminError> {
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), BODY_BYTES_MAX).await;
    match body.ok().and_then(|body| json(&body)) {
        Some(body) => Ok(AdminResponse { status, body }),
        None => Err(AdminError::NotOurs { at: at(), status }),
    }
}

/// Null for no body at all, which is what a deletion answers with.
fn json(body: &[u8]) -> Option<Value> {
    match body {
        [] => Some(Value::Null),
        body => serde_json::from_slice(body).ok(),
    }
}

async fn by_listener(
    base: &str,
    token: &Secret<Vec<u8>>,
    question: &AdminRequest<'_>,
) -> Result<AdminResponse, AdminError> {
    let bad_url = || AdminError::Url(base.to_owned());
    if !(base.starts_with("http://") || base.starts_with("https://")) {
        return Err(bad_url());
    }
    let url = format!("{base}{}", question.path).parse().map_err(|_| bad_url())?;
    // Chosen by the person who runs the command, so it may be anywhere.
    let target = Target {
        url: &url,
        allow_http: true,
        allow_private_addresses: true,
        ca_file: None,
        proxy: None,
    };
    let not_there = |error: FetchError| AdminError::NotThere {
        at: base.to_owned(),
        problem: ErrorChain(&error).to_string(),
    };
    let authorization = Secret::new([b"Bearer ".as_slice(), token.expose()].concat());
    let mut authorization = HeaderValue::from_bytes(authorization.expose()).map_err(|_| AdminError::Token)?;
    authorization.set_sensitive(true);
    let mut request = client(target, 0)
        .await
        .map_err(not_there)?
        .request(question.method.clone(), target.url.clone())
        .header(header::AUTHORIZATION, authorization)
        .header(header::ACCEPT, ACCEPTED);
    if let Some(key) = idempotency_key(question)? {
        request = request.header(IDEMPOTENCY_KEY, key);
    }
    if let Some(body) = question.body {
        request = request.header(header::CONTENT_TYPE, JSON).body(body.to_string());
    }
    let response = request.send().await.map_err(|error| not_there(request_error(error)))?;
    let status = response.status().as_u16();
    let body = bounded_body(response, BODY_BYTES_MAX).await.map_err(not_there)?;
    match json(&body) {
        Some(body) => Ok(AdminResponse { status, body }),
        None => Err(AdminError::NotOurs {
            at: base.to_owned(),
            status,
        }),
    }
}
