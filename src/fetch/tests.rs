//! How does Keygate cope with an issuer that misbehaves? The tests use real sockets on loopback and real certificates.

use crate::config::issuer::Issuer;
use crate::config::issuer::JwksLocation;
use crate::config::issuer::KeySource;
use crate::config::issuer::RemoteKeys;
use crate::fetch::address::AddressError;
use crate::fetch::client::FetchError;
use crate::fetch::fake_issuer::Authority;
use crate::fetch::fake_issuer::EC_KID;
use crate::fetch::fake_issuer::FakeIssuer;
use crate::fetch::fake_issuer::RSA_KID;
use crate::fetch::fake_issuer::Reply;
use crate::fetch::fake_issuer::ec_jwk;
use crate::fetch::fake_issuer::jwks_url;
use crate::fetch::fake_issuer::rsa_jwk;
use crate::fetch::fake_issuer::set_of;
use crate::fetch::file::KeyFile;
use crate::fetch::file::read_pems;
use crate::fetch::jwks::DocumentKind;
use crate::fetch::jwks::FetchedDocument;
use crate::fetch::schedule::Freshness;
use crate::fetch::source::run;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::jwks_cache::NoKeys;
use crate::gate::authenticate::jwks_cache::UnknownKid;
use crate::jose::jwks::Jwks;
use crate::model::algorithm::Algorithm;
use crate::model::clock::Clock;
use crate::model::clock::ManualClock;
use crate::model::clock::Timestamp;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Reasons;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Fetches the set at the URL of `source`.
async fn fetch(source: &RemoteKeys) -> Result<FetchedDocument, FetchError> {
    let JwksLocation::JwksUrl(url) = &source.at else {
        panic!("{:?}", source.at);
    };
    crate::fetch::jwks::fetch(
        url,
        &source.connect,
        source.bearer_token_file.as_deref(),
        DocumentKind::Jwks,
    )
    .await
}

fn rsa_set() -> String {
    set_of(&[rsa_jwk()])
}

pub fn metrics() -> Metrics {
    Metrics::new(&NO_REASONS, Timestamp::default())
}

pub fn issuer(keys: KeySource) -> Issuer {
    Issuer {
        token_header: None,
        name: "fake".parse().unwrap(),
        issuer: "https://issuer.example".parse().unwrap(),
        keys,
        audiences: None,
        algorithms: vec![Algorithm::Rs256],
        types: vec!["jwt".to_owned()],
        clock_skew: Duration::from_secs(30),
        max_lifetime: Duration::from_secs(3600),
        required_claims: Vec::new(),
        scope_claims: vec!["scope".to_owned()],
        client_id_claims: vec!["client_id".to_owned()],
        organization_claim: "org".to_owned(),
        claim_headers: Vec::new(),
        mode: crate::config::Mode::Enforce,
        claim_facts: Vec::new(),
    }
}

/// A running fetcher, and its clock.
struct RunningFetcher {
    keys: Arc<IssuerKeys>,
    clock: Arc<ManualClock>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

const NO_REASONS: Reasons = Reasons {
    denials: &[],
    heads: &[],
    connections: &[],
};

impl RunningFetcher {
    fn start(source: KeySource) -> Self {
        let keys = Arc::new(IssuerKeys::new(&source));
        Self::start_with(
            source,
            keys,
            Arc::new(ManualClock::at(Timestamp::from_unix_secs(1_000_000))),
        )
    }

    fn start_with(source: KeySource, keys: Arc<IssuerKeys>, clock: Arc<ManualClock>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(
            issuer(source),
            Arc::clone(&keys),
            Arc::<ManualClock>::clone(&clock),
            Metrics::new(&NO_REASONS, clock.now().wall).issuers.of("main"),
            None,
            stopped,
        ));
        Self {
            keys,
            clock,
            stop,
            task,
        }
    }

    fn url(source: RemoteKeys) -> Self {
        Self::start(KeySource::Remote(Box::new(source)))
    }

