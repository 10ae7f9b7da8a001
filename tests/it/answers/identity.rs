//! Does an upstream get a signed token about the principal that another library can verify?

use super::Gate;
use super::bearer;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::RawClient;
use crate::support::ReceivedRequest;
use crate::support::RunningGate;
use crate::support::StartGate;
use crate::support::clients;
use crate::support::get;
use crate::support::issuer;
use crate::support::lane::lanes;
use crate::support::program;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::process::Stdio;

const GATE: &str = "https://gate.example.test";
const ORDERS: &str = "https://orders.internal";
const HEADER: &str = "x-keygate-identity-token";

/// Adds the routes `orders` and `billing` (each with an audience),
/// `plain` (without), `open` (public), and `top` at the top level.
fn routes(gate: GatewayBuilder, top: &str) -> GatewayBuilder {
    let route = |path: &str, more: &str| format!("match: {{ path: \"/{path}/{{*rest}}\" }}\nupstream: up\n{more}");
    gate.top(top)
        .route(
            "orders",
            &route(
                "orders",
                &format!("accept: [jwt, api_key]\nidentity_token: {{ audience: {ORDERS} }}"),
            ),
        )
        .route(
            "billing",
            &route(
                "billing",
                "accept: [jwt]\nidentity_token: { audience: billing }\nscopes: { all: [\"orders:read\"] }",
            ),
        )
        .route("plain", &route("plain", "accept: [jwt]"))
        .route("open", &route("open", "public: true"))
}

fn settings(more: &str) -> String {
    format!("identity_token: {{ issuer: {GATE}{more} }}")
}

fn gate() -> Gate {
    Gate::start(|gate| routes(gate, &settings("")))
}

/// Returns the identity tokens of the requests that reached the upstream, in order.
fn tokens(received: &[ReceivedRequest]) -> Vec<String> {
    received
        .iter()
        .flat_map(|request| request.headers_named(HEADER))
        .map(str::to_owned)
        .collect()
}

impl<G: StartGate> Gate<G> {
    /// Sends a request and returns the only identity token that reaches the upstream.
    #[track_caller]
    fn identity_token(&self, line: &str, fields: &str) -> String {
        let before = self.upstream.received().len();
        let response = self.ask(line, fields);
        assert_eq!(response.status, 200, "{}", response.text());
        let received = self.upstream.wait_received(before + 1);
        let tokens = tokens(&received[before..]);
        assert_eq!(tokens.len(), 1, "{tokens:?}");
        tokens[0].clone()
    }

    #[track_caller]
    fn kids(&self) -> Vec<String> {
        let response = get(self.running.data(), "/oauth/jwks");
        assert_eq!(response.status, 200, "{}", response.text());
        let set = response.json();
        let keys = set["keys"].as_array().unwrap();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }
}

/// Returns a part of a token, decoded but not verified: 0 is the header, 1 the claims.
#[track_caller]
fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&issuer::from_base64url(token.split('.').nth(index).unwrap())).unwrap()
}

