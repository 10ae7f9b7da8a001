//! The token endpoint with introspection, revocation and metadata (RFC 6749, 7009, 7523, 7662, 8414). The router is
//! called in this process, behind the gate, which has read the bounded body and knows the downstream address.

pub mod request;
pub mod client_auth;
pub mod assertion;
pub mod client_jwks;
pub mod failures;
pub mod replay;
mod service;
pub mod grant;
pub mod issue;
pub mod own_tokens;
pub mod introspect;
pub mod revoke;
pub mod metadata;
pub mod error;

use crate::control::Control;
use crate::control::token::assertion::ReceivingEndpoint;
use crate::control::token::client_auth::AuthContext;
use crate::control::token::client_auth::AuthenticatedClient;
use crate::control::token::client_jwks::ClientJwks;
use crate::control::token::error::TokenEndpointError;
use crate::control::token::failures::Failures;
use crate::control::token::issue::AccessToken;
use crate::control::token::replay::UsedAssertions;
use crate::control::token::request::BODY_BYTES_MAX;
use crate::control::token::request::Form;
use crate::control::token::service::Service;
use crate::control::token::service::endpoint;
use crate::model::client_address::ClientAddress;
use crate::model::clock::Now;
use crate::model::id::ClientId;
use crate::model::names::Name;
use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::body::to_bytes;
use axum::extract::FromRequest;
use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::ExtensionRejection;
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
use std::sync::Arc;

/// The paths that the data side maps those of the configuration to.
const TOKEN: &str = "/oauth/token";
const TENANT_TOKEN: &str = "/t/{organization}/oauth/token";
const TENANT_METADATA: &str = "/t/{organization}/.well-known/oauth-authorization-server";
const INTROSPECT: &str = "/oauth/introspect";
const REVOKE: &str = "/oauth/revoke";
const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";
const OPENID_METADATA: &str = "/.well-known/openid-configuration";

/// The client's address and the request id as the gate knows them. The
/// caller of the router must put them into the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallContext {
    pub client: ClientAddress,
    pub request_id: String,
}

/// The outcome of a request for metrics and the access record, in the extensions of every handler's response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The reason of a refusal, a word of a closed set; `None` without a refusal.
    pub reason: Option<&'static str>,
    /// The authenticated client.
    pub client_id: Option<String>,
}