    /// Returns when attempt number `attempt` has finished; panics after 10 s.
    #[track_caller]
    fn attempt(&self, attempt: u64) -> impl Future<Output = ()> {
        let keys = Arc::clone(&self.keys);
        async move {
            let waiting = keys.wait_for_attempt(attempt, Duration::from_secs(60));
            let bounded = tokio::time::timeout(Duration::from_secs(10), waiting).await;
            assert!(bounded.is_ok(), "attempt {attempt} did not finish");
        }
    }

    fn key_ids(&self) -> Vec<String> {
        let set = self.keys.current(self.clock.now()).unwrap();
        set.jwks.key_ids().map(str::to_owned).collect()
    }

    fn unknown(&self, kid: &str) -> UnknownKid {
        let now = self.clock.now();
        self.keys.unknown_kid(&self.keys.current(now).unwrap(), Some(kid), now)
    }

    fn failures(&self) -> u64 {
        self.keys.health(self.clock.now()).fetches_failed
    }

    /// Advances the clock past the cooldown, looks up `kid`, and waits for the fetch that the look-up starts.
    async fn ask(&self, kid: &str) {
        self.clock.advance(Duration::from_secs(60));
        let UnknownKid::Fetch { attempt, .. } = self.unknown(kid) else {
            panic!("{kid} does not wake a fetch");
        };
        self.attempt(attempt).await;
    }
}

#[tokio::test]
async fn the_key_set_is_asked_for_with_the_token_that_is_in_the_file_now() {
    let issuer = FakeIssuer::start(Reply::json(&rsa_set())).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let mut source = jwks_url(&issuer.url());
    fetch(&source).await.unwrap();
    assert!(!issuer.last_head().to_ascii_lowercase().contains("authorization:"));
    source.bearer_token_file = Some(file.clone());
    for token in ["a.b.c", "rotated-token=="] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        fetch(&source).await.unwrap();
        let head = issuer.last_head();
        assert!(
            head.to_ascii_lowercase()
                .contains(&format!("authorization: bearer {token}\r\n")),
            "{head}"
        );
    }
    let before = issuer.requests();
    for bad in ["", "\n", "a\nb", "a\0b"] {
        std::fs::write(&file, bad).unwrap();
        let error = fetch(&source).await.unwrap_err();
        assert!(matches!(error, FetchError::BearerToken { .. }), "{bad:?}: {error}");
    }
    std::fs::remove_file(&file).unwrap();
    let error = fetch(&source).await.unwrap_err();
    assert!(matches!(error, FetchError::BearerToken { .. }), "{error}");
    assert_eq!(issuer.requests(), before, "nothing is asked without the token");
}

#[tokio::test]
async fn s039_rotation_is_met_by_one_fetch() {
    let fake = FakeIssuer::start(Reply::json(&rsa_set())).await;
    let running = RunningFetcher::url(jwks_url(&fake.url()));
    running.attempt(1).await;
    assert_eq!(running.key_ids(), [RSA_KID]);

    fake.reply(Reply::json(&set_of(&[rsa_jwk(), ec_jwk()])));
    running.clock.advance(Duration::from_secs(30));
    let asks: Vec<_> = (0..50).map(|_| running.unknown(EC_KID)).collect();
    for ask in asks {
        let UnknownKid::Fetch { attempt, wait } = ask else {
            panic!("{ask:?}");
        };
        running.keys.wait_for_attempt(attempt, wait).await;
    }
    assert_eq!(running.key_ids(), [RSA_KID, EC_KID]);
    assert_eq!(fake.requests(), 2);
}

#[tokio::test]
async fn s040_ten_thousand_invented_kids_bring_the_issuer_one_request() {
    let fake = FakeIssuer::start(Reply::json(&rsa_set())).await;
    let running = RunningFetcher::url(jwks_url(&fake.url()));
    running.attempt(1).await;
    running.clock.advance(Duration::from_secs(30));
    for n in 0..10_000 {
        running.clock.advance(Duration::from_millis(1));
        if let UnknownKid::Fetch { attempt, .. } = running.unknown(&format!("invented-{n}")) {
            running.attempt(attempt).await;
        }
    }
    assert_eq!(fake.requests(), 2);
}

