//! A gate with a store, requests with the credentials that it issues, and a store filled without a gate.

use crate::support::Admin;
use crate::support::Binary;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::StartGate;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::Digester;
use keygate::model::api_key::system_random;
use keygate::model::clock::Clock;
use keygate::model::clock::ManualClock;
use keygate::model::clock::SystemClock;
use keygate::model::clock::Timestamp;
use keygate::model::directory::ApiKeyOrigin;
use keygate::model::subscription::SubscriptionState;
use keygate::store::Batch;
use keygate::store::Store;
use keygate::store::Versioned;
use keygate::store::Write;
use keygate::store::record::ApiKeyRecord;
use keygate::store::record::ApiKeyState;
use keygate::store::record::OrganizationRecord;
use keygate::store::record::SubscriptionRecord;
use keygate::store::sqlite::SqliteStore;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

pub const ADMIN_TOKEN: &str = "an-admin-token-of-the-tests-0123456789abcdef";
pub const ISSUER: &str = "http://127.0.0.1:8099";

/// A gate, and a client of its admin API.
pub struct Gate<G = LocalGate> {
    pub running: G,
    pub admin: Admin,
}

/// Returns the configuration that the tests of this folder share, with `more` at the top level.
pub fn yaml(more: &str) -> String {
    format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0, token: {ADMIN_TOKEN} }}
trusted_proxies: [127.0.0.1/32]
store: {{ path: keygate.db }}
failed_authentication: {{ quota: 10000/min, burst: 10000 }}
limits:
  of-route: {{ by: credential, quota: 1000/min, burst: 100 }}
  of-plan: {{ by: credential, quota: 60/min, burst: 5 }}
plans:
  keys: {{ credentials: api_key, approval: automatic, keys_max: unlimited }}
  secrets: {{ credentials: client_secret, approval: automatic }}
  limited: {{ credentials: [api_key, client_secret], limits: [of-plan, of-route], approval: automatic }}
  paid: {{ credentials: [api_key, client_secret], payment: required, approval: automatic }}
  unreleased: {{ credentials: api_key, released: false, approval: automatic }}