/// Verifies each token with the JavaScript library jose and returns the claims, or the error as `refused`.
#[track_caller]
fn verify(running: &RunningGate, tokens: &[Value]) -> Vec<Value> {
    let mut node = Command::new("node")
        .current_dir(clients())
        .args([
            "verify_identity.mjs",
            &format!("http://{}/oauth/jwks", running.data()),
            GATE,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is installed");
    let mut input = node.stdin.take().unwrap();
    for token in tokens {
        writeln!(input, "{token}").unwrap();
    }
    drop(input);
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns `token` with another `sub` and the same signature.
fn tampered(token: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let mut claims = part(token, 1);
    claims["sub"] = "mallory".into();
    let claims = issuer::base64url(claims.to_string().as_bytes());
    [parts[0], &claims, parts[2]].join(".")
}

// The clients are programs that speak plain HTTP/1.1.
lanes!(an_upstream_verifies_who_called_with_another_library: own, filter_http1);
fn an_upstream_verifies_who_called_with_another_library() {
    let gate = gate();
    let from_token = gate.identity_token(
        "GET /orders/1",
        &bearer(&gate.token_with(json!({ "jti": "t-1", "org": "acme" }))),
    );
    let from_key = gate.identity_token("GET /orders/1", &format!("x-api-key: {}\r\n", gate.key));
    let verdicts = verify(
        &gate.running,
        &[
            json!({ "token": from_token, "audience": ORDERS }),
            json!({ "token": from_key, "audience": ORDERS }),
            json!({ "token": from_token, "audience": "https://billing.internal" }),
            json!({ "token": tampered(&from_token), "audience": ORDERS }),
            json!({ "token": from_token, "audience": ORDERS, "typ": "at+jwt" }),
            json!({ "token": gate.token(), "audience": issuer::AUDIENCE }),
        ],
    );
    let (kid, iat) = (&gate.kids()[0], verdicts[0]["iat"].as_u64().unwrap());
    let mut claims = verdicts[0].clone();
    assert_eq!(
        claims
            .as_object_mut()
            .unwrap()
            .remove("jti")
            .unwrap()
            .as_str()
            .unwrap()
            .len(),
        22
    );
    assert_eq!(
        claims,
        json!({
            "iss": GATE, "aud": ORDERS, "sub": "alice", "client_id": "app-1", "scope": "orders:read", "org": "acme",
            "iat": iat, "exp": iat + 60, "credential_type": "jwt", "credential_id": "t-1", "credential_issuer": "main",
            "kid": kid, "alg": "ES256",
        })
    );
    assert_eq!(
        (
            &verdicts[1]["credential_type"],
            &verdicts[1]["credential_id"],
            &verdicts[1]["sub"]
        ),
        (&json!("api_key"), &json!(gate.key_id), &json!(gate.key_id))
    );
    assert_eq!(verdicts[1].get("credential_issuer"), None);
    assert_eq!(
        (&verdicts[2]["refused"], &verdicts[2]["claim"]),
        (&json!("ERR_JWT_CLAIM_VALIDATION_FAILED"), &json!("aud"))
    );
    assert_eq!(verdicts[3]["refused"], "ERR_JWS_SIGNATURE_VERIFICATION_FAILED");
    assert_eq!(
        (&verdicts[4]["refused"], &verdicts[4]["claim"]),
        (&json!("ERR_JWT_CLAIM_VALIDATION_FAILED"), &json!("typ"))
    );
    assert!(verdicts[5].get("refused").is_some(), "{}", verdicts[5]);
}

// The clients are programs that speak plain HTTP/1.1.
lanes!(every_algorithm_signs_with_the_key_of_its_file: own, filter_http1);
fn every_algorithm_signs_with_the_key_of_its_file() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es384] {
        let key = issuer::key(algorithm);
        let pem = key.to_pkcs8_pem().unwrap();
        let more = format!(", algorithm: {algorithm}, signing_key_file: identity.pem, ttl: 10m");
        let gate = Gate::start_with(&[("identity.pem", pem.expose())], |gate| routes(gate, &settings(&more)));
        // The access token lives longer than the identity token, whose expiry it would otherwise limit.
        let long = gate.token_with(json!({ "exp": issuer::now() + 3600 }));
        let token = gate.identity_token("GET /orders/1", &bearer(&long));
        assert_eq!(part(&token, 0)["kid"], key.kid(), "{algorithm}");
        let verdicts = verify(&gate.running, &[json!({ "token": token, "audience": ORDERS })]);
        assert_eq!(verdicts[0]["alg"], algorithm.as_str(), "{}", verdicts[0]);
        assert_eq!(
            verdicts[0]["exp"].as_u64().unwrap() - verdicts[0]["iat"].as_u64().unwrap(),
            600
        );
    }
}

lanes!(a_token_is_signed_once_for_a_principal_and_an_audience);
fn a_token_is_signed_once_for_a_principal_and_an_audience() {
    let gate = gate();
    let (alice, bob) = (bearer(&gate.token()), bearer(&gate.token_with(json!({ "sub": "bob" }))));
    let first = gate.identity_token("GET /orders/1", &alice);
    assert_eq!(gate.identity_token("POST /orders/2", &alice), first);
    let others = [
        gate.identity_token("GET /billing/1", &alice),
        gate.identity_token("GET /orders/1", &bob),
    ];
    assert!(!others.contains(&first));
    assert_eq!(part(&others[0], 1)["aud"], "billing");
    assert_eq!(part(&others[1], 1)["sub"], "bob");
    assert_eq!(gate.running.metric("keygate_identity_tokens_signed_total"), 3.0);
    assert_eq!(gate.running.metric("keygate_identity_token_cache_entries"), 3.0);
    assert!(gate.running.metric("keygate_identity_token_cache_bytes") > 3_000.0);
}

lanes!(a_token_ends_with_the_credential_it_vouches_for);
fn a_token_ends_with_the_credential_it_vouches_for() {
    let gate = gate();
    let end = issuer::now() + 20;
    let token = gate.identity_token("GET /orders/1", &bearer(&gate.token_with(json!({ "exp": end }))));
    assert_eq!(part(&token, 1)["exp"], end);
}

lanes!(an_identity_token_holds_no_part_of_the_credential_and_reaches_the_upstream_alone);
fn an_identity_token_holds_no_part_of_the_credential_and_reaches_the_upstream_alone() {
    let gate = Gate::<Binary>::serve(&[], |gate| routes(gate, &settings("")));
    let (token, key) = (gate.token(), gate.key.clone());
    let vouched = gate.identity_token("GET /orders/1", &bearer(&token));
    let vouched_for_key = gate.identity_token("GET /orders/1", &format!("x-api-key: {key}\r\n"));
    for (vouched, credential) in [(&vouched, &*token), (&vouched_for_key, &*key)] {
        let claims = part(vouched, 1).to_string();
        for piece in credential.split(['.', '_']).filter(|piece| piece.len() > 20) {
            assert!(!claims.contains(piece), "{claims}");
        }
    }
    // No identity token reaches the client, a refused or public request, or the log.
    let lacking = bearer(&gate.token_with(json!({ "scope": "other" })));
    for (line, fields, status) in [
        ("GET /orders/1", bearer(&token), 200),
        ("GET /orders/1", String::new(), 401),
        ("GET /billing/1", lacking, 403),
        ("GET /open/1", bearer(&token), 200),
        ("GET /plain/1", bearer(&token), 200),
    ] {
        let before = gate.upstream.received().len();
        let response = gate.ask(line, &fields);
        assert_eq!(
            (response.status, response.headers_named(HEADER).len()),
            (status, 0),
            "{line}"
        );
        assert!(!response.text().contains("eyJ"), "{line}");
        gate.record(&response);
        let reached = &gate.upstream.received()[before..];
        assert_eq!(
            tokens(reached).len(),
            usize::from(line == "GET /orders/1" && status == 200),
            "{line}"
        );
    }
    let output = gate.running.output();
    for token in tokens(&gate.upstream.received()) {
        // The signature alone would do for a search, but a log may cut a long value.
        for part in token.split('.') {
            assert!(!output.contains(part), "it is in the log");
        }
    }
}

// `Connection` cannot be sent over HTTP/2.
lanes!(s079_s080_s081_an_identity_token_of_a_clients_own_reaches_nobody: own, own_tls, filter_http1);
fn s079_s080_s081_an_identity_token_of_a_clients_own_reaches_nobody() {
    let gate = gate();
    let forged = "eyJhbGciOiJub25lIn0.e30.";
    for path in ["/orders/1", "/plain/1", "/open/1"] {
        for name in ["x-keygate-identity-token", "X-Keygate-Identity-Token"] {
            let credential = if path == "/open/1" {
                String::new()
            } else {
                bearer(&gate.token())
            };
            let fields = format!("{credential}{name}: {forged}\r\n{name}: a\r\n");
            let before = gate.upstream.received().len();
            assert_eq!(gate.ask(&format!("GET {path}"), &fields).status, 200);
            let reached = &gate.upstream.wait_received(before + 1)[before];
            let expected = usize::from(path == "/orders/1");
            assert_eq!(reached.headers_named(HEADER).len(), expected, "{path}");
            assert!(!reached.headers_named(HEADER).contains(&forged), "{path}");
        }
        let (response, record) = gate.ask_recorded(&format!("GET {path}"), "X_Keygate_Identity_Token: a\r\n");
        assert_eq!((response.status, &record["reason"]), (400, &json!("header_alias")));
        let (response, record) = gate.ask_recorded(&format!("GET {path}"), &format!("Connection: {HEADER}\r\n"));
        assert_eq!(
            (response.status, &record["reason"]),
            (400, &json!("connection_nomination"))
        );
    }
}

lanes!(an_identity_token_is_no_access_token_here);
fn an_identity_token_is_no_access_token_here() {
    let key = issuer::key(Algorithm::Es384);
    let pem = key.to_pkcs8_pem().unwrap();
    let files = [
        ("identity.pem", pem.expose().as_str()),
        ("identity.public.pem", &*key.public_pem()),
    ];
    let gate = Gate::start_with(&files, |gate| {
        let gate = routes(gate, &settings(", algorithm: ES384, signing_key_file: identity.pem"));
        // Configures the identity token's issuer and key as an issuer of access tokens, as another service would do.
        gate.issuer(
            "gate",
            &format!("issuer: {GATE}\naudiences: any\nalgorithms: [ES384]\npublic_key_files: [identity.public.pem]"),
        )
    });
    let vouched = gate.identity_token("GET /orders/1", &bearer(&gate.token()));
    let (response, record) = gate.ask_recorded("GET /orders/1", &bearer(&vouched));
    assert_eq!((response.status, &record["reason"]), (401, &json!("token_type")));
}

lanes!(s085_an_attempt_at_another_endpoint_has_the_token_and_no_credential);
fn s085_an_attempt_at_another_endpoint_has_the_token_and_no_credential() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gate = Gate::start(|gate| {
        let gate = routes(gate, &settings(""));
        let up = gate.yaml();
        let up = up
            .split("  up:\n    endpoints: [\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        gate.upstream_with(
            "two",
            &format!("endpoints: [\"{closed}\", \"{up}\"]\nconnect_attempts: 2"),
        )
        .route(
            "two",
            &format!("match: {{ path: /two }}\naccept: [jwt]\nupstream: two\nidentity_token: {{ audience: {ORDERS} }}"),
        )
    });
    let token = bearer(&gate.token());
    // Requests alternate between endpoints, so one of two meets the closed endpoint first.
    let vouched = [
        gate.identity_token("GET /two", &token),
        gate.identity_token("GET /two", &token),
    ];
    assert_eq!(vouched[0], vouched[1]);
    assert!(
        gate.running
            .metric("keygate_upstream_connect_failures_total{upstream=\"two\"}")
            >= 1.0
    );
    for request in gate.upstream.received() {
        assert!(request.headers_named("authorization").is_empty());
        assert!(request.headers_named("x-api-key").is_empty());
    }
}

