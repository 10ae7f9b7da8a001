//! In which places may a request carry its one credential? Each place alone, every pair of places, and the clients that use
//! them: the libraries of OpenAI, a proxy in front, a browser's WebSocket.

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::Program;
use crate::support::RawClient;
use crate::support::ReceivedRequest;
use crate::support::api_key;
use crate::support::browser::REPORT;
use crate::support::browser::page;
use crate::support::browser::run_page;
use crate::support::issuer;
use crate::support::issuer::base64url;
use crate::support::lane::Lane;
use crate::support::lane::lanes;
use base64::Engine;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;

const ACCESS: &str = "https://team.access.example";
const ACCESS_HEADER: &str = "Cf-Access-Jwt-Assertion";
const IAP: &str = "https://iap.example";
const IAP_HEADER: &str = "X-Goog-Iap-Jwt-Assertion";
const PROTOCOLS: &str = "Sec-WebSocket-Protocol";
const UPGRADE: [(&str, &str); 2] = [("Connection", "Upgrade"), ("Upgrade", "websocket")];

/// A gate whose route `/all` reads every place, and credentials for each.
struct Places {
    gate: LocalGate,
    upstream: FakeUpstream,
    signer: SigningKey,
    key: String,
}

impl Places {
    fn start() -> Self {
        let upstream = FakeUpstream::start();
        let signer = issuer::key(Algorithm::Es256);
        let (key, entry) = api_key("scopes: [read]");
        let issuer =
            |issuer: &str, more: &str| format!("issuer: {issuer}\naudiences: [api]\njwks_file: jwks.json\n{more}");
        let route = |path: &str, more: &str| format!("match: {{ path: {path} }}\nupstream: api\n{more}");
        let protected = "accept: [jwt, api_key]\n";
        let forwarding = "accept: [jwt, api_key]\nforward_credential: true\nwebsocket_token: true";
        let yaml = GatewayBuilder::new()
            .top("api_keys: { file: keys.yaml, bearer: true }")
            .top("failed_authentication: off")
            .issuer("main", &issuer(issuer::ISSUER, ""))
            .issuer("access", &issuer(ACCESS, "token_header: cf-access-jwt-assertion"))
            .issuer("iap", &issuer(IAP, "token_header: x-goog-iap-jwt-assertion"))
            .upstream("api", upstream.address())
            .route("all", &route("/all", &format!("{protected}websocket_token: true")))
            .route("main", &route("/main", &format!("{protected}issuers: [main]")))
            .route("tokens", &route("/tokens", "accept: [jwt]"))
            .route("keys", &route("/keys", "accept: [api_key]"))
            .route("forwards", &route("/forwards", forwarding))
            .route(
                "reports",
                &route("/reports", &format!("{protected}two_credentials: report")),
            )
            .route("open", &route("/open", "public: true"))
            .route("own", &route("/own", "public: true\nforward_credential: true"))
            .yaml();
        let jwks = json!({ "keys": [signer.public_jwk()] }).to_string();
        let keys = format!("keys:\n{entry}");
        let gate = LocalGate::start_with(&yaml, &[("keys.yaml", &keys), ("jwks.json", &jwks)]);
        Self {
            gate,
            upstream,
            signer,
            key: key.expose().to_owned(),
        }
    }

    fn token_of(&self, iss: &str) -> String {
        let claims = issuer::claims_with(json!({ "iss": iss, "aud": "api" }));
        issuer::token(&self.signer, &claims)
    }

