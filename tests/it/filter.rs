//! Does Keygate's filter work in a pingora proxy of another program? `tests/clients/proxy` is such a program, built without
//! the feature `gateway`; its proxy is the example of the library's documentation.

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::KillAtEnd;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::TestIssuer;
use crate::support::api_key;
use crate::support::free_address;
use crate::support::get;
use crate::support::issuer::claims_with;
use crate::support::issuer::key;
use crate::support::issuer::token;
use crate::support::output::SharedOutput;
use crate::support::poll;
use crate::support::wait_until;
use crate::support::with_other_secret;
use async_trait::async_trait;
use keygate::filter::Filter;
use keygate::filter::FilterContext;
use keygate::filter::Guard;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::ApiKeyText;
use pingora::Error;
use pingora::apps::ServerApp;
use pingora::http::RequestHeader;
use pingora::http::ResponseHeader;
use pingora::proxy::FailToProxy;
use pingora::proxy::HttpProxy;
use pingora::proxy::ProxyHttp;
use pingora::proxy::Session;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

/// The other program, its upstream and its issuer.
struct Shop {
    upstream: FakeUpstream,
    issuer: TestIssuer,
    signing_key: SigningKey,
    api_key: ApiKeyText,
    data: SocketAddr,
    metrics: SocketAddr,
    output: Arc<SharedOutput>,
    folder: tempfile::TempDir,
    _program: KillAtEnd,
}

