//! The token endpoint and what belongs to it (RFC 6749, 7009, 7523, 7662, 8414): requests in, JSON out. It is called in
//! this process, behind the gate, which has read the body, bounded, and says who asks.

pub mod request;
pub mod client_auth;
pub mod assertion;
pub mod client_jwks;
pub mod failures;
pub mod replay;
pub mod grant;
pub mod issue;
pub mod own_tokens;
pub mod introspect;
pub mod revoke;
pub mod metadata;
pub mod error;

use crate::config::TokenEndpoint;
use crate::control::Control;
use crate::control::Settings;
use crate::control::token::assertion::Endpoint;
use crate::control::token::client_auth::Asked;
use crate::control::token::client_auth::Authenticated;
use crate::control::token::client_jwks::ClientJwks;
use crate::control::token::error::TokenEndpointError;
use crate::control::token::failures::Failures;
use crate::control::token::issue::Issued;
use crate::control::token::replay::Used;
use crate::control::token::request::BODY_BYTES_MAX;
use crate::control::token::request::Form;
use crate::model::clock::Now;
use crate::model::id::ClientId;
use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::body::to_bytes;
use axum::extract::Path;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use axum::routing::get;
use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use http::request::Parts;
use serde_json::Value;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;

pub const TOKEN: &str = "/oauth/token";
const TENANT_TOKEN: &str = "/t/{organization}/oauth/token";
const INTROSPECT: &str = "/oauth/introspect";
const REVOKE: &str = "/oauth/revoke";
const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";
const OPENID_METADATA: &str = "/.well-known/openid-configuration";

/// How clients may authenticate, the same everywhere.
pub const METHODS: [&str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];

/// Who asks, as the gate knows it. Whoever calls the router puts it into the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub ip: IpAddr,
    pub request_id: String,
}

/// What came of a request, for metrics and the access record; in the extensions of every answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Why it was refused, of a closed set; `None`: it was not.
    pub reason: Option<&'static str>,
    /// The client that has proved itself.
    pub client_id: Option<String>,
}

/// What all requests work on.
pub struct Service {
    control: Arc<Control>,
    client_jwks: Arc<dyn ClientJwks>,
    failures: Failures,
    used: Used,
}

/// The endpoints at the root, and below the path of the issuer where it has one (RFC 8414 section 3.1, OpenID Connect
/// Discovery 1.0 section 4.1). Without a token endpoint in the configuration each answers that it is not there.
pub fn router(control: Arc<Control>, client_jwks: Arc<dyn ClientJwks>) -> Router {
    let settings = control.settings.load_full();
    let service = Arc::new(Service {
        control,
        client_jwks,
        failures: Failures::default(),
        used: Used::default(),
    });
    let mut router = Router::new();
    let path = settings
        .token_endpoint
        .as_ref()
        .map(|endpoint| endpoint.issuer.to_url());
    let path = path
        .map(|url| url.path().trim_end_matches('/').to_owned())
        .unwrap_or_default();
    let mut bases = vec![String::new()];
    bases.extend((!path.is_empty()).then_some(path));
    for base in bases {
        router = router
            .route(&format!("{base}{TOKEN}"), any(global_token))
            .route(&format!("{base}{TENANT_TOKEN}"), any(tenant_token))
            .route(&format!("{base}{INTROSPECT}"), any(introspection))
            .route(&format!("{base}{REVOKE}"), any(revocation))
            .route(&format!("{OAUTH_METADATA}{base}"), get(discovery))
            .route(&format!("{base}{OPENID_METADATA}"), get(discovery));
    }
    router.with_state(service)
}

/// A request whose body was read.
struct Request {
    parts: Parts,
    caller: Caller,
    form: Result<Form, TokenEndpointError>,
}

/// What an endpoint gives, and to whom.
struct Answered {
    body: Option<Value>,
    client: Option<ClientId>,
}

/// What an endpoint refuses, and to whom.
struct Refused {
    error: TokenEndpointError,
    client: Option<ClientId>,
}

impl From<TokenEndpointError> for Refused {
    fn from(error: TokenEndpointError) -> Self {
        Self { error, client: None }
    }
}

