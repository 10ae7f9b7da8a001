//! Which bearer tokens does a gate accept and which does it refuse, and with which response and record?

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::TestIssuer;
use crate::support::issuer::AUDIENCE;
use crate::support::issuer::ISSUER;
use crate::support::issuer::base64url;
use crate::support::issuer::claims;
use crate::support::issuer::claims_with;
use crate::support::issuer::from_base64url;
use crate::support::issuer::identity_yaml;
use crate::support::issuer::jwk_set;
use crate::support::issuer::key;
use crate::support::issuer::now;
use crate::support::issuer::token;
use crate::support::issuer::unsigned;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::clock::Clock;
use keygate::model::clock::ManualClock;
use keygate::model::clock::SystemClock;
use keygate::model::clock::Timestamp;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;

const ROUTE: &str = "match: { path: \"/{*rest}\" }\naccept: [jwt]\nupstream: api";

/// A running gate with one issuer, and its upstream.
struct Gate {
    running: LocalGate,
    upstream: FakeUpstream,
    client: RawClient,
    forwarded: usize,
}

impl Gate {
    /// Starts a gate. `issuer` is the issuer's section; `files` stand beside the configuration.
    #[track_caller]
    fn start(issuer: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with(|gateway| gateway.issuer("main", issuer).route("api", ROUTE), files)
    }

    /// Starts a gate with the upstream `api`; `build` adds issuers and routes.
    #[track_caller]
    fn start_with(build: impl FnOnce(GatewayBuilder) -> GatewayBuilder, files: &[(&str, &str)]) -> Self {
        Self::start_at(Arc::new(SystemClock::new()), build, files)
    }

    /// Starts the gate of [`Self::start_with`] with `clock`.
    #[track_caller]
    fn start_at(
        clock: Arc<dyn Clock>,
        build: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
        files: &[(&str, &str)],
    ) -> Self {
        let upstream = FakeUpstream::start();
        let gateway = GatewayBuilder::new()
            .top("failed_authentication: off")
            .upstream("api", upstream.address());
        let running = LocalGate::start_with_clock(clock, &build(gateway).yaml(), files);
        running.wait_ready();
        Self {
            client: RawClient::connect(running.data()),
            running,
            upstream,
            forwarded: 0,
        }
    }

    fn ask(&mut self, path: &str, token: &str) -> Response {
        self.client.exchange(request(path, token))
    }

    #[track_caller]
    fn accepts(&mut self, token: &str) {
        self.accepts_at("/orders", token);
    }

    #[track_caller]
    fn accepts_at(&mut self, path: &str, token: &str) {
        let response = self.ask(path, token);
        assert_eq!(
            response.status,
            200,
            "{}\n{}",
            response.text(),
            self.running.record(&response)
        );
        self.forwarded += 1;
        self.upstream.wait_received(self.forwarded);
    }

    /// Checks that the token is refused with 401, that the record has `reason`, and that nothing is forwarded.
    /// The response reveals only whether the token has expired.
    #[track_caller]
    fn refuses(&mut self, token: &str, reason: &str) {
        self.refuses_at("/orders", token, reason);
    }

    #[track_caller]
    fn refuses_at(&mut self, path: &str, token: &str, reason: &str) {
        let response = self.ask(path, token);
        let content = (response.status, response.text());
        assert_eq!(content.0, 401, "{reason}: {}", content.1);
        let challenge = response.headers_named("www-authenticate").join(", ");
        assert!(challenge.contains("error=\"invalid_token\""), "{reason}: {challenge}");
        let mut problem = response.json();
        problem.as_object_mut().unwrap().remove("request_id");
        let (kind, detail) = match reason {
            "token_expired" => ("token-expired", "The token has expired; get a new one from its issuer."),
            _ => (
                "invalid-token",
                "The token was not accepted; get a new one from its issuer.",
            ),
        };
        let title = if reason == "token_expired" {
            "Token expired"
        } else {
            "Invalid token"
        };
        let expected = json!({
            "type": format!("urn:keygate:problem:{kind}"), "title": title, "status": 401, "detail": detail,
            "error": "invalid_token", "error_description": detail,
        });
        assert_eq!(problem, expected, "{reason}");
        assert_eq!(self.running.record(&response)["reason"], reason, "{token}");
        assert_eq!(self.upstream.received().len(), self.forwarded, "{reason}: forwarded");
    }

