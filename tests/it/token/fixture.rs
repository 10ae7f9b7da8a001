//! A token endpoint without a socket, its clients, and a manual clock.

use super::store::HookedStore;
use crate::support::control;
pub use crate::support::control::quota;
use axum::Router;
use axum::body::Body;
use axum::body::to_bytes;
use base64::Engine;
pub use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::StatusCode;
use keygate::config::StoreSettings;
use keygate::config::TokenEndpoint;
use keygate::control::Control;
use keygate::control::Settings;
use keygate::control::token::CallContext;
use keygate::control::token::Outcome;
use keygate::control::token::client_jwks::BoxFuture;
use keygate::control::token::client_jwks::ClientJwks;
use keygate::control::token::client_jwks::JwksHealth;
use keygate::control::token::router;
use keygate::jose::current_jwks::CurrentJwks;
use keygate::jose::current_jwks::JwksUnavailable;
use keygate::jose::jwks::Jwks;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::Digester;
use keygate::model::client_address::ClientAddress;
use keygate::model::client_secret;
use keygate::model::clock::Clock;
use keygate::model::clock::ManualClock;
use keygate::model::clock::Timestamp;
use keygate::model::id::ClientId;
use keygate::model::plan::CredentialKinds;
use keygate::model::plan::Plan;
use keygate::model::scope::ScopeSet;
use keygate::model::secret::Secret;
use keygate::model::subscription::SubscriptionState;
use keygate::store::Batch;
use keygate::store::Store;
use keygate::store::Versioned;
use keygate::store::Write;
use keygate::store::record::ClientRecord;
use keygate::store::record::OrganizationRecord;
use keygate::store::record::SubscriptionRecord;
use keygate::store::record::client::ClientAuthentication;
use keygate::store::record::client::ClientKey;
use keygate::store::record::client::ClientSecret;
use keygate::store::record::client::ClientState;
use keygate::store::record::client::TokenFormat;
use keygate::store::record::client::TokenTtl;
use keygate::store::sqlite::SqliteStore;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

pub const ISSUER: &str = "https://auth.example.com";
pub const TOKEN: &str = "/oauth/token";
pub const TOKEN_URL: &str = "https://auth.example.com/oauth/token";
pub const AUDIENCE: &str = "https://api.example.com";
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub const FORM: &str = "application/x-www-form-urlencoded";
pub const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// Seconds since 1970 at which the clock starts, on a Friday.
pub const START: u64 = 1_800_000_000;

const SECOND: Duration = Duration::from_secs(1);

/// A token endpoint with its store, its settings and its clock.
pub struct Gate {
    pub control: Arc<Control>,
    pub store: Arc<HookedStore>,
    pub clock: Arc<ManualClock>,
    pub jwks: Arc<FakeJwks>,
    pub router: Router,
    pub runtime: Runtime,
    /// The folder of the store, removed with the gate; `None` where the test owns the folder.
    _folder: Option<TempDir>,
}

/// The key sets behind URLs. A URL without a set fails.
#[derive(Default)]
pub struct FakeJwks {
    pub sets: Mutex<BTreeMap<String, Arc<Jwks>>>,
    /// The sets that `newer` returns.
    pub newer: Mutex<BTreeMap<String, Arc<Jwks>>>,
    /// Runs once, during the next fetch.
    pub meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl ClientJwks for FakeJwks {
    fn keys<'a>(
        &'a self,
        _: &'a ClientId,
        url: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<CurrentJwks, JwksUnavailable>> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(work) = meanwhile {
            work();
        }
        let found = self.sets.lock().unwrap().get(url).cloned();
        let retry_after = Duration::from_secs(7);
        let found = found.map(|jwks| CurrentJwks { jwks, is_latest: false });
        Box::pin(async move { found.ok_or(JwksUnavailable::Fetch { retry_after }) })
    }

