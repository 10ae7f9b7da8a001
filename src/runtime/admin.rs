//! The admin listener: `/metrics`, `/livez`, `/readyz`, the admin API, and nothing else. Never part of a data listener
//! (S151).

use crate::control::admin::access::Peer;
use crate::observe::escape;
use crate::observe::metrics;
use crate::observe::metrics::Metrics;
use crate::observe::ready::Condition;
use crate::observe::ready::Readiness;
use crate::runtime::admin_socket::Socket;
use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use http::uri::Authority;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// What the endpoints read, and by which names they may be called.
#[derive(Clone)]
pub struct Admin {
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<Readiness>,
    /// What is below `/admin/v1/`: `control::admin::router`.
    pub api: Router,
    /// Host names, lower case, that requests may carry besides IP addresses and `localhost`.
    pub host_names: Vec<String>,
}

/// How much one connection may cost. Scrapes and probes need a small part of it.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    connections: usize,
    /// Until a request's head is complete.
    head: Duration,
    /// From accepting a connection to closing it. One request each.
    whole: Duration,
}

const BOUNDS: Bounds = Bounds {
    connections: 64,
    head: Duration::from_secs(5),
    whole: Duration::from_secs(30),
};

const API_PREFIX: &str = "/admin/v1/";

const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// Serves on `listener`, which was bound by the caller so that a taken port is noticed before anything starts, until
/// `stop` is done. To be stopped last: probes ask while requests drain.
///
/// # Errors
/// When `listener` cannot be used by tokio.
pub async fn serve(admin: Admin, listener: std::net::TcpListener, stop: impl Future<Output = ()>) -> io::Result<()> {
    serve_within(BOUNDS, admin, listener, stop).await
}

/// The same on the gate's own socket, whoever asks there being somebody who may open the store's files.
///
/// # Errors
/// When the socket cannot be used by tokio.
pub async fn serve_socket(admin: Admin, socket: Socket, stop: impl Future<Output = ()>) -> io::Result<()> {
    let listener = socket.listener()?;
    accept_all(BOUNDS, admin, listener, stop).await
}

async fn serve_within(
    bounds: Bounds,
    admin: Admin,
    listener: std::net::TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    accept_all(bounds, admin, listener, stop).await
}

/// Where connections come from, and who is at their other end.
trait Accept: Send + Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, peer) = self.accept().await?;
        Ok((stream, Peer::Network(peer.ip())))
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.accept().await?;
        Ok((stream, Peer::Local))
    }
}