    /// Checks the response's status and the record's reason, and that nothing is forwarded. Returns the response.
    #[track_caller]
    fn check_response(&mut self, token: &str, status: u16, reason: &str) -> Response {
        let response = self.ask("/orders", token);
        assert_eq!(response.status, status, "{reason}: {}", response.text());
        assert_eq!(self.running.record(&response)["reason"], reason);
        assert_eq!(self.upstream.received().len(), self.forwarded, "{reason}: forwarded");
        if response.header("connection").is_some_and(|value| value == "close") {
            self.client = RawClient::connect(self.running.data());
        }
        response
    }
}

fn request(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Starts a gate that trusts one ES256 key from a file. Returns that key too.
fn es256_gate() -> (Gate, SigningKey) {
    es256_gate_with("")
}

fn es256_gate_with(more: &str) -> (Gate, SigningKey) {
    es256_gate_at(Arc::new(SystemClock::new()), more)
}

fn es256_gate_at(clock: Arc<dyn Clock>, more: &str) -> (Gate, SigningKey) {
    let key = key(Algorithm::Es256);
    let issuer = format!("{}\npublic_key_files: [key.pem]\n{more}", identity_yaml());
    let build = |gateway: GatewayBuilder| gateway.issuer("main", &issuer).route("api", ROUTE);
    let gate = Gate::start_at(clock, build, &[("key.pem", &key.public_pem())]);
    (gate, key)
}

fn header(algorithm: &str, kid: &str) -> String {
    json!({ "alg": algorithm, "kid": kid, "typ": "at+jwt" }).to_string()
}

#[test]
fn every_algorithm_of_the_allowlist_is_accepted_from_pem_files_a_jwks_file_and_a_jwks_url() {
    let algorithms = [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];
    let keys = algorithms.map(key);
    let allowlist = "algorithms: [RS256, PS256, ES256, ES384, EdDSA]";
    let pems: Vec<(String, String)> = [&keys[0], &keys[2], &keys[3], &keys[4]]
        .iter()
        .enumerate()
        .map(|(index, key)| (format!("{index}.pem"), key.public_pem()))
        .collect();
    let files: Vec<(&str, &str)> = pems.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let identity = identity_yaml();

    let by_pem = format!("{identity}\n{allowlist}\npublic_key_files: [0.pem, 1.pem, 2.pem, 3.pem]");
    let mut gate = Gate::start(&by_pem, &files);
    keys.iter().for_each(|key| gate.accepts(&token(key, &claims())));

    // The RS256 and the PS256 key have the same `kid`, so they are in separate sets.
    for group in [&keys[..1], &keys[1..]] {
        let set = jwk_set(&group.iter().map(SigningKey::public_jwk).collect::<Vec<_>>());
        let by_file = format!("{identity}\n{allowlist}\njwks_file: jwks.json");
        let mut gate = Gate::start(&by_file, &[("jwks.json", &set)]);
        group.iter().for_each(|key| gate.accepts(&token(key, &claims())));

        let issuer = TestIssuer::start(&group.iter().collect::<Vec<_>>());
        let mut gate = Gate::start(&issuer.yaml(allowlist), &[]);
        group.iter().for_each(|key| gate.accepts(&token(key, &claims())));
        assert_eq!(issuer.fetches(), 1);
    }
}

#[test]
fn algorithms_outside_the_issuers_list_are_refused_though_the_key_fits() {
    let rsa = key(Algorithm::Rs256);
    let issuer = format!("{}\nalgorithms: [PS256]\npublic_key_files: [key.pem]", identity_yaml());
    let mut gate = Gate::start(&issuer, &[("key.pem", &rsa.public_pem())]);
    gate.refuses(&token(&rsa, &claims()), "token_algorithm");
    gate.refuses(&token(&key(Algorithm::Ps384), &claims()), "token_algorithm");
    gate.accepts(&token(&key(Algorithm::Ps256), &claims()));
}

#[test]
fn s013_no_algorithm_and_none_are_refused() {
    let (mut gate, key) = es256_gate();
    let good = token(&key, &claims());
    let signature = from_base64url(good.rsplit('.').next().unwrap());
    for algorithm in [
        json!("none"),
        json!("None"),
        json!("nOnE"),
        json!(""),
        json!(["ES256"]),
        json!(1),
        Value::Null,
        json!("es256"),
        json!("ES256 "),
    ] {
        let header = json!({ "alg": algorithm, "kid": key.kid(), "typ": "at+jwt" }).to_string();
        for signature in [&b""[..], &signature] {
            gate.refuses(&unsigned(&header, &claims().to_string(), signature), "token_algorithm");
        }
        // The signature covers this header and is valid, but the algorithm is not permitted.
        gate.refuses(
            &key.sign_text(&header, &claims().to_string()).unwrap(),
            "token_algorithm",
        );
    }
    let missing = json!({ "kid": key.kid(), "typ": "at+jwt" }).to_string();
    gate.refuses(
        &key.sign_text(&missing, &claims().to_string()).unwrap(),
        "token_algorithm",
    );
    gate.accepts(&good);
}

#[test]
fn s014_a_mac_keyed_with_what_the_issuer_publishes_is_refused() {
    let rsa = key(Algorithm::Rs256);
    let issuer = format!("{}\npublic_key_files: [key.pem]", identity_yaml());
    let mut gate = Gate::start(&issuer, &[("key.pem", &rsa.public_pem())]);
    let pem = rsa.public_pem();
    let secrets = [
        pem.clone(),
        pem.trim_end().to_owned(),
        format!(" {pem}"),
        format!("{pem}\n"),
        rsa.public_jwk().to_string(),
        rsa.public_jwk()["n"].as_str().unwrap().to_owned(),
    ];
    for secret in secrets {
        for (name, mac) in [
            ("HS256", aws_lc_rs::hmac::HMAC_SHA256),
            ("HS384", aws_lc_rs::hmac::HMAC_SHA384),
            ("HS512", aws_lc_rs::hmac::HMAC_SHA512),
            // The header names RS256 for a signature by HMAC.
            ("RS256", aws_lc_rs::hmac::HMAC_SHA256),
        ] {
            let signing_input = unsigned(&header(name, rsa.kid()), &claims().to_string(), b"");
            let signing_input = signing_input.trim_end_matches('.');
            let key = aws_lc_rs::hmac::Key::new(mac, secret.as_bytes());
            let tag = aws_lc_rs::hmac::sign(&key, signing_input.as_bytes());
            let forged = format!("{signing_input}.{}", base64url(tag.as_ref()));
            let reason = if name == "RS256" {
                "bad_signature"
            } else {
                "token_algorithm"
            };
            gate.refuses(&forged, reason);
        }
    }
    gate.accepts(&token(&rsa, &claims()));
}

#[test]
fn s015_another_algorithm_of_the_same_key_without_alg_is_refused() {
    let (rsa, ec) = (key(Algorithm::Ps256), key(Algorithm::Es256));
    let mut nameless = rsa.public_jwk();
    nameless.as_object_mut().unwrap().remove("alg");
    let set = jwk_set(&[nameless, ec.public_jwk()]);
    let issuer = format!("{}\nalgorithms: [ES256]\njwks_file: jwks.json", identity_yaml());
    let mut gate = Gate::start(&issuer, &[("jwks.json", &set)]);
    gate.refuses(&token(&rsa, &claims()), "token_algorithm");
    // The `kid` of the RSA key with an algorithm of the other family.
    gate.refuses(
        &ec.sign_text(&header("ES256", rsa.kid()), &claims().to_string())
            .unwrap(),
        "key_mismatch",
    );
    gate.accepts(&token(&ec, &claims()));
}

#[test]
fn s016_critical_extensions_are_refused() {
    let (mut gate, key) = es256_gate();
    for more in [
        json!({ "crit": ["x"], "x": 1 }),
        json!({ "crit": [] }),
        json!({ "crit": ["exp"] }),
        json!({ "crit": "exp" }),
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "b64": false }),
        json!({ "b64": true }),
    ] {
        let mut header = json!({ "alg": "ES256", "typ": "at+jwt" });
        header
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let token = key.sign_text(&header.to_string(), &claims().to_string()).unwrap();
        gate.refuses(&token, "token_critical_header");
    }
}

