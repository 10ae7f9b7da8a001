//! Can a program decide requests in its own process through the crate's public types `Gate` and `Exchange`?

use crate::support::GatewayBuilder;
use crate::support::PATIENCE;
use crate::support::TestIssuer;
use crate::support::api_key;
use crate::support::issuer::claims_with;
use crate::support::issuer::identity_yaml;
use crate::support::issuer::jwk_set;
use crate::support::issuer::key;
use crate::support::issuer::token;
use http::HeaderMap;
use http::StatusCode;
use http::request::Parts;
use keygate::Answer;
use keygate::Decision;
use keygate::EndpointAddress;
use keygate::Exchange;
use keygate::Gate;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::ApiKeyText;
use serde_json::json;
use std::path::Path;

const PEER: &str = "203.0.113.7:50000";
const ENDPOINT: &str = "127.0.0.1:9";

fn builder() -> GatewayBuilder {
    GatewayBuilder::new().upstream("api", ENDPOINT.parse().unwrap())
}

fn open_text(folder: &Path, yaml: &str) -> Result<(Gate, keygate::Upkeep), keygate::OpenError> {
    let path = folder.join("keygate.yaml");
    std::fs::write(&path, yaml).unwrap();
    Gate::open(path)
}

fn head(path: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::get(path).header("host", "api.example.com");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn begin(gate: &Gate, path: &str, fields: &[(&str, &str)]) -> Exchange {
    gate.begin(head(path, fields), PEER.parse().unwrap())
}

#[track_caller]
fn answer(decision: Decision) -> Answer {
    match decision {
        Decision::Answer(answer) => answer,
        Decision::Forward => panic!("it is forwarded"),
    }
}

#[track_caller]
fn refused_at(yaml: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    open_text(folder.path(), yaml).map(drop).unwrap_err().to_string()
}

/// Returns a gate that accepts API keys, its upkeep, and an API key with the scope `orders:read`.
fn with_a_key(folder: &Path, route: &str) -> (Gate, keygate::Upkeep, ApiKeyText) {
    let (key, entry) = api_key("client: orders-client");
    std::fs::write(
        folder.join("keys.yaml"),
        format!(
            "keys:
{entry}"
        ),
    )
    .unwrap();
    let yaml = builder()
        .top("api_keys: { file: keys.yaml }")
        .route(
            "orders",
            &format!("match: {{ path: \"/orders/{{*rest}}\" }}\naccept: [api_key]\n{route}\nupstream: api"),
        )
        .yaml();
    let (gate, upkeep) = open_text(folder, &yaml).unwrap();
    (gate, upkeep, key)
}

#[tokio::test]
async fn a_request_with_a_good_key_is_forwarded_without_it_and_with_its_identity() {
    let folder = tempfile::tempdir().unwrap();
    let (gate, _upkeep, key) = with_a_key(folder.path(), "cors: { origins: [\"https://app.example.com\"] }");
    assert!(gate.is_ready());
    let fields = [
        ("x-api-key", key.expose()),
        ("x-keygate-subject", "forged"),
        ("origin", "https://app.example.com"),
    ];
    let mut exchange = begin(&gate, "/orders/1?page=2", &fields);
    assert!(matches!(exchange.admit().await, Decision::Forward));
    assert_eq!(exchange.route(), Some("orders"));
    let principal = exchange.principal().unwrap();
    assert_eq!(principal.credential_type(), "api_key");
    assert_eq!(principal.client_id(), Some("orders-client"));
    assert_eq!(principal.credential_id(), Some(key.id().to_string().as_str()));
    assert!(principal.has_scope("orders:read") && !principal.has_scope("orders:write"));
    assert_eq!((principal.issuer(), principal.expires_at()), (None, None));

    let endpoint = exchange.choose_endpoint().unwrap();
    assert_eq!(endpoint, EndpointAddress::Inet(ENDPOINT.parse().unwrap()));
    let upstream = exchange.request_head();
    assert_eq!(upstream.uri, "/orders/1?page=2");
    assert!(!upstream.headers.contains_key("x-api-key"));
    assert_eq!(upstream.headers["x-keygate-client-id"], "orders-client");
    assert!(
        upstream
            .headers
            .get("x-keygate-subject")
            .is_none_or(|value| value != "forged")
    );
    assert_eq!(upstream.headers["x-forwarded-for"], "203.0.113.7");
    assert_eq!(upstream.headers["x-request-id"], exchange.request_id());

    let mut received = HeaderMap::new();
    received.append("connection", "close".parse().unwrap());
    received.append("x-request-id", "of the upstream".parse().unwrap());
    received.append("etag", "\"1\"".parse().unwrap());
    let fields = exchange.response_head(StatusCode::OK, &received);
    assert_eq!(fields["etag"], "\"1\"");
    assert!(!fields.contains_key("connection"));
    assert_eq!(
        fields.get_all("x-request-id").iter().collect::<Vec<_>>(),
        [exchange.request_id()]
    );
    assert_eq!(fields["access-control-allow-origin"], "https://app.example.com");
    assert_eq!(fields["vary"], "Origin");
    assert!(!exchange.must_end());
    exchange.count_response_body(2);
    drop(exchange);
    let counted =
        "keygate_decisions_total{credential_type=\"api_key\",outcome=\"allow\",reason=\"none\",route=\"orders\"} 1";
    assert!(gate.metrics().contains(counted), "{}", gate.metrics());
}

#[tokio::test]
async fn a_request_without_exactly_one_good_credential_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (gate, _upkeep, key) = with_a_key(folder.path(), "");
    for (fields, status, problem) in [
        (vec![], 401, "credential-missing"),
        (vec![("x-api-key", "kg_test_nonsense")], 401, "invalid-api-key"),
        (
            vec![("x-api-key", key.expose()), ("authorization", "Bearer a.b.c")],
            400,
            "two-credentials",
        ),
    ] {
        let mut exchange = begin(&gate, "/orders/1", &fields);
        let answer = answer(exchange.admit().await);
        assert_eq!(answer.status, status);
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["type"], format!("urn:keygate:problem:{problem}"));
        assert!(exchange.principal().is_none());
        // A program that forwards a refused request by mistake sends no field of the request.
        assert!(exchange.request_head().headers.is_empty());
        assert!(exchange.choose_endpoint().is_err());
    }
    assert_eq!(answer(begin(&gate, "/nowhere", &[]).admit().await).status, 404);
}

