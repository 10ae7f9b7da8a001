//! Are the lanes one product? The same requests go to gates that differ in their lane alone: what the client, the upstream,
//! the access record and the metrics get must be the same. The lists of what is not compared may only shrink; the tests of
//! `lanes!` that leave a lane out say what else differs.

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::api_key;
use crate::support::get;
use crate::support::issuer::claims;
use crate::support::issuer::identity_yaml;
use crate::support::issuer::token;
use crate::support::lane::Lane;
use crate::support::still_clock;
use keygate::jose::sign::SigningKey;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

const LANES: [Lane; 4] = [Lane::Own, Lane::OwnTls, Lane::FilterHttp1, Lane::FilterHttp2];

/// Fields of a response that belong to a connection, to a time or to one request. pingora frames bodies and dates
/// responses itself.
const OWN_OF_RESPONSE: [&str; 6] = [
    "connection",
    "date",
    "transfer-encoding",
    "x-request-id",
    "content-length",
    "x-ratelimit-reset",
];

/// Fields that the upstream gets with other values on each lane: ids, and the protocol of the client's connection.
const OWN_OF_REQUEST: [&str; 4] = ["x-request-id", "traceparent", "x-forwarded-proto", "transfer-encoding"];

/// Members of an access record that belong to one request or to a time.
const OWN_OF_RECORD: [&str; 8] = [
    "time",
    "request_id",
    "peer",
    "endpoint",
    "duration_ms",
    "upstream_ms",
    "trace_id",
    "host",
];

struct Gate {
    running: LocalGate,
    upstream: FakeUpstream,
}

/// The gates, and what is in the requests.
struct Site {
    gates: Vec<Gate>,
    credentials: Vec<String>,
}

impl Site {
    fn start() -> Self {
        let signer = SigningKey::generate_es256().unwrap();
        let (key, entry) = api_key("scopes: [read]");
        let (keys, public) = (format!("keys:\n{entry}"), signer.public_pem());
        let start = |lane: Lane| {
            let mut gate = None;
            lane.run(|| {
                let upstream = FakeUpstream::start();
                upstream.respond_with(|request| {
                    let body = format!("{} {}", request.method(), request.body.len());
                    let body = if request.method() == "HEAD" { "" } else { &*body };
                    let head = format!(
                        "HTTP/1.1 201 Created\r\nContent-Length: {}\r\nX-A: 1\r\nx-a: 2\r\n",
                        body.len()
                    );
                    format!("{head}Set-Cookie: a\r\nSet-Cookie: b; Path=/api\r\nLocation: /api/a?b\r\nKeep-Alive: 5\r\nVary: Accept\r\n\r\n{body}")
                        .into_bytes()
                });
                let running = LocalGate::start_at(
                    &still_clock(),
                    &config(&upstream),
                    &[("keys.yaml", &keys), ("key.pem", &public)],
                );
                running.wait_ready();
                gate = Some(Gate { running, upstream });
            });
            gate.expect("it was started")
        };
        let good = token(&signer, &claims());
        let other = SigningKey::generate_es256().unwrap();
        Self {
            gates: LANES.map(start).into(),
            credentials: vec![
                String::new(),
                format!("Authorization: Bearer {good}\r\n"),
                format!("Authorization: bearer {good}\r\n"),
                format!("Authorization: Bearer {}\r\n", token(&other, &claims())),
                "Authorization: Bearer a.b.c\r\n".to_owned(),
                "Authorization: Basic dTpw\r\n".to_owned(),
                "Authorization: Bearer\r\n".to_owned(),
                format!("x-api-key: {}\r\n", key.expose()),
                "x-api-key: kg_live_unknown\r\n".to_owned(),
                "x-api-key: \r\n".to_owned(),
                format!("x-api-key: {0}\r\nx-api-key: {0}\r\n", key.expose()),
                format!("Authorization: Bearer {good}\r\nx-api-key: {}\r\n", key.expose()),
            ],
        }
    }

    /// Returns the text of a request.
    fn text(&self, request: &Generated) -> String {
        let body = "b".repeat(request.body.unwrap_or_default());
        let framing = match (request.body, request.chunked) {
            (None, _) => String::new(),
            (Some(_), true) => "Transfer-Encoding: chunked\r\n".to_owned(),
            (Some(length), false) => format!("Content-Length: {length}\r\n"),
        };
        let body = match (request.body, request.chunked) {
            (Some(0), true) => "0\r\n\r\n".to_owned(),
            (Some(length), true) => format!("{length:x}\r\n{body}\r\n0\r\n\r\n"),
            (Some(_), false) => body,
            (None, _) => String::new(),
        };
        format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n{}{}{framing}\r\n{body}",
            request.method,
            request.target,
            request.host,
            self.credentials[request.credential],
            request.fields.concat(),
        )
    }
}

