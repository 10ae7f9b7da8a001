//! Which requests pass while the keys of an issuer rotate, disappear, come late or break?

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::StartGate;
use crate::support::TestIssuer;
use crate::support::get;
use crate::support::issuer::AUDIENCE;
use crate::support::issuer::base64url;
use crate::support::issuer::claims;
use crate::support::issuer::claims_with;
use crate::support::issuer::identity_yaml;
use crate::support::issuer::jwk_set;
use crate::support::issuer::token;
use crate::support::issuer::unsigned;
use crate::support::still_clock;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

const ROUTE: &str = "match: { path: \"/{*rest}\" }\naccept: [jwt]\nupstream: api";

fn new_key() -> SigningKey {
    SigningKey::generate_es256().unwrap()
}

/// Starts a gate with the issuer section `issuer`, without waiting for readiness.
fn gate(issuer: &str, files: &[(&str, &str)]) -> (LocalGate, FakeUpstream) {
    gate_with(|gateway| gateway.issuer("main", issuer).route("api", ROUTE), files)
}

fn gate_with(
    build: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
    files: &[(&str, &str)],
) -> (LocalGate, FakeUpstream) {
    start_with(build, files)
}

/// Starts the same gate as a program, for tests that read its log.
fn program(issuer: &str, files: &[(&str, &str)]) -> (Binary, FakeUpstream) {
    start_with(|gateway| gateway.issuer("main", issuer).route("api", ROUTE), files)
}

fn start_with<G: StartGate>(
    build: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
    files: &[(&str, &str)],
) -> (G, FakeUpstream) {
    let upstream = FakeUpstream::start();
    let gateway = builder(&upstream);
    (G::start_with(&build(gateway).yaml(), files), upstream)
}

fn builder(upstream: &FakeUpstream) -> GatewayBuilder {
    GatewayBuilder::new()
        .top("failed_authentication: off\nlog: { level: debug }")
        .upstream("api", upstream.address())
}