    fn newer<'a>(
        &'a self,
        _: &'a ClientId,
        url: &'a str,
        _: &'a Arc<Jwks>,
    ) -> BoxFuture<'a, Result<Arc<Jwks>, JwksUnavailable>> {
        let found = self.newer.lock().unwrap().get(url).cloned();
        let retry_after = Duration::from_secs(7);
        Box::pin(async move { found.ok_or(JwksUnavailable::Recent { retry_after }) })
    }

    fn health(&self, _: &ClientId, _: &str) -> JwksHealth {
        unreachable!("the token endpoint shows no health")
    }

    fn validate<'a>(&'a self, _: &'a ClientId, _: &'a str) -> BoxFuture<'a, JwksHealth> {
        unreachable!("the token endpoint validates nothing")
    }
}

/// One response of the token endpoint.
#[derive(Debug)]
pub struct TokenResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
    pub outcome: Outcome,
}

impl TokenResponse {
    #[track_caller]
    pub fn token(&self) -> &str {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json["access_token"].as_str().unwrap()
    }

    pub fn error(&self) -> (u16, &str, &str) {
        let text = |name: &str| self.json[name].as_str().unwrap_or_default();
        (self.status.as_u16(), text("error"), text("error_description"))
    }

    /// Returns the claims of the access token without verifying its signature.
    #[track_caller]
    pub fn claims(&self) -> Value {
        part(self.token(), 1)
    }
}

/// Returns a part of a compact JWS as JSON.
pub fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap()
}

pub fn token_endpoint() -> TokenEndpoint {
    control::token_endpoint(AUDIENCE)
}