/// Replaces the file that `signing_key_file` names.
fn write_key(running: &RunningGate, key: &SigningKey) {
    running.replace_file("identity.pem", key.to_pkcs8_pem().unwrap().expose());
}

// The clients are programs that speak plain HTTP/1.1.
lanes!(s135_a_new_key_signs_at_once_and_the_one_before_still_verifies: own, filter_http1);
fn s135_a_new_key_signs_at_once_and_the_one_before_still_verifies() {
    let (first, second) = (
        SigningKey::generate_es256().unwrap(),
        SigningKey::generate_es256().unwrap(),
    );
    let pem = first.to_pkcs8_pem().unwrap();
    let gate = Gate::start_with(&[("identity.pem", pem.expose())], |gate| {
        routes(gate, &settings(", signing_key_file: identity.pem"))
    });
    let token = bearer(&gate.token());
    let before = gate.identity_token("GET /orders/1", &token);
    assert_eq!(gate.kids(), [first.kid()]);
    write_key(&gate.running, &second);
    gate.running.check_files();
    let after = gate.identity_token("GET /orders/1", &token);
    assert_eq!(part(&before, 0)["kid"], first.kid());
    assert_eq!(part(&after, 0)["kid"], second.kid());
    assert_eq!(gate.kids(), [second.kid(), first.kid()]);
    let both = [before, after].map(|token| json!({ "token": token, "audience": ORDERS }));
    for verdict in verify(&gate.running, &both) {
        assert_eq!(verdict["sub"], "alice", "{verdict}");
    }
}