    /// Returns one good field of each place.
    fn fields(&self) -> [(&'static str, String); 5] {
        let token = self.token_of(issuer::ISSUER);
        let protocols = format!("keygate.bearer, bearer.{}, chat", base64url(token.as_bytes()));
        [
            ("Authorization", format!("Bearer {token}")),
            ("x-api-key", self.key.clone()),
            (ACCESS_HEADER, self.token_of(ACCESS)),
            (IAP_HEADER, self.token_of(IAP)),
            (PROTOCOLS, protocols),
        ]
    }

    #[track_caller]
    fn ask(&self, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        let lines: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let mut client = RawClient::connect(self.gate.data());
        let response = client.exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"));
        let record = self.gate.record(&response);
        (response.status, record)
    }

    /// Asks, wants 200, and returns the request that the upstream received.
    #[track_caller]
    fn forwarded(&self, path: &str, fields: &[(&str, &str)]) -> ReceivedRequest {
        let before = self.upstream.received().len();
        let (status, record) = self.ask(path, fields);
        assert_eq!(status, 200, "{record:#}");
        let received = self.upstream.received();
        assert_eq!(received.len(), before + 1);
        received[before].clone()
    }

    #[track_caller]
    fn refused(&self, path: &str, fields: &[(&str, &str)], status: u16, reason: &str) {
        let before = self.upstream.received().len();
        let (found, record) = self.ask(path, fields);
        assert_eq!((found, record["reason"].as_str()), (status, Some(reason)), "{record:#}");
        assert_eq!(self.upstream.received().len(), before);
    }
}

fn field<'f>((name, value): &'f (&'static str, String)) -> (&'f str, &'f str) {
    (name, value)
}

lanes!(s001_a_token_under_an_alias_of_its_header_is_refused);
/// With `_` for `-`, an upstream may read the field as the one that Keygate removes.
fn s001_a_token_under_an_alias_of_its_header_is_refused() {
    let places = Places::start();
    let [(_, authorization), .., (_, protocols)] = places.fields();
    for (alias, value) in [
        ("Sec_WebSocket_Protocol", &*protocols),
        ("Cf_Access_Jwt_Assertion", "a.b.c"),
    ] {
        let (status, record) = places.ask("/all", &[("Authorization", &authorization), (alias, value)]);
        assert_eq!((status, &record["reason"]), (400, &json!("header_alias")), "{alias}");
    }
    assert!(places.upstream.received().is_empty());
}

lanes!(s001_every_pair_of_places_is_refused);
fn s001_every_pair_of_places_is_refused() {
    let places = Places::start();
    let fields = places.fields();
    for (index, first) in fields.iter().enumerate() {
        let upgrade = if first.0 == PROTOCOLS { &UPGRADE[..] } else { &[] };
        let alone = [upgrade, &[field(first)]].concat();
        if first.0 == PROTOCOLS && Lane::current() == Lane::FilterHttp2 {
            // HTTP/2 knows no upgrade.
            places.refused("/all", &alone, 400, "websocket_token_without_upgrade");
        } else {
            let alone = places.forwarded("/all", &alone);
            for (name, _) in &fields {
                let left: &[&str] = if *name == PROTOCOLS && first.0 == *name {
                    &["chat"]
                } else {
                    &[]
                };
                assert_eq!(alone.headers_named(name), left, "{name} of {first:?}");
            }
        }
        for second in &fields[index + 1..] {
            let reason = match (first.0, second.0) {
                ("Authorization", "x-api-key") => "two_credentials",
                (_, _) => "credentials_in_two_places",
            };
            for upgrade in [&UPGRADE[..], &[]] {
                let refused = |pair: [_; 2]| places.refused("/all", &[upgrade, &pair].concat(), 400, reason);
                refused([field(first), field(second)]);
                refused([field(second), field(first)]);
            }
            // What is in them does not matter (S002, S003).
            places.refused(
                "/all",
                &[(first.0, "x"), (second.0, "keygate.bearer, bearer.x")],
                400,
                reason,
            );
        }
    }
    assert!(places.gate.access_records().iter().all(|record| {
        let text = record.to_string();
        fields.iter().all(|(_, value)| !text.contains(value.as_str()))
    }));
}

lanes!(s001_a_browsers_token_counts_in_an_upgrade_alone_and_reaches_no_upstream);
fn s001_a_browsers_token_counts_in_an_upgrade_alone_and_reaches_no_upstream() {
    let places = Places::start();
    let [authorization, .., protocols] = places.fields();
    let alone = "websocket_token_without_upgrade";
    places.refused("/all", &[field(&protocols)], 400, alone);
    places.refused("/all", &[UPGRADE[1], field(&protocols)], 400, alone);
    places.refused("/all", &[(PROTOCOLS, "bearer.x")], 400, alone);
    // A token beside it does not make it one that is not there.
    places.refused(
        "/all",
        &[field(&authorization), field(&protocols)],
        400,
        "credentials_in_two_places",
    );
    let received = places.forwarded("/all", &[field(&authorization), (PROTOCOLS, "keygate.bearer, chat")]);
    assert_eq!(received.headers_named(PROTOCOLS), ["chat"]);
    // A route that does not read it takes it out all the same.
    for path in ["/main", "/open", "/own"] {
        let received = places.forwarded(path, &[field(&authorization), field(&protocols)]);
        assert_eq!(received.headers_named(PROTOCOLS), ["chat"], "{path}");
    }
    let (_, record) = places.ask("/main", &[field(&protocols)]);
    assert_eq!(record["reason"], "credential_missing");
}

// Over HTTP/2 there is no upgrade.
lanes!(s143_an_upstream_cannot_choose_the_subprotocol_with_the_token: own, own_tls, filter_http1);
fn s143_an_upstream_cannot_choose_the_subprotocol_with_the_token() {
    let places = Places::start();
    let [.., (_, protocols)] = places.fields();
    let entry = protocols.split(", ").nth(1).unwrap().to_owned();
    for (chosen, expected) in [
        (entry.clone(), "keygate.bearer"),
        (format!("chat, {entry}"), "keygate.bearer"),
        ("chat".to_owned(), "chat"),
    ] {
        places.upstream.respond_with(move |_| {
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{PROTOCOLS}: {chosen}\r\n\r\n"
            )
            .into_bytes()
        });
        let mut client = RawClient::connect(places.gate.data());
        client.send(format!(
            "GET /all HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{PROTOCOLS}: {protocols}\r\n\r\n"
        ));
        let response = client.receive_to_head();
        assert_eq!(response.status, 101);
        assert_eq!(response.headers_named(PROTOCOLS), [expected]);
    }
}