impl Gate {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut TokenEndpoint)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut gate = Self::open(folder.path(), change);
        gate._folder = Some(folder);
        gate
    }

    /// Opens the store and the signing keys in `folder`, which an earlier gate may have written.
    pub fn open(folder: &Path, change: impl FnOnce(&mut TokenEndpoint)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_secs(START)));
        let mut endpoint = token_endpoint();
        change(&mut endpoint);
        let settings = StoreSettings {
            path: folder.join("keygate.db"),
        };
        let store = runtime.block_on(SqliteStore::open(&settings.path)).unwrap();
        let store = Arc::new(HookedStore::new(Arc::new(store)));
        let inner = Arc::clone(&store) as Arc<dyn Store>;
        let control = control::control(inner, settings, endpoint, plans(), &clock);
        let jwks = Arc::new(FakeJwks::default());
        let router = router(Arc::clone(&control), Arc::clone(&jwks) as Arc<dyn ClientJwks>);
        Self {
            control,
            store,
            clock,
            jwks,
            router,
            runtime,
            _folder: None,
        }
    }

    /// Creates an organization, and its subscription `sub_{organization}` under `plan`.
    pub fn subscribe(&self, organization: &str, plan: &str, state: SubscriptionState, environment: ApiKeyEnvironment) {
        let now = self.clock.now().wall;
        self.commit(vec![
            Write::Organization(Versioned::new(OrganizationRecord::new(
                organization.parse().unwrap(),
                organization.to_owned(),
                now,
            ))),
            Write::Subscription(Versioned::new(SubscriptionRecord {
                id: format!("sub_{organization}").parse().unwrap(),
                organization: organization.parse().unwrap(),
                plan: plan.parse().unwrap(),
                environment,
                state,
                paid: false,
                created_at: now,
                changed_at: now,
            })),
        ]);
    }

    pub fn commit(&self, writes: Vec<Write>) {
        let batch = Batch {
            writes,
            ..Batch::default()
        };
        // On a thread of its own, so that a callback inside the runtime may block too.
        std::thread::scope(|scope| {
            let work = || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(self.control.commit(batch)).unwrap();
            };
            scope.spawn(work).join().unwrap();
        });
    }

    /// Creates a client of the organization `acme`. The first client also creates
    /// the organization and its subscription to the plan `default`.
    pub fn client(&self, id: &str, authentication: ClientAuthentication) -> ClientRecord {
        self.client_with(id, authentication, |_| {})
    }

    pub fn client_with(
        &self,
        id: &str,
        authentication: ClientAuthentication,
        change: impl FnOnce(&mut ClientRecord),
    ) -> ClientRecord {
        let now = self.clock.now().wall;
        let mut record = ClientRecord {
            id: id.parse().unwrap(),
            organization: "acme".parse().unwrap(),
            subscription: "sub_acme".parse().unwrap(),
            environment: ApiKeyEnvironment::Live,
            name: id.to_owned(),
            description: String::new(),
            authentication,
            scopes: scopes("orders:read orders:write"),
            token_ttl: TokenTtl::Hour,
            token_format: TokenFormat::Jwt,
            state: ClientState::Active,
            tokens_not_before: None,
            token_series: 0,
            created_at: now,
            changed_at: now,
        };
        change(&mut record);
        let organization = record.organization.clone();
        let known = self.runtime.block_on(self.store.organization(&organization)).unwrap();
        if known.is_none() {
            let active = SubscriptionState::Active;
            self.subscribe(organization.as_str(), "default", active, ApiKeyEnvironment::Live);
        }
        self.commit(vec![Write::Client(Versioned::new(record.clone()))]);
        record
    }

    /// Changes the record of a client. Works inside a runtime too, see [`change_client`].
    pub fn change(&self, id: &str, change: impl FnOnce(&mut ClientRecord)) {
        change_client(&self.control, id, change);
    }

    /// Creates a client with a secret and returns the secret.
    pub fn secret_client(&self, id: &str) -> String {
        let secret = format!("kgs_secret-of-{id}");
        self.client(id, self.secrets(&[(&secret, None)]));
        secret
    }

    /// Returns an authentication by secrets, each with its expiry.
    pub fn secrets(&self, secrets: &[(&str, Option<Timestamp>)]) -> ClientAuthentication {
        let digester = &self.control.settings.load().digester;
        let secrets = secrets.iter().map(|(text, ends_at)| ClientSecret {
            digest: client_secret::digest(digester, text),
            created_at: Timestamp::from_unix_secs(START),
            ends_at: *ends_at,
            hint: String::new(),
        });
        ClientAuthentication::ClientSecret {
            secrets: secrets.collect(),
        }
    }

    /// Creates a client with one key and returns the key.
    pub fn key_client(&self, id: &str, algorithm: Algorithm) -> SigningKey {
        let key = SigningKey::generate(algorithm).unwrap();
        self.client(id, keys(&[&key]));
        key
    }

    pub fn send(&self, request: Request<Body>) -> TokenResponse {
        self.runtime.block_on(send(self.router.clone(), request))
    }

    pub fn post(&self, path: &str, form: &[(&str, &str)]) -> TokenResponse {
        self.send(post(path, form, &[]))
    }

    /// Sends a token request with an assertion.
    pub fn assert(&self, assertion: &str) -> TokenResponse {
        self.post(TOKEN, &asserting(assertion))
    }

    /// Sends a token request with `client_secret_post`.
    pub fn with_secret(&self, id: &str, secret: &str) -> TokenResponse {
        self.post(TOKEN, &with_secret(id, secret))
    }

    /// Sends a token request with `client_secret_basic`.
    pub fn basic(&self, id: &str, secret: &str) -> TokenResponse {
        let value = basic(id, secret);
        let form = [("grant_type", "client_credentials")];
        self.send(post(TOKEN, &form, &[("authorization", &value)]))
    }

    pub fn advance(&self, secs: u64) {
        self.clock.advance(SECOND * u32::try_from(secs).unwrap());
    }

    pub fn reconfigure(&self, change: impl FnOnce(&mut Settings)) {
        let old = self.control.settings.load_full();
        let mut settings = Settings {
            store: old.store.clone(),
            token_endpoint: old.token_endpoint.clone(),
            plans: old.plans.clone(),
            key_prefix: old.key_prefix.clone(),
            digester: Digester::new(Some(&Secret::new(b"a pepper of the test's".to_vec()))),
        };
        change(&mut settings);
        self.control.settings.store(Arc::new(settings));
    }
}

/// Changes the record of a client. Commits on a new thread, so that a callback inside a runtime may block.
pub fn change_client(control: &Arc<Control>, id: &str, change: impl FnOnce(&mut ClientRecord)) {
    let known = control.clients.get(&id.parse().unwrap()).unwrap();
    let mut record = known.record.clone();
    change(&mut record);
    let written = Versioned {
        record,
        revision: known.revision,
    };
    let batch = Batch {
        writes: vec![Write::Client(written)],
        ..Batch::default()
    };
    std::thread::scope(|scope| {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(control.commit(batch)).unwrap();
        };
        scope.spawn(work).join().unwrap();
    });
}

