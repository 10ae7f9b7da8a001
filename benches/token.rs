//! How long do a whole request to the token endpoint, on one thread, and the signing of a token alone take?
//!
//! SQLite writes each assertion that has a `jti`, and each opaque token. A single request waits for the disk alone; of
//! 64 at a time, several share a wait, as in a gate under load.

use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use http::Request;
use http::StatusCode;
use keygate::config::ConnectSettings;
use keygate::config::StoreSettings;
use keygate::config::TokenEndpoint;
use keygate::config::token_endpoint::AssertionAudience;
use keygate::config::token_paths::GlobalEndpoint;
use keygate::config::token_paths::TokenPaths;
use keygate::control::Control;
use keygate::control::Settings;
use keygate::control::clients::Clients;
use keygate::control::signing_keys::SigningKeys;
use keygate::control::token::CallContext;
use keygate::control::token::client_jwks::ClientJwks;
use keygate::control::token::router;
use keygate::jose::sign::SigningKey;
use keygate::jose::sign::token_id;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::Digester;
use keygate::model::client_address::ClientAddress;
use keygate::model::client_secret;
use keygate::model::clock::Clock;
use keygate::model::clock::ManualClock;
use keygate::model::clock::Timestamp;
use keygate::model::directory::Directory;
use keygate::model::plan::CredentialKinds;
use keygate::model::plan::Plan;
use keygate::model::plan::Quota;
use keygate::model::scope::ScopeSet;
use keygate::model::subscription::SubscriptionState;
use keygate::runtime::assemble::metrics;
use keygate::runtime::client_jwks::FetchedClientJwks;
use keygate::store::Batch;
use keygate::store::Versioned;
use keygate::store::Write;
use keygate::store::record::ClientRecord;
use keygate::store::record::OrganizationRecord;
use keygate::store::record::SubscriptionRecord;
use keygate::store::record::client::ClientAuthentication;
use keygate::store::record::client::ClientKey;
use keygate::store::record::client::ClientSecret;
use keygate::store::record::client::ClientState;
use keygate::store::record::client::TokenFormat;
use keygate::store::record::client::TokenTtl;
use keygate::store::sqlite::SqliteStore;
use serde_json::json;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use tower::ServiceExt;

const ISSUER: &str = "https://auth.example.com";
const START: u64 = 1_800_000_000;
const SECRET: &str = "kgs_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
/// The number of concurrent requests, except in the cases named `one at a time`.
const MANY: u64 = 64;

struct Gate {
    router: axum::Router,
    clients: Vec<SigningKey>,
    runtime: tokio::runtime::Runtime,
}

fn endpoint(algorithm: Algorithm) -> TokenEndpoint {
    let second = Duration::from_secs(1);
    let any = Quota {
        requests: NonZeroU32::MAX,
        period: second,
        burst: NonZeroU32::MAX,
    };
    TokenEndpoint {
        issuer: ISSUER.parse().expect("a URL"),
        audiences: vec![ISSUER.to_owned()],
        default_audiences: vec![ISSUER.to_owned()],
        paths: TokenPaths::default(),
        global_endpoint: GlobalEndpoint::EveryClient,
        algorithm,
        wrapping_key: None,
        rotate_every: second * 86_400,
        publish_before: second * 3_600,
        assertion_audience: AssertionAudience::IssuerOrEndpoint,
        assertion_max_lifetime: second * 3_600,
        require_jti: false,
        clock_skew: second * 30,
        allow_clear_text: false,
        limit: any,
        failures: any,
        client_jwks: ConnectSettings {
            allow_http: false,
            allow_private_addresses: false,
            ca_file: None,
            proxy: None,
            timeout: second,
        },
    }
}

