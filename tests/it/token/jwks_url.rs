//! The key set behind a client's URL: by which rules does the gate fetch, cache and replace the set?

use super::fixture::*;
use crate::support::RawIssuer;
use crate::support::raw_issuer::Reply;
use crate::support::wait_until;
use base64::Engine;
use keygate::control::token::client_jwks::ClientJwks;
use keygate::control::token::client_jwks::JwksHealth;
use keygate::control::token::client_jwks::JwksState;
use keygate::control::token::router;
use keygate::jose::current_jwks::JwksUnavailable;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::clock::Timestamp;
use keygate::model::id::ClientId;
use keygate::observe::metrics::ClientKeySetCounts;
use keygate::observe::metrics::Metrics;
use keygate::runtime::assemble::metrics;
use keygate::runtime::client_jwks::FetchedClientJwks;
use keygate::store::record::client::ClientAuthentication;
use keygate::store::record::client::ClientState;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PATH: &str = "/keys";

struct ClientJwksFixture {
    gate: Gate,
    jwks: Arc<FetchedClientJwks>,
    metrics: Arc<Metrics>,
    server: RawIssuer,
}

impl ClientJwksFixture {
    /// Starts a server and a gate. The gate may connect to the server only if `allowed`.
    fn new(allowed: bool) -> Self {
        let gate = Gate::with(|endpoint| {
            endpoint.client_jwks.allow_http = allowed;
            endpoint.client_jwks.allow_private_addresses = allowed;
        });
        let metrics = metrics(gate.clock_now());
        let jwks = Arc::new(FetchedClientJwks::new(Arc::clone(&gate.control), None, &metrics));
        let server = RawIssuer::start();
        let mut fixture = Self {
            gate,
            jwks,
            metrics,
            server,
        };
        fixture.restart(None);
        fixture
    }

    /// Forgets every fetched set, as a restart does; sets are kept in `state_dir`.
    fn restart(&mut self, state_dir: Option<&Path>) {
        self.metrics = metrics(self.gate.clock_now());
        let control = Arc::clone(&self.gate.control);
        self.jwks = Arc::new(FetchedClientJwks::new(Arc::clone(&control), state_dir, &self.metrics));
        self.gate.router = router(control, Arc::clone(&self.jwks) as Arc<dyn ClientJwks>);
    }

    fn health(&self, client: &str) -> JwksHealth {
        self.jwks.health(&id(client), &self.server.url(PATH))
    }

    fn client(&self, id: &str) -> String {
        let url = self.server.url(PATH);
        self.gate.client(id, ClientAuthentication::JwksUrl { url: url.clone() });
        url
    }

    fn publish(&self, keys: &[&SigningKey]) {
        self.server.reply(PATH, Reply::ok(&set(keys)));
    }

    fn validate(&self, url: &str) -> JwksHealth {
        self.gate.runtime.block_on(self.jwks.validate(&id("a"), url))
    }

    fn fetches(&self) -> usize {
        self.server.targets().len()
    }

    fn ask(&self, key: &SigningKey, client: &str) -> TokenResponse {
        self.gate.assert(&signed(
            key,
            &claims_with(
                client,
                &json!({ "jti": null, "iat": null, "exp": in_five_minutes(&self.gate) }),
            ),
        ))
    }
}

/// Returns five minutes from the gate's clock, in seconds since 1970.
fn in_five_minutes(gate: &Gate) -> u64 {
    gate.clock_now().as_unix_secs() + 300
}

fn id(text: &str) -> ClientId {
    text.parse().unwrap()
}

fn set(keys: &[&SigningKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.public_jwk()).collect();
    json!({ "keys": keys }).to_string()
}

fn key() -> SigningKey {
    SigningKey::generate_es256().unwrap()
}