#[tokio::test]
async fn a_body_over_the_bound_is_answered_at_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = builder()
        .top("requests: { body_bytes: 10 }")
        .route("open", "match: { path: /open }\npublic: true\nupstream: api")
        .yaml();
    let (gate, _upkeep) = open_text(folder.path(), &yaml).unwrap();
    let mut exchange = begin(&gate, "/open", &[]);
    assert!(matches!(exchange.admit().await, Decision::Forward));
    assert!(exchange.principal().is_none());
    exchange.count_request_body(10).unwrap();
    assert_eq!(exchange.count_request_body(1).unwrap_err().status, 413);
    let mut exchange = begin(&gate, "/open", &[]);
    assert!(matches!(exchange.admit().await, Decision::Forward));
    assert_eq!(exchange.upstream_failed().status, 502);
}

#[tokio::test]
async fn upkeep_fetches_keys_and_follows_the_file() {
    let signing = key(Algorithm::Es256);
    let issuer = TestIssuer::start(&[&signing]);
    let folder = tempfile::tempdir().unwrap();
    let yaml = |name: &str| {
        builder()
            .issuer("main", &issuer.yaml(""))
            .route(name, "match: { path: /orders }\naccept: [jwt]\nupstream: api")
            .yaml()
    };
    let (gate, upkeep) = open_text(folder.path(), &yaml("before")).unwrap();
    let running = tokio::spawn(upkeep.run());
    let bearer = format!("Bearer {}", token(&signing, &claims_with(json!({ "client_id": "c" }))));
    let route = async || {
        let mut exchange = begin(&gate, "/orders", &[("authorization", &bearer)]);
        let forwarded = matches!(exchange.admit().await, Decision::Forward);
        forwarded.then(|| exchange.route().map(str::to_owned)).flatten()
    };
    // The upkeep runs on this thread, so the wait must be asynchronous.
    let wait_for = async |name: &str| {
        let forwarded = async {
            while route().await.as_deref() != Some(name) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, forwarded).await.expect(name);
    };
    wait_for("before").await;
    std::fs::write(folder.path().join("keygate.yaml"), yaml("after")).unwrap();
    wait_for("after").await;
    // A reload refuses a configuration that `Gate::open` would refuse, and changes nothing.
    let echo = builder()
        .upstream_with("back", "builtin: echo")
        .route("echo", "match: { path: /orders }\npublic: true\nupstream: back");
    std::fs::write(folder.path().join("keygate.yaml"), echo.yaml()).unwrap();
    let refused = async {
        while !gate
            .metrics()
            .contains("keygate_config_reloads_total{result=\"failure\"} 1")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("the reload is refused");
    assert_eq!(route().await.as_deref(), Some("after"));
    // The program aborts the upkeep; the gate still decides requests.
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!(route().await.as_deref(), Some("after"));
}

/// Also in the program: the same function puts a configuration in force there, before the first connection is accepted.
#[tokio::test]
async fn the_keys_in_local_files_are_there_for_the_first_request() {
    let folder = tempfile::tempdir().unwrap();
    let key = key(Algorithm::Es256);
    std::fs::write(folder.path().join("keys.json"), jwk_set(&[key.public_jwk()])).unwrap();
    std::fs::write(folder.path().join("key.pem"), key.public_pem()).unwrap();
    for source in ["jwks_file: keys.json", "public_key_files: [key.pem]"] {
        let yaml = builder()
            .issuer("main", &format!("{}\n{source}", identity_yaml()))
            .route("orders", "match: { path: /orders }\naccept: [jwt]\nupstream: api")
            .yaml();
        // Nothing runs beside it: `upkeep` is not polled.
        let (gate, _upkeep) = open_text(folder.path(), &yaml).unwrap();
        let bearer = format!("Bearer {}", token(&key, &claims_with(json!({}))));
        let mut exchange = begin(&gate, "/orders", &[("authorization", &bearer)]);
        let decision = exchange.admit().await;
        assert!(matches!(decision, Decision::Forward), "{source}: {decision:?}");
    }
}

#[test]
fn mistakes_are_told_with_their_places() {
    let text = refused_at(&builder().route("a", "match: { path: /a }\nupstream: apj").yaml());
    assert!(text.contains("apj") && text.contains("keygate.yaml:"), "{text}");
    assert!(
        Gate::open("no-such-file.yaml")
            .unwrap_err()
            .to_string()
            .contains("no-such-file.yaml")
    );
}

#[test]
fn what_only_the_program_serves_is_refused_with_its_place() {
    let echo = GatewayBuilder::new()
        .upstream_with("back", "builtin: echo")
        .route("a", "match: { path: /a }\npublic: true\nupstream: back");
    assert_eq!(
        refused_at(&echo.yaml()),
        "upstreams.back: the echo upstream, which is served by the program `keygate` alone"
    );
    let keys = builder()
        .top("store: { path: keygate.db }")
        .route("a", "match: { path: /a }\naccept: [api_key]\nupstream: api");
    assert_eq!(
        refused_at(&keys.yaml()),
        "routes[0].accept: API keys without `api_keys.file` are in the store, which is served by the program `keygate` alone"
    );
}