fn request(token: &str) -> String {
    format!("GET /orders HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
}

fn ask(address: SocketAddr, token: &str) -> Response {
    RawClient::connect(address).exchange(request(token))
}

/// Sends `token` until the status is `status`. Panics on a status that is neither `status` nor in `meanwhile`.
#[track_caller]
fn ask_until(address: SocketAddr, token: &str, status: u16, meanwhile: &[u16]) -> Response {
    RawClient::connect(address).exchange_until(&request(token), status, meanwhile)
}

/// Waits until the key set is older than the cooldown of 1 s, so that an unknown key causes a fetch.
#[track_caller]
fn wait_for_cooldown(gate: &RunningGate) {
    wait_until("a cooldown passed", || {
        gate.metric("keygate_issuer_keys_age_seconds{issuer=\"main\"}") > 1.05
    });
}

fn fetches(gate: &RunningGate, result: &str) -> f64 {
    gate.metric(&format!(
        "keygate_issuer_key_fetches_total{{issuer=\"main\",result=\"{result}\"}}"
    ))
}

#[track_caller]
fn last_reason(gate: &RunningGate, response: &Response) -> Value {
    gate.record(response)["reason"].clone()
}

/// FOUND F10.
#[test]
fn a_start_waits_for_the_keys_behind_a_url_but_not_for_ever() {
    let key = new_key();
    let issuer = TestIssuer::start(&[&key]);
    let (holds, held) = mpsc::channel();
    let (asked, was_asked) = mpsc::channel();
    std::thread::scope(|scope| {
        let issuer = &issuer;
        scope.spawn(move || {
            let guard = issuer.hang();
            holds.send(()).unwrap();
            issuer.wait_fetches(1);
            // A gate that does not wait is asked meanwhile.
            let _ = was_asked.recv_timeout(Duration::from_millis(200));
            drop(guard);
        });
        held.recv().unwrap();
        let (ready, _upstream) = gate(&issuer.yaml(""), &[]);
        let status = ask(ready.data(), &token(&key, &claims())).status;
        let _ = asked.send(());
        assert_eq!(status, 200);
    });
    let held = issuer.hang();
    let (late, _upstream) = gate(&issuer.yaml("start_wait: 100ms"), &[]);
    assert_eq!(ask(late.data(), &token(&key, &claims())).status, 503);
    drop(held);
    wait_until("the keys are there", || {
        ask(late.data(), &token(&key, &claims())).status == 200
    });
}

#[test]
fn s039_a_rotated_key_is_fetched_once_for_all_who_wait_and_accepted() {
    let (old, new) = (new_key(), new_key());
    let issuer = TestIssuer::start(&[&old]);
    let (gate, upstream) = gate(&issuer.yaml("cooldown: 1s\nwait: 10s\ntimeout: 15s"), &[]);
    gate.wait_ready();
    assert_eq!(ask(gate.data(), &token(&old, &claims())).status, 200);
    issuer.publish(&[&old, &new]);
    wait_for_cooldown(&gate);
    let hanging = issuer.hang();
    let mut clients: Vec<RawClient> = (0..20)
        .map(|index| {
            let mut client = RawClient::connect(gate.data());
            client.send(request(&token(&new, &claims_with(json!({ "jti": index.to_string() })))));
            client
        })
        .collect();
    wait_until("all of them wait", || gate.metric("keygate_requests_in_flight") == 20.0);
    drop(hanging);
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    assert_eq!(issuer.fetches(), 2, "at start, and once for all");
    assert_eq!(upstream.received().len(), 21);
    assert_eq!(ask(gate.data(), &token(&old, &claims())).status, 200, "both keys count");
}

#[test]
fn s039_an_issuer_may_rotate_under_one_name_to_another_algorithm_and_to_another_key() {
    let rsa = crate::support::issuer::key(keygate::model::algorithm::Algorithm::Rs256);
    let (first, second, stranger) = (new_key(), new_key(), new_key());
    let set = |keys: &[&SigningKey]| {
        let named = |key: &&SigningKey| {
            let mut jwk = key.public_jwk();
            jwk["kid"] = json!("default");
            jwk
        };
        jwk_set(&keys.iter().map(named).collect::<Vec<_>>())
    };
    let token = |key: &SigningKey| {
        let header = json!({ "alg": key.algorithm().as_str(), "typ": "at+jwt", "kid": "default" });
        key.sign_text(&header.to_string(), &claims().to_string()).unwrap()
    };
    let issuer = TestIssuer::start(&[]);
    issuer.publish_set(&set(&[&rsa]));
    let (gate, _upstream) = gate(&issuer.yaml("cooldown: 1s\nwait: 10s\ntimeout: 15s"), &[]);
    gate.wait_ready();
    assert_eq!(ask(gate.data(), &token(&rsa)).status, 200);
    issuer.publish_set(&set(&[&rsa, &first, &second]));
    wait_for_cooldown(&gate);
    assert_eq!(ask(gate.data(), &token(&first)).status, 200, "fetched for it");
    for key in [&rsa, &first, &second] {
        assert_eq!(ask(gate.data(), &token(key)).status, 200);
    }
    let response = ask(gate.data(), &token(&stranger));
    assert_eq!(
        (response.status, last_reason(&gate, &response)),
        (401, json!("bad_signature"))
    );
    assert_eq!(issuer.fetches(), 2);
}

#[test]
fn s040_invented_key_ids_cause_one_fetch_per_cooldown_and_delay_no_valid_token() {
    let key = new_key();
    let issuer = TestIssuer::start(&[&key]);
    let clock = still_clock();
    let upstream = FakeUpstream::start();
    let yaml = builder(&upstream)
        .issuer("main", &issuer.yaml("cooldown: 1s\nwait: 1ms\ntimeout: 60s"))
        .route("api", ROUTE)
        .yaml();
    let gate = LocalGate::start_at(&clock, &yaml, &[]);
    gate.wait_ready();
    let valid = token(&key, &claims());
    assert_eq!(ask(gate.data(), &valid).status, 200);
    let series = get(gate.admin(), "/metrics").text().lines().count();
    let numbers = AtomicUsize::new(0);
    // Sends tokens with `count` key ids that never occurred before, and after each of them the valid token.
    let flood = |count: usize, expected: &[u16]| {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = RawClient::connect(gate.data());
                    for _ in 0..count / 8 {
                        let number = numbers.fetch_add(1, Ordering::Relaxed);
                        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("invented-{number}") });
                        let invented = unsigned(&header.to_string(), &claims().to_string(), &[1; 64]);
                        let status = client.exchange(request(&invented)).status;
                        assert!(expected.contains(&status), "{status}");
                        assert_eq!(client.exchange(request(&valid)).status, 200);
                    }
                });
            }
        });
    };
    // Within the cooldown after the fetch at start.
    flood(4_000, &[401]);
    assert_eq!(issuer.fetches(), 1);
    // Valid tokens get their responses while the fetch hangs: a request that waited for the fetch would time out.
    clock.advance(Duration::from_secs(1));
    let held = issuer.hang();
    flood(800, &[503]);
    issuer.wait_fetches(2);
    assert_eq!(
        issuer.fetches(),
        2,
        "one fetch for all, and the issuer has not responded to it"
    );
    drop(held);
    wait_until("the fetch has ended", || fetches(&gate, "success") == 2.0);
    flood(4_000, &[401]);
    assert_eq!(issuer.fetches(), 2, "the cooldown began with the last fetch");
    clock.advance(Duration::from_secs(1));
    flood(800, &[401, 503]);
    wait_until("the fetch has ended", || fetches(&gate, "success") == 3.0);
    assert_eq!(issuer.fetches(), 3);
    assert_eq!(gate.metric("keygate_token_cache_entries"), 1.0);
    // No key id is a label: only series of the outcomes themselves were added.
    let metrics = get(gate.admin(), "/metrics").text();
    assert!(!metrics.contains("invented-"), "{metrics}");
    assert!(metrics.lines().count() <= series + 40, "{metrics}");
}