#[tokio::test]
async fn s041_a_hanging_issuer_does_not_delay_requests_with_a_known_key() {
    let fake = FakeIssuer::start(Reply::json(&rsa_set())).await;
    let running = RunningFetcher::url(jwks_url(&fake.url()));
    running.attempt(1).await;
    fake.reply(Reply::Hang);
    running.clock.advance(Duration::from_secs(60));
    let UnknownKid::Fetch { attempt, .. } = running.unknown("x") else {
        panic!("the fetch is not woken");
    };
    fake.wait_for_requests(2).await;
    assert_eq!(running.key_ids(), [RSA_KID]);
    running.keys.wait_for_attempt(attempt, Duration::ZERO).await;
    assert!(matches!(running.unknown("x"), UnknownKid::Fetch { attempt: again, .. } if again == attempt));
    assert_eq!(running.key_ids(), [RSA_KID]);
}

#[tokio::test]
async fn s042_bad_answers_keep_the_last_good_set_and_are_counted() {
    let fake = FakeIssuer::start(Reply::json(&rsa_set())).await;
    let running = RunningFetcher::url(jwks_url(&fake.url()));
    running.attempt(1).await;
    let generation = running.keys.current(running.clock.now()).unwrap().generation;
    let set = rsa_set();
    let bad = [
        Reply::head_only("500 Internal Server Error"),
        Reply::head_only("204 No Content"),
        Reply::Bytes(format!("HTTP/1.1 203 OK\r\ncontent-length: {}\r\n\r\n{set}", set.len()).into_bytes()),
        Reply::json("<!doctype html><title>Sign in</title>"),
        Reply::json(&set[..set.len() - 2]),
        Reply::json(r#"{"keys":[]}"#),
        Reply::json("{}"),
        Reply::json("[]"),
        Reply::json(""),
        Reply::Bytes(Vec::new()),
        Reply::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{set}", set.len() + 1).into_bytes()),
    ];
    for (n, reply) in bad.into_iter().enumerate() {
        fake.reply(reply.clone());
        running.ask("x").await;
        assert_eq!(running.failures(), n as u64 + 1, "{reply:?}");
        let current = running.keys.current(running.clock.now()).unwrap();
        assert_eq!(current.generation, generation, "{reply:?}");
    }
    let health = running.keys.health(running.clock.now());
    assert_eq!(health.consecutive_failures, 12);
    assert!(health.last_error.is_some());
}

#[tokio::test]
async fn s043_a_kid_missed_while_the_issuer_was_down_is_found_afterwards() {
    let fake = FakeIssuer::start(Reply::json(&rsa_set())).await;
    let running = RunningFetcher::url(jwks_url(&fake.url()));
    running.attempt(1).await;
    fake.reply(Reply::Bytes(Vec::new()));
    running.ask(EC_KID).await;
    assert!(matches!(running.unknown(EC_KID), UnknownKid::Unavailable { .. }));
    fake.reply(Reply::json(&set_of(&[ec_jwk()])));
    running.ask(EC_KID).await;
    assert_eq!(running.key_ids(), [EC_KID]);
}

#[tokio::test]
async fn s047_plain_http_is_refused_before_anything_is_dialled() {
    let fake = FakeIssuer::start(Reply::json(&rsa_set())).await;
    let mut source = jwks_url(&fake.url());
    source.connect.allow_http = false;
    assert!(matches!(fetch(&source).await, Err(FetchError::PlainHttp)));
    source.at = JwksLocation::JwksUrl("ftp://issuer.example/jwks".parse().unwrap());
    source.connect.allow_http = true;
    assert!(matches!(fetch(&source).await, Err(FetchError::PlainHttp)));
    assert_eq!(fake.connections(), 0);
}

/// Returns a source at `url` that requires TLS and trusts only `authority`.
fn trusting(authority: &Authority, folder: &tempfile::TempDir, url: &str) -> RemoteKeys {
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.certificate.pem()).unwrap();
    let mut source = jwks_url(url);
    source.connect.allow_http = false;
    source.connect.ca_file = Some(path);
    source
}

