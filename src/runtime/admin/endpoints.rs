//! Which endpoints does the admin listener serve, and under which host names? `/metrics`, `/livez`, `/readyz` and the
//! admin API, for clients that call the listener by an IP address or as `localhost`.

use crate::control::admin::access::RefusalReason;
use crate::observe::escape;
use crate::observe::metrics;
use crate::observe::metrics::Metrics;
use crate::observe::ready::Condition;
use crate::observe::ready::Readiness;
use crate::runtime::admin::record;
use crate::runtime::admin::record::Records;
use crate::runtime::hand_over::Ownership;
use crate::runtime::hand_over::StoreOwner;
use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use http::uri::Authority;
use std::net::IpAddr;
use std::sync::Arc;
use tower::ServiceExt;

/// The state of the endpoints, and the host names that they accept.
#[derive(Clone)]
pub struct Admin {
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<Readiness>,
    /// The router below `/admin/v1/`, from `control::admin::router`.
    pub api: Router,
    pub host_names: Arc<HostNames>,
    pub records: Arc<Records>,
    /// The process that has the store, and answers the admin API.
    pub ownership: Ownership,
}

/// The names, in lower case, that `Host` may contain besides IP addresses and `localhost`: `admin.host_names` of the
/// configuration in force.
#[derive(Debug, Default)]
pub struct HostNames(ArcSwap<Vec<String>>);

impl HostNames {
    pub fn new(names: Vec<String>) -> Self {
        Self(ArcSwap::from_pointee(names))
    }

    /// Replaces the names, after a reload.
    pub fn replace(&self, names: Vec<String>) {
        self.0.store(Arc::new(names));
    }

    fn contains(&self, name: &str) -> bool {
        self.0.load().iter().any(|own| own == name)
    }
}

/// Why the listener itself refuses a request.
const FOREIGN_ORIGIN: &str = "foreign_origin";
const FOREIGN_HOST: &str = "foreign_host";

const API_PREFIX: &str = "/admin/v1/";

/// Returns the router of all endpoints.
pub(super) fn router(admin: Admin) -> Router {
    admin.metrics.admin.expect_refusals(&[FOREIGN_ORIGIN, FOREIGN_HOST]);
    admin.metrics.admin.expect_refusals(RefusalReason::ALL);
    let admin = Arc::new(admin);
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route_layer(middleware::map_response(record::mark_probe))
        .fallback(api_or_not_found)
        .method_not_allowed_fallback(not_found)
        .layer(middleware::from_fn_with_state(admin.clone(), require_own_host))
        .layer(middleware::map_response(no_store))
        // The outermost layer, so that it sees every refusal.
        .layer(middleware::from_fn_with_state(
            Arc::clone(&admin.records),
            record::record,
        ))
        .with_state(admin)
}

async fn metrics_text(State(admin): State<Arc<Admin>>) -> Response {
    // Use a blocking thread: thousands of routes have tens of thousands of series.
    let text = tokio::task::spawn_blocking(move || admin.metrics.text()).await;
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let report = admin.readiness.report();
    let status = match report.status {
        Condition::Ok | Condition::Degraded => StatusCode::OK,
        Condition::Failing => StatusCode::SERVICE_UNAVAILABLE,
    };
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, report.to_json()).into_response()
}

/// Passes all paths below `/admin/v1/` to the admin API, also unknown ones: only an authenticated caller learns which
/// paths exist. The API is not a nested route, because the wildcard would become a parameter of each of its paths.
async fn api_or_not_found(State(admin): State<Arc<Admin>>, request: Request) -> Response {
    if !request.uri().path().starts_with(API_PREFIX) {
        return not_found().await;
    }
    let owner = admin.ownership.current().await;
    if *owner != StoreOwner::This {
        let detail = "another process has taken over from this one; connect again";
        let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, detail);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    // A task, which continues when the client disconnects: otherwise the store could have a revocation that is not in force.
    let api = admin.api.clone();
    let call = async move {
        let _owner = owner;
        api.oneshot(request).await
    };
    match tokio::spawn(call).await {
        Ok(response) => response.into_response(),
        Err(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the gate failed to answer; its log has the reason",
        ),
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

/// Rejects requests with another host name (421) and requests of other origins' web pages (403). A page in an operator's
/// browser can resolve its own name to this address and then read responses as its own origin (DNS rebinding), but its name
/// is in `Host`. A cross-origin request has an `Origin` if it changes state or lets the page read the response; the page of
/// the admin API has one of its own in what it sends.
async fn require_own_host(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if !is_own_origin(request.headers()) {
        return refusal(
            StatusCode::FORBIDDEN,
            "requests of web pages of other origins are refused",
            FOREIGN_ORIGIN,
        );
    }
    if !has_own_host(&admin, &request) {
        let detail = "this listener answers to IP addresses, `localhost` and the names in `admin.host_names` of the \
                      configuration; add the name in this request's Host there, or call the listener by its address";
        return refusal(StatusCode::MISDIRECTED_REQUEST, detail, FOREIGN_HOST);
    }
    next.run(request).await
}

fn refusal(status: StatusCode, detail: &str, reason: &'static str) -> Response {
    let mut response = problem(status, detail);
    response.extensions_mut().insert(RefusalReason(reason));
    response
}

/// Returns whether the request has no `Origin`, or one that is the same as its `Host` (RFC 6454 section 7), with either
/// scheme: a proxy in front may speak TLS.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (origin, host) = match (origins.next(), origins.next(), headers.get(header::HOST)) {
        (None, _, _) => return true,
        (Some(origin), None, Some(host)) => (origin.as_bytes(), host.as_bytes()),
        (Some(_), _, _) => return false,
    };
    let authority = origin
        .strip_prefix(b"http://")
        .or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Returns whether the request has exactly one `Host` field with an accepted name. A target in absolute form must have
/// the same authority (RFC 9112 section 3.2).
fn has_own_host(admin: &Admin, request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let agrees = request.uri().authority().is_none_or(|target| *target == authority);
    agrees && !authority.as_str().contains('@') && is_own_host(admin, authority.host())
}

fn is_own_host(admin: &Admin, host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let host = host.to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok() || host == "localhost" || admin.host_names.contains(&host)
}

/// Returns a problem response (RFC 9457).
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