#[test]
fn s017_a_token_does_not_bring_its_key_and_nothing_is_fetched_for_it() {
    let stranger = SigningKey::generate_es256().unwrap();
    let trap = TestIssuer::start(&[&stranger]);
    let (mut gate, key) = es256_gate();
    let yaml = trap.yaml("");
    let url = yaml.lines().find_map(|line| line.strip_prefix("jwks_url: ")).unwrap();
    for more in [
        json!({ "jwk": stranger.public_jwk() }),
        json!({ "jku": url }),
        json!({ "x5u": url }),
        json!({ "x5c": ["MIIB"] }),
        json!({ "kid": url }),
    ] {
        let mut header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": stranger.kid() });
        header
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let sign = |key: &SigningKey| key.sign_text(&header.to_string(), &claims().to_string()).unwrap();
        gate.refuses(&sign(&stranger), "bad_signature");
        // The field is ignored, and the issuer's own key decides.
        gate.accepts(&sign(&key));
    }
    assert_eq!(trap.fetches(), 0);
}

#[test]
fn s018_signatures_that_are_none_are_refused() {
    let (mut gate, key) = es256_gate_with("");
    let good = token(&key, &claims());
    let (input, signature) = good.rsplit_once('.').unwrap();
    let signature = from_base64url(signature);
    let order = [
        0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC, 0xE6, 0xFA, 0xAD,
        0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
    ];
    let (r, s) = signature.split_at(32);
    let der = [&[0x30, 0x44, 0x02, 0x20][..], r, &[0x02, 0x20], s].concat();
    let bad = [
        vec![0; 64],
        [&[0; 32][..], s].concat(),
        [r, &[0; 32]].concat(),
        [&order[..], s].concat(),
        [r, &order[..]].concat(),
        [&[0xFF; 32][..], s].concat(),
        der,
        signature[..63].to_vec(),
        [&signature[..], &[0]].concat(),
        Vec::new(),
        [s, r].concat(),
        vec![1; 5000],
    ];
    for signature in bad {
        gate.refuses(&format!("{input}.{}", base64url(&signature)), "bad_signature");
    }
    // A valid signature of other claims.
    let other = token(&key, &claims_with(json!({ "sub": "mallory" })));
    let (other_input, _) = other.rsplit_once('.').unwrap();
    gate.refuses(&format!("{other_input}.{}", base64url(&signature)), "bad_signature");
    gate.accepts(&good);
}