#[tokio::test]
async fn a_certificate_of_the_issuers_own_authority_is_trusted() {
    let (authority, folder) = (Authority::named("ours"), tempfile::tempdir().unwrap());
    let fake = FakeIssuer::start_tls(Reply::json(&rsa_set()), &authority.sign("localhost", 2999)).await;
    let fetched = fetch(&trusting(&authority, &folder, &fake.https_url())).await.unwrap();
    assert_eq!(fetched.body, rsa_set().as_bytes());
}

#[tokio::test]
async fn s047_expired_wrong_host_and_unknown_certificates_are_refused() {
    let authority = Authority::named("ours");
    let folder = tempfile::tempdir().unwrap();
    let table = [
        ("Expired", authority.sign("localhost", 2001)),
        ("NotValidForName", authority.sign("other.example", 2999)),
        ("UnknownIssuer", Authority::named("a stranger").sign("localhost", 2999)),
        ("BadSignature", Authority::named("ours").sign("localhost", 2999)),
    ];
    for (why, certificate) in table {
        let fake = FakeIssuer::start_tls(Reply::json(&rsa_set()), &certificate).await;
        let error = fetch(&trusting(&authority, &folder, &fake.https_url()))
            .await
            .unwrap_err();
        let FetchError::Request(error) = error else {
            panic!("{why}: {error}");
        };
        assert!(format!("{error:?}").contains(why), "{why}: {error:?}");
        assert_eq!(fake.requests(), 0, "{why}");
    }
}

#[tokio::test]
async fn s047_the_system_does_not_trust_a_strangers_certificate() {
    let fake = FakeIssuer::start_tls(
        Reply::json(&rsa_set()),
        &Authority::named("ours").sign("localhost", 2999),
    )
    .await;
    let error = fetch(&jwks_url(&fake.https_url())).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Request(_) | FetchError::NoSystemRoots { .. }),
        "{error}"
    );
    assert_eq!(fake.requests(), 0);
}

#[tokio::test]
async fn a_ca_file_that_is_missing_or_empty_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = jwks_url("https://localhost:1/jwks");
    source.connect.ca_file = Some(folder.path().join("absent.pem"));
    assert!(matches!(fetch(&source).await, Err(FetchError::CaFile { path, .. }) if path.ends_with("absent.pem")));
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate in here").unwrap();
    source.connect.ca_file = Some(empty);
    assert!(matches!(fetch(&source).await, Err(FetchError::CaFileEmpty { path }) if path.ends_with("empty.pem")));
}

#[tokio::test]
async fn s048_an_endless_body_is_cut_at_its_size_whatever_its_length_claims() {
    let outcome = |header: &'static str| async move {
        let fake = FakeIssuer::start(Reply::Endless(header)).await;
        let mut source = jwks_url(&fake.url());
        source.connect.timeout = Duration::from_secs(60);
        fetch(&source).await
    };
    for header in ["x-nothing: here", "content-length: 104857600"] {
        let outcome = outcome(header).await;
        let is_cut = matches!(outcome, Err(FetchError::TooLong { bytes_max }) if bytes_max == Jwks::BYTES_MAX);
        assert!(is_cut, "{header}: {outcome:?}");
    }
    // The HTTP library itself rejects this length.
    let outcome = outcome("content-length: 18446744073709551615").await;
    assert!(matches!(outcome, Err(FetchError::Request(_))), "{outcome:?}");
}

#[tokio::test]
async fn s048_the_size_limit_is_exact() {
    let of = |bytes: usize| async move {
        let fake = FakeIssuer::start(Reply::json(&" ".repeat(bytes))).await;
        fetch(&jwks_url(&fake.url())).await
    };
    assert_eq!(of(Jwks::BYTES_MAX).await.unwrap().body.len(), Jwks::BYTES_MAX);
    assert!(matches!(of(Jwks::BYTES_MAX + 1).await, Err(FetchError::TooLong { .. })));
}