/// The changes of one route to requests and responses.
const CHANGES: &str = "\
strip_prefix: /both
add_prefix: /api
set_headers: { accept: text/plain }
add_headers: { x-added: a }
remove_headers: [user-agent]
response:
  set_headers: { x-a: set }
  add_headers: { vary: accept-language }
  remove_headers: [x-removed]";

fn config(upstream: &FakeUpstream) -> String {
    let route = |path: &str, more: &str| format!("match: {{ path: \"/{path}/{{*rest}}\" }}\nupstream: up\n{more}");
    GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .top("failed_authentication: off")
        .top("requests: { body_bytes: 1000, target_bytes: 200, head_count: 20 }")
        .issuer("main", &format!("{}\npublic_key_files: [key.pem]", identity_yaml()))
        .limit("large", "by: credential\nquota: 100000/hour\nburst: 50000")
        .upstream("up", upstream.address())
        .route("open", &route("open", "public: true"))
        .route("both", &route("both", &format!("accept: [jwt, api_key]\nlimits: [large]\n{CHANGES}")))
        .route("jwt", &route("jwt", "accept: [jwt]\nforward_credential: true"))
        .route("scoped", &route("scoped", "accept: [jwt, api_key]\nscopes: { all: [write] }"))
        .route(
            "cors",
            &route("cors", "accept: [jwt]\ncors: { origins: [https://app.test], methods: [GET, POST] }"),
        )
        .route(
            "narrow",
            "match: { host: narrow.test, path: /narrow, methods: [GET] }\npublic: true\nupstream: up\nstrip_prefix: /narrow",
        )
        .yaml()
}

#[derive(Clone, Debug)]
struct Generated {
    method: &'static str,
    target: String,
    host: &'static str,
    credential: usize,
    fields: Vec<&'static str>,
    body: Option<usize>,
    chunked: bool,
}

/// Selects one of `often` in three of four cases, and else one of `rarely`.
fn mostly(often: &'static [&'static str], rarely: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => prop::sample::select(often), 1 => prop::sample::select(rarely)]
}

/// Generates requests, of which most pass, so that what the upstream gets is compared too.
fn request() -> impl Strategy<Value = Generated> {
    let method = mostly(
        &["GET", "GET", "POST", "HEAD"],
        &["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE", "get"],
    );
    let first = mostly(
        &["open", "both", "jwt"],
        &["scoped", "cors", "narrow", "nowhere", "OPEN"],
    );
    let rest = mostly(
        &["/a", "/a%2Db", "/a;b=c", "/%C3%A4"],
        &[
            "/a//b",
            "/../a",
            "/%2e%2e/a",
            "/%2f",
            "/%zz",
            "/%00",
            "/a%252e",
            "",
            "/",
        ],
    );
    let query = mostly(
        &["", "", "?a=b", "?a=%20&b=/?"],
        &["?", "?access_token=x", "?api_key=y&c"],
    );
    let field = mostly(
        &[
            "Accept: */*\r\n",
            "Cookie: a=1\r\n",
            "X-Forwarded-For: 9.9.9.9\r\n",
            "x-keygate-subject: forged\r\n",
            "TE: trailers\r\n",
            "X-Original-URL: /admin\r\n",
            "x: \r\n",
        ],
        &[
            "X_Api_Key: 1\r\n",
            "Origin: https://app.test\r\n",
            "Origin: https://evil.test\r\n",
            "Access-Control-Request-Method: GET\r\n",
            "Content-Type: application/grpc\r\n",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        ],
    );
    let fields = prop::collection::vec(field, 0..4);
    let body = prop_oneof![3 => Just(None), 2 => (0..40_usize).prop_map(Some), 1 => (990..1010_usize).prop_map(Some)];
    let host = mostly(&["gate.test"], &["narrow.test", "NARROW.test:81"]);
    // A good token is at 1, a good key at 7.
    let credential = prop_oneof![1 => Just(1_usize), 1 => Just(7_usize), 1 => 0..12_usize];
    (
        method,
        (first, rest, query),
        host,
        credential,
        fields,
        body,
        any::<bool>(),
    )
        .prop_map(
            |(method, (first, rest, query), host, credential, fields, body, chunked)| Generated {
                method,
                target: format!("/{first}{rest}{query}"),
                host,
                credential,
                fields,
                body,
                chunked,
            },
        )
}