/// A set in which only the ES256 key is usable, beside keys with one defect each.
#[test]
fn s019_s020_s045_keys_that_must_not_be_used_are_skipped_and_the_rest_work() {
    let good = key(Algorithm::Es256);
    let rsa = key(Algorithm::Rs256);
    let n = from_base64url(rsa.public_jwk()["n"].as_str().unwrap());
    let even: Vec<u8> = n[..255].iter().copied().chain([n[255] & 0xFE]).collect();
    let rsa_with = |kid: &str, change: Value| {
        let mut jwk = rsa.public_jwk();
        let jwk_object = jwk.as_object_mut().unwrap();
        jwk_object.insert("kid".to_owned(), kid.into());
        jwk_object.extend(change.as_object().unwrap().clone());
        jwk
    };
    let odd = [
        rsa_with("short", json!({ "n": base64url(&n[..128]) })),
        rsa_with("even", json!({ "n": base64url(&even) })),
        rsa_with("e1", json!({ "e": "AQ" })),
        rsa_with("enc", json!({ "use": "enc" })),
        rsa_with("ops", json!({ "key_ops": ["sign"], "use": null })),
        json!({ "kty": "AKP", "kid": "akp", "alg": "ML-DSA-65", "pub": "AA" }),
        json!({ "kty": "EC", "kid": "keyless", "crv": "P-256" }),
        json!({ "kid": "nothing" }),
        json!("not even an object"),
    ];
    let mut keys = odd.to_vec();
    keys.push(good.public_jwk());
    let issuer = TestIssuer::start(&[]);
    issuer.publish_set(&jwk_set(&keys));
    let mut gate = Gate::start(&issuer.yaml("wait: 5s\ncooldown: 1s"), &[]);
    gate.accepts(&token(&good, &claims()));
    for kid in ["short", "even", "e1", "enc", "ops"] {
        let token = rsa.sign_text(&header("RS256", kid), &claims().to_string()).unwrap();
        gate.refuses(&token, "unknown_key");
    }
    assert_eq!(gate.running.metric("keygate_issuer_keys{issuer=\"main\"}"), 1.0);
    assert_eq!(
        gate.running.metric("keygate_issuer_keys_skipped{issuer=\"main\"}"),
        odd.len() as f64
    );
}