async fn accept_all(
    bounds: Bounds,
    admin: Admin,
    listener: impl Accept,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let router = router(admin);
    let places = Arc::new(Semaphore::new(bounds.connections));
    let accept = async {
        loop {
            let place = places.clone().acquire_owned().await.expect("nobody closes it");
            match listener.next().await {
                Ok((stream, peer)) => {
                    let answered = answer(bounds, router.clone(), stream, peer);
                    tokio::spawn(async move {
                        let _place = place;
                        answered.await;
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely. Trying again at once would only take the processor as well.
                    tracing::warn!(%error, "Admin listener cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop => Ok(()),
        never = accept => never,
    }
}

async fn answer<S>(bounds: Bounds, router: Router, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = router.layer(Extension(peer));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Whoever is slow or breaks off learns nothing more, and nobody else has to know.
    let _ = tokio::time::timeout(bounds.whole, connection).await;
}

fn router(admin: Admin) -> Router {
    let admin = Arc::new(admin);
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .fallback(everything_else)
        .method_not_allowed_fallback(not_found)
        .layer(middleware::from_fn_with_state(admin.clone(), only_our_names))
        .layer(middleware::map_response(no_store))
        .with_state(admin)
}

async fn metrics_text(State(admin): State<Arc<Admin>>) -> Response {
    // Every key is looked at, a tenth of a second of a million, and this thread has others to serve.
    let text = tokio::task::spawn_blocking(move || admin.metrics.text()).await;
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let report = admin.readiness.report();
    let status = match report.status {
        Condition::Ok => StatusCode::OK,
        Condition::Failed => StatusCode::SERVICE_UNAVAILABLE,
    };
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, report.to_json()).into_response()
}

/// The admin API answers for everything below its prefix: only who is let in learns which paths there are. Not a nested
/// route, whose wildcard would be one more parameter of every path in it.
async fn everything_else(State(admin): State<Arc<Admin>>, request: Request) -> Response {
    match request.uri().path().starts_with(API_PREFIX) {
        true => admin.api.clone().oneshot(request).await.into_response(),
        false => not_found().await,
    }
}

async fn not_found() -> Response {
    let detail = "there are GET /metrics, /livez and /readyz, and the admin API below /admin/v1/";
    problem(StatusCode::NOT_FOUND, detail)
}

async fn no_store(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A page in an operator's browser can point a name of its own at our address and then read us as its own origin (DNS
/// rebinding). It cannot make the browser leave out its name, nor its `Origin` on other requests.
async fn only_our_names(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return problem(StatusCode::FORBIDDEN, "requests of web pages are refused");
    }
    if !names_us(&admin, &request) {
        let detail = "Host must be an IP address, localhost or the configured name";
        return problem(StatusCode::MISDIRECTED_REQUEST, detail);
    }
    next.run(request).await
}

/// Exactly one `Host` that is ours; in absolute form, the same as the target's (RFC 9112 section 3.2.2).
fn names_us(admin: &Admin, request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let agrees = request.uri().authority().is_none_or(|target| *target == authority);
    agrees && !authority.as_str().contains('@') && is_our_name(admin, authority.host())
}

fn is_our_name(admin: &Admin, host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let host = host.to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok() || host == "localhost" || admin.host_names.contains(&host)
}

/// `application/problem+json` (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
    });
    let mut body = Vec::new();
    escape::push_json(&mut body, &problem).expect("a JSON value is JSON");
    let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, content_type, Body::from(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin;
    use crate::control::admin::access::Access;
    use crate::control::admin::issuers::IssuerHealth;
    use crate::control::admin::issuers::Issuers;
    use crate::control::admin::issuers::Refreshed;
    use crate::model::clock::SystemClock;
    use crate::model::clock::Timestamp;
    use crate::model::names::Name;
    use crate::observe::metrics::Reasons;
    use std::io::Read;
    use std::io::Write;
    use std::net::SocketAddr;
    use std::pin::Pin;

    const NO_REASONS: Reasons = Reasons {
        denials: &[],
        heads: &[],
        connections: &[],
    };

    struct NoIssuers;

    impl Issuers for NoIssuers {
        fn all(&self) -> Vec<IssuerHealth> {
            Vec::new()
        }

        fn one(&self, _: &Name) -> Option<IssuerHealth> {
            None
        }

        fn refresh<'a>(&'a self, _: &'a Name) -> Pin<Box<dyn Future<Output = Refreshed> + Send + 'a>> {
            Box::pin(std::future::ready(Refreshed::Unknown))
        }
    }

    fn admin() -> Admin {
        Admin {
            metrics: Arc::new(Metrics::new(&NO_REASONS, Timestamp::default())),
            readiness: Arc::new(Readiness::new()),
            api: admin::router(admin::Parts {
                control: None,
                issuers: Arc::new(NoIssuers),
                access: Arc::new(Access::new(None)),
                client_jwks: None,
                clock: Arc::new(SystemClock::new()),
            }),
            host_names: vec!["keygate.internal".to_owned()],
        }
    }

    /// Serves `admin` within `bounds` until `client`, which is given the address, is done.
    fn with_server<T>(bounds: Bounds, admin: Admin, client: impl FnOnce(SocketAddr) -> T) -> T {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve_within(bounds, admin, listener, async {
                let _ = stopped.await;
            }))
        });
        let result = client(address);
        drop(stop);
        server.join().unwrap().unwrap();
        result
    }

    /// Everything that comes back until the server closes.
    fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        String::from_utf8(response).unwrap()
    }

    #[track_caller]
    fn check(request: &str, status: u16) -> String {
        let response = with_server(BOUNDS, admin(), |address| exchange(address, request));
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?} {response}"
        );
        assert!(response.contains("cache-control: no-store\r\n"), "{response}");
        response
    }

    fn get(path: &str, host: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    }

    #[test]
    fn metrics_come_in_the_text_format() {
        let response = check(&get("/metrics", "127.0.0.1:9090"), 200);
        assert!(
            response.contains("content-type: text/plain; version=0.0.4"),
            "{response}"
        );
        assert!(response.contains("keygate_build_info{version="), "{response}");
    }

    #[test]
    fn an_unready_process_is_alive() {
        check(&get("/livez", "localhost"), 200);
        let response = check(&get("/readyz", "localhost"), 503);
        assert!(response.contains(r#"{"name":"config","status":"failed""#), "{response}");
    }

    #[test]
    fn a_ready_process_says_so() {
        let admin = admin();
        admin.readiness.config_loaded();
        let response = with_server(BOUNDS, admin, |address| exchange(address, &get("/readyz", "localhost")));
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }

    #[test]
    fn whatever_else_is_asked_is_not_found() {
        for request in [
            get("/", "localhost"),
            get("/metrics/", "localhost"),
            get("//metrics", "localhost"),
            get("/admin/v2/issuers", "localhost"),
            get("/admin", "localhost"),
            get("/debug/pprof", "localhost"),
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "DELETE /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        ] {
            let response = check(&request, 404);
            assert!(
                response.contains("content-type: application/problem+json\r\n"),
                "{response}"
            );
        }
    }

    #[test]
    fn without_a_token_the_api_is_off_and_says_how_to_switch_it_on() {
        for path in ["/admin/v1/issuers", "/admin/v1/nothing"] {
            let response = check(&get(path, "localhost"), 403);
            assert!(
                response.contains("content-type: application/problem+json\r\n"),
                "{response}"
            );
            assert!(response.contains("set `admin.token`"), "{response}");
        }
    }

    #[test]
    fn s151_a_foreign_host_is_refused() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9090",
            "[::1]:9090",
            "localhost:9090",
            "LocalHost",
            "keygate.internal",
        ] {
            check(&get("/metrics", host), 200);
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil@localhost",
            "keygate.internal.",
            "0x7f.1",
            "",
        ] {
            check(&get("/metrics", host), 421);
        }
        check("GET /metrics HTTP/1.1\r\n\r\n", 421);
        check(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            421,
        );
        check(
            "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
            421,
        );
        check("GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 200);
    }

    #[test]
    fn s151_a_web_page_of_another_origin_is_refused() {
        check(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
            403,
        );
        check("GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", 403);
    }

    #[test]
    fn a_connection_serves_one_request() {
        let two = get("/livez", "localhost").repeat(2);
        let response = check(&two, 200);
        assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
        assert!(response.contains("connection: close\r\n"), "{response}");
    }

    #[test]
    fn a_head_that_never_ends_loses_its_connection_and_its_place() {
        let bounds = Bounds {
            connections: 1,
            head: Duration::from_millis(50),
            ..BOUNDS
        };
        with_server(bounds, admin(), |address| {
            // The slow one has the only place; the second gets an answer because the first was cut.
            let mut slow = std::net::TcpStream::connect(address).unwrap();
            slow.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").unwrap();
            assert!(exchange(address, &get("/livez", "localhost")).starts_with("HTTP/1.1 200 "));
        });
    }

    #[test]
    fn a_head_beyond_the_limit_is_refused() {
        let many = format!(
            "GET /livez HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            "A: b\r\n".repeat(HEADERS_MAX)
        );
        let response = with_server(BOUNDS, admin(), |address| exchange(address, &many));
        assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    }
}