impl Request {
    async fn read(caller: Caller, request: http::Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        let form = match to_bytes(body, BODY_BYTES_MAX).await {
            Ok(body) => Form::read(&parts.method, &parts.uri, &parts.headers, &body),
            Err(_) => Err(TokenEndpointError::TooLong),
        };
        Self { parts, caller, form }
    }
}

async fn global_token(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    request: http::Request<Body>,
) -> Response {
    let request = Request::read(caller, request).await;
    let answer = service.token(&request, TOKEN, None).await;
    respond(&request.parts.headers, answer)
}

async fn tenant_token(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Path(organization): Path<String>,
    request: http::Request<Body>,
) -> Response {
    let request = Request::read(caller, request).await;
    let path = TENANT_TOKEN.replace("{organization}", &organization);
    let answer = service.token(&request, &path, Some(&organization)).await;
    respond(&request.parts.headers, answer)
}

async fn introspection(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    request: http::Request<Body>,
) -> Response {
    let request = Request::read(caller, request).await;
    let answer = service.introspect(&request).await;
    respond(&request.parts.headers, answer)
}

async fn revocation(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    request: http::Request<Body>,
) -> Response {
    let request = Request::read(caller, request).await;
    let answer = service.revoke(&request).await;
    respond(&request.parts.headers, answer)
}

async fn discovery(State(service): State<Arc<Service>>) -> Response {
    let settings = service.control.settings.load();
    match &settings.token_endpoint {
        Some(endpoint) => {
            let mut response = answer(
                StatusCode::OK,
                HeaderMap::new(),
                metadata::document(endpoint).to_string(),
            );
            // The same for everybody, and of no secret.
            let for_an_hour = HeaderValue::from_static("public, max-age=3600");
            response.headers_mut().insert(header::CACHE_CONTROL, for_an_hour);
            response
        }
        None => answer(StatusCode::NOT_FOUND, HeaderMap::new(), String::new()),
    }
}

impl Service {
    /// RFC 6749 section 4.4: who asks, what for, and only then what is used up and given.
    async fn token(&self, request: &Request, path: &str, tenant: Option<&str>) -> Result<Answered, Refused> {
        let form = request.form.as_ref().map_err(|error| *error)?;
        grant::check_type(form)?;
        let asked = self.asked(request, Endpoint::Token { path }, tenant);
        let proved = self.prove(request, form, asked).await?;
        let issued = self.give(form, &proved, asked.now).await;
        let client = Some(proved.id().clone());
        match issued {
            Ok(issued) => Ok(Answered {
                body: Some(token_body(&issued)),
                client,
            }),
            Err(error) => Err(Refused { error, client }),
        }
    }

    async fn give(&self, form: &Form, proved: &Authenticated, now: Now) -> Result<Issued, TokenEndpointError> {
        let control = &*self.control;
        let client = grant::in_force(control, proved, now.wall)?;
        grant::scopes(form, &client)?;
        self.use_up(proved).await?;
        // Marking has waited for the disk. What was changed in the meantime counts (S134).
        let now = control.clock.now().wall;
        let client = grant::in_force(control, proved, now)?;
        let scopes = grant::scopes(form, &client)?;
        let settings = self.settings();
        let endpoint = endpoint(&settings)?;
        let issued = issue::issue(control, endpoint, &client, scopes, now).await?;
        // So has keeping an opaque token: one that may not be any more is not told to anybody.
        grant::in_force(control, proved, control.clock.now().wall)?;
        Ok(issued)
    }

    async fn introspect(&self, request: &Request) -> Result<Answered, Refused> {
        let form = request.form.as_ref().map_err(|error| *error)?;
        let asked = self.asked(request, Endpoint::Other { path: INTROSPECT }, None);
        let proved = self.prove(request, form, asked).await?;
        let client = Some(proved.id().clone());
        let work = async {
            let token = form.get("token").ok_or(TokenEndpointError::Missing("token"))?;
            let caller = grant::in_force(&self.control, &proved, asked.now.wall)?;
            self.use_up(&proved).await?;
            let settings = self.settings();
            let endpoint = endpoint(&settings)?;
            let body = match own_tokens::verify(&self.control, token, self.control.clock.now().wall) {
                Ok(token) if introspect::may_see(&caller, &token) => introspect::active(endpoint, &token),
                Ok(_) | Err(_) => introspect::inactive(),
            };
            Ok(body)
        };
        match work.await {
            Ok(body) => Ok(Answered {
                body: Some(body),
                client,
            }),
            Err(error) => Err(Refused { error, client }),
        }
    }