lanes!(a_key_that_was_made_here_signs_on_over_a_reload);
fn a_key_that_was_made_here_signs_on_over_a_reload() {
    let gate = gate();
    let (kids, token) = (gate.kids(), bearer(&gate.token()));
    let before = gate.identity_token("GET /orders/1", &token);
    let yaml = routes(Gate::builder(&gate.upstream), &settings(""))
        .limit("new", "by: ip\nquota: 5/s")
        .yaml();
    gate.running.reload(&yaml);
    assert_eq!(gate.kids(), kids);
    assert_eq!(gate.identity_token("GET /orders/1", &token), before, "still remembered");
}

lanes!(a_key_that_was_made_here_is_kept_over_a_restart);
fn a_key_that_was_made_here_is_kept_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let start = || {
        Gate::start(|gate| {
            let top = format!("{}\nstate_dir: {}", settings(""), state.display());
            routes(gate, &top)
        })
    };
    let first = start().kids();
    let key = state.join("identity_token.pem");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let files = std::fs::read_dir(&state)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(files.count(), 1, "nothing half written is left");
    assert_eq!(start().kids(), first);
    // Removing the file makes the gate generate another key.
    std::fs::remove_file(&key).unwrap();
    assert_ne!(start().kids(), first);
}

lanes!(a_key_that_could_not_be_kept_is_kept_at_the_next_signal);
fn a_key_that_could_not_be_kept_is_kept_at_the_next_signal() {
    let folder = tempfile::tempdir().unwrap();
    // A file where a folder should be.
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, "").unwrap();
    let state = blocked.join("state");
    let gate = Gate::<Binary>::serve(&[], |gate| {
        let top = format!("{}\nstate_dir: {}", settings(""), state.display());
        routes(gate, &top)
    });
    gate.running
        .wait_for_output("The key of identity tokens cannot be kept");
    std::fs::remove_file(&blocked).unwrap();
    gate.running.signal("HUP");
    gate.running.wait_for_output("Configuration unchanged");
    assert!(state.join("identity_token.pem").is_file());
}