pub async fn send(router: Router, mut request: Request<Body>) -> TokenResponse {
    if request.extensions().get::<CallContext>().is_none() {
        let request_id = "test".to_owned();
        request.extensions_mut().insert(CallContext {
            client: ClientAddress::Known(HERE),
            request_id,
        });
    }
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    TokenResponse {
        status: parts.status,
        headers: parts.headers,
        json: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
        outcome: parts.extensions.get::<Outcome>().cloned().expect("each answer has one"),
    }
}

pub fn encoded(form: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish()
}

pub fn post(path: &str, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("content-type", FORM);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(encoded(form))).unwrap()
}

pub fn from(source: &str, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(CallContext {
        client: ClientAddress::Known(source.parse().unwrap()),
        request_id: "test".to_owned(),
    });
    request
}

pub fn asserting(assertion: &str) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ]
}

pub fn with_secret<'a>(id: &'a str, secret: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_id", id),
        ("client_secret", secret),
    ]
}

pub fn basic(id: &str, secret: &str) -> String {
    let text = format!("{id}:{secret}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

pub fn scopes(list: &str) -> ScopeSet {
    ScopeSet::parse_list(list).unwrap()
}

pub fn key_record(key: &SigningKey, revoked_at: Option<Timestamp>) -> ClientKey {
    ClientKey {
        kid: key.kid().to_owned(),
        public_pem: key.public_pem(),
        algorithms: vec![key.algorithm()],
        generated: false,
        created_at: Timestamp::from_unix_secs(START),
        revoked_at,
    }
}

pub fn keys(keys: &[&SigningKey]) -> ClientAuthentication {
    ClientAuthentication::Keys {
        keys: keys.iter().map(|key| key_record(key, None)).collect(),
    }
}

/// Returns the claims of an assertion that is valid at the start.
pub fn claims(client: &str) -> Value {
    json!({ "iss": client, "sub": client, "aud": ISSUER, "iat": START, "exp": START + 300, "jti": "1" })
}

pub fn signed(key: &SigningKey, claims: &Value) -> String {
    key.sign("JWT", claims).unwrap()
}

/// Returns the claims of a valid assertion with the members of `change`; `null` removes a member.
pub fn claims_with(client: &str, change: &Value) -> Value {
    let mut all = claims(client);
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => all.as_object_mut().unwrap().remove(name),
            value => all.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    all
}

fn plans() -> BTreeMap<keygate::model::names::Name, Plan> {
    let mut plans = BTreeMap::new();
    for name in ["default", "operators"] {
        let name: keygate::model::names::Name = name.parse().unwrap();
        plans.insert(name.clone(), Plan::open(name, CredentialKinds::ANY));
    }
    plans
}

impl Gate {
    pub fn clock_now(&self) -> Timestamp {
        self.clock.now().wall
    }
}

impl Gate {
    /// Changes the subscription of an organization.
    pub fn subscription(&self, organization: &str, change: impl FnOnce(&mut SubscriptionRecord) + Send) {
        change_subscription(&self.control, organization, change);
    }

    /// Puts the store's content in force, as at startup.
    pub fn load(&self) {
        let contents = self.runtime.block_on(self.store.contents()).unwrap();
        let now = self.clock.now().wall;
        keygate::control::enforce::load(contents, &self.control.directory, &self.control.clients, now);
    }
}

/// Changes the subscription of an organization. Commits on a new thread, as [`change_client`] does.
pub fn change_subscription(
    control: &Arc<Control>,
    organization: &str,
    change: impl FnOnce(&mut SubscriptionRecord) + Send,
) {
    let id = format!("sub_{organization}").parse().unwrap();
    std::thread::scope(|scope| {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut known = control.store.subscription(&id).await.unwrap().unwrap();
                change(&mut known.record);
                let batch = Batch {
                    writes: vec![Write::Subscription(known)],
                    ..Batch::default()
                };
                control.commit(batch).await.unwrap();
            });
        };
        scope.spawn(work).join().unwrap();
    });
}