#[test]
fn s137_only_https_and_public_addresses_are_asked_unless_allowed() {
    let fetched = ClientJwksFixture::new(false);
    let port = fetched.server.address().port();
    for (url, why) in [
        (fetched.server.url(PATH), "not https"),
        (format!("https://127.0.0.1:{port}/keys"), "address"),
        (format!("https://localhost:{port}/keys"), "address"),
        (format!("https://[::1]:{port}/keys"), "address"),
        (format!("https://[::ffff:127.0.0.1]:{port}/keys"), "address"),
        ("https://169.254.169.254/latest/meta-data".to_owned(), "address"),
        ("https://10.0.0.1/keys".to_owned(), "address"),
        ("https://0.0.0.0/keys".to_owned(), "address"),
        ("https://2130706433/keys".to_owned(), "address"),
        ("file:///etc/passwd".to_owned(), "not https"),
        ("not a url".to_owned(), "not a URL"),
        (String::new(), "not a URL"),
    ] {
        let health = fetched.validate(&url);
        assert_eq!((health.state, health.last_good_at), (JwksState::Failing, None), "{url}");
        let error = health.last_error.unwrap();
        assert!(error.contains(why), "{url}: {error}");
        let keys = fetched.gate.runtime.block_on(fetched.jwks.keys(&id("a"), &url, None));
        assert!(keys.is_err(), "{url}");
    }
    assert_eq!(fetched.fetches(), 0);
}