#[tokio::test]
async fn s048_a_length_below_the_truth_leaves_the_rest_unread() {
    let set = rsa_set();
    let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{set}{set}", set.len());
    let fake = FakeIssuer::start(Reply::Bytes(reply.into_bytes())).await;
    assert_eq!(fetch(&jwks_url(&fake.url())).await.unwrap().body, set.as_bytes());
}

#[tokio::test]
async fn s048_dripping_and_hanging_end_with_the_total_time() {
    for reply in [Reply::Drip, Reply::Hang] {
        let fake = FakeIssuer::start(reply.clone()).await;
        let mut source = jwks_url(&fake.url());
        source.connect.timeout = Duration::from_millis(200);
        let outcome = tokio::time::timeout(Duration::from_secs(10), fetch(&source))
            .await
            .unwrap();
        assert!(
            matches!(outcome, Err(FetchError::TimedOut { .. })),
            "{reply:?}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn s048_an_encoded_body_is_refused_and_never_requested() {
    for header in [
        "content-encoding: gzip\r\n",
        "content-encoding: identity\r\ncontent-encoding: br\r\n",
    ] {
        let fake = FakeIssuer::start(Reply::json_with(header, &rsa_set())).await;
        assert!(
            matches!(fetch(&jwks_url(&fake.url())).await, Err(FetchError::Encoded)),
            "{header}"
        );
        let head = fake.last_head().to_ascii_lowercase();
        assert!(!head.contains("accept-encoding"), "{head}");
        assert!(
            head.contains("accept: application/json, application/jwk-set+json\r\n"),
            "{head}"
        );
    }
    let fake = FakeIssuer::start(Reply::json_with("content-encoding: identity\r\n", &rsa_set())).await;
    assert!(fetch(&jwks_url(&fake.url())).await.is_ok());
}

#[tokio::test]
async fn s046_redirects_are_refused_and_name_their_target() {
    let target = FakeIssuer::start(Reply::json(&rsa_set())).await;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let fake = FakeIssuer::start(Reply::head_only(&format!("{status}\r\nlocation: {}", target.url()))).await;
        let error = fetch(&jwks_url(&fake.url())).await.unwrap_err();
        assert!(error.to_string().contains("redirected to `127.0.0.1`"), "{error}");
        assert!(matches!(error, FetchError::Redirected { host: Some(_) }), "{status}");
    }
    assert_eq!(target.connections(), 0);
    let fake = FakeIssuer::start(Reply::head_only("302 Found")).await;
    assert!(matches!(
        fetch(&jwks_url(&fake.url())).await,
        Err(FetchError::Redirected { host: None })
    ));
}

#[tokio::test]
async fn s046_private_addresses_are_refused_by_literal_and_by_name() {
    let fake = FakeIssuer::start(Reply::json(&rsa_set())).await;
    let port = fake.address.port();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "localhost"] {
        let mut source = jwks_url(&format!("http://{host}:{port}/jwks"));
        source.connect.allow_private_addresses = false;
        let outcome = fetch(&source).await;
        let refused = matches!(outcome, Err(FetchError::Address(AddressError::NotPublic { .. })));
        assert!(refused, "{host}: {outcome:?}");
    }
    assert_eq!(fake.connections(), 0);
    assert!(fetch(&jwks_url(&format!("http://localhost:{port}/jwks"))).await.is_ok());
}

#[tokio::test]
async fn with_a_proxy_names_go_to_it_unresolved_and_literal_addresses_are_still_checked() {
    let proxy = FakeIssuer::start(Reply::json(&rsa_set())).await;
    let mut source = jwks_url("http://issuer.invalid/jwks");
    source.connect.allow_private_addresses = false;
    source.connect.proxy = Some(format!("http://localhost:{}", proxy.address.port()).parse().unwrap());
    assert!(fetch(&source).await.is_ok());
    assert!(
        proxy
            .last_head()
            .starts_with("GET http://issuer.invalid/jwks HTTP/1.1\r\n"),
        "{}",
        proxy.last_head()
    );
    source.at = JwksLocation::JwksUrl("http://169.254.169.254/jwks".parse().unwrap());
    assert!(matches!(fetch(&source).await, Err(FetchError::Address(_))));
    assert_eq!(proxy.requests(), 1);
}