/// Returns the endpoints at the root, and below the path of the issuer if it has one (RFC 8414 section 3.1, OpenID
/// Connect Discovery 1.0 section 4.1). Without `token_endpoint` in the configuration, the metadata is not found (404),
/// and the other endpoints are unavailable for well-formed requests (503).
pub fn router(control: Arc<Control>, client_jwks: Arc<dyn ClientJwks>) -> Router {
    let settings = control.settings.load_full();
    let service = Arc::new(Service {
        control,
        client_jwks,
        failures: Failures::default(),
        used: UsedAssertions::default(),
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
            .route(&format!("{base}{TENANT_METADATA}"), get(tenant_discovery))
            .route(&format!("{OAUTH_METADATA}{base}"), get(discovery))
            .route(&format!("{base}{OPENID_METADATA}"), get(discovery));
    }
    router.with_state(service)
}

/// A request with its parsed body.
struct Request {
    parts: Parts,
    caller: CallContext,
    form: Result<Form, TokenEndpointError>,
}

/// The result of an endpoint: an optional body, or an error.
struct Reply {
    outcome: Result<Option<Value>, TokenEndpointError>,
    /// The authenticated client.
    client: Option<ClientId>,
}

/// An error before the client was authenticated.
impl From<TokenEndpointError> for Reply {
    fn from(error: TokenEndpointError) -> Self {
        Self {
            outcome: Err(error),
            client: None,
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Request {
    type Rejection = ExtensionRejection;

    async fn from_request(request: http::Request<Body>, state: &S) -> Result<Self, ExtensionRejection> {
        let (mut parts, body) = request.into_parts();
        let Extension(caller) = Extension::from_request_parts(&mut parts, state).await?;
        let form = match to_bytes(body, BODY_BYTES_MAX).await {
            Ok(body) => Form::read(&parts.method, &parts.uri, &parts.headers, &body),
            Err(_) => Err(TokenEndpointError::TooLong),
        };
        Ok(Self { parts, caller, form })
    }
}

async fn global_token(State(service): State<Arc<Service>>, request: Request) -> Response {
    let reply = service.token(&request, ReceivingEndpoint::Token).await;
    respond(&request, reply)
}

async fn tenant_token(
    State(service): State<Arc<Service>>,
    Path(organization): Path<String>,
    request: Request,
) -> Response {
    let at = ReceivingEndpoint::TenantToken {
        organization: &organization,
    };
    let reply = service.token(&request, at).await;
    respond(&request, reply)
}

async fn introspection(State(service): State<Arc<Service>>, request: Request) -> Response {
    let reply = service.introspect(&request).await;
    respond(&request, reply)
}

async fn revocation(State(service): State<Arc<Service>>, request: Request) -> Response {
    let reply = service.revoke(&request).await;
    respond(&request, reply)
}

async fn discovery(State(service): State<Arc<Service>>) -> Response {
    metadata_response(&service, None)
}

/// The document of an organization, whether it is there or not: which ones there are is nobody's to find out here.
async fn tenant_discovery(State(service): State<Arc<Service>>, Path(organization): Path<String>) -> Response {
    match organization.parse() {
        Ok(organization) => metadata_response(&service, Some(&organization)),
        Err(_) => json_response(StatusCode::NOT_FOUND, HeaderMap::new(), String::new()),
    }
}

fn metadata_response(service: &Service, organization: Option<&Name>) -> Response {
    let settings = service.control.settings.load();
    match &settings.token_endpoint {
        Some(endpoint) => {
            let document = metadata::document(endpoint, organization);
            let mut response = json_response(StatusCode::OK, HeaderMap::new(), document.to_string());
            // The document is the same for everybody and contains no secret.
            let for_an_hour = HeaderValue::from_static("public, max-age=3600");
            response.headers_mut().insert(header::CACHE_CONTROL, for_an_hour);
            response
        }
        None => json_response(StatusCode::NOT_FOUND, HeaderMap::new(), String::new()),
    }
}

impl Service {
    /// Handles a token request (RFC 6749 section 4.4): authenticates the client, then checks its permissions, and only
    /// then marks the assertion and issues the token.
    async fn token(&self, request: &Request, at: ReceivingEndpoint<'_>) -> Result<Reply, Reply> {
        let form = request.form.as_ref().map_err(|error| *error)?;
        grant::check_type(form)?;
        let (context, authenticated) = self.authenticate(request, form, at).await?;
        let issued = self.grant_token(form, &authenticated, context.now).await;
        Ok(reply(&authenticated, issued.map(|token| Some(token_body(&token)))))
    }

    async fn grant_token(
        &self,
        form: &Form,
        authenticated: &AuthenticatedClient,
        now: Now,
    ) -> Result<AccessToken, TokenEndpointError> {
        let control = &*self.control;
        let client = grant::client_in_force(control, authenticated, now.wall)?;
        grant::scopes(form, &client)?;
        grant::audiences(form, endpoint(&self.settings())?)?;
        self.mark_assertion(authenticated).await?;
        // Marking waited for the disk. Check again: the client may have changed meanwhile (S134).
        let now = control.clock.now().wall;
        let client = grant::client_in_force(control, authenticated, now)?;
        let client = issue::with_valid_series(control, client, now).await?;
        let scopes = grant::scopes(form, &client)?;
        let settings = self.settings();
        let endpoint = endpoint(&settings)?;
        let audiences = grant::audiences(form, endpoint)?;
        let issued = issue::issue(control, endpoint, &client, scopes, audiences, now).await?;
        // Storing an opaque token waited too. Do not return a token that is no longer permitted.
        grant::client_in_force(control, authenticated, control.clock.now().wall)?;
        Ok(issued)
    }

    async fn introspect(&self, request: &Request) -> Result<Reply, Reply> {
        let form = request.form.as_ref().map_err(|error| *error)?;
        let at = ReceivingEndpoint::Other { path: INTROSPECT };
        let (context, authenticated) = self.authenticate(request, form, at).await?;
        let work = async {
            let token = form.get("token").ok_or(TokenEndpointError::Missing("token"))?;
            let client = grant::client_in_force(&self.control, &authenticated, context.now.wall)?;
            self.mark_assertion(&authenticated).await?;
            let settings = self.settings();
            let endpoint = endpoint(&settings)?;
            let body = match own_tokens::verify(&self.control, token, self.control.clock.now().wall) {
                Ok(token) if introspect::may_see(&client, &token) => introspect::active(endpoint, &token),
                Ok(_) | Err(_) => introspect::inactive(),
            };
            Ok(Some(body))
        };
        Ok(reply(&authenticated, work.await))
    }

    async fn revoke(&self, request: &Request) -> Result<Reply, Reply> {
        let form = request.form.as_ref().map_err(|error| *error)?;
        let at = ReceivingEndpoint::Other { path: REVOKE };
        let (context, authenticated) = self.authenticate(request, form, at).await?;
        let work = async {
            let token = form.get("token").ok_or(TokenEndpointError::Missing("token"))?;
            self.mark_assertion(&authenticated).await?;
            let now = self.control.clock.now().wall;
            // A disabled client may revoke its tokens too: that only reduces access.
            revoke::revoke(&self.control, &authenticated.client, token, context.source.known(), now).await?;
            Ok(None)
        };
        Ok(reply(&authenticated, work.await))
    }

    /// Authenticates the client that sent `request` to the endpoint `at`.
    async fn authenticate<'a>(
        &self,
        request: &Request,
        form: &Form,
        at: ReceivingEndpoint<'a>,
    ) -> Result<(AuthContext<'a>, AuthenticatedClient), TokenEndpointError> {
        let context = AuthContext {
            endpoint: at,
            source: request.caller.client,
            now: self.control.clock.now(),
        };
        endpoint(&self.settings())?;
        let credential = client_auth::credential(&request.parts.headers, form)?;
        let authenticated = client_auth::authenticate(self, credential, context).await?;
        Ok((context, authenticated))
    }

    async fn mark_assertion(&self, authenticated: &AuthenticatedClient) -> Result<(), TokenEndpointError> {
        match &authenticated.mark {
            Some(mark) => self.used.mark(&*self.control.store, mark).await,
            None => Ok(()),
        }
    }
}

/// Returns the body of a token response (RFC 6749 section 5.1). There is never a refresh token (section 4.4.3).
fn token_body(token: &AccessToken) -> Value {
    let mut body = json!({
        "access_token": token.text.expose(),
        "token_type": "Bearer",
        "expires_in": token.expires_in.as_secs(),
    });
    if !token.scopes.is_empty() {
        body["scope"] = token.scopes.to_string().into();
    }
    body
}

fn reply(authenticated: &AuthenticatedClient, outcome: Result<Option<Value>, TokenEndpointError>) -> Reply {
    Reply {
        outcome,
        client: Some(authenticated.id().clone()),
    }
}

fn respond(request: &Request, reply: Result<Reply, Reply>) -> Response {
    let Reply { outcome, client } = reply.unwrap_or_else(|reply| reply);
    let (mut response, reason) = match outcome {
        Ok(body) => {
            let body = body.map(|body| body.to_string()).unwrap_or_default();
            (json_response(StatusCode::OK, HeaderMap::new(), body), None)
        }
        Err(error) => {
            let (status, headers, body) = error.response(client_auth::authorization(&request.parts.headers));
            (json_response(status, headers, body), Some(error.row().reason))
        }
    };
    response.extensions_mut().insert(Outcome {
        reason,
        client_id: client.map(|client| client.as_str().to_owned()),
    });
    response
}

/// Returns a response that must not be cached (RFC 6749 section 5.1).
fn json_response(status: StatusCode, mut headers: HeaderMap, body: String) -> Response {
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