#[test]
fn s137_what_is_no_good_set_changes_nothing_and_is_said() {
    let fetched = ClientJwksFixture::new(true);
    let (url, key) = (fetched.client("a"), key());
    fetched.publish(&[&key]);
    let good = fetched.validate(&url);
    let started = Timestamp::from_unix_secs(START);
    assert_eq!(
        (good.state, good.last_good_at, good.last_error.as_deref()),
        (JwksState::Ok, Some(started), None)
    );
    assert_eq!(
        (good.keys[0].kid.as_deref(), &good.keys[0].algorithms),
        (Some(key.kid()), &vec!["ES256"])
    );

    let private = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "d": "AA" }] }).to_string();
    let many = json!({ "keys": vec![key.public_jwk(); 1001] }).to_string();
    let long = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(1024 * 1024));
    let other = RawIssuer::start();
    other.reply(PATH, Reply::ok(&set(&[&key])));
    let away = format!("302 Found\r\nLocation: {}", other.url(PATH));
    for (reply, why) in [
        (Reply::status("404 Not Found"), "status 404"),
        (Reply::status("500 Internal Server Error"), "status 500"),
        (Reply::status("204 No Content"), "status 204"),
        (Reply::status(&away), "redirects are not followed"),
        (Reply::ok("<html>"), "not a JWK set"),
        (Reply::ok("{}"), "no `keys` array"),
        (Reply::ok("{\"keys\":[]}"), "no usable key"),
        (Reply::ok(&private), "private parts"),
        (Reply::ok(&many), "more than 1000 keys"),
        (Reply::ok(&long), "longer than"),
        (Reply::with("Content-Encoding: gzip\r\n", b"x"), "encoded"),
    ] {
        fetched.gate.advance(1);
        fetched.server.reply(PATH, reply);
        let health = fetched.validate(&url);
        assert_eq!(
            (health.state, health.last_good_at),
            (JwksState::Failing, Some(started)),
            "{why}"
        );
        assert_eq!(health.last_attempt_at, Some(fetched.gate.clock_now()));
        let error = health.last_error.unwrap();
        assert!(error.contains(why), "{error}");
        assert_eq!(health.keys.len(), 1);
        fetched.ask(&key, "a").token();
    }
    assert!(other.targets().is_empty());
    fetched.publish(&[&key]);
    assert_eq!(fetched.validate(&url).state, JwksState::Ok);
    assert_eq!(fetched.health("a").last_error, None);
    assert_eq!(fetched.health("never"), JwksHealth::unknown());
    // The health of another URL says nothing about this one.
    assert_eq!(
        fetched.jwks.health(&id("a"), "https://other.example"),
        JwksHealth::unknown()
    );
    assert_eq!(
        fetched.jwks.counts(),
        ClientKeySetCounts {
            ok: 1,
            ..ClientKeySetCounts::default()
        }
    );
    let text = fetched.metrics.text();
    for (result, count) in [("success", 2), ("failure", 6), ("rejected", 4), ("private_parts", 1)] {
        let line = format!("keygate_client_key_fetches_total{{result=\"{result}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn s137_a_key_server_that_hangs_or_drips_holds_a_request_for_less_than_three_seconds() {
    let fetched = ClientJwksFixture::new(true);
    fetched.client("a");
    for reply in [Reply::Hang, Reply::Drip, Reply::Endless] {
        fetched.server.reply(PATH, reply);
        let started = std::time::Instant::now();
        let response = fetched.ask(&key(), "a");
        assert_eq!(
            (response.status.as_u16(), response.outcome.reason),
            (503, Some("client_keys_unavailable"))
        );
        assert!(response.headers.contains_key("retry-after"));
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        fetched.gate.advance(60);
    }
}

#[test]
fn many_requests_share_one_fetch_and_unknown_key_ids_wake_one_per_cooldown() {
    let fetched = ClientJwksFixture::new(true);
    let (first, second) = (key(), key());
    let url = fetched.client("a");
    fetched.publish(&[&first]);
    let ask_all = |kids: Vec<String>| {
        fetched.gate.runtime.block_on(async {
            let tasks: Vec<_> = kids
                .into_iter()
                .map(|kid| {
                    let (jwks, url) = (Arc::clone(&fetched.jwks), url.clone());
                    tokio::spawn(async move { jwks.keys(&id("a"), &url, Some(&kid)).await.map(drop) })
                })
                .collect();
            let mut results = Vec::new();
            for task in tasks {
                results.push(task.await.unwrap());
            }
            results
        })
    };
    let same = ask_all(vec![first.kid().to_owned(); 50]);
    assert!(same.iter().all(Result::is_ok));
    assert_eq!(fetched.fetches(), 1);
    // Within the cooldown, nothing is fetched, and it is unknown whether the key exists.
    let recent = |secs| {
        Err(JwksUnavailable::Recent {
            retry_after: Duration::from_secs(secs),
        })
    };
    let unknown = || (0..50).map(|kid| kid.to_string()).collect();
    assert_eq!(ask_all(unknown()), vec![recent(30); 50]);
    fetched.gate.advance(29);
    assert_eq!(ask_all(unknown()), vec![recent(1); 50]);
    assert_eq!(fetched.fetches(), 1);
    fetched.gate.advance(1);
    assert!(ask_all(unknown()).iter().all(Result::is_ok));
    assert_eq!(fetched.fetches(), 2);
    // The fetch has shown that there are no such keys.
    assert!(ask_all(unknown()).iter().all(Result::is_ok));

    // After a failed fetch, Keygate does not know whether the key exists.
    fetched.gate.advance(30);
    fetched.server.reply(PATH, Reply::status("500 Oops"));
    let response = ask_all(vec![second.kid().to_owned()]);
    assert_eq!(
        response,
        [Err(JwksUnavailable::Fetch {
            retry_after: Duration::from_secs(30)
        })]
    );
    assert_eq!(fetched.fetches(), 3);
    fetched.gate.advance(29);
    assert!(ask_all(vec![second.kid().to_owned()])[0].is_err());
    assert_eq!(fetched.fetches(), 3);
    // Known keys verify meanwhile.
    fetched.ask(&first, "a").token();
}

#[test]
fn s137_a_rotated_key_is_picked_up_by_itself_and_a_removed_one_goes() {
    let fetched = ClientJwksFixture::new(true);
    let (old, new) = (key(), key());
    fetched.client("a");
    fetched.publish(&[&old]);
    fetched.ask(&old, "a").token();
    fetched.publish(&[&old, &new]);
    fetched.gate.advance(10);
    let response = fetched.ask(&new, "a");
    assert_eq!(
        (response.status.as_u16(), response.outcome.reason),
        (503, Some("client_keys_recent"))
    );
    assert_eq!(response.headers["retry-after"], "20");
    fetched.gate.advance(20);
    fetched.ask(&new, "a").token();
    // No key is missing any more, and a signature of another key is refused.
    let stranger = key();
    let forged = claims_with(
        "a",
        &json!({ "jti": null, "iat": null, "exp": in_five_minutes(&fetched.gate) }),
    )
    .to_string();
    let header = json!({ "alg": "ES256", "kid": new.kid() }).to_string();
    let forged = fetched.gate.assert(&stranger.sign_text(&header, &forged).unwrap());
    assert_eq!(forged.outcome.reason, Some("bad_assertion_signature"));
    fetched.ask(&old, "a").token();

    // A removed key stays valid until the next fetch, which is due after about five minutes.
    fetched.publish(&[&new]);
    fetched.gate.advance(331);
    let before = fetched.fetches();
    fetched.ask(&new, "a").token();
    wait_until("the set is fetched", || fetched.fetches() > before);
    wait_until("the removed key is refused", || {
        fetched.ask(&old, "a").outcome.reason == Some("bad_assertion_signature")
    });
    fetched.ask(&new, "a").token();
}

#[test]
fn a_rotated_key_without_a_name_is_picked_up_as_well() {
    let fetched = ClientJwksFixture::new(true);
    let (old, new) = (key(), key());
    fetched.client("a");
    fetched.publish(&[&old]);
    let nameless = |key: &SigningKey| {
        let claims = claims_with(
            "a",
            &json!({ "jti": null, "iat": null, "exp": in_five_minutes(&fetched.gate) }),
        )
        .to_string();
        fetched
            .gate
            .assert(&key.sign_text(r#"{"alg":"ES256"}"#, &claims).unwrap())
    };
    nameless(&old).token();
    fetched.publish(&[&new]);
    assert_eq!(nameless(&new).outcome.reason, Some("client_keys_recent"));
    fetched.gate.advance(30);
    nameless(&new).token();
    assert_eq!(nameless(&old).outcome.reason, Some("client_keys_recent"));
    assert_eq!(fetched.fetches(), 2);
    // The set that is fetched for the assertion does not have its key: now it is known.
    fetched.gate.advance(30);
    assert_eq!(nameless(&old).outcome.reason, Some("bad_assertion_signature"));
    assert_eq!(fetched.fetches(), 3);
}

/// `kid` is optional in a set (RFC 7517 section 4.5), and many libraries write one into every assertion.
#[test]
fn a_kid_says_nothing_to_a_set_without_any() {
    let fetched = ClientJwksFixture::new(true);
    let (old, new) = (key(), key());
    fetched.client("a");
    let publish = |keys: &[&SigningKey]| {
        let mut keys: Vec<_> = keys.iter().map(|key| json!(key.public_jwk())).collect();
        for key in &mut keys {
            key.as_object_mut().unwrap().remove("kid").unwrap();
        }
        fetched
            .server
            .reply(PATH, Reply::ok(&json!({ "keys": keys }).to_string()));
    };
    let ask = |key: &SigningKey, kid: &str| {
        let change = json!({ "jti": null, "iat": null, "exp": in_five_minutes(&fetched.gate) });
        let header = json!({ "alg": "ES256", "kid": kid }).to_string();
        let text = key.sign_text(&header, &claims_with("a", &change).to_string());
        fetched.gate.assert(&text.unwrap())
    };
    publish(&[&old, &new]);
    for key in [&old, &new] {
        for kid in ["my-key-1", key.kid()] {
            ask(key, kid).token();
        }
    }
    assert_eq!(fetched.fetches(), 1);
    // A thumbprint names its key alone.
    assert_eq!(ask(&old, new.kid()).outcome.reason, Some("bad_assertion_signature"));
    // A rotated key is picked up as one without a name is.
    let newest = key();
    publish(&[&newest]);
    assert_eq!(ask(&newest, "my-key-1").outcome.reason, Some("client_keys_recent"));
    fetched.gate.advance(30);
    ask(&newest, "my-key-1").token();
    assert_eq!(fetched.fetches(), 2);
}

#[test]
fn a_first_assertion_is_refused_by_the_set_that_was_fetched_for_it() {
    let fetched = ClientJwksFixture::new(true);
    fetched.client("a");
    fetched.publish(&[&key()]);
    assert_eq!(fetched.ask(&key(), "a").outcome.reason, Some("bad_assertion_signature"));
}

#[test]
fn a_set_without_a_usable_key_and_a_skipped_key_say_why() {
    let fetched = ClientJwksFixture::new(true);
    let (url, key) = (fetched.client("a"), key());
    let short = json!({ "kty": "RSA", "kid": "old", "e": "AQAB", "n": BASE64URL.encode([0xff; 128]) });
    fetched
        .server
        .reply(PATH, Reply::ok(&json!({ "keys": [short] }).to_string()));
    let error = fetched.validate(&url).last_error.unwrap();
    assert!(
        error.contains("no usable key in it: key \"old\": ") && error.contains("2048"),
        "{error}"
    );
    let both = json!({ "keys": [short, key.public_jwk()] }).to_string();
    fetched.server.reply(PATH, Reply::ok(&both));
    let health = fetched.validate(&url);
    assert_eq!((health.state, health.keys.len()), (JwksState::Ok, 1));
    assert_eq!(health.skipped[0].kid.as_deref(), Some("old"));
    assert!(health.skipped[0].reason.contains("2048"), "{health:?}");
}

#[test]
fn the_last_good_set_outlives_a_restart_as_those_of_issuers_do() {
    let mut fetched = ClientJwksFixture::new(true);
    let state_dir = tempfile::tempdir().unwrap();
    let folder = state_dir.path().join("clients");
    fetched.restart(Some(state_dir.path()));
    let key = key();
    fetched.client("a");
    fetched.client("gone");
    fetched.publish(&[&key]);
    for client in ["a", "gone"] {
        fetched.ask(&key, client).token();
        wait_until("it is on disk", || folder.join(format!("{client}.json")).exists());
    }
    fetched
        .gate
        .change("gone", |record| record.state = ClientState::Deleted);
    fetched.server.reply(PATH, Reply::status("500 Oops"));

    fetched.gate.advance(3_600);
    fetched.restart(Some(state_dir.path()));
    let started = Timestamp::from_unix_secs(START);
    assert_eq!(
        (fetched.health("a").state, fetched.health("a").last_good_at),
        (JwksState::Ok, Some(started))
    );
    assert!(!folder.join("gone.json").exists());
    fetched.ask(&key, "a").token();
    wait_until("the fetch has failed", || {
        fetched.health("a").state == JwksState::Failing
    });
    assert_eq!(fetched.jwks.counts().failing, 1);

    // It serves for a day after its last fetch, however often the gate restarts.
    fetched.gate.advance(86_400 - 3_600 + 1);
    fetched.restart(Some(state_dir.path()));
    assert_eq!(fetched.health("a").last_good_at, None);
    assert_eq!(fetched.ask(&key, "a").outcome.reason, Some("client_keys_unavailable"));
}

#[test]
fn the_last_good_set_serves_a_day_and_no_longer() {
    let fetched = ClientJwksFixture::new(true);
    let key = key();
    fetched.client("a");
    fetched.publish(&[&key]);
    fetched.ask(&key, "a").token();
    fetched.server.reply(PATH, Reply::status("500 Oops"));
    fetched.gate.advance(86_400);
    fetched.ask(&key, "a").token();
    wait_until("the fetch has failed", || {
        fetched.health("a").state == JwksState::Failing
    });
    fetched.gate.advance(1);
    assert_eq!(fetched.ask(&key, "a").outcome.reason, Some("client_keys_unavailable"));
}

#[test]
fn s137_tls_is_verified_against_the_authorities_that_are_configured() {
    let gate = Gate::new();
    let key = key();
    let (server, authority) = RawIssuer::start_tls("localhost", 2090);
    server.reply(PATH, Reply::ok(&set(&[&key])));
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority).unwrap();
    let jwks = FetchedClientJwks::new(Arc::clone(&gate.control), None, &metrics(gate.clock_now()));
    let url = server.url(PATH);
    let state = |trusted: bool| {
        gate.reconfigure(|settings| {
            let dial = &mut settings.token_endpoint.as_mut().unwrap().client_jwks;
            dial.allow_private_addresses = true;
            dial.ca_file = trusted.then(|| ca_file.clone());
        });
        gate.runtime.block_on(jwks.validate(&id("a"), &url)).state
    };
    assert_eq!(state(false), JwksState::Failing);
    // Other connection rules after a reload discard the earlier state.
    assert_eq!(state(true), JwksState::Ok);
    let rsa = SigningKey::generate(Algorithm::Rs256).unwrap();
    server.reply(PATH, Reply::ok(&set(&[&key, &rsa])));
    let health = gate.runtime.block_on(jwks.validate(&id("a"), &url));
    let algorithms: Vec<_> = health.keys.iter().map(|key| key.algorithms.clone()).collect();
    assert_eq!(algorithms, [vec!["ES256"], vec!["RS256"]]);
    // 2027-01-15T08:00:00Z.
    let fetched = Timestamp::from_unix_secs(1_800_000_000);
    assert_eq!((health.state, health.last_good_at), (JwksState::Ok, Some(fetched)));
}