lanes!(s011_a_key_as_a_bearer_token_is_never_one_of_two_that_are_reported);
fn s011_a_key_as_a_bearer_token_is_never_one_of_two_that_are_reported() {
    let places = Places::start();
    let [(_, token), (_, key), ..] = places.fields();
    let bearer_key = format!("Bearer {key}");
    let both = |authorization: &str| [("Authorization", authorization.to_owned()), ("x-api-key", key.clone())];
    let good = both(&token);
    assert_eq!(places.ask("/reports", &good.each_ref().map(field)).0, 200);
    for second in [key.as_str(), "kg_live_x"] {
        let fields = [("Authorization", bearer_key.as_str()), ("x-api-key", second)];
        places.refused("/reports", &fields, 400, "two_credentials");
    }
    places.forwarded("/reports", &[("Authorization", &bearer_key)]);
}

lanes!(a_token_of_a_proxy_in_front_counts_on_routes_of_its_issuer_alone);
fn a_token_of_a_proxy_in_front_counts_on_routes_of_its_issuer_alone() {
    let places = Places::start();
    let (access, main) = (places.token_of(ACCESS), places.token_of(issuer::ISSUER));
    let received = places.forwarded("/tokens", &[(ACCESS_HEADER, &access)]);
    assert_eq!(received.headers_named("x-keygate-issuer"), ["access"]);
    assert_eq!(received.headers_named(ACCESS_HEADER), [""; 0]);
    // The tokens of the issuer count in `Authorization` too, and those of others not in its header.
    places.forwarded("/tokens", &[("Authorization", &format!("Bearer {access}"))]);
    places.refused("/tokens", &[(ACCESS_HEADER, &main)], 401, "unknown_issuer");
    places.refused("/tokens", &[(IAP_HEADER, &access)], 401, "unknown_issuer");
    places.refused("/tokens", &[(ACCESS_HEADER, "a.b.c")], 401, "token_malformed");
    places.refused(
        "/tokens",
        &[(ACCESS_HEADER, &format!("Bearer {access}"))],
        400,
        "token_header_malformed",
    );
    places.refused("/tokens", &[(ACCESS_HEADER, "")], 400, "token_header_malformed");
    places.refused(
        "/tokens",
        &[(ACCESS_HEADER, &access), (ACCESS_HEADER, &access)],
        400,
        "token_header_repeated",
    );
    places.refused("/keys", &[(ACCESS_HEADER, &access)], 401, "credential_missing");
    // Elsewhere the field is nothing, and the upstream does not get it.
    for path in ["/main", "/open"] {
        let fields = [
            ("Authorization", &*format!("Bearer {main}")),
            (ACCESS_HEADER, "anything"),
        ];
        let received = places.forwarded(path, &fields);
        assert_eq!(received.headers_named(ACCESS_HEADER), [""; 0], "{path}");
    }
    // No other spelling of the header (S080), and no `Connection` that removes it (S081).
    places.refused("/tokens", &[("Cf_Access_Jwt_Assertion", &access)], 400, "header_alias");
    let received = places.forwarded("/forwards", &[(ACCESS_HEADER, &access)]);
    assert_eq!(received.headers_named(ACCESS_HEADER), [access.as_str()]);
}