#[test]
fn s040_an_issuer_that_fails_is_not_asked_more_often() {
    let (key, other) = (new_key(), new_key());
    let issuer = TestIssuer::start(&[&key]);
    let (gate, _upstream) = gate(&issuer.yaml("cooldown: 1s"), &[]);
    gate.wait_ready();
    wait_for_cooldown(&gate);
    issuer.respond_with("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    let began = Instant::now();
    let mut client = RawClient::connect(gate.data());
    let mut count = 0;
    while began.elapsed() < Duration::from_millis(2_500) {
        count += 1;
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("{count}") }).to_string();
        let invented = other.sign_text(&header, &claims().to_string()).unwrap();
        assert_eq!(client.exchange(request(&invented)).status, 503);
    }
    // At startup, then one a second.
    let fetches_max = usize::try_from(began.elapsed().as_secs()).unwrap() + 3;
    assert!(
        (2..=fetches_max).contains(&issuer.fetches()),
        "{} fetches for {count} requests",
        issuer.fetches()
    );
    assert!(count > 10, "{count}");
}

#[test]
fn s041_s147_a_hanging_issuer_delays_only_tokens_with_an_unknown_key_and_those_for_wait_at_most() {
    let (key, other) = (new_key(), new_key());
    let issuer = TestIssuer::start(&[&key]);
    let (gate, upstream) = gate(&issuer.yaml("cooldown: 1s\nwait: 300ms\ntimeout: 60s"), &[]);
    gate.wait_ready();
    let remembered = token(&key, &claims());
    assert_eq!(ask(gate.data(), &remembered).status, 200);
    wait_for_cooldown(&gate);
    let _hanging = issuer.hang();
    for round in 0..3 {
        let mut waiting = RawClient::connect(gate.data());
        let started = Instant::now();
        waiting.send(request(&token(&other, &claims())));
        issuer.wait_fetches(2);
        assert_eq!(ask(gate.data(), &remembered).status, 200);
        let fresh = token(&key, &claims_with(json!({ "jti": round.to_string() })));
        assert_eq!(ask(gate.data(), &fresh).status, 200);
        let response = waiting.receive();
        assert_eq!(response.status, 503, "{}", response.text());
        assert_eq!(response.header("retry-after"), Some("5"));
        assert!(
            started.elapsed() >= Duration::from_millis(300),
            "{:?}",
            started.elapsed()
        );
        assert_eq!(last_reason(&gate, &response), "keys_unavailable");
    }
    assert_eq!(issuer.fetches(), 2, "one fetch hangs, no further one was started");
    assert_eq!(upstream.received().len(), 7);
}

