//! Does the whole router serve the issuers, without a store? Access, methods and responses.

use super::*;
use crate::control::admin::access::Access;
use crate::control::admin::access::Peer;
use crate::control::admin::issuers::IssuerHealth;
use crate::control::admin::issuers::Issuers;
use crate::control::admin::issuers::Key;
use crate::control::admin::issuers::KeysFrom;
use crate::control::admin::issuers::RefreshOutcome;
use crate::control::admin::issuers::SkippedKey;
use crate::control::admin::issuers::Source;
use crate::control::admin::issuers::State;
use crate::control::admin::issuers::Time;
use crate::control::admin::upstreams::NoUpstreams;
use crate::model::clock::ManualClock;
use crate::model::clock::Timestamp;
use crate::model::names::Name;
use crate::model::secret::Secret;
use axum::body::Body;
use axum::extract::Request;
use http::HeaderMap;
use http::Method;
use http::header;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::pin::Pin;
use tower::ServiceExt;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Fake;

fn health(name: &str) -> IssuerHealth {
    IssuerHealth {
        name: name.to_owned(),
        issuer: "https://issuer.example".to_owned(),
        state: State::Failing,
        source: Source::JwksUrl {
            url: "https://issuer.example/jwks".to_owned(),
        },
        keys_from: Some(KeysFrom::Disk),
        last_good_at: Some(Time(Timestamp::from_unix_secs(0))),
        age_seconds: Some(7),
        usable_until: None,
        last_attempt_at: None,
        last_error: Some("no answer\u{1b}[31m".to_owned()),
        next_fetch_at: None,
        consecutive_failures: 2,
        fetches_good: 0,
        fetches_failed: 2,
        keys: vec![Key {
            kid: Some("a\u{202e}b\"".to_owned()),
            thumbprint: "t".to_owned(),
            algorithms: vec!["ES256"],
        }],
        skipped: vec![SkippedKey {
            kid: None,
            reason: "a symmetric key",
        }],
    }
}

impl Issuers for Fake {
    fn all(&self) -> Vec<IssuerHealth> {
        vec![health("good"), health("bad")]
    }

    fn one(&self, name: &Name) -> Option<IssuerHealth> {
        (name.as_str() == "good").then(|| health("good"))
    }

    fn refresh<'a>(&'a self, name: &'a Name) -> Pin<Box<dyn Future<Output = RefreshOutcome> + Send + 'a>> {
        Box::pin(async move {
            match name.as_str() {
                "good" => RefreshOutcome::Good(health("good")),
                "bad" => RefreshOutcome::Failed(health("bad")),
                "files" => RefreshOutcome::NotFetched(health("files")),
                "slow" => RefreshOutcome::Unfinished(health("slow")),
                _ => RefreshOutcome::Unknown,
            }
        })
    }
}

struct ReceivedResponse {
    status: u16,
    headers: HeaderMap,
    text: String,
    body: Value,
}

fn api(token: Option<&str>) -> Router {
    router(AdminDependencies {
        control: None,
        issuers: Arc::new(Fake),
        upstreams: Arc::new(NoUpstreams),
        client_jwks: None,
        keys: None,
        access: Arc::new(Access::new(token.map(|token| Secret::new(token.into())))),
        clock: Arc::new(ManualClock::at(Timestamp::from_unix_secs(1_000_000_000))),
    })
}

fn exchange(api: Router, request: Request) -> ReceivedResponse {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let response = api.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        ReceivedResponse {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    })
}

fn request(method: &Method, path: &str, token: Option<&str>) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let peer = Peer::Network(Ipv4Addr::LOCALHOST.into());
    request.extension(peer).body(Body::empty()).unwrap()
}

fn send(method: &Method, path: &str, token: Option<&str>) -> ReceivedResponse {
    exchange(api(Some(TOKEN)), request(method, path, token))
}

const PATHS: [(&str, &Method); 3] = [
    ("/admin/v1/issuers", &Method::GET),
    ("/admin/v1/issuers/good", &Method::GET),
    ("/admin/v1/issuers/good/refresh", &Method::POST),
];

