//! An admin API without a socket, on SQLite, with a manual clock, and administrators with access tokens.

use crate::support::control;
use axum::Router;
use axum::body::Body;
use axum::body::to_bytes;
use http::HeaderMap;
use http::Request;
use keygate::config::StoreSettings;
use keygate::config::TokenEndpoint;
use keygate::control::Control;
use keygate::control::admin;
use keygate::control::admin::access::Access;
use keygate::control::admin::access::Peer;
use keygate::control::admin::issuers::NoIssuers;
use keygate::control::admin::upstreams::NoUpstreams;
use keygate::control::key_verdict::KeyQuestion;
use keygate::control::key_verdict::KeyVerdict;
use keygate::control::key_verdict::KeyVerifier;
use keygate::control::key_verdict::TooManyWrongKeys;
use keygate::control::registry;
use keygate::control::registry::FirstAdministrator;
use keygate::control::token;
use keygate::control::token::CallContext;
use keygate::control::token::client_jwks::BoxFuture;
use keygate::control::token::client_jwks::ClientJwks;
use keygate::control::token::client_jwks::JwksHealth;
use keygate::control::token::client_jwks::JwksKey;
use keygate::control::token::client_jwks::JwksState;
use keygate::jose::current_jwks::CurrentJwks;
use keygate::jose::current_jwks::JwksUnavailable;
use keygate::jose::jwks::Jwks;
use keygate::jose::jwks::SkippedKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::system_random;
use keygate::model::client_address::ClientAddress;
use keygate::model::clock::Clock;
use keygate::model::clock::ManualClock;
use keygate::model::clock::Timestamp;
use keygate::model::id::ClientId;
use keygate::model::names::Name;
use keygate::model::plan::Approval;
use keygate::model::plan::ClientKeyPlace;
use keygate::model::plan::CredentialKinds;
use keygate::model::plan::Payment;
use keygate::model::plan::Plan;
use keygate::model::secret::Secret;
use keygate::store::sqlite::SqliteStore;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

pub const ADMIN_TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// 2027-01-15, in seconds since 1970.
pub const START: u64 = 1_800_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// An admin API, and the token endpoint of the same gate.
pub struct Gate {
    pub control: Arc<Control>,
    pub clock: Arc<ManualClock>,
    pub runtime: Runtime,
    pub folder: TempDir,
    api: Router,
    tokens: Router,
    /// Counts requests. Each has its own address, so that failed ones do not exhaust the limit of the others.
    sources: AtomicU32,
}

/// One response of the admin API or the token endpoint.
#[derive(Debug)]
pub struct AdminResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl AdminResponse {
    /// Returns the problem's `type` (RFC 9457) without `urn:keygate:problem:`.
    #[track_caller]
    pub fn slug(&self) -> &str {
        let kind = self.json["type"].as_str().unwrap_or_default();
        kind.strip_prefix("urn:keygate:problem:")
            .unwrap_or_else(|| panic!("{self:?}"))
    }

    #[track_caller]
    pub fn expect_refusal(&self, status: u16, slug: &str) -> &Self {
        assert_eq!((self.status, self.slug()), (status, slug), "{}", self.text);
        self
    }

    /// Asserts that the response is a 422, and returns the JSON pointers of its errors.
    #[track_caller]
    pub fn pointers(&self) -> Vec<&str> {
        self.pointers_of(422, "invalid-request")
    }

    /// Asserts that the response is such a refusal, and returns the JSON pointers of its errors.
    #[track_caller]
    pub fn pointers_of(&self, status: u16, slug: &str) -> Vec<&str> {
        self.expect_refusal(status, slug);
        let errors = self.json["errors"].as_array().unwrap();
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn id(&self) -> String {
        self.json["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{self:?}"))
            .to_owned()
    }
}

/// Reports every URL as healthy. Returns no key set: no test here signs an assertion for a `jwks_url`.
struct GoodJwks;

impl ClientJwks for GoodJwks {
    fn keys<'a>(
        &'a self,
        _: &'a ClientId,
        _: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<CurrentJwks, JwksUnavailable>> {
        Box::pin(std::future::ready(Err(JwksUnavailable::Fetch { retry_after: SECOND })))
    }