lanes!(a_signing_key_that_others_can_read_signs_nothing);
fn a_signing_key_that_others_can_read_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start();
    let builder = GatewayBuilder::new()
        .top(&settings(", signing_key_file: identity.pem"))
        .upstream("up", upstream.address())
        .route("open", "match: { path: / }\npublic: true\nupstream: up");
    let (config, key) = (folder.path().join("keygate.yaml"), folder.path().join("identity.pem"));
    std::fs::write(&config, builder.yaml()).unwrap();
    let check = |content: &str, mode: u32, expected: Option<&str>| {
        std::fs::write(&key, content).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = Command::new(program()).arg("check").arg(&config).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), expected.is_none(), "{mode:o}: {stderr}");
        assert!(stderr.contains(expected.unwrap_or_default()), "{mode:o}: {stderr}");
        assert!(!stderr.contains("MIGH"), "{stderr}");
    };
    let pem = include_str!("../../data/jose/p256.private.pem");
    check(pem, 0o600, None);
    check(pem, 0o400, None);
    check(pem, 0o440, None);
    for mode in [0o644, 0o604, 0o602, 0o601] {
        check(
            pem,
            mode,
            Some("readable by others, who could sign as this gateway: chmod o="),
        );
    }
    check(pem, 0o660, Some("chmod g-w"));
    let wrong = Some("identity_token: ");
    check(include_str!("../../data/jose/p256.public.pem"), 0o600, wrong);
    check(
        include_str!("../../data/jose/ed25519.private.pem"),
        0o600,
        Some("ES256"),
    );
    check(&format!("{pem}{pem}"), 0o600, Some("more than one PEM block"));
    check("", 0o600, Some("no PEM block"));
    check(&"a".repeat(70_000), 0o600, Some("over 64 KiB"));
}