    async fn revoke(&self, request: &Request) -> Result<Answered, Refused> {
        let form = request.form.as_ref().map_err(|error| *error)?;
        let asked = self.asked(request, Endpoint::Other { path: REVOKE }, None);
        let proved = self.prove(request, form, asked).await?;
        let client = Some(proved.id().clone());
        let work = async {
            let token = form.get("token").ok_or(TokenEndpointError::Missing("token"))?;
            self.use_up(&proved).await?;
            let now = self.control.clock.now().wall;
            // Also for a client that is disabled: ending its tokens is what is wanted then.
            revoke::revoke(&self.control, &proved.client, token, asked.source, now).await
        };
        match work.await {
            Ok(()) => Ok(Answered { body: None, client }),
            Err(error) => Err(Refused { error, client }),
        }
    }

    fn asked<'a>(&self, request: &Request, endpoint: Endpoint<'a>, tenant: Option<&'a str>) -> Asked<'a> {
        Asked {
            endpoint,
            tenant,
            source: request.caller.ip,
            now: self.control.clock.now(),
        }
    }

    async fn prove(
        &self,
        request: &Request,
        form: &Form,
        asked: Asked<'_>,
    ) -> Result<Authenticated, TokenEndpointError> {
        endpoint(&self.settings())?;
        let presented = client_auth::presented(&request.parts.headers, form)?;
        client_auth::authenticate(self, presented, asked).await
    }

    async fn use_up(&self, proved: &Authenticated) -> Result<(), TokenEndpointError> {
        match &proved.mark {
            Some(mark) => self.used.mark(&*self.control.store, mark).await,
            None => Ok(()),
        }
    }

    /// # Errors
    /// The client has failed too often from there: then nothing is compared, or guessing could go on.
    fn check_failures(&self, client: &ClientId, asked: Asked<'_>) -> Result<(), TokenEndpointError> {
        let settings = self.settings();
        let quota = &endpoint(&settings)?.failures;
        match self.failures.spent(client, asked.source, quota, asked.now.tick) {
            Some(retry_after) => Err(TokenEndpointError::TooManyFailures { retry_after }),
            None => Ok(()),
        }
    }

    /// Counts a guess, and gives the error back.
    fn failed(&self, client: &ClientId, asked: Asked<'_>, error: TokenEndpointError) -> TokenEndpointError {
        if let Some(endpoint) = &self.settings().token_endpoint {
            self.failures
                .count(client, asked.source, &endpoint.failures, asked.now.tick);
        }
        error
    }

    fn settings(&self) -> Arc<Settings> {
        self.control.settings.load_full()
    }
}

fn endpoint(settings: &Settings) -> Result<&TokenEndpoint, TokenEndpointError> {
    settings.token_endpoint.as_ref().ok_or(TokenEndpointError::NoSigningKey)
}

/// RFC 6749 section 5.1. There is no refresh token, ever (section 4.4.3).
fn token_body(issued: &Issued) -> Value {
    let mut body = json!({
        "access_token": issued.token.expose(),
        "token_type": "Bearer",
        "expires_in": issued.expires_in.as_secs(),
    });
    if !issued.scopes.is_empty() {
        body["scope"] = issued.scopes.to_string().into();
    }
    body
}

fn respond(headers: &HeaderMap, result: Result<Answered, Refused>) -> Response {
    let (mut response, outcome) = match result {
        Ok(Answered { body, client }) => {
            let body = body.map(|body| body.to_string()).unwrap_or_default();
            (answer(StatusCode::OK, HeaderMap::new(), body), (None, client))
        }
        Err(Refused { error, client }) => {
            let (status, headers, body) = error.answer(client_auth::authorization(headers));
            (answer(status, headers, body), (Some(error.row().reason), client))
        }
    };
    let (reason, client) = outcome;
    response.extensions_mut().insert(Outcome {
        reason,
        client_id: client.map(|client| client.as_str().to_owned()),
    });
    response
}

/// Never to be kept by anybody (RFC 6749 section 5.1).
fn answer(status: StatusCode, mut headers: HeaderMap, body: String) -> Response {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(Outcome::default());
    response
}