    fn newer<'a>(
        &'a self,
        _: &'a ClientId,
        _: &'a str,
        _: &'a Arc<Jwks>,
    ) -> BoxFuture<'a, Result<Arc<Jwks>, JwksUnavailable>> {
        Box::pin(std::future::ready(Err(JwksUnavailable::Fetch { retry_after: SECOND })))
    }

    fn health(&self, _: &ClientId, _: &str) -> JwksHealth {
        JwksHealth {
            state: JwksState::Ok,
            last_good_at: Some(Timestamp::from_unix_secs(START)),
            last_attempt_at: Some(Timestamp::from_unix_secs(START)),
            last_error: None,
            keys: vec![JwksKey {
                kid: Some("a".to_owned()),
                algorithms: vec!["ES256"],
            }],
            skipped: vec![SkippedKey {
                kid: Some("old".to_owned()),
                reason: "it is too short",
            }],
        }
    }

    fn validate<'a>(&'a self, client: &'a ClientId, url: &'a str) -> BoxFuture<'a, JwksHealth> {
        Box::pin(std::future::ready(self.health(client, url)))
    }
}

/// Knows no key. A gate of its own has the keys; see `tests/it/systems`.
struct NoKeys;

impl KeyVerifier for NoKeys {
    fn verify(&self, _: &KeyQuestion<'_>, _: &dyn Fn(Option<&str>) -> bool) -> Result<KeyVerdict, TooManyWrongKeys> {
        Ok(KeyVerdict {
            reason: Some("api_key_unknown"),
            key: None,
            limit: None,
        })
    }
}

fn plans() -> BTreeMap<Name, Plan> {
    let open = |name: &str| Plan::open(name.parse().unwrap(), CredentialKinds::ANY);
    let only = |kind: &str| CredentialKinds {
        api_key: kind == "api_key",
        client_secret: kind == "client_secret",
        private_key_jwt: kind == "private_key_jwt",
    };
    let plans = [
        open("default"),
        open("operators"),
        Plan {
            credentials: only("api_key"),
            scopes: Some("orders:read orders:write".parse().unwrap()),
            approval: Approval::Manual,
            keys_max: Some(2),
            ..open("gold")
        },
        Plan {
            payment: Payment::Required,
            ..open("paid")
        },
        Plan {
            released: false,
            ..open("beta")
        },
        Plan {
            credentials: only("client_secret"),
            ..open("secrets")
        },
        Plan {
            credentials: only("private_key_jwt"),
            ..open("pairs")
        },
        Plan {
            credentials: only("private_key_jwt"),
            assertion_algorithms: Some(vec![Algorithm::Es256]),
            ..open("narrow")
        },
        Plan {
            client_keys: ClientKeyPlace::JwksUrl,
            ..open("urls")
        },
    ];
    plans.into_iter().map(|plan| (plan.name.clone(), plan)).collect()
}