impl Shop {
    fn start() -> Self {
        let upstream = FakeUpstream::start();
        let signing_key = key(Algorithm::Es256);
        let issuer = TestIssuer::start(&[&signing_key]);
        let (api_key, entry) = api_key("scopes: [\"orders:read\"]");
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("keys.yaml", &format!("keys:\n{entry}"));
        put("keygate.yaml", &config(&upstream, &issuer, "burst: 100"));
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/debug/shop-proxy");
        assert!(program.is_file(), "tests/clients/proxy is not built: run tests/run");
        let (data, metrics) = (free_address(), free_address());
        let mut child = Command::new(program)
            .arg(folder.path().join("keygate.yaml"))
            .args([data.to_string(), metrics.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = Arc::new(SharedOutput::default());
        output.collect(child.stdout.take().unwrap(), |output| &mut output.stdout);
        output.collect(child.stderr.take().unwrap(), |output| &mut output.stderr);
        let program = KillAtEnd(child);
        let accepts = |address: &SocketAddr| TcpStream::connect(address).is_ok();
        let accepting = poll(PATIENCE, || [data, metrics].iter().all(accepts).then_some(()));
        assert!(accepting.is_some(), "it does not accept:\n{}", output.text());
        let shop = Self {
            upstream,
            issuer,
            signing_key,
            api_key,
            data,
            metrics,
            output,
            folder,
            _program: program,
        };
        // FOUND F10: the issuer's keys are there before the first request.
        assert_eq!(shop.get("/api/a", &shop.bearer()).status, 200);
        shop
    }

    fn bearer(&self) -> String {
        self.bearer_of(&self.signing_key)
    }

    fn bearer_of(&self, key: &SigningKey) -> String {
        let claims = claims_with(json!({ "scope": "orders:read" }));
        format!("Authorization: Bearer {}\r\n", token(key, &claims))
    }

    fn key(&self) -> String {
        format!("x-api-key: {}\r\n", self.api_key.expose())
    }

    #[track_caller]
    fn get(&self, path: &str, fields: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n");
        RawClient::connect(self.data).exchange(request)
    }

    /// Checks that a request gets `status` for `reason`, and is recorded so.
    #[track_caller]
    fn refuses(&self, path: &str, fields: &str, status: u16, reason: &str) -> Response {
        let response = self.get(path, fields);
        assert_eq!(
            (response.status, &response.json()["status"]),
            (status, &json!(status)),
            "{}",
            response.text()
        );
        let id = response.header("x-request-id").unwrap().to_owned();
        let record = self.output.wait_for(|output| {
            let text = output.text();
            let line = text
                .lines()
                .find(|line| line.contains(&id) && line.contains("decision"))?;
            serde_json::from_str::<Value>(line).ok()
        });
        let record = record.expect("every request is recorded");
        assert_eq!(
            (&record["reason"], &record["decision"]),
            (&json!(reason), &json!("deny"))
        );
        response
    }

    fn metric(&self, series: &str) -> f64 {
        let text = get(self.metrics, "/metrics").text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

fn config(upstream: &FakeUpstream, issuer: &TestIssuer, burst: &str) -> String {
    let route = |name: &str, more: &str| {
        format!("match: {{ path: \"/{name}/{{*rest}}\" }}\naccept: [jwt, api_key]\nupstream: up\n{more}")
    };
    GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .top("failed_authentication: off")
        .issuer("main", &issuer.yaml("cooldown: 1s"))
        .limit("each", &format!("by: credential\nquota: 100/hour\n{burst}"))
        .upstream("up", upstream.address())
        .route("api", &route("api", ""))
        .route("write", &route("write", "scopes: { all: [\"orders:write\"] }"))
        .route("limited", &route("limited", "limits: [each]"))
        .yaml()
}

#[test]
fn s001_a_pingora_proxy_of_another_program_decides_as_the_gateway_does() {
    let shop = Shop::start();
    let (bearer, key) = (shop.bearer(), shop.key());
    shop.refuses("/api/a", &format!("{bearer}{key}"), 400, "two_credentials");
    shop.refuses("/api/a", "", 401, "credential_missing");
    shop.refuses("/write/a", &bearer, 403, "insufficient_scope");
    shop.refuses("/write/a", &key, 403, "insufficient_scope");
    shop.refuses("/nowhere", "", 404, "no_route");
    let forged = SigningKey::generate_es256().unwrap();
    shop.refuses("/api/a", &shop.bearer_of(&forged), 401, "unknown_key");
    let other = with_other_secret(shop.api_key.expose());
    shop.refuses(
        "/api/a",
        &format!("x-api-key: {other}\r\n"),
        401,
        "api_key_wrong_secret",
    );

    let before = shop.upstream.received().len();
    let response = shop.get("/api/a?b=c", &format!("{key}x-keygate-subject: forged\r\n"));
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert!(response.header("x-request-id").is_some());
    let received = shop.upstream.received().pop().unwrap();
    assert_eq!(shop.upstream.received().len(), before + 1);
    assert_eq!(received.target(), "/api/a?b=c");
    assert_eq!(received.headers_named("x-api-key"), [""; 0]);
    assert_eq!(received.headers_named("x-keygate-credential-type"), ["api_key"]);
    assert!(!received.headers_named("x-keygate-subject").contains(&"forged"));
}

#[test]
fn keys_are_rotated_the_configuration_is_reloaded_and_the_metrics_are_in_the_programs_registry() {
    let shop = Shop::start();
    // The issuer publishes a new key; a token of that key makes the filter fetch the set.
    let rotated = SigningKey::generate_es256().unwrap();
    shop.issuer.publish(&[&rotated]);
    let bearer = shop.bearer_of(&rotated);
    wait_until("the new key is fetched", || shop.get("/api/a", &bearer).status == 200);
    shop.refuses("/api/a", &shop.bearer(), 401, "unknown_key");

    assert_eq!(shop.get("/limited/a", &shop.key()).status, 200);
    assert_eq!(shop.get("/limited/a", &shop.key()).status, 200);
    // Written beside and renamed, so that the filter never reads half of it.
    let path = shop.folder.path().join("keygate.yaml");
    std::fs::write(
        path.with_extension("new"),
        config(&shop.upstream, &shop.issuer, "burst: 1"),
    )
    .unwrap();
    std::fs::rename(path.with_extension("new"), &path).unwrap();
    wait_until("the smaller limit is in force", || {
        shop.get("/limited/a", &shop.key()).status == 429
    });
    shop.refuses("/limited/a", &shop.key(), 429, "limit_spent");

    let denied =
        "keygate_decisions_total{credential_type=\"jwt\",outcome=\"deny\",reason=\"unknown_key\",route=\"api\"}";
    assert!(shop.metric(denied) >= 1.0, "{}", get(shop.metrics, "/metrics").text());
    wait_until("none is in flight", || shop.metric("keygate_requests_in_flight") == 0.0);
}

#[test]
fn s107_a_guarded_proxy_bounds_heads_and_reads_them_strictly() {
    let shop = Shop::start();
    let before = shop.upstream.received().len();
    for (head, status) in [
        ("GET /api/a HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /api/a HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        (
            "POST /api/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            400,
        ),
        (
            format!("GET /api/a HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(200)),
            431,
        ),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000)), 414),
    ] {
        assert_eq!(
            RawClient::connect(shop.data).exchange(&head).status,
            status,
            "{head:.60}"
        );
    }
    assert_eq!(shop.upstream.received().len(), before);
}

/// A proxy that has rules of its own: it answers `/healthz`, and forwards `/skipped` without asking the filter.
struct Careless {
    filter: Filter,
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Careless {
    type CTX = FilterContext;

    fn new_ctx(&self) -> FilterContext {
        self.filter.new_ctx()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut FilterContext) -> pingora::Result<bool> {
        match session.req_header().uri.path() {
            "/healthz" => {
                let mut head = ResponseHeader::build(204, None)?;
                head.insert_header("x-own", "1")?;
                session.write_response_header(Box::new(head), true).await?;
                Ok(true)
            }
            "/skipped" => Ok(false),
            // Goes on after the filter's answer.
            "/answered" => self.filter.request_filter(session, ctx).await.map(|_| false),
            _ => self.filter.request_filter(session, ctx).await,
        }
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut FilterContext) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut FilterContext,
    ) -> pingora::Result<()> {
        self.filter.upstream_request_filter(session, head, ctx).await
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut FilterContext) -> FailToProxy {
        self.filter.fail_to_proxy(session, error, ctx).await
    }
}

#[test]
fn s001_a_proxy_that_does_not_ask_the_filter_forwards_nothing() {
    let upstream = FakeUpstream::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keygate.yaml");
    let (_, entry) = api_key("");
    std::fs::write(folder.path().join("keys.yaml"), format!("keys:\n{entry}")).unwrap();
    let yaml = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .upstream("up", upstream.address())
        .route("open", "match: { path: /open }\npublic: true\nupstream: up")
        .route("all", "match: { path: \"/{*rest}\" }\naccept: [api_key]\nupstream: up");
    std::fs::write(&path, yaml.yaml()).unwrap();
    let (filter, _upkeep) = Filter::from_config(&path).unwrap();
    let registry = prometheus::Registry::new();
    filter.register_metrics(&registry).unwrap();
    let careless = Careless {
        filter: filter.clone(),
        upstream: upstream.address(),
    };
    let mut proxy = HttpProxy::new(careless, Arc::new(ServerConf::default()));
    proxy.handle_init_modules();
    let guard = Arc::new(Guard::new(&filter, proxy));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (guard, stopping) = (Arc::clone(&guard), stopping.clone());
            let stream: pingora::protocols::Stream = Box::new(pingora::protocols::l4::stream::Stream::from(stream));
            tokio::spawn(async move { guard.process_new(stream, &stopping).await });
        }
    });
    let ask = |path: &str| {
        let mut client = RawClient::connect(address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.try_receive().map(|response| response.status).unwrap_or(0)
    };
    assert_eq!(ask("/healthz"), 204);
    assert_eq!(ask("/skipped"), 500);
    // The filter's own answer, and nothing after it.
    assert_eq!(ask("/answered"), 401);
    assert!(upstream.received().is_empty());
    assert_eq!(ask("/open"), 200);
    assert_eq!(upstream.received().len(), 1);
    // The program's own answer is no decision of the filter.
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    let refused = text
        .lines()
        .filter(|line| line.starts_with("keygate_decisions_total") && line.contains("\"deny\""));
    assert_eq!(refused.count(), 2, "{text}");
}