#[test]
fn every_path_needs_the_token_and_its_own_method() {
    for (path, method) in PATHS {
        assert_eq!(send(method, path, Some(TOKEN)).status, 200, "{path}");
        for (token, error) in [(None, false), (Some("wrong"), true)] {
            let response = send(method, path, token);
            assert_eq!(
                (response.status, &response.body["status"]),
                (401, &Value::from(401)),
                "{path}"
            );
            assert_eq!(response.headers[header::CONTENT_TYPE], "application/problem+json");
            let challenge = response.headers[header::WWW_AUTHENTICATE].to_str().unwrap();
            assert!(
                challenge.starts_with("Bearer ") && challenge.contains("error=") == error,
                "{challenge}"
            );
        }
        for other in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            if other != *method {
                let response = send(&other, path, Some(TOKEN));
                assert_eq!(response.status, 405, "{other} {path}");
                assert_eq!(response.headers[header::CONTENT_TYPE], "application/problem+json");
                let allow = response.headers[header::ALLOW].to_str().unwrap();
                assert!(allow.split(',').any(|word| word == method.as_str()), "{allow}");
            }
        }
    }
}

#[test]
fn a_missing_resource_is_404_with_the_token_and_401_without() {
    for path in [
        "/admin/v1/",
        "/admin/v1/issuers/",
        "/admin/v1/issuers/none",
        "/admin/v1/issuers/good/",
        "/admin/v1/issuers/../issuers",
        "/admin/v1/issuers/GOOD",
        "/admin/v1/issuers/%67ood%00",
        "/admin/v1/issuers/good/refresh/x",
        "/admin/v1//issuers",
    ] {
        assert_eq!(send(&Method::GET, path, Some(TOKEN)).status, 404, "{path}");
        assert_eq!(send(&Method::GET, path, None).status, 401, "{path}");
    }
}

#[test]
fn health_has_rfc3339_times_and_no_hidden_characters() {
    let ReceivedResponse { body, text, .. } = send(&Method::GET, "/admin/v1/issuers", Some(TOKEN));
    assert_eq!(body["at"], "2001-09-09T01:46:40.000Z");
    let good = &body["issuers"][0];
    assert_eq!(good["last_good_at"], "1970-01-01T00:00:00.000Z");
    assert_eq!(
        (&good["state"], &good["keys_from"]),
        (&"failing".into(), &"disk".into())
    );
    assert_eq!(good["source"]["kind"], "jwks_url");
    assert_eq!(good["keys"][0]["kid"], "a\u{202e}b\"");
    assert_eq!(good["skipped"][0]["reason"], "a symmetric key");
    assert!(
        !text.trim_end().chars().any(crate::observe::escape::is_hidden),
        "{text}"
    );
}

#[test]
fn a_refresh_returns_its_outcome_and_the_health_of_the_issuer() {
    for (name, status, outcome) in [
        ("good", 200, "good"),
        ("bad", 502, "failed"),
        ("files", 409, "not_fetched"),
        ("slow", 504, "unfinished"),
    ] {
        let response = send(&Method::POST, &format!("/admin/v1/issuers/{name}/refresh"), Some(TOKEN));
        assert_eq!(
            (response.status, &response.body["outcome"]),
            (status, &outcome.into()),
            "{name}"
        );
        assert_eq!(response.body["issuer"]["name"], name);
    }
    assert_eq!(
        send(&Method::POST, "/admin/v1/issuers/none/refresh", Some(TOKEN)).status,
        404
    );
}

#[test]
fn without_a_token_in_the_configuration_the_answer_names_the_key_to_set() {
    let response = exchange(api(None), request(&Method::GET, "/admin/v1/issuers", None));
    assert_eq!(response.status, 403);
    assert!(response.text.contains("`admin.token`"), "{}", response.text);
}

#[test]
fn without_a_store_the_answer_names_the_key_to_set() {
    for path in ["/admin/v1/keys", "/admin/v1/organizations/acme", "/admin/v1/audit"] {
        let response = send(&Method::GET, path, Some(TOKEN));
        assert_eq!(
            (response.status, &response.body["type"]),
            (404, &"urn:keygate:problem:no-store".into())
        );
        assert!(response.text.contains("set `store`"), "{}", response.text);
    }
}

#[test]
fn a_request_without_a_peer_is_refused() {
    let mut request = request(&Method::GET, "/admin/v1/issuers", Some(TOKEN));
    request.extensions_mut().remove::<Peer>();
    assert_eq!(exchange(api(Some(TOKEN)), request).status, 403);
}