upstreams: {{ echo: {{ builtin: echo }} }}
routes:
  - {{ name: any, match: {{ path: \"/any/{{*rest}}\" }}, accept: [jwt, api_key], issuers: [keygate], upstream: echo }}
  - name: limited
    match: {{ path: \"/limited/{{*rest}}\" }}
    accept: [jwt, api_key]
    issuers: [keygate]
    limits: [of-route]
    upstream: echo
  - name: planned
    match: {{ path: \"/planned/{{*rest}}\" }}
    accept: [jwt, api_key]
    issuers: [keygate]
    plans: [keys, paid]
    upstream: echo
{more}"
    )
}

/// Returns the same configuration with a token endpoint, which has the settings `more`.
pub fn with_endpoint(more: &str) -> String {
    yaml(&format!("token_endpoint: {{ issuer: \"{ISSUER}\"{more} }}\n"))
}

impl Gate {
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&with_endpoint(""))
    }

    /// Starts a gate with `clock`, which only the test advances.
    #[track_caller]
    pub fn start_at(clock: &Arc<ManualClock>) -> Self {
        Self::of(LocalGate::start_at(clock, &with_endpoint(""), &[]))
    }

    #[track_caller]
    pub fn start_with(config: &str) -> Self {
        Self::of(LocalGate::start(config))
    }
}

impl Gate<Binary> {
    /// Starts the program.
    #[track_caller]
    pub fn program(config: &str) -> Self {
        Self::of(Binary::start(config))
    }
}

impl<G: StartGate> Gate<G> {
    #[track_caller]
    pub fn of(running: G) -> Self {
        running.wait_ready();
        Self {
            admin: Admin::new(&running, ADMIN_TOKEN),
            running,
        }
    }

    pub fn client(&self) -> RawClient {
        RawClient::connect(self.running.data())
    }

    #[track_caller]
    pub fn with_key(&self, path: &str, key: &str) -> Response {
        self.client().exchange(key_request(path, key))
    }

    #[track_caller]
    pub fn with_token(&self, path: &str, token: &str) -> Response {
        self.client().exchange(token_request(path, token))
    }

    /// Creates a key that never expires, under `subscription` or the default one. Returns the key's id and text.
    #[track_caller]
    pub fn key(&self, subscription: Option<&str>) -> (String, String) {
        let mut body = json!({ "name": "ci", "expires": "never" });
        if let Some(subscription) = subscription {
            body["subscription"] = subscription.into();
        }
        let created = self.admin.create("/keys", body);
        (text(&created["id"]), text(&created["key"]))
    }

    /// Creates an organization and its subscription to `plan`, and returns the subscription's id.
    #[track_caller]
    pub fn subscription(&self, organization: &str, plan: &str) -> String {
        self.admin
            .create("/organizations", json!({ "id": organization, "name": organization }));
        let body = json!({ "organization": organization, "plan": plan, "environment": "live" });
        text(&self.admin.create("/subscriptions", body)["id"])
    }

    /// Creates a client with a secret and returns its id and secret. `more` holds further members of the request.
    #[track_caller]
    pub fn secret_client(&self, more: Value) -> (String, String) {
        let mut body = json!({ "name": "job", "authentication": "client_secret", "scopes": ["orders:read"] });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let created = self.admin.create("/clients", body);
        (text(&created["id"]), text(&created["client_secret"]))
    }

    /// Returns the token endpoint's response to a client with this secret.
    #[track_caller]
    pub fn ask_token(&self, (id, secret): (&str, &str)) -> Response {
        self.client().exchange(form(
            "/oauth/token",
            &basic(id, secret),
            "grant_type=client_credentials",
        ))
    }

    #[track_caller]
    pub fn token(&self, client: (&str, &str)) -> String {
        let response = self.ask_token(client);
        assert_eq!(
            response.status,
            200,
            "{}\n{}",
            response.text(),
            self.running.record(&response)
        );
        text(&response.json()["access_token"])
    }
}

/// Returns the value of the field `name` that the echo upstream received.
#[track_caller]
pub fn upstream_field(response: &Response, name: &str) -> Option<String> {
    assert_eq!(response.status, 200, "{}", response.text());
    let echoed = response.json();
    let mut headers = echoed["headers"].as_array().unwrap().iter();
    headers.find(|header| header[0] == name).map(|header| text(&header[1]))
}

#[track_caller]
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

pub fn key_request(path: &str, key: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {key}\r\n\r\n")
}

pub fn token_request(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Returns the `Authorization` line of `client_secret_basic` (RFC 6749 section 2.3.1).
pub fn basic(id: &str, secret: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{id}:{secret}")))
}

/// Returns a POST of a form; `headers` are whole lines.
pub fn form(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn now() -> Timestamp {
    SystemClock::new().now().wall
}

/// Fills a store in `folder` with the organization `acme` and `writes`. The
/// writes may hold states that no operation of the admin API leads to.
pub fn fill(folder: &Path, mut writes: Vec<Write>) {
    writes.insert(
        0,
        Write::Organization(Versioned::new(OrganizationRecord::new(
            "acme".parse().unwrap(),
            "Acme".to_owned(),
            now(),
        ))),
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&folder.join("keygate.db")).await.unwrap();
        let batch = Batch {
            writes,
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
        store.close().await;
    });
}

pub fn subscription(id: &str, plan: &str, environment: ApiKeyEnvironment, state: SubscriptionState) -> Write {
    Write::Subscription(Versioned::new(SubscriptionRecord {
        id: id.parse().unwrap(),
        organization: "acme".parse().unwrap(),
        plan: plan.parse().unwrap(),
        environment,
        state,
        paid: false,
        created_at: now(),
        changed_at: now(),
    }))
}

/// Returns the write of a key that is digested without a pepper, and the key's text.
pub fn key(
    subscription: &str,
    environment: ApiKeyEnvironment,
    change: impl FnOnce(&mut ApiKeyRecord),
) -> (Write, String) {
    let text = ApiKeyText::generate("kg", environment, &mut system_random);
    let mut record = ApiKeyRecord {
        id: text.id(),
        digest: Digester::new(None).digest(text.expose()),
        origin: ApiKeyOrigin::Own,
        environment,
        name: "ci".to_owned(),
        organization: "acme".parse().unwrap(),
        subscription: subscription.parse().unwrap(),
        scopes: "orders:read".parse().unwrap(),
        addresses: Vec::new(),
        created_at: now(),
        expires_at: None,
        revoked_at: None,
        replaced_by: None,
        state: ApiKeyState::Active,
        was_shortened: false,
        last_used_at: None,
    };
    change(&mut record);
    (Write::ApiKey(Versioned::new(record)), text.expose().to_owned())
}