/// The request that the upstream got.
#[derive(Debug, PartialEq)]
struct Forwarded {
    line: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

/// The end of one request, on every side.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
    record: BTreeMap<String, Value>,
    upstream: Option<Forwarded>,
}

impl Gate {
    #[track_caller]
    fn outcome(&self, text: &str, request: &Generated) -> Outcome {
        let before = self.upstream.received().len();
        let mut client = RawClient::connect(self.running.data());
        client.send(text);
        let response = if request.method == "HEAD" {
            client.receive_to_head()
        } else {
            client.receive()
        };
        let record = self.running.record(&response);
        let record = record.as_object().unwrap().iter();
        let id = response.header("x-request-id").unwrap().to_owned();
        Outcome {
            status: response.status,
            fields: fields(&response.headers, &OWN_OF_RESPONSE),
            body: body(&response, &id),
            record: record
                .filter(|(name, _)| !OWN_OF_RECORD.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            upstream: self.upstream.received().get(before).map(|received| Forwarded {
                line: format!("{} {}", received.method(), received.target()),
                fields: fields(&received.headers, &OWN_OF_REQUEST),
                body: received.body.clone(),
            }),
        }
    }

    /// Returns the counters of requests and decisions.
    fn counters(&self) -> Vec<String> {
        let text = get(self.running.admin(), "/metrics").text();
        let families = [
            "keygate_requests_total",
            "keygate_decisions_total",
            "keygate_limit_decisions_total",
        ];
        text.lines()
            .filter(|line| families.iter().any(|family| line.starts_with(family)))
            .map(str::to_owned)
            .collect()
    }
}

/// Returns the fields except `own`, by name in lower case; those of one name stay in their order. Several `Cookie` fields
/// are one: HTTP/2 splits and joins them (RFC 9113 section 8.2.3).
fn fields(all: &[(String, String)], own: &[&str]) -> Vec<(String, String)> {
    let all = all.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
    let mut kept: Vec<_> = all.filter(|(name, _)| !own.contains(&name.as_str())).collect();
    let cookies: Vec<String> = kept
        .iter()
        .filter(|(name, _)| name == "cookie")
        .map(|(_, value)| value.clone())
        .collect();
    if !cookies.is_empty() {
        kept.retain(|(name, _)| name != "cookie");
        kept.push(("cookie".to_owned(), cookies.join("; ")));
    }
    kept.sort_by(|one, other| one.0.cmp(&other.0));
    kept
}

fn body(response: &Response, id: &str) -> String {
    response.text().replace(id, "…")
}

#[test]
fn s001_every_lane_gives_the_same_answer_the_same_request_upstream_and_the_same_record() {
    let site = Site::start();
    let cases = ProptestConfig::default().cases;
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let checked = runner.run(&request(), |request| {
        let text = site.text(&request);
        let [own, others @ ..] = &site.gates[..] else {
            unreachable!("there are four");
        };
        let expected = own.outcome(&text, &request);
        for (gate, lane) in others.iter().zip(&LANES[1..]) {
            let mut found = gate.outcome(&text, &request);
            // gRPC over HTTP/2 has refusals in another form; `grpc` is about them.
            let is_grpc = request.fields.iter().any(|field| field.contains("grpc"));
            if is_grpc && *lane == Lane::FilterHttp2 && expected.record["decision"] != "allow" {
                prop_assert_eq!(
                    &found.record["reason"],
                    &expected.record["reason"],
                    "{:?} {}",
                    lane,
                    text
                );
                continue;
            }
            // The bytes of an answer to HEAD are counted when they are sent, and none are.
            found.record.entry("bytes_out".to_owned()).or_insert(Value::from(0));
            prop_assert_eq!(&found, &expected, "{:?} {}", lane, text);
        }
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
    let expected = site.gates[0].counters();
    assert!(expected.len() > 10, "{expected:#?}");
    for (gate, lane) in site.gates.iter().zip(&LANES).skip(1) {
        let is_status = |line: &&String| !(*lane == Lane::FilterHttp2 && line.starts_with("keygate_requests_total"));
        let found: Vec<String> = gate.counters();
        assert_eq!(
            found.iter().filter(is_status).collect::<Vec<_>>(),
            expected.iter().filter(is_status).collect::<Vec<_>>(),
            "{lane:?}"
        );
    }
}
