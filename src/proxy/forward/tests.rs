//! Which head does an upstream receive for a permit and the fields of a client?

use super::*;
use crate::config;
use crate::gate::Gate;
use crate::gate::accept::Inbound;
use crate::gate::decide;
use crate::gate::decide::Permit;
use crate::gate::decision_trace::DecisionTrace;
use crate::gate::denial::Denial;
use crate::gate::identity_token::Signer;
use crate::gate::live::LiveState;
use crate::gate::snapshot::Snapshot;
use crate::jose::jwks::Jwks;
use crate::jose::sign::SigningKey;
use crate::model::algorithm::Algorithm;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::Digester;
use crate::model::api_key::system_random;
use crate::model::clock::Clock;
use crate::model::clock::ManualClock;
use crate::model::clock::Timestamp;
use crate::model::directory::KeyRecord;
use crate::model::endpoint_address::EndpointAddress;
use crate::observe::access::AccessLog;
use crate::observe::log::Format;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Reasons;
use crate::observe::trace::RequestId;
use crate::observe::trace::TraceContext;
use crate::proxy::forward::request_fields::Origin;
use crate::proxy::forward::request_fields::RequestFields;
use crate::proxy::forward::request_fields::ReservedNames;
use crate::proxy::forward::stream_end::StreamEnd;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::request::Parts;
use serde_json::json;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The time of the wall clock, in Unix seconds, which stands still.
const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://issuer.example.test";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// The path of the configuration, for relative paths in it: `keys.yaml` is in the same folder.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/keygate.yaml");

type Fields<'f> = &'f [(&'f str, &'f str)];

/// The fields that Keygate adds to a request without `Host` and without a principal.
const ORIGIN: [&str; 2] = ["x-forwarded-for: 192.0.2.7", "x-forwarded-proto: http"];

/// The facts besides the permit that the head for the upstream depends on.
#[derive(Default)]
struct HeadFacts {
    trusted: bool,
    client: Option<IpAddr>,
    is_tls: bool,
    host: &'static str,
    request_id: Option<RequestId>,
    trace: Option<TraceContext>,
    identity_token: Option<HeaderValue>,
    websocket: bool,
    endpoint: Option<EndpointAddress>,
}

/// A gate, with a signing key and an API key that it accepts.
struct Fixture {
    snapshot: Snapshot,
    live: LiveState,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    signing_key: SigningKey,
    api_key: ApiKeyText,
}

impl Fixture {
    /// Returns a gate with the public route `/open` and the protected route `/closed`, with `closed` in the section of
    /// the latter, to an upstream with `upstream` in its section.
    fn new(upstream: &str, closed: &str) -> Self {
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             api_keys: {{ file: keys.yaml }}\n\
             identity_token: {{ issuer: https://gate.test }}\n\
             issuers:\n  main:\n    issuer: {ISSUER}\n    audiences: any\n    jwks_url: {ISSUER}/jwks\n    claim_headers: {{ \"/email\": x-user-email }}\n\
             upstreams:\n  api: {{ endpoints: [127.0.0.1:9], {upstream} }}\n\
             routes:\n  - {{ name: open, match: {{ path: \"/open/{{*rest}}\" }}, public: true, upstream: api }}\n  - {{ name: closed, match: {{ path: \"/closed/{{*rest}}\" }}, accept: [jwt, api_key], upstream: api, {closed} }}\n"
        );
        let config = config::parse(&yaml, Path::new(FILE), &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_secs(NOW)));
        let reasons = Reasons {
            denials: &[],
            heads: &[],
            connections: &[],
        };
        let metrics = Arc::new(Metrics::new(&reasons, clock.now().wall));
        let live = LiveState::new(Arc::clone(&metrics), "127.0.0.1:9".parse().unwrap());
        let api_key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let digest = Digester::new(None).digest(api_key.expose());
        live.directory
            .replace(vec![KeyRecord::unrestricted(api_key.id(), digest)]);
        let snapshot = Snapshot::compile(&config, &live).unwrap();
        let signing_key = SigningKey::generate_es256().unwrap();
        let set = json!({ "keys": [signing_key.public_jwk()] }).to_string();
        let jwks = Jwks::parse(set.as_bytes()).unwrap();
        let keys = snapshot.issuers[0].keys().unwrap();
        keys.start_attempt(clock.now())
            .succeed(set.as_bytes(), jwks, clock.now());
        Self {
            snapshot,
            live,
            clock,
            metrics,
            signing_key,
            api_key,
        }
    }

    fn bearer(&self) -> String {
        let claims = json!({
            "iss": ISSUER, "aud": "api", "sub": "alice", "client_id": "app-1", "org": "acme", "jti": "t-1",
            "scope": "orders:read", "email": "alice@example.com", "iat": NOW, "exp": NOW + 600,
        });
        format!("Bearer {}", self.signing_key.sign("at+jwt", &claims).unwrap())
    }

    #[track_caller]
    fn permit(&self, parts: &Parts) -> Permit {
        let inbound = self.inbound(parts);
        let (now, mut trace) = (self.clock.now(), DecisionTrace::default());
        let permit = decide::decide(&self.snapshot, &self.live, &inbound, now, &mut trace);
        permit.unwrap_or_else(|_| panic!("not allowed"))
    }

    fn inbound<'r>(&self, parts: &'r Parts) -> Inbound<'r> {
        Inbound::new(parts, PEER, &self.snapshot.trusted_proxies, &self.snapshot.accept).unwrap()
    }