#[tokio::test]
async fn errors_do_not_repeat_the_url() {
    let mut source = jwks_url("http://127.0.0.1:1/jwks?code=hunter2");
    source.connect.timeout = Duration::from_secs(2);
    let running = RunningFetcher::url(source);
    running.attempt(1).await;
    let error = running.keys.health(running.clock.now()).last_error.unwrap();
    assert!(
        error.starts_with("fetching the issuer's keys failed: no answer: "),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn cache_control_decides_when_the_next_fetch_is_due() {
    let fake = FakeIssuer::start(Reply::json_with("cache-control: max-age=1000\r\n", &rsa_set())).await;
    let source = jwks_url(&fake.url());
    assert_eq!(
        fetch(&source).await.unwrap().freshness,
        Freshness::For(Duration::from_secs(1000))
    );
    let running = RunningFetcher::url(source);
    running.attempt(1).await;
    // The fetcher schedules the next fetch after the attempt has ended, and before it awaits again.
    tokio::task::yield_now().await;
    let due = running.keys.next_fetch_in(running.clock.now());
    assert!((900..=1100).contains(&due.as_secs()), "{due:?}");
}

#[tokio::test]
async fn s050_an_issuer_that_is_down_at_start_has_no_keys_until_it_answers() {
    let fake = FakeIssuer::start(Reply::head_only("503 Service Unavailable")).await;
    let running = RunningFetcher::url(jwks_url(&fake.url()));
    running.attempt(1).await;
    assert_eq!(
        running.keys.current(running.clock.now()).unwrap_err(),
        NoKeys::NeverLoaded
    );
    fake.reply(Reply::json(&rsa_set()));
    // The first retry comes after a second, though no request needs a key.
    let due = running.keys.next_fetch_in(running.clock.now());
    assert!((1000..=1100).contains(&due.as_millis()), "{due:?}");
    tokio::time::pause();
    tokio::time::advance(due).await;
    tokio::time::resume();
    running.attempt(2).await;
    assert_eq!(running.key_ids(), [RSA_KID]);
}

#[tokio::test]
async fn s051_a_key_the_issuer_withdrew_is_gone_after_the_next_fetch() {
    let fake = FakeIssuer::start(Reply::json(&set_of(&[rsa_jwk(), ec_jwk()]))).await;
    let running = RunningFetcher::url(jwks_url(&fake.url()));
    running.attempt(1).await;
    assert_eq!(running.key_ids(), [RSA_KID, EC_KID]);
    fake.reply(Reply::json(&set_of(&[ec_jwk()])));
    running.ask("x").await;
    assert_eq!(running.key_ids(), [EC_KID]);
}

#[tokio::test]
async fn a_stopped_fetcher_ends_every_wait() {
    let fake = FakeIssuer::start(Reply::Hang).await;
    let running = RunningFetcher::url(jwks_url(&fake.url()));
    fake.wait_for_requests(1).await;
    running.stop.send(true).unwrap();
    running.attempt(1).await;
    running.task.await.unwrap();
    assert_eq!(
        running.keys.health(running.clock.now()).last_error.as_deref(),
        Some("the attempt was stopped")
    );
}

#[tokio::test]
async fn a_reload_does_not_fetch_again_what_is_not_due() {
    let fake = FakeIssuer::start(Reply::json(&rsa_set())).await;
    let source = KeySource::Remote(Box::new(jwks_url(&fake.url())));
    let first = RunningFetcher::start(source.clone());
    first.attempt(1).await;
    tokio::task::yield_now().await;
    first.stop.send(true).unwrap();
    first.task.await.unwrap();
    let second = RunningFetcher::start_with(source, first.keys, first.clock);
    // No attempt starts before the next fetch is due, so the wait times out. The paused clock skips the wait.
    let due = second.keys.next_fetch_in(second.clock.now());
    tokio::time::pause();
    second.keys.wait_for_attempt(2, due - Duration::from_secs(1)).await;
    tokio::time::resume();
    assert!(
        second.keys.health(second.clock.now()).next_fetch.is_some(),
        "an attempt was started"
    );
    assert_eq!(fake.requests(), 1);
    second.ask("x").await;
    assert_eq!(fake.requests(), 2, "one at start, one asked for, none for the reload");
}

/// Returns `set` padded with spaces to `bytes` bytes.
fn padded(set: String, bytes: usize) -> String {
    let spaces = " ".repeat(bytes - set.len());
    set + &spaces
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let clock = ManualClock::at(Timestamp::from_unix_secs(1_000_000));
    let keys = IssuerKeys::new(&KeySource::File(path.clone()));
    let name = "fake".parse().unwrap();
    let mut file = KeyFile::new(&path);
    let ids = || -> Vec<String> {
        let set = keys.current(clock.now()).unwrap();
        set.jwks.key_ids().map(str::to_owned).collect()
    };
    let counts = || {
        let health = keys.health(clock.now());
        (health.fetches_ok, health.fetches_failed)
    };

    file.poll(&name, &keys, &clock).await;
    file.poll(&name, &keys, &clock).await;
    assert_eq!((counts(), keys.is_loaded()), ((0, 1), false), "missing, noticed once");

    std::fs::write(&path, rsa_set()).unwrap();
    file.poll(&name, &keys, &clock).await;
    file.poll(&name, &keys, &clock).await;
    assert_eq!((ids(), counts()), (vec![RSA_KID.to_owned()], (1, 1)));

    // Cut off at the limit, the second text would be a usable set.
    let too_long = padded(set_of(&[ec_jwk()]), Jwks::BYTES_MAX + 1);
    for broken in ["{\"keys\":[".to_owned(), too_long] {
        std::fs::write(&path, broken).unwrap();
        file.poll(&name, &keys, &clock).await;
        assert_eq!(ids(), [RSA_KID]);
    }
    assert_eq!(counts(), (1, 3));

    // Replace the file by renaming, as careful writers and Kubernetes do.
    let next = folder.path().join("next.json");
    std::fs::write(&next, padded(set_of(&[ec_jwk()]), Jwks::BYTES_MAX)).unwrap();
    std::fs::rename(&next, &path).unwrap();
    file.poll(&name, &keys, &clock).await;
    assert_eq!((ids(), counts()), (vec![EC_KID.to_owned()], (2, 3)));

    std::fs::remove_file(&path).unwrap();
    file.poll(&name, &keys, &clock).await;
    std::fs::create_dir(&path).unwrap();
    file.poll(&name, &keys, &clock).await;
    assert_eq!((ids(), counts()), (vec![EC_KID.to_owned()], (2, 5)));
}

#[tokio::test]
async fn a_key_file_is_followed_by_the_running_task() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, rsa_set()).unwrap();
    let running = RunningFetcher::start(KeySource::File(path.clone()));
    running.attempt(1).await;
    assert_eq!(running.key_ids(), [RSA_KID]);
    std::fs::write(&path, set_of(&[ec_jwk()])).unwrap();
    running.attempt(2).await;
    assert_eq!(running.key_ids(), [EC_KID]);
}

/// SPKI of the P-256 key of RFC 7517 appendix A.1.
const EC_PEM: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMKBCTNIcKUSDii11ySs3526iDZ8A
iTo7Tu6KPAqv7D7gS2XpJFbZiItSs3m9+9Ue6GnvHw/GW2ZZaVtszggXIw==
-----END PUBLIC KEY-----
";

#[test]
fn pem_files_are_read_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.pem");
    std::fs::write(&good, EC_PEM).unwrap();
    assert_eq!(read_pems(std::slice::from_ref(&good)).unwrap().1.len(), 1);

    let bad = folder.path().join("bad.pem");
    std::fs::write(&bad, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    for other in [bad, folder.path().join("absent.pem"), PathBuf::from("/dev/zero")] {
        assert!(
            read_pems(&[good.clone(), other.clone()]).is_err(),
            "{}",
            other.display()
        );
    }
}