#[test]
fn s021_base64url_is_strict_in_every_part() {
    let (mut gate, key) = es256_gate();
    let good = token(&key, &claims());
    let parts: Vec<&str> = good.split('.').collect();
    // The last of the 86 characters has 4 unused bits; with one of them set, the text decodes to the same 64 bytes.
    let last = parts[2].chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let stray = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let stray = format!("{}{stray}", &parts[2][..parts[2].len() - 1]);
    gate.refuses(&format!("{}.{}.{stray}", parts[0], parts[1]), "token_malformed");
    gate.refuses(&format!("{good}="), "token_malformed");
    gate.refuses(&format!("{good}=="), "token_malformed");
    for foreign in ["+", "/", "~"] {
        for place in 0..3 {
            let mut changed = parts.clone();
            let text = format!("{foreign}{}", &changed[place][1..]);
            changed[place] = &text;
            gate.refuses(&changed.join("."), "token_malformed");
        }
    }
    for broken in [".", "..", "a", "a.b", "a.b.c.d"] {
        gate.refuses(broken, "token_malformed");
    }
    // Not a `token68`, so the Authorization header itself is malformed.
    for (place, inside) in [
        ("head", "="),
        ("middle", " "),
        ("middle", "\t"),
        ("middle", "\""),
        ("middle", ","),
    ] {
        let token = match place {
            "head" => format!("{}{inside}.{}.{}", parts[0], parts[1], parts[2]),
            _ => format!("{}.{}{inside}.{}", parts[0], parts[1], parts[2]),
        };
        gate.check_response(&token, 400, "authorization_malformed");
    }
    gate.accepts(&good);
}

#[test]
fn s022_long_tokens_and_many_dots_are_refused_before_they_are_decoded() {
    let (mut gate, key) = es256_gate();
    gate.check_response(&".".repeat(10_000), 400, "credential_too_long");
    gate.check_response(&"a".repeat(8 * 1024 + 1), 400, "credential_too_long");
    gate.refuses(&".".repeat(8 * 1024), "token_malformed");
    gate.refuses(&"a".repeat(8 * 1024), "token_malformed");
    // The longest token within the limit is read.
    let pad = |length: usize| token(&key, &claims_with(json!({ "pad": "x".repeat(length) })));
    let mut length = (8 * 1024 - pad(0).len()) * 3 / 4;
    while pad(length).len() > 8 * 1024 {
        length -= 1;
    }
    gate.accepts(&pad(length));
    gate.check_response(&pad(length + 4), 400, "credential_too_long");
}

#[test]
fn s023_a_member_twice_is_refused_in_header_and_payload() {
    let (mut gate, key) = es256_gate();
    let claims = claims().to_string();
    for header in [
        r#"{"alg":"ES256","alg":"ES256","typ":"at+jwt"}"#,
        r#"{"alg":"none","alg":"ES256","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","typ":"at+jwt","typ":"JWT"}"#,
        r#"{"alg":"ES256","x":{"a":1,"a":2}}"#,
    ] {
        gate.refuses(&key.sign_text(header, &claims).unwrap(), "token_malformed");
    }
    let inside = &claims[1..claims.len() - 1];
    for twice in [
        r#""exp":9999999999"#,
        r#""scope":"admin""#,
        r#""sub":"root""#,
        r#""aud":"other""#,
        // The same name with an escape.
        r#""\u0073ub":"root""#,
    ] {
        for payload in [format!("{{{inside},{twice}}}"), format!("{{{twice},{inside}}}")] {
            let token = key.sign_text(&header("ES256", key.kid()), &payload).unwrap();
            gate.refuses(&token, "token_malformed");
        }
    }
}

#[test]
fn s024_encrypted_nested_and_json_forms_are_refused() {
    let (mut gate, key) = es256_gate();
    let good = token(&key, &claims());
    gate.refuses("e30.e30.e30.e30.e30", "token_encrypted");
    gate.refuses(&format!("{good}.e30.e30"), "token_encrypted");
    for cty in ["JWT", "jwt"] {
        let header = json!({ "alg": "ES256", "cty": cty, "typ": "at+jwt" }).to_string();
        gate.refuses(&key.sign_text(&header, &good).unwrap(), "token_malformed");
        gate.refuses(
            &key.sign_text(&header, &claims().to_string()).unwrap(),
            "token_malformed",
        );
    }
    // A token as the payload of a token, without a `cty` that announces one.
    gate.refuses(
        &key.sign_text(&header("ES256", key.kid()), &good).unwrap(),
        "token_malformed",
    );
    let json_form = json!({ "payload": "e30", "signatures": [] }).to_string();
    gate.check_response(&json_form, 400, "authorization_malformed");
    gate.refuses(&base64url(json_form.as_bytes()), "token_malformed");
}