#[test]
fn s042_s048_s049_a_broken_answer_changes_nothing_and_is_counted() {
    let (key, other) = (new_key(), new_key());
    let mut private = other.public_jwk();
    private["d"] = json!(base64url(&[1; 32]));
    let ok = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let set = jwk_set(&[other.public_jwk()]);
    let broken = [
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ok("<html>login</html>"),
        ok(&set[..set.len() - 2]),
        ok(r#"{"keys":[]}"#),
        ok(r#"{"keys":{}}"#),
        ok(""),
        // The public half of a leaked key is no key either.
        ok(&jwk_set(&[other.public_jwk(), private])),
        ok(&format!("{}{set}", " ".repeat(1024 * 1024))),
        ok(&set).replacen("\r\n", "\r\nContent-Encoding: gzip\r\n", 1),
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned(),
        // The body stops short, so the fetch reaches its time limit.
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{{", set.len()),
        "garbage\r\n\r\n".to_owned(),
    ];
    let issuer = TestIssuer::start(&[&key]);
    let (gate, _upstream) = program(&issuer.yaml("cooldown: 50ms\nwait: 5s\ntimeout: 300ms"), &[]);
    gate.wait_ready();
    let (good, unknown) = (token(&key, &claims()), token(&other, &claims()));
    for (index, response) in broken.iter().enumerate() {
        issuer.respond_with(response);
        let bad = || {
            ["failure", "rejected", "private_parts"]
                .map(|result| fetches(&gate, result))
                .iter()
                .sum::<f64>()
        };
        let before = bad();
        let mut client = RawClient::connect(gate.data());
        wait_until("the fetch has failed", || {
            // Some of the invalid responses contain this token's key, which must never verify.
            let status = client.exchange(request(&unknown)).status;
            assert!(matches!(status, 401 | 503), "{status} for {response}");
            bad() > before
        });
        assert_eq!(ask(gate.data(), &good).status, 200, "{response}");
        assert_eq!(
            ask(
                gate.data(),
                &token(&key, &claims_with(json!({ "jti": index.to_string() })))
            )
            .status,
            200
        );
    }
    assert_eq!(fetches(&gate, "success"), 1.0);
    assert!(fetches(&gate, "private_parts") >= 1.0);
    gate.wait_for_output("Issuer publishes private keys");
    gate.wait_ready();
    issuer.publish(&[&other]);
    ask_until(gate.data(), &unknown, 200, &[401, 503]);
    ask_until(gate.data(), &good, 401, &[503]);
}

#[test]
fn s043_a_fetch_that_failed_is_never_taken_for_a_missing_key() {
    let (key, other) = (new_key(), new_key());
    let issuer = TestIssuer::start(&[&key]);
    let (gate, _upstream) = gate(&issuer.yaml("cooldown: 1s\nwait: 5s"), &[]);
    gate.wait_ready();
    wait_for_cooldown(&gate);
    issuer.respond_with("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    let unknown = token(&other, &claims());
    let response = ask(gate.data(), &unknown);
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(last_reason(&gate, &response), "keys_unavailable");
    assert_eq!(ask(gate.data(), &unknown).status, 503, "within the cooldown too");
    issuer.publish(&[&key, &other]);
    // Until the key is fetched, the token gets 503 and never 401.
    ask_until(gate.data(), &unknown, 200, &[503]);
}

#[test]
fn s044_issuers_that_share_a_key_id_verify_only_their_own_tokens() {
    let (one, two) = (new_key(), new_key());
    let set = |key: &SigningKey| {
        let mut jwk = key.public_jwk();
        jwk["kid"] = json!("k1");
        jwk_set(&[jwk])
    };
    let issuer =
        |name: &str| format!("issuer: https://{name}.example.test\naudiences: [{AUDIENCE}]\njwks_file: {name}.json");
    let (gate, upstream) = gate_with(
        |gateway| {
            gateway
                .issuer("one", &issuer("one"))
                .issuer("two", &issuer("two"))
                .route("both", "match: { path: \"/orders\" }\naccept: [jwt]\nupstream: api")
                .route(
                    "only-two",
                    "match: { path: \"/two\" }\naccept: [jwt]\nissuers: [two]\nupstream: api",
                )
        },
        &[("one.json", &set(&one)), ("two.json", &set(&two))],
    );
    gate.wait_ready();
    let token_by = |key: &SigningKey, issuer: &str| {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" }).to_string();
        let claims = claims_with(json!({ "iss": format!("https://{issuer}.example.test") }));
        key.sign_text(&header, &claims.to_string()).unwrap()
    };
    // Twice: the second time the valid tokens come from the cache.
    for _ in 0..2 {
        assert_eq!(ask(gate.data(), &token_by(&one, "one")).status, 200);
        assert_eq!(ask(gate.data(), &token_by(&two, "two")).status, 200);
        for forged in [token_by(&one, "two"), token_by(&two, "one")] {
            let response = ask(gate.data(), &forged);
            assert_eq!(last_reason(&gate, &response), "bad_signature");
        }
        let to_two = request(&token_by(&one, "one")).replace("/orders", "/two");
        let response = RawClient::connect(gate.data()).exchange(to_two);
        assert_eq!(last_reason(&gate, &response), "unknown_issuer");
    }
    assert_eq!(upstream.received().len(), 4);
}

#[test]
fn s046_an_address_inside_is_never_dialled_unless_the_issuer_allows_it() {
    let key = new_key();
    let trap = FakeUpstream::start();
    let port = trap.address().port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let issuer = format!(
            "{}\njwks_url: http://{host}:{port}/jwks\nallow_http: true",
            identity_yaml()
        );
        let (gate, _upstream) = program(&issuer, &[]);
        wait_until("tried", || fetches(&gate, "failure") > 0.0);
        let response = ask(gate.data(), &token(&key, &claims()));
        assert_eq!(response.status, 503, "{}", response.text());
        gate.wait_for_output("not a public address");
    }
    assert_eq!(trap.connections(), 0);
}

#[test]
fn s047_plain_http_is_refused_when_the_configuration_is_read() {
    let yaml = GatewayBuilder::new()
        .issuer(
            "main",
            &format!("{}\njwks_url: http://issuer.example.test/jwks", identity_yaml()),
        )
        .upstream("api", "127.0.0.1:9".parse().unwrap())
        .route("api", ROUTE)
        .yaml();
    let refused = keygate::config::parse(&yaml, "keygate.yaml".as_ref(), &|_| None);
    let errors = refused.expect_err("http is refused").to_string();
    assert!(errors.contains("allow_http"), "{errors}");
}

#[test]
fn s050_tokens_of_an_issuer_that_is_down_at_start_get_503_until_it_is_up() {
    let key = new_key();
    let issuer = TestIssuer::start(&[]);
    issuer.respond_with("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let (gate, upstream) = gate(&issuer.yaml(""), &[]);
    issuer.wait_fetches(1);
    let good = token(&key, &claims());
    let response = ask(gate.data(), &good);
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(response.header("retry-after"), Some("5"));
    assert_eq!(response.header("www-authenticate"), None);
    assert_eq!(last_reason(&gate, &response), "keys_unavailable");
    // A token without a signature gets 503 too: without keys the gate validates no token.
    assert_eq!(
        ask(gate.data(), &unsigned(r#"{"alg":"ES256"}"#, &claims().to_string(), b"")).status,
        503
    );
    // The gate refuses malformed text without keys.
    assert_eq!(ask(gate.data(), "a.b.c").status, 401);
    let ready = get(gate.admin(), "/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("issuer:main"), "{}", ready.text());
    assert_eq!(get(gate.admin(), "/livez").status, 200);
    assert_eq!(upstream.received().len(), 0);
    issuer.publish(&[&key]);
    ask_until(gate.data(), &good, 200, &[503]);
    gate.wait_ready();
}

#[test]
fn s051_a_key_that_is_withdrawn_from_a_url_stops_counting_at_the_next_fetch() {
    let (old, new) = (new_key(), new_key());
    let issuer = TestIssuer::start(&[&old]);
    let (gate, _upstream) = gate(
        &issuer.yaml("min_refresh: 1s\nmax_refresh: 1s\ncooldown: 1s\nwait: 5s"),
        &[],
    );
    gate.wait_ready();
    let remembered = token(&old, &claims());
    assert_eq!(ask(gate.data(), &remembered).status, 200);
    issuer.publish(&[&new]);
    let response = ask_until(gate.data(), &remembered, 401, &[200]);
    assert_eq!(last_reason(&gate, &response), "unknown_key");
    assert_eq!(ask(gate.data(), &token(&new, &claims())).status, 200);
    assert_eq!(ask(gate.data(), &remembered).status, 401);
}

#[test]
fn s051_a_keys_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let (old, new) = (new_key(), new_key());
    let set = |keys: &[&SigningKey]| jwk_set(&keys.iter().map(|key| key.public_jwk()).collect::<Vec<_>>());
    let issuer = format!("{}\njwks_file: jwks.json", identity_yaml());
    let (gate, _upstream) = program(&issuer, &[("jwks.json", &set(&[&old]))]);
    gate.wait_ready();
    let replace = |text: &str| gate.replace_file("jwks.json", text);
    let (by_old, by_new) = (token(&old, &claims()), token(&new, &claims()));
    assert_eq!(ask(gate.data(), &by_old).status, 200);
    assert_eq!(ask(gate.data(), &by_new).status, 401);
    replace(&set(&[&old, &new]));
    ask_until(gate.data(), &by_new, 200, &[401]);
    assert_eq!(ask(gate.data(), &by_old).status, 200);
    replace("{\"keys\": [");
    gate.wait_for_output("Issuer keys cannot be fetched");
    assert_eq!(ask(gate.data(), &by_new).status, 200);
    replace(&set(&[&new]));
    ask_until(gate.data(), &by_old, 401, &[200]);
    assert_eq!(ask(gate.data(), &by_new).status, 200);
}

#[test]
fn s052_a_hostile_key_id_is_compared_as_bytes_and_never_reaches_a_log_as_it_is() {
    let key = new_key();
    let odd = "../../etc/passwd\u{1b}[31m\"'\0\r\n{\"level\":\"ERROR\"}";
    let mut jwk = key.public_jwk();
    jwk["kid"] = json!(odd);
    let issuer = TestIssuer::start(&[]);
    issuer.publish_set(&jwk_set(&[
        jwk,
        json!({ "kty": "oct2", "kid": format!("{odd}skipped") }),
    ]));
    let (gate, _upstream) = program(&issuer.yaml("cooldown: 50ms\nwait: 5s"), &[]);
    gate.wait_ready();
    let with_kid = |kid: &str| {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid }).to_string();
        key.sign_text(&header, &claims().to_string()).unwrap()
    };
    assert_eq!(ask(gate.data(), &with_kid(odd)).status, 200);
    let long = "k".repeat(4096);
    for other in [
        &odd[..odd.len() - 1],
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "\0",
        "' OR 1=1 --",
        "\u{202e}kid",
        &long,
    ] {
        let response = ask_until(gate.data(), &with_kid(other), 401, &[]);
        assert_eq!(last_reason(&gate, &response), "unknown_key", "{other:?}");
    }
    let output = gate.output();
    for forbidden in ["\u{1b}", "\0", "\u{202e}", "/etc/passwd", "OR 1=1", "kkkkkkkk"] {
        assert!(!output.contains(forbidden), "{forbidden:?} in {output}");
    }
    assert!(
        output.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "{output}"
    );
}

#[test]
fn s053_without_a_key_id_exactly_one_key_must_fit() {
    let (one, two) = (new_key(), new_key());
    let rsa = crate::support::issuer::key(keygate::model::algorithm::Algorithm::Rs256);
    let nameless = |key: &SigningKey| {
        let header = json!({ "alg": key.algorithm().as_str(), "typ": "at+jwt" }).to_string();
        key.sign_text(&header, &claims().to_string()).unwrap()
    };
    let issuer = TestIssuer::start(&[&one, &rsa]);
    let (gate, _upstream) = gate(&issuer.yaml("min_refresh: 1s\nmax_refresh: 1s"), &[]);
    gate.wait_ready();
    assert_eq!(ask(gate.data(), &nameless(&one)).status, 200);
    assert_eq!(ask(gate.data(), &nameless(&rsa)).status, 200);
    let response = ask(gate.data(), &nameless(&two));
    assert_eq!(
        (response.status, last_reason(&gate, &response)),
        (401, json!("bad_signature"))
    );
    issuer.publish(&[&one, &two]);
    let response = ask_until(gate.data(), &nameless(&one), 401, &[200]);
    assert_eq!(last_reason(&gate, &response), "ambiguous_key");
    let response = ask(gate.data(), &nameless(&two));
    assert_eq!(
        (response.status, last_reason(&gate, &response)),
        (401, json!("ambiguous_key"))
    );
    assert_eq!(ask(gate.data(), &token(&two, &claims())).status, 200, "by name");
}

#[test]
fn s049_a_private_key_in_a_file_is_an_alarm_at_the_start() {
    let (key, leaked) = (new_key(), new_key());
    let mut private = leaked.public_jwk();
    private["d"] = json!(base64url(&[1; 32]));
    let issuer = format!("{}\njwks_file: keys.json", crate::support::issuer::identity_yaml());
    let set = jwk_set(&[key.public_jwk(), private]);
    let (gate, upstream) = program(&issuer, &[("keys.json", &set)]);
    gate.wait_for_output("Issuer publishes private keys; they are never used, its other keys are");
    assert_eq!(ask(gate.data(), &token(&key, &claims())).status, 200);
    assert_eq!(ask(gate.data(), &token(&leaked, &claims())).status, 401);
    assert_eq!(upstream.received().len(), 1);
}