impl Gate {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_secs(START)));
        let settings = StoreSettings {
            path: folder.path().join("keygate.db"),
        };
        let store = runtime.block_on(SqliteStore::open(&settings.path)).unwrap();
        let many = control::quota(10_000, SECOND * 60, 10_000);
        let endpoint = TokenEndpoint {
            limit: many,
            failures: many,
            ..control::token_endpoint("https://auth.example.com")
        };
        let control = control::control(Arc::new(store), settings, endpoint, plans(), &clock);
        let administrator = FirstAdministrator::generate(system_random);
        let prepared = registry::prepare::prepare(&control, Some(&administrator), clock.now().wall);
        runtime.block_on(prepared).unwrap();
        let api = admin::router(admin::AdminDependencies {
            control: Some(Arc::clone(&control)),
            issuers: Arc::new(NoIssuers),
            upstreams: Arc::new(NoUpstreams),
            access: Arc::new(Access::new(Some(Secret::new(ADMIN_TOKEN.into())))),
            client_jwks: Some(Arc::new(GoodJwks)),
            keys: Some(Arc::new(NoKeys)),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        });
        Self {
            tokens: token::router(Arc::clone(&control), Arc::new(GoodJwks)),
            control,
            clock,
            runtime,
            folder,
            api,
            sources: AtomicU32::new(0),
        }
    }

    /// Sends `request` unchanged, with `peer` among its extensions.
    pub fn send(&self, peer: Peer, mut request: Request<Body>) -> AdminResponse {
        request.extensions_mut().insert(peer);
        self.exchange(self.api.clone(), request)
    }

    fn exchange(&self, router: Router, request: Request<Body>) -> AdminResponse {
        self.runtime.block_on(async {
            let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
            let bytes = to_bytes(body, usize::MAX).await.unwrap();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            AdminResponse {
                status: parts.status.as_u16(),
                headers: parts.headers,
                json: serde_json::from_str(&text).unwrap_or(Value::Null),
                text,
            }
        })
    }

    pub fn somewhere(&self) -> Peer {
        let number = self.sources.fetch_add(1, Ordering::Relaxed);
        Peer::Network(IpAddr::V4(Ipv4Addr::from_bits(0x0A00_0000 + number)))
    }

    /// Sends a request with the header fields `more`. `path` is the part after
    /// `/admin/v1`. Without `token` the request has no credential.
    pub fn call_as(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: Option<&Value>,
        more: &[(&str, &str)],
    ) -> AdminResponse {
        let mut request = Request::builder().method(method).uri(format!("/admin/v1{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(self.somewhere(), request.body(body).unwrap())
    }

    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> AdminResponse {
        self.call_as(Some(ADMIN_TOKEN), method, path, body, &[])
    }

    pub fn get(&self, path: &str) -> AdminResponse {
        self.call("GET", path, None)
    }

    pub fn post(&self, path: &str, body: Value) -> AdminResponse {
        self.call("POST", path, Some(&body))
    }

    /// Sends a POST that must create a record (201) and returns the response.
    #[track_caller]
    pub fn create(&self, path: &str, body: Value) -> AdminResponse {
        let response = self.post(path, body);
        assert_eq!(response.status, 201, "{path}: {}", response.text);
        response
    }

    /// Sends a request that must succeed, and returns its JSON.
    #[track_caller]
    pub fn perform(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let response = self.call(method, path, body.as_ref());
        assert_eq!(response.status / 100, 2, "{method} {path}: {}", response.text);
        response.json
    }

    /// Creates a key under `subscription`, and returns its id.
    #[track_caller]
    pub fn create_key(&self, subscription: &str) -> String {
        let body = json!({ "name": "k", "expires": "1d", "subscription": subscription });
        self.create("/keys", body).id()
    }

    /// Creates an active subscription under `plan`, and the
    /// organization if it is missing. Returns the subscription's id.
    #[track_caller]
    pub fn subscribe(&self, organization: &str, plan: &str) -> String {
        if self.get(&format!("/organizations/{organization}")).status == 404 {
            self.create("/organizations", json!({ "id": organization, "name": organization }));
        }
        let body = json!({ "organization": organization, "plan": plan });
        let id = self.create("/subscriptions", body).id();
        if self.get(&format!("/subscriptions/{id}")).json["state"] == "pending" {
            self.perform("POST", &format!("/subscriptions/{id}/approve"), None);
        }
        id
    }

    /// Returns an access token of a new client under `subscription`.
    #[track_caller]
    pub fn token_of(&self, subscription: &str, scopes: &[&str], ttl: &str) -> String {
        let created = self.create(
            "/clients",
            json!({
                "name": "administrator",
                "authentication": "client_secret",
                "scopes": scopes,
                "token_ttl": ttl,
                "subscription": subscription,
            }),
        );
        let secret = created.json["client_secret"].as_str().unwrap();
        let response = self.with_secret(&created.id(), secret);
        assert_eq!(response.status, 200, "{}", response.text);
        response.json["access_token"].as_str().unwrap().to_owned()
    }

    /// Sends a token request with a client secret and returns the response.
    pub fn with_secret(&self, id: &str, secret: &str) -> AdminResponse {
        self.token_request(&[
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
        ])
    }

    pub fn token_request(&self, form: &[(&str, &str)]) -> AdminResponse {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let mut request = Request::builder()
            .method("POST")
            .uri("/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        request.extensions_mut().insert(CallContext {
            client: ClientAddress::Known(Ipv4Addr::LOCALHOST.into()),
            request_id: "test".to_owned(),
        });
        self.exchange(self.tokens.clone(), request)
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    pub fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}