#[test]
fn s025_deep_and_large_json_is_refused_and_the_gate_stands() {
    let issuer_key = key(Algorithm::Es256);
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .top("failed_authentication: off\nrequests: { head_bytes: 1023KiB, credential_bytes: 1000KiB }")
        .issuer("main", &format!("{}\npublic_key_files: [key.pem]", identity_yaml()))
        .upstream("api", upstream.address())
        .route("api", ROUTE)
        .yaml();
    let running = LocalGate::start_with(&yaml, &[("key.pem", &issuer_key.public_pem())]);
    let header = header("ES256", issuer_key.kid());
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [200, 2_000, 10_000, 100_000] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let payload = format!("{{\"iss\":\"{ISSUER}\",\"x\":{deep}}}");
            let response = RawClient::connect(running.data())
                .exchange(request("/orders", &issuer_key.sign_text(&header, &payload).unwrap()));
            assert_eq!(response.status, 401, "{depth}: {}", response.text());
        }
    }
    let padded = |bytes: usize| token(&issuer_key, &claims_with(json!({ "pad": "x".repeat(bytes) })));
    let mut client = RawClient::connect(running.data());
    assert_eq!(client.exchange(request("/orders", &padded(700 * 1024))).status, 401);
    assert_eq!(client.exchange(request("/orders", &padded(48 * 1024))).status, 401);
    // Operators raise `credential_bytes` for large tokens.
    assert_eq!(client.exchange(request("/orders", &padded(40 * 1024))).status, 200);
    assert_eq!(running.metric("keygate_panics_total"), 0.0);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn s027_times_that_are_no_numbers_are_refused() {
    let (mut gate, key) = es256_gate();
    for name in ["exp", "nbf", "iat"] {
        for value in [
            "\"1999999999\"",
            "-1",
            "1e400",
            "99999999999999999999",
            "true",
            "[1]",
            "{}",
        ] {
            let rest = claims_with(json!({ name: null })).to_string();
            let payload = format!("{},\"{name}\":{value}}}", &rest[..rest.len() - 1]);
            let token = key.sign_text(&header("ES256", key.kid()), &payload).unwrap();
            let reason = if value == "1e400" {
                "token_malformed"
            } else {
                "token_claim_invalid"
            };
            gate.refuses(&token, reason);
        }
    }
}

#[test]
fn s028_s029_tokens_out_of_their_time_are_refused() {
    // The clock stands still at a whole second, so each bound is exact to the second. The skew is 30 s.
    let now = now();
    let clock = ManualClock::at(Timestamp::from_unix_secs(now));
    let (mut gate, key) = es256_gate_at(Arc::new(clock), "");
    let mut refuses = |change: Value, reason| gate.refuses(&token(&key, &claims_with(change)), reason);
    refuses(json!({ "nbf": now + 31 }), "token_not_yet_valid");
    refuses(json!({ "nbf": now + 100_000 }), "token_not_yet_valid");
    refuses(json!({ "iat": now + 31, "exp": now + 100 }), "token_issued_in_future");
    refuses(json!({ "exp": null }), "token_claim_missing");
    refuses(json!({ "iat": now, "exp": now + 86_401 }), "token_lifetime");
    refuses(json!({ "exp": now + 86_431, "iat": null }), "token_lifetime");
    refuses(json!({ "exp": now - 31 }), "token_expired");
    refuses(json!({ "exp": 0, "iat": 0 }), "token_expired");
    let mut accepts = |change: Value| gate.accepts(&token(&key, &claims_with(change)));
    accepts(json!({ "nbf": now + 30 }));
    accepts(json!({ "iat": now + 30 }));
    accepts(json!({ "exp": now - 29 }));
    accepts(json!({ "iat": now, "exp": now + 86_400 }));
    accepts(json!({ "iat": null, "nbf": null }));
}