    fn public(&self) -> Permit {
        self.permit(&request("/open/x", &[]))
    }

    fn with_token(&self) -> Permit {
        self.permit(&request("/closed/x", &[("authorization", &self.bearer())]))
    }

    fn with_api_key(&self) -> Permit {
        self.permit(&request("/closed/x", &[("x-api-key", self.api_key.expose())]))
    }

    /// Returns the head for the upstream, a line for each field.
    fn head(&self, permit: &Permit, client: Fields<'_>, facts: &HeadFacts) -> Vec<String> {
        let peer = HeaderValue::from_static("192.0.2.7");
        let fields = RequestFields {
            permit,
            reserved: ReservedNames {
                token_headers: &self.snapshot.token_headers,
                websocket_token: self.snapshot.websocket_token,
                api_key_header: &self.snapshot.api_key_header,
                claim_headers: &self.snapshot.claim_headers,
            },
            origin: Origin {
                peer: &peer,
                trusted: facts.trusted,
                client: facts.client,
                is_tls: facts.is_tls,
                host: facts.host,
                request_id: facts.request_id.as_ref(),
                trace: facts.trace.as_ref(),
            },
            identity_token: facts.identity_token.as_ref(),
            certificate: None,
            websocket: facts.websocket,
            endpoint: facts.endpoint.as_ref(),
        };
        let mut lines = Vec::new();
        fields.write(&header_map(client), |name, value| {
            lines.push(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        });
        lines
    }

    /// Checks which lines of the head for a public route come before those of [`ORIGIN`].
    #[track_caller]
    fn check_kept(&self, client: Fields<'_>, facts: &HeadFacts, expected: &[&str]) {
        let head = self.head(&self.public(), client, facts);
        assert_eq!(head, [expected, &ORIGIN].concat(), "{client:?}");
    }
}

fn header_map(fields: Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

/// Returns a GET request with `Host` and `fields`.
fn request(target: &str, fields: Fields<'_>) -> Parts {
    let mut parts = http::Request::get(target).body(()).unwrap().into_parts().0;
    parts.headers = header_map(&[&[("host", "a.example")], fields].concat());
    parts
}

#[test]
fn fields_of_the_client_come_first_and_in_order() {
    let fixture = Fixture::new("", "");
    let facts = HeadFacts {
        host: "a.example",
        ..HeadFacts::default()
    };
    let client = [
        ("host", "a.example"),
        ("accept", "*/*"),
        ("content-length", "3"),
        ("cookie", "a=b"),
        ("x-custom", "1"),
        ("from", "alice@example.com"),
    ];
    assert_eq!(
        fixture.head(&fixture.public(), &client, &facts),
        [
            "host: a.example",
            "accept: */*",
            "content-length: 3",
            "cookie: a=b",
            "x-custom: 1",
            "from: alice@example.com",
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-proto: http",
            "x-forwarded-host: a.example",
        ]
    );
}

#[test]
fn hop_by_hop_fields_of_the_client_are_dropped() {
    let fixture = Fixture::new("", "");
    for name in [
        "connection",
        "te",
        "trailer",
        "upgrade",
        "proxy-authenticate",
        "proxy-authorization",
        "keep-alive",
        "proxy-connection",
        "http2-settings",
    ] {
        fixture.check_kept(
            &[(name, "x"), ("accept", "*/*")],
            &HeadFacts::default(),
            &["accept: */*"],
        );
    }
    fixture.check_kept(
        &[("transfer-encoding", "chunked")],
        &HeadFacts::default(),
        &["transfer-encoding: chunked"],
    );
}

#[test]
fn fields_that_connection_lists_are_dropped_but_never_host_and_framing() {
    let fixture = Fixture::new("", "");
    let client = [
        ("connection", "x-hop, Host"),
        ("connection", "Content-Length, Transfer-Encoding"),
        ("x-hop", "1"),
        ("x-hop-2", "1"),
        ("host", "a"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
    ];
    fixture.check_kept(
        &client,
        &HeadFacts::default(),
        &[
            "x-hop-2: 1",
            "host: a",
            "content-length: 3",
            "transfer-encoding: chunked",
        ],
    );
    // The list covers only the fields of the client.
    fixture.check_kept(&[("connection", "x-forwarded-for")], &HeadFacts::default(), &[]);
}

#[test]
fn a_credential_is_forwarded_only_where_its_route_says_so() {
    let client = [("authorization", "Bearer t"), ("x-api-key", "k")];
    let forwarded = |route: &str, permit: fn(&Fixture) -> Permit| {
        let fixture = Fixture::new("", route);
        let head = fixture.head(&permit(&fixture), &client, &HeadFacts::default());
        head.into_iter()
            .filter(|line| line.starts_with("authorization") || line.starts_with("x-api-key"))
            .collect::<Vec<_>>()
    };
    for permit in [Fixture::public, Fixture::with_token, Fixture::with_api_key] {
        assert_eq!(forwarded("", permit), [""; 0]);
    }
    let forward = "forward_credential: true";
    assert_eq!(forwarded(forward, Fixture::with_token), ["authorization: Bearer t"]);
    assert_eq!(forwarded(forward, Fixture::with_api_key), ["x-api-key: k"]);
}

#[test]
fn s080_s087_fields_for_spoofing_are_dropped() {
    let fixture = Fixture::new("", "");
    let trusted = HeadFacts {
        trusted: true,
        ..HeadFacts::default()
    };
    for name in [
        "x-keygate-subject",
        "x_keygate_subject",
        "x-keygate-anything",
        "x-original-url",
        "x-original-uri",
        "x_rewrite_url",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-user-email",
    ] {
        fixture.check_kept(&[(name, "1")], &HeadFacts::default(), &[]);
        fixture.check_kept(&[(name, "1")], &trusted, &[]);
    }
    for name in [
        "forwarded",
        "x-forwarded-port",
        "x_forwarded_port",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "x-original-forwarded-for",
    ] {
        fixture.check_kept(&[(name, "1")], &HeadFacts::default(), &[]);
        let head = fixture.head(&fixture.public(), &[(name, "1")], &trusted);
        assert_eq!(head[0], format!("{name}: 1"));
    }
    for name in [
        "x-keygat",
        "forwarde",
        "x-forwarded",
        "x-original-urls",
        "timeout",
        "x_custom",
    ] {
        fixture.check_kept(&[(name, "1")], &HeadFacts::default(), &[&format!("{name}: 1")]);
    }
}

#[test]
fn the_origin_is_that_of_the_connection_unless_a_trusted_proxy_reports_it() {
    let fixture = Fixture::new("", "");
    let check = |facts: &HeadFacts, client: Fields<'_>, expected: &[&str]| {
        assert_eq!(fixture.head(&fixture.public(), client, facts), expected, "{client:?}");
    };
    let reported = [
        ("x-forwarded-for", "192.0.2.1, 192.0.2.2"),
        ("x-forwarded-for", "192.0.2.3"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "b"),
    ];
    let own = HeadFacts {
        host: "a b",
        is_tls: true,
        ..HeadFacts::default()
    };
    let of_connection = [
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-proto: https",
        "x-forwarded-host: a b",
    ];
    check(&own, &reported, &of_connection);
    let trusted = HeadFacts { trusted: true, ..own };
    check(&trusted, &[], &of_connection);
    check(
        &trusted,
        &reported,
        &[
            "x-forwarded-proto: https",
            "x-forwarded-host: b",
            "x-forwarded-for: 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.7",
        ],
    );
    // A proxy that does not report its client must not look like it.
    for silent in ["unknown", "_hidden", ""] {
        let chain = format!(
            "x-forwarded-for: {}, 192.0.2.7",
            if silent.is_empty() { "unknown" } else { silent }
        );
        let fields = [
            ("x-forwarded-for", silent),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "b"),
        ];
        check(
            &trusted,
            &fields,
            &["x-forwarded-proto: https", "x-forwarded-host: b", &chain],
        );
    }
    let by_forwarded = |client: Option<&str>, chain: &str| {
        let facts = HeadFacts {
            trusted: true,
            client: client.map(|client| client.parse().unwrap()),
            ..HeadFacts::default()
        };
        let head = fixture.head(&fixture.public(), &[("forwarded", "for=x")], &facts);
        assert_eq!(
            head[..2],
            ["forwarded: for=x".to_owned(), format!("x-forwarded-for: {chain}")]
        );
    };
    by_forwarded(Some("192.0.2.1"), "192.0.2.1, 192.0.2.7");
    by_forwarded(None, "unknown, 192.0.2.7");
    check(
        &HeadFacts {
            host: "a,b",
            ..HeadFacts::default()
        },
        &[],
        &[
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-proto: http",
            "x-forwarded-host: a%2Cb",
        ],
    );
}

#[test]
fn the_id_and_the_trace_of_keygate_replace_those_of_the_client() {
    let fixture = Fixture::new("", "");
    let client = [
        ("x-request-id", "abc"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "vendor=1"),
    ];
    let lines: Vec<String> = client.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let kept: Vec<&str> = lines.iter().map(String::as_str).collect();
    fixture.check_kept(&client, &HeadFacts::default(), &kept);

    let headers = header_map(&client);
    let continued = HeadFacts {
        request_id: Some(RequestId::of(&headers)),
        trace: Some(TraceContext::of(&headers)),
        ..HeadFacts::default()
    };
    let expected = [&[kept[2]], &ORIGIN[..], &kept[..2]].concat();
    assert_eq!(fixture.head(&fixture.public(), &client, &continued), expected);

    // The trace is a new one, and `tracestate` belongs to another.
    let started = TraceContext::new();
    let parent = format!("traceparent: {}", started.header_value().to_str().unwrap());
    let facts = HeadFacts {
        trace: Some(started),
        ..HeadFacts::default()
    };
    let expected = [&[kept[0]], &ORIGIN[..], &[&parent]].concat();
    assert_eq!(fixture.head(&fixture.public(), &client, &facts), expected);
}

#[test]
fn the_principal_is_told_in_fields_of_keygate_alone() {
    let fixture = Fixture::new("", "");
    let client = [
        ("x-keygate-subject", "mallory"),
        ("x-user-email", "mallory@example.com"),
    ];
    let facts = HeadFacts {
        identity_token: Some(HeaderValue::from_static("eyJ")),
        ..HeadFacts::default()
    };
    let identity = [
        "x-keygate-credential-type: jwt",
        "x-keygate-subject: alice",
        "x-keygate-client-id: app-1",
        "x-keygate-organization: acme",
        "x-keygate-scope: orders:read",
        "x-keygate-credential-id: t-1",
        "x-keygate-issuer: main",
        "x-user-email: alice@example.com",
        "x-keygate-identity-token: eyJ",
    ];
    let head = fixture.head(&fixture.with_token(), &client, &facts);
    assert_eq!(head, [&ORIGIN[..], &identity].concat());
}

#[test]
fn settings_of_the_upstream_replace_fields() {
    let upstream = "host: internal, set_headers: { x-gateway: keygate }, remove_headers: [x-debug]";
    let fixture = Fixture::new(upstream, "");
    let client = [("host", "a"), ("x-gateway", "1"), ("x-debug", "1"), ("accept", "*/*")];
    let expected = [&["accept: */*"], &ORIGIN[..], &["x-gateway: keygate", "host: internal"]].concat();
    assert_eq!(
        fixture.head(&fixture.public(), &client, &HeadFacts::default()),
        expected
    );
    for (upstream, expected) in [
        ("host: internal", vec!["x-debug: 1", "x-gateway: 1", "host: internal"]),
        ("remove_headers: [x-debug]", vec!["host: a", "x-gateway: 1"]),
        (
            "set_headers: { x-gateway: keygate }",
            vec!["host: a", "x-debug: 1", "x-gateway: keygate"],
        ),
    ] {
        let fixture = Fixture::new(upstream, "");
        let client = [("host", "a"), ("x-debug", "1"), ("x-gateway", "1")];
        let mut head = fixture.head(&fixture.public(), &client, &HeadFacts::default());
        head.retain(|line| !ORIGIN.contains(&line.as_str()));
        assert_eq!(head, expected, "{upstream}");
    }
}

#[test]
fn the_endpoint_is_the_host_where_the_client_sent_none() {
    let fixture = Fixture::new("", "");
    let facts = HeadFacts {
        endpoint: Some(EndpointAddress::Inet("127.0.0.1:9".parse().unwrap())),
        ..HeadFacts::default()
    };
    fixture.check_kept(&[], &facts, &["host: 127.0.0.1:9"]);
    fixture.check_kept(&[("host", "a")], &facts, &["host: a"]);
}

#[test]
fn s085_no_upstream_receives_a_browsers_token_where_some_route_reads_one() {
    let fixture = Fixture::new("", "websocket_token: true");
    let protocols = |fixture: &Fixture, permit: &Permit, value: &str| {
        let client = [("sec-websocket-protocol", value)];
        let mut head = fixture.head(permit, &client, &HeadFacts::default());
        head.retain(|line| line.starts_with("sec-websocket-protocol"));
        head.concat()
    };
    for permit in [fixture.with_api_key(), fixture.public()] {
        assert_eq!(protocols(&fixture, &permit, "keygate.bearer, bearer.YQ"), "");
        let chat = protocols(&fixture, &permit, "chat, keygate.bearer, bearer.YQ");
        assert_eq!(chat, "sec-websocket-protocol: chat");
        assert_eq!(protocols(&fixture, &permit, "chat"), "sec-websocket-protocol: chat");
    }
    // Without `keygate.bearer`, and where no route reads it, the subprotocol belongs to the upstream.
    let other = "bearer.YQ, v1";
    assert_eq!(
        protocols(&fixture, &fixture.public(), other),
        format!("sec-websocket-protocol: {other}")
    );
    let plain = Fixture::new("", "");
    let both = "keygate.bearer, bearer.YQ";
    assert_eq!(
        protocols(&plain, &plain.public(), both),
        format!("sec-websocket-protocol: {both}")
    );
}

#[test]
fn a_websocket_upgrade_has_fields_of_keygate() {
    let fixture = Fixture::new("", "");
    let facts = HeadFacts {
        websocket: true,
        ..HeadFacts::default()
    };
    let client = [
        ("connection", "upgrade, x-hop"),
        ("upgrade", "WebSocket"),
        ("x-hop", "1"),
    ];
    let expected = [&ORIGIN[..], &["connection: Upgrade", "upgrade: websocket"]].concat();
    assert_eq!(fixture.head(&fixture.public(), &client, &facts), expected);
}

#[test]
fn the_target_is_written_anew_where_it_differs_from_the_received_one() {
    let (plain, stripping) = (Fixture::new("", ""), Fixture::new("", "strip_prefix: /closed"));
    let target = |fixture: &Fixture, received: &str, as_sent: bool| {
        let parts = request(received, &[("x-api-key", fixture.api_key.expose())]);
        target::rewritten(&fixture.permit(&parts), &fixture.inbound(&parts), as_sent)
    };
    assert_eq!(target(&plain, "/open/x?q=%7e", true), None);
    assert_eq!(target(&plain, "/open/%7ex?q=%7e", false).unwrap(), "/open/~x?q=%7e");
    assert_eq!(target(&plain, "/open/%7ex", false).unwrap(), "/open/~x");
    assert_eq!(target(&stripping, "/closed/x?q", true).unwrap(), "/x?q");
    assert_eq!(target(&stripping, "/closed/x", false).unwrap(), "/x");
}

#[test]
fn a_preview_has_the_target_and_the_head_for_the_upstream() {
    let fixture = Fixture::new("", "strip_prefix: /closed");
    let preview = |fields: Fields<'_>| {
        let key = ("x-api-key", fixture.api_key.expose());
        let parts = request("/closed/x?q", &[fields, &[key]].concat());
        let (permit, inbound) = (fixture.permit(&parts), fixture.inbound(&parts));
        preview::preview(&parts, &permit, &inbound, &fixture.snapshot)
    };
    let plain = preview(&[("accept", "*/*"), ("x-keygate-subject", "mallory")]);
    assert_eq!(plain.target, "/x?q");
    let expected = [
        ("host", "a.example"),
        ("accept", "*/*"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.example"),
    ];
    for (name, value) in expected {
        assert_eq!(plain.headers[name], value, "{name}");
    }
    assert_eq!(plain.headers["x-keygate-credential-type"], "api_key");
    let upgrade = preview(&[("connection", "upgrade"), ("upgrade", "websocket")]);
    assert_eq!(upgrade.headers["upgrade"], "websocket");
}

#[test]
fn an_identity_token_needs_an_audience_a_principal_and_a_signer() {
    let settings = config::IdentityToken {
        issuer: "https://gate.test".parse().unwrap(),
        algorithm: Algorithm::Es256,
        signing_key_file: None,
        ttl: Duration::from_secs(60),
    };
    let signer = || Arc::new(Signer::new(&settings, Arc::new(SigningKey::generate_es256().unwrap())));
    let token = |fixture: &Fixture, permit: &Permit| {
        let now = fixture.clock.now().wall;
        identity_token::for_permit(permit, &fixture.snapshot, &fixture.live, now)
    };
    let mut silent = Fixture::new("", "");
    silent.snapshot.signer = Some(signer());
    assert_eq!(token(&silent, &silent.with_token()).unwrap(), None);

    let mut telling = Fixture::new("", "identity_token: { audience: orders }");
    let unsigned = token(&telling, &telling.with_token());
    assert!(matches!(unsigned, Err(Denial::IdentityTokenUnsigned)));
    telling.snapshot.signer = Some(signer());
    let signed = token(&telling, &telling.with_token()).unwrap().unwrap();
    assert!(signed.to_str().unwrap().starts_with("eyJ"));
}

#[tokio::test(start_paused = true)]
async fn s038_a_stream_ends_with_its_credential() {
    let fixture = Fixture::new("", "");
    let (public, with_token, with_api_key) = (fixture.public(), fixture.with_token(), fixture.with_api_key());
    assert!(public.principal().is_none());
    let (key_id, dropped) = (
        fixture.api_key.id(),
        fixture.metrics.logs.access_records_dropped.clone(),
    );
    let access = AccessLog::start(std::io::sink(), Format::Json, dropped).unwrap();
    let (live, clock) = (Arc::new(fixture.live), fixture.clock);
    let gate = Gate::new(fixture.snapshot, Arc::clone(&live), clock, access);

    // `exp` and the skew of 30 s; the token of another issuer is not looked up again.
    let end = StreamEnd::of(with_token.principal().unwrap(), &gate);
    assert_eq!(end.expires_at, Some(Instant::now() + Duration::from_secs(630)));
    assert!(end.still_valid.is_none());
    assert!(format!("{end:?}").contains("expires_at: Some"));

    let end = StreamEnd::of(with_api_key.principal().unwrap(), &gate);
    assert_eq!(end.expires_at, None);
    let still_valid = end.still_valid.unwrap();
    assert!(still_valid());
    live.directory.revoke(key_id);
    assert!(!still_valid());
}

#[test]
fn a_stream_does_not_keep_its_gate() {
    let fixture = Fixture::new("", "");
    let permit = fixture.with_api_key();
    let dropped = fixture.metrics.logs.access_records_dropped.clone();
    let access = AccessLog::start(std::io::sink(), Format::Json, dropped).unwrap();
    let gate = Gate::new(fixture.snapshot, Arc::new(fixture.live), fixture.clock, access);
    let end = StreamEnd::of(permit.principal().unwrap(), &gate);
    assert_eq!(Arc::strong_count(&gate), 1);
    drop(gate);
    assert!(!end.still_valid.unwrap()());
}