impl Gate {
    /// Returns a gate that signs tokens with `signs`. Its clients `ES256` and `RS256` have a key each; `secret` and
    /// `opaque` have the same secret. `opaque` gets opaque tokens, the other clients get JWTs.
    fn new(folder: &Path, signs: Algorithm) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let path = folder.join(format!("{}.db", token_id()));
        let store = runtime.block_on(SqliteStore::open(&path)).expect("a store");
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_secs(START)));
        let settings = StoreSettings { path };
        let endpoint = endpoint(signs);
        let default = Plan::open("default".parse().expect("a name"), CredentialKinds::ANY);
        let control = Arc::new(Control {
            store: Arc::new(store),
            directory: Arc::new(Directory::new()),
            clients: Clients::default(),
            signing_keys: SigningKeys::open(&settings, &endpoint, clock.now().wall).expect("signing keys"),
            revocations: Default::default(),
            settings: arc_swap::ArcSwap::from_pointee(Settings {
                store: settings,
                token_endpoint: Some(endpoint),
                plans: [(default.name.clone(), default)].into(),
                key_prefix: "kg".to_owned(),
                digester: Digester::new(None),
            }),
            clock,
        });
        let keys =
            [Algorithm::Es256, Algorithm::Rs256].map(|algorithm| SigningKey::generate(algorithm).expect("a key"));
        runtime.block_on(fill(&control, &keys));
        let jwks = Arc::new(FetchedClientJwks::new(
            Arc::clone(&control),
            None,
            &metrics(control.clock.now().wall),
        ));
        Self {
            router: router(control, jwks as Arc<dyn ClientJwks>),
            clients: keys.into(),
            runtime,
        }
    }

    fn assertions(&self, algorithm: Algorithm, jti: bool, count: u64) -> Vec<String> {
        let key = self
            .clients
            .iter()
            .find(|key| key.algorithm() == algorithm)
            .expect("a client");
        let name = algorithm.as_str();
        let mut claims = json!({ "iss": name, "sub": name, "aud": ISSUER, "iat": START, "exp": START + 300 });
        let one = |_| {
            if jti {
                claims["jti"] = token_id().into();
            }
            let assertion = key.sign("JWT", &claims).expect("a key signs");
            format!(
                "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
                 client-assertion-type%3Ajwt-bearer&client_assertion={assertion}"
            )
        };
        (0..count).map(one).collect()
    }

    /// Sends all bodies, `at_a_time` concurrently, and returns the elapsed time.
    fn send(&self, bodies: Vec<String>, at_a_time: u64) -> Duration {
        let at_a_time = usize::try_from(at_a_time).expect("a small number");
        self.runtime.block_on(async {
            let started = Instant::now();
            let mut rest = bodies.into_iter();
            loop {
                let tasks: Vec<_> = rest.by_ref().take(at_a_time).map(|body| self.spawn(body)).collect();
                if tasks.is_empty() {
                    return started.elapsed();
                }
                for task in tasks {
                    assert_eq!(task.await.expect("no panic"), StatusCode::OK);
                }
            }
        })
    }

    fn spawn(&self, body: String) -> tokio::task::JoinHandle<StatusCode> {
        let router = self.router.clone();
        let caller = CallContext {
            client: ClientAddress::Known(std::net::Ipv4Addr::LOCALHOST.into()),
            request_id: "bench".to_owned(),
        };
        let request = Request::post("/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .extension(caller)
            .body(axum::body::Body::from(body))
            .expect("a request");
        tokio::spawn(async move {
            let response = router.oneshot(request).await.expect("an answer");
            black_box(response).status()
        })
    }
}