#[test]
fn s030_an_audience_counts_only_as_a_whole_member() {
    let (mut gate, key) = es256_gate();
    let mut refuses = |audience: Value, reason| {
        let mut claims = claims();
        claims["aud"] = audience;
        gate.refuses(&token(&key, &claims), reason);
    };
    refuses(json!([]), "token_claim_missing");
    refuses(json!(1), "token_claim_invalid");
    refuses(json!(null), "token_claim_missing");
    refuses(json!(""), "token_claim_missing");
    refuses(json!([AUDIENCE, 1]), "token_claim_invalid");
    refuses(json!({ AUDIENCE: true }), "token_claim_invalid");
    refuses(json!([[AUDIENCE]]), "token_claim_invalid");
    refuses(json!(&AUDIENCE[..AUDIENCE.len() - 1]), "wrong_audience");
    refuses(json!(format!("{AUDIENCE}/")), "wrong_audience");
    refuses(json!(format!("{AUDIENCE} other")), "wrong_audience");
    refuses(json!(AUDIENCE.to_uppercase()), "wrong_audience");
    refuses(json!(["other", "another"]), "wrong_audience");
    gate.refuses(
        &token(&key, &claims_with(json!({ "aud": null }))),
        "token_claim_missing",
    );
    gate.accepts(&token(&key, &claims_with(json!({ "aud": ["other", AUDIENCE] }))));
}

#[test]
fn s031_an_issuer_counts_only_as_the_exact_text() {
    let (mut gate, key) = es256_gate();
    for issuer in [
        format!("{ISSUER}/"),
        ISSUER.to_uppercase(),
        format!(" {ISSUER}"),
        ISSUER.replace("https", "http"),
        String::new(),
    ] {
        gate.refuses(&token(&key, &claims_with(json!({ "iss": issuer }))), "unknown_issuer");
    }
    let mut claims = claims();
    for issuer in [json!([ISSUER]), json!(1)] {
        claims["iss"] = issuer;
        gate.refuses(&token(&key, &claims), "token_claim_invalid");
    }
    claims["iss"] = json!(null);
    gate.refuses(&token(&key, &claims), "token_claim_missing");
    gate.refuses(
        &token(&key, &claims_with(json!({ "iss": null }))),
        "token_claim_missing",
    );
}