lanes!(s011_a_key_as_a_bearer_token_is_the_one_credential);
fn s011_a_key_as_a_bearer_token_is_the_one_credential() {
    let places = Places::start();
    let bearer = format!("Bearer {}", places.key);
    // The error is in the challenge of the scheme that was used (FOUND F06).
    let request = "GET /keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-unknown\r\n\r\n";
    let response = RawClient::connect(places.gate.data()).exchange(request);
    let challenges = response.headers_named("www-authenticate");
    let faulty: Vec<bool> = challenges
        .iter()
        .map(|challenge| challenge.contains("error="))
        .collect();
    assert_eq!(faulty, [true, false], "{challenges:?}");
    for path in ["/all", "/keys"] {
        let received = places.forwarded(path, &[("Authorization", &bearer)]);
        assert_eq!(received.headers_named("authorization"), [""; 0]);
        assert_eq!(received.headers_named("x-keygate-credential-type"), ["api_key"]);
    }
    let (rest, last) = places.key.split_at(places.key.len() - 1);
    let wrong = format!("Bearer {rest}{}", if last == "x" { "y" } else { "x" });
    places.refused("/all", &[("Authorization", &wrong)], 401, "api_key_checksum");
    places.refused(
        "/keys",
        &[("Authorization", "Bearer sk-unknown")],
        401,
        "api_key_unknown",
    );
    places.refused(
        "/all",
        &[("Authorization", "Bearer sk-unknown")],
        401,
        "token_malformed",
    );
    places.refused("/tokens", &[("Authorization", &bearer)], 401, "credential_type");
    let received = places.forwarded("/forwards", &[("Authorization", &bearer)]);
    assert_eq!(received.headers_named("authorization"), [bearer.as_str()]);
}

lanes!(a_public_route_that_forwards_lets_one_credential_pass_unread);
fn a_public_route_that_forwards_lets_one_credential_pass_unread() {
    let places = Places::start();
    for (name, value) in [
        ("Authorization", "Basic dTpw"),
        ("Authorization", "Digest username=\"a\", realm=\"b\""),
        ("Authorization", "anything at all"),
        ("x-api-key", "a, b"),
    ] {
        assert_eq!(
            places.forwarded("/own?api_key=x", &[(name, value)]).headers_named(name),
            [value]
        );
        assert_eq!(places.forwarded("/open", &[(name, value)]).headers_named(name), [""; 0]);
    }
    places.refused(
        "/own",
        &[("Authorization", "a"), ("x-api-key", "b")],
        400,
        "two_credentials",
    );
    places.refused(
        "/own",
        &[("Authorization", "a"), ("Authorization", "a")],
        400,
        "authorization_repeated",
    );
    places.refused(
        "/own",
        &[("x-api-key", "a"), ("x-api-key", "a")],
        400,
        "api_key_repeated",
    );
    places.refused("/open?api_key=x", &[], 400, "query_credential");
    // What claims an identity is dropped as everywhere.
    let received = places.forwarded(
        "/own",
        &[("X-Keygate-Subject", "root"), ("Authorization", "Basic dTpw")],
    );
    assert_eq!(received.headers_named("x-keygate-subject"), [""; 0]);
}

/// Returns the answer of a server that accepts the WebSocket of `request` and sends one message, `hello`.
fn accept_websocket(request: &ReceivedRequest) -> Vec<u8> {
    let key = request.headers_named("sec-websocket-key").join("");
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n"
    );
    if request
        .headers_named("sec-websocket-protocol")
        .join("")
        .contains("chat")
    {
        response.push_str("Sec-WebSocket-Protocol: chat\r\n");
    }
    response.push_str("\r\n\u{1}\u{5}hello");
    let mut bytes = response.into_bytes();
    let frame = bytes.len() - 7;
    // FIN and the opcode of a text (RFC 6455 section 5.2).
    bytes[frame] = 0x81;
    bytes
}