async fn fill(control: &Control, keys: &[SigningKey]) {
    let now = Timestamp::from_unix_secs(START);
    let client = |id: &str, authentication, token_format| {
        Write::Client(Versioned::new(ClientRecord {
            id: id.parse().expect("an id"),
            organization: "acme".parse().expect("a name"),
            subscription: "sub_acme".parse().expect("an id"),
            environment: ApiKeyEnvironment::Live,
            name: id.to_owned(),
            description: String::new(),
            authentication,
            scopes: ScopeSet::parse_list("orders:read orders:write").expect("scopes"),
            token_ttl: TokenTtl::Hour,
            token_format,
            state: ClientState::Active,
            tokens_not_before: None,
            token_series: 0,
            created_at: now,
            changed_at: now,
        }))
    };
    let secret = || ClientAuthentication::ClientSecret {
        secrets: vec![ClientSecret::new(
            client_secret::digest(&Digester::new(None), SECRET),
            now,
        )],
    };
    let mut writes = vec![
        Write::Organization(Versioned::new(OrganizationRecord::new(
            "acme".parse().expect("a name"),
            "Acme".to_owned(),
            now,
        ))),
        Write::Subscription(Versioned::new(SubscriptionRecord {
            id: "sub_acme".parse().expect("an id"),
            organization: "acme".parse().expect("a name"),
            plan: "default".parse().expect("a name"),
            environment: ApiKeyEnvironment::Live,
            state: SubscriptionState::Active,
            paid: true,
            created_at: now,
            changed_at: now,
        })),
        client("secret", secret(), TokenFormat::Jwt),
        client("opaque", secret(), TokenFormat::Opaque),
    ];
    for key in keys {
        let record = ClientKey {
            kid: key.kid().to_owned(),
            public_pem: key.public_pem(),
            algorithms: vec![key.algorithm()],
            generated: false,
            created_at: now,
            revoked_at: None,
        };
        let keys = ClientAuthentication::Keys { keys: vec![record] };
        writes.push(client(key.algorithm().as_str(), keys, TokenFormat::Jwt));
    }
    let batch = Batch {
        writes,
        ..Batch::default()
    };
    control.commit(batch).await.expect("the store takes it");
}

fn tokens(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = criterion.benchmark_group("token");
    group.throughput(Throughput::Elements(1));

    for signs in [Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa] {
        let gate = Gate::new(folder.path(), signs);
        let signed = signs.as_str();
        let form = |id: &str| format!("grant_type=client_credentials&client_id={id}&client_secret={SECRET}");
        let secrets = |count| (0..count).map(|_| form("secret")).collect::<Vec<_>>();
        group.bench_function(format!("signed {signed}, secret"), |bencher| {
            bencher.iter_custom(|count| gate.send(secrets(count), MANY));
        });
        for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
            group.bench_function(
                format!("signed {signed}, {} assertion", algorithm.as_str()),
                |bencher| {
                    bencher.iter_custom(|count| gate.send(gate.assertions(algorithm, false, count), MANY));
                },
            );
        }
    }

    let gate = Gate::new(folder.path(), Algorithm::Es256);
    for (name, at_a_time) in [("one at a time", 1), ("64 at a time", MANY)] {
        group.bench_function(format!("SQLite, ES256 assertion with jti, {name}"), |bencher| {
            bencher.iter_custom(|count| gate.send(gate.assertions(Algorithm::Es256, true, count), at_a_time));
        });
        group.bench_function(format!("SQLite, opaque token, {name}"), |bencher| {
            let form = format!("grant_type=client_credentials&client_id=opaque&client_secret={SECRET}");
            bencher.iter_custom(|count| gate.send((0..count).map(|_| form.clone()).collect(), at_a_time));
        });
    }
    group.finish();
}

/// Measures the signing of a token alone.
fn parts(criterion: &mut Criterion) {
    let claims = json!({
        "iss": ISSUER, "sub": "client_0123456789abcdefghijkl", "client_id": "client_0123456789abcdefghijkl",
        "aud": ISSUER, "iat": START, "exp": START + 3_600, "jti": token_id(), "scope": "orders:read", "org": "acme",
    });
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::Ps256, Algorithm::EdDsa] {
        let key = SigningKey::generate(algorithm).expect("a key");
        criterion.bench_function(&format!("sign {}", algorithm.as_str()), |bencher| {
            bencher.iter(|| key.sign("at+jwt", black_box(&claims)).is_ok());
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = tokens, parts
}
criterion_main!(benches);