#[test]
fn s032_tokens_made_for_something_else_are_refused() {
    let (mut gate, key) = es256_gate();
    for mark in ["nonce", "at_hash", "c_hash"] {
        let id_token = key.sign("JWT", &claims_with(json!({ mark: "x" }))).unwrap();
        gate.refuses(&id_token, "not_an_access_token");
    }
    // A client assertion (RFC 7523): issued by the client, for the token endpoint.
    let assertion = claims_with(json!({ "iss": "app-1", "sub": "app-1", "aud": format!("{ISSUER}/oauth/token") }));
    gate.refuses(&key.sign("JWT", &assertion).unwrap(), "unknown_issuer");
    for typ in [
        "client-authentication+jwt",
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "",
        "at+jwt2",
    ] {
        gate.refuses(&key.sign(typ, &claims()).unwrap(), "token_type");
    }
    for typ in ["at+jwt", "application/at+jwt", "AT+JWT", "JWT", "jwt"] {
        gate.accepts(&key.sign(typ, &claims()).unwrap());
    }
    let (mut strict, key) = es256_gate_with("types: [at+jwt]");
    strict.refuses(&key.sign("JWT", &claims()).unwrap(), "token_type");
    strict.refuses(
        &key.sign_text(r#"{"alg":"ES256"}"#, &claims().to_string()).unwrap(),
        "token_type",
    );
    strict.accepts(&key.sign("at+jwt", &claims()).unwrap());
}

#[test]
fn s033_a_routes_audiences_replace_the_issuers_on_every_request() {
    let key = key(Algorithm::Es256);
    let issuer = format!("{}\npublic_key_files: [key.pem]", identity_yaml());
    let mut gate = Gate::start_with(
        |gateway| {
            gateway
                .issuer("main", &issuer)
                .route("api", "match: { path: \"/api/{*rest}\" }\naccept: [jwt]\nupstream: api")
                .route(
                    "pay",
                    "match: { path: \"/pay/{*rest}\" }\naccept: [jwt]\naudiences: [\"https://pay.example.test\"]\nupstream: api",
                )
        },
        &[("key.pem", &key.public_pem())],
    );
    let for_api = token(&key, &claims());
    let for_pay = token(&key, &claims_with(json!({ "aud": "https://pay.example.test" })));
    let for_both = token(
        &key,
        &claims_with(json!({ "aud": ["https://pay.example.test", AUDIENCE] })),
    );
    // Twice: the second time the token comes from the cache.
    for _ in 0..2 {
        gate.accepts_at("/api/1", &for_api);
        gate.refuses_at("/pay/1", &for_api, "wrong_audience");
        gate.accepts_at("/pay/1", &for_pay);
        gate.refuses_at("/api/1", &for_pay, "wrong_audience");
        gate.accepts_at("/api/1", &for_both);
        gate.accepts_at("/pay/1", &for_both);
    }
}

#[test]
fn s034_scopes_of_a_wrong_shape_refuse_the_token() {
    let (mut gate, key) = es256_gate();
    let mut refuses = |change: Value| gate.refuses(&token(&key, &claims_with(change)), "token_claim_invalid");
    refuses(json!({ "scope": 1 }));
    refuses(json!({ "scope": ["a", 1] }));
    refuses(json!({ "scope": { "a": true } }));
    refuses(json!({ "scope": null, "scp": ["a", null] }));
    refuses(json!({ "scope": null, "permissions": [[]] }));
    for (change, scopes) in [
        (json!({ "scope": "b a" }), "a b"),
        (json!({ "scope": " b  a\tc" }), "b"),
        (json!({ "scope": null, "roles": ["Domain Users", "a"] }), "a"),
        (json!({ "scope": ["b", "a"] }), "a b"),
        (json!({ "scope": null, "scp": "a" }), "a"),
        (json!({ "scope": null, "roles": ["a"] }), "a"),
    ] {
        gate.accepts(&token(&key, &claims_with(change)));
        let received = gate.upstream.received();
        assert_eq!(received.last().unwrap().headers_named("x-keygate-scope"), [scopes]);
    }
}

#[test]
fn s035_a_scope_is_compared_whole() {
    let key = key(Algorithm::Es256);
    let issuer = format!("{}\npublic_key_files: [key.pem]", identity_yaml());
    let mut gate = Gate::start_with(
        |gateway| {
            gateway.issuer("main", &issuer).route(
                "api",
                "match: { path: \"/{*rest}\" }\naccept: [jwt]\nscopes: { all: [read, \"orders:all\"] }\nupstream: api",
            )
        },
        &[("key.pem", &key.public_pem())],
    );
    for scope in [
        "",
        "read:all orders:all",
        "Read orders:all",
        "xread orders:all",
        "rea orders:all",
        "read orders",
        "read orders:all2",
        "read",
    ] {
        let change = if scope.is_empty() { json!(null) } else { json!(scope) };
        let response = gate.check_response(
            &token(&key, &claims_with(json!({ "scope": change }))),
            403,
            "insufficient_scope",
        );
        let challenge = response.header("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
        assert!(challenge.contains("scope=\"orders:all read\""), "{challenge}");
        assert_eq!(response.json()["scope"], "orders:all read");
    }
    gate.accepts(&token(&key, &claims_with(json!({ "scope": "x orders:all read y" }))));
}

#[test]
fn s036_an_empty_requirement_list_is_an_error_and_no_open_door() {
    let key = key(Algorithm::Es256).public_pem();
    for more in [
        "scopes: { all: [] }",
        "scopes: { any: [] }",
        "scopes: {}",
        "issuers: []",
        "audiences: []",
        "limits: []",
        "accept: []",
    ] {
        let accept = if more.starts_with("accept") {
            ""
        } else {
            "accept: [jwt]\n"
        };
        let yaml = GatewayBuilder::new()
            .issuer("main", &format!("{}\npublic_key_files: [key.pem]", identity_yaml()))
            .upstream("api", "127.0.0.1:9".parse().unwrap())
            .route("api", &format!("match: {{ path: /a }}\n{accept}{more}\nupstream: api"))
            .yaml();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key.pem"), &key).unwrap();
        let result = keygate::config::parse(&yaml, &folder.path().join("keygate.yaml"), &|_| None);
        let errors = result.err().unwrap_or_else(|| panic!("{more} was taken")).to_string();
        let list = more.split(':').next().unwrap();
        assert!(errors.contains(list), "{more}: {errors}");
    }
}