/// Opens WebSockets, and returns for each the protocol that was chosen and the first message, or how it failed.
const OPEN: &str = r#"
function open(protocols) {
  return new Promise(resolve => {
    const socket = new WebSocket(`ws://${location.host}/all`, protocols);
    socket.onmessage = event => { resolve({ protocol: socket.protocol, message: event.data }); socket.close(); };
    socket.onerror = () => resolve("failed");
  });
}
"#;

#[test]
fn a_page_opens_a_websocket_with_its_token() {
    let places = Places::start();
    let token = base64url(places.token_of(issuer::ISSUER).as_bytes());
    let script = format!(
        "{OPEN}
        return {{
          alone: await open(['keygate.bearer', 'bearer.{token}']),
          chat: await open(['chat', 'keygate.bearer', 'bearer.{token}']),
          without: await open(['keygate.bearer']),
          lonely: await open(['bearer.{token}']),
        }};"
    );
    let page = page(&script);
    places.upstream.respond_with(move |request| {
        if request.target() == "/all" {
            return accept_websocket(request);
        }
        let length = page.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{page}").into_bytes()
    });
    let yaml = std::fs::read_to_string(places.gate.folder().join("keygate.yaml")).unwrap();
    let route = |name: &str, path: &str| {
        format!("  - {{ name: {name}, match: {{ path: {path} }}, public: true, upstream: api }}\n")
    };
    places
        .gate
        .reload(&format!("{yaml}{}{}", route("page", "/page"), route("report", REPORT)));
    let url = format!("http://localhost:{}/page", places.gate.data().port());
    let results = run_page(&url, &places.upstream);
    let hello = |protocol: &str| json!({ "protocol": protocol, "message": "hello" });
    assert_eq!(results["alone"], hello("keygate.bearer"), "{results:#}");
    assert_eq!(results["chat"], hello("chat"), "{results:#}");
    assert_eq!(results["without"], "failed", "{results:#}");
    assert_eq!(results["lonely"], "failed", "{results:#}");
    let received = places.upstream.received();
    let sockets: Vec<_> = received.iter().filter(|request| request.target() == "/all").collect();
    assert_eq!(sockets.len(), 2, "{sockets:#?}");
    assert_eq!(sockets[0].headers_named("sec-websocket-protocol"), [""; 0]);
    assert_eq!(sockets[1].headers_named("sec-websocket-protocol"), ["chat"]);
    assert!(received.iter().all(|request| !format!("{request:?}").contains(&token)));
    let records = places.gate.access_records();
    let reasons: Vec<_> = records.iter().filter_map(|record| record["reason"].as_str()).collect();
    assert!(
        reasons.contains(&"credential_missing") && reasons.contains(&"websocket_token_alone"),
        "{reasons:?}"
    );
}

#[test]
fn the_libraries_of_openai_call_a_route_with_an_api_key() {
    let places = Places::start();
    places.upstream.respond_with(|_| {
        let body = json!({
            "object": "list",
            "data": [{ "id": "model-1", "object": "model", "created": 0, "owned_by": "us" }],
        });
        let body = body.to_string();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    });
    let yaml = std::fs::read_to_string(places.gate.folder().join("keygate.yaml")).unwrap();
    let models = "  - { name: models, match: { path: \"/v1/{*rest}\" }, accept: [api_key], upstream: api }\n";
    places.gate.reload(&format!("{yaml}{models}"));
    let url = format!("http://{}/v1", places.gate.data());
    for program in [
        || Program::python("openai_client.py"),
        || Program::node("openai_client.mjs"),
    ] {
        let run = |key: &str| program().env("OPENAI_BASE_URL", &url).env("OPENAI_API_KEY", key).run();
        let good = run(&places.key);
        assert_eq!(good.stdout.trim(), "model-1", "{good:?}");
        let bad = run("sk-unknown");
        assert_eq!(bad.stdout.trim(), "AuthenticationError 401", "{bad:?}");
    }
    let received = places.upstream.received();
    assert_eq!(received.len(), 2, "{received:#?}");
    for request in received {
        assert_eq!(request.target(), "/v1/models");
        assert_eq!(request.headers_named("authorization"), [""; 0]);
    }
}