// It is about `Connection` and the end of a connection, which HTTP/2 has for all streams at once.
lanes!(the_keys_are_a_public_document_on_a_path_of_the_gates_own: own, own_tls, filter_http1);
fn the_keys_are_a_public_document_on_a_path_of_the_gates_own() {
    let gate = Gate::start(|gate| {
        let gate = routes(gate, &settings(""));
        gate.route(
            "all",
            "match: { host: [gate.test, \"*.gate.test\"], path: \"/{*rest}\" }\naccept: [jwt]\nupstream: up",
        )
    });
    let (response, record) = gate.ask_recorded("GET /oauth/jwks", "");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    let set = response.json();
    assert_eq!(set["keys"].as_array().unwrap().len(), 1);
    let mut names: Vec<&String> = set["keys"][0].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"], "no private part");
    assert_eq!(
        (&record["decision"], &record["reason"], &record["route"]),
        (&json!("answer"), &json!("document"), &json!("keygate.jwks"))
    );
    assert_eq!(gate.decisions("keygate.jwks", "answer", "document"), 1.0);
    let head = gate.ask("HEAD /oauth/jwks", "");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, response.header("content-length"))
    );
    // The key set is served at every host, even where a route of that host matches every path.
    for host in [
        "gate.test",
        "a.gate.test",
        "10.0.0.1",
        "keygate.default.svc.cluster.local:8080",
    ] {
        assert_eq!(gate.ask_at(host, "GET /oauth/jwks", "").status, 200, "{host}");
    }
    // The endpoint ignores credentials, but requests that are refused on every path are refused here too.
    assert_eq!(gate.ask("GET /oauth/jwks", &bearer("nonsense")).status, 200);
    for (line, fields, status, reason) in [
        ("POST /oauth/jwks", String::new(), 405, "method_not_allowed"),
        ("OPTIONS /oauth/jwks", String::new(), 405, "method_not_allowed"),
        ("GET /oauth/jwks?access_token=a", String::new(), 400, "query_credential"),
        (
            "GET /oauth/jwks",
            bearer("a") + "x-api-key: a\r\n",
            400,
            "two_credentials",
        ),
        ("GET /oauth/jwks", "X_Api_Key: a\r\n".to_owned(), 400, "header_alias"),
        ("GET /oauth/../oauth/jwks", String::new(), 400, "path_dot_segment"),
        ("GET /oauth/jwks/", String::new(), 401, "credential_missing"),
        ("GET /oauth//jwks", String::new(), 400, "path_empty_segment"),
    ] {
        let (response, record) = gate.ask_recorded(line, &fields);
        assert_eq!((response.status, &record["reason"]), (status, &json!(reason)), "{line}");
        if status == 405 {
            assert_eq!(response.header("allow"), Some("GET, HEAD"));
        }
    }
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: mcp-protocol-version\r\n";
    let response = gate.ask("OPTIONS /oauth/jwks", preflight);
    assert_eq!(
        (response.status, response.header("access-control-allow-headers")),
        (204, Some("*"))
    );
    assert!(gate.upstream.received().is_empty());
    let mut client = RawClient::connect(gate.running.data());
    for _ in 0..2 {
        let response = client.exchange("GET /oauth/jwks HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            (response.status, response.header("connection")),
            (200, Some("keep-alive"))
        );
    }
}

lanes!(there_are_no_keys_where_nobody_signs);
fn there_are_no_keys_where_nobody_signs() {
    let gate = Gate::start(|gate| gate.route("open", "match: { path: \"/open/{*rest}\" }\npublic: true\nupstream: up"));
    assert_eq!(gate.ask("GET /oauth/jwks", "").status, 404);
    // The endpoint appears and disappears with the configuration.
    let with = routes(Gate::builder(&gate.upstream), &settings("")).yaml();
    gate.running.reload(&with);
    assert_eq!(gate.ask("GET /oauth/jwks", "").status, 200);
    let without = Gate::builder(&gate.upstream)
        .route("open", "match: { path: \"/open/{*rest}\" }\npublic: true\nupstream: up")
        .yaml();
    gate.running.reload(&without);
    assert_eq!(gate.ask("GET /oauth/jwks", "").status, 404);
}
