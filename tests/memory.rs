//! How much memory can strangers, tokens of odd shapes or YAML bombs take, and how much does a key
//! take? A program of its own, because counting replaces the global allocator.

#[path = "../benches/fixture/mod.rs"]
mod fixture;
#[path = "it/support/yaml_bombs.rs"]
mod yaml_bombs;

use fixture::BenchRequest;
use fixture::Fixture;
use fixture::request;
use http::Method;
use keygate::config;
use keygate::config::Config;
use keygate::control::clients::Clients;
use keygate::control::enforce;
use keygate::gate::live::LiveState;
use keygate::gate::snapshot::Snapshot;
use keygate::limit::keyed::BUCKETS_MAX;
use keygate::limit::keyed::Buckets;
use keygate::limit::quota::CompiledQuota;
use keygate::limit::quota::LimitQuota;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::CredentialDigest;
use keygate::model::clock::Now;
use keygate::model::clock::Tick;
use keygate::model::clock::Timestamp;
use keygate::model::directory::ApiKeyOrigin;
use keygate::model::directory::Directory;
use keygate::model::plan::CredentialKinds;
use keygate::model::plan::Plan;
use keygate::model::plan::Quota;
use keygate::observe::metrics::CredentialLabel;
use keygate::runtime::assemble;
use keygate::store::Contents;
use keygate::store::Revision;
use keygate::store::Versioned;
use keygate::store::record::ApiKeyRecord;
use keygate::store::record::NewApiKey;
use keygate::store::record::SubscriptionRecord;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

const BOUND: u64 = 2 * 1024 * 1024;

/// Sends different tokens until together they take twice the memory bound, then asserts how much the gate retains.
///
/// The allocator's count stays within the bound plus 5 % for empty table slots.
#[track_caller]
fn fill(what: &str, claims: impl Fn(usize) -> Value) {
    let fixture = Fixture::with_token_cache(BOUND);
    let ask = |token: &str| {
        request(BenchRequest {
            path: "/v1/orders/7",
            api_key: None,
            token: Some(token),
        })
    };
    // The first request allocates state that every later one shares.
    fixture.permits(&ask(&fixture.fresh_token("orders:read")));
    let first = fixture.token_with(&claims(0));
    fixture.permits(&ask(&first));
    let (entries, weight) = fixture.remembered();
    assert_eq!(entries, 2, "{what}: one is too large to be kept");
    let enough = usize::try_from(2 * BOUND / (weight / 2)).unwrap();
    let requests: Vec<_> = (1..=enough)
        .map(|index| ask(&fixture.token_with(&claims(index))))
        .collect();
    let fixture = Fixture::with_token_cache(BOUND);
    fixture.permits(&requests[0]);
    let counted = allocation_counter::measure(|| {
        for parts in &requests {
            fixture.permits(parts);
        }
    });
    let (entries, weight) = fixture.remembered();
    let retained = u64::try_from(counted.bytes_current).expect("more was kept than let go");
    println!("{what}: {entries} of {enough} kept in {retained} bytes, taken to be {weight}");
    assert!(entries > 4 && entries < enough, "{what}: {entries} of {enough}");
    assert!(weight <= BOUND, "{what}: {weight}");
    assert!(
        retained <= BOUND + BOUND / 20,
        "{what}: {retained} bytes kept, {weight} known of"
    );
    assert!(
        retained >= weight / 3,
        "{what}: {weight} known of, and only {retained} kept"
    );
}

#[test]
fn remembered_tokens_of_any_shape_stay_within_their_bytes() {
    fill("small", |index| json!({ "jti": index.to_string() }));
    // A short scope takes a few bytes in the token, and dozens in memory.
    fill("many short scopes", |index| {
        let scopes: Vec<String> = (0..1300).map(|number| format!("{:x}", number + index * 16)).collect();
        json!({ "scope": format!("orders:read {}", scopes.join(" ")) })
    });
    fill("many short audiences", |index| {
        let mut audiences: Vec<String> = (0..800).map(|number| format!("{:x}", number + index * 16)).collect();
        audiences.push("https://api.example".to_owned());
        json!({ "aud": audiences })
    });
    // A comma takes three bytes in a header field.
    fill("names that are escaped", |index| {
        let name = format!("{index}{}", ",".repeat(500));
        json!({ "sub": name, "client_id": name, "jti": name, "org": name })
    });
    fill(
        "one long scope",
        |index| json!({ "scope": format!("orders:read {index}{}", "x".repeat(5000)) }),
    );
    fill(
        "the same scope again and again",
        |index| json!({ "jti": index.to_string(), "scope": "orders:read ".repeat(400).trim_end() }),
    );
    fill(
        "a long claim that nobody reads",
        |index| json!({ "jti": index.to_string(), "more": "x".repeat(5000) }),
    );
}

fn quota() -> LimitQuota {
    LimitQuota::Refilling(CompiledQuota::compile(&Quota {
        requests: NonZeroU32::new(500).expect("not zero"),
        period: Duration::from_secs(60),
        burst: NonZeroU32::new(50).expect("not zero"),
    }))
}

/// A million keys fill the map. None of the second million is retained, so more keys cannot change the result.
#[test]
fn s113_principals_beyond_a_full_map_take_no_byte_more() {
    let quota = quota();
    let now = Now {
        wall: NOW,
        tick: Tick::from_nanos(1),
    };
    let buckets = Buckets::new(BUCKETS_MAX);
    // Spread over all bits, as a hash would be.
    let key = |principal: u128| (principal + 1).wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645);
    let filling = allocation_counter::measure(|| {
        for principal in 0..BUCKETS_MAX as u128 {
            buckets.spend(&quota, key(principal), now).expect("a bucket of its own");
        }
    });
    assert_eq!(buckets.len(), BUCKETS_MAX);
    println!(
        "{BUCKETS_MAX} principals: {} bytes, {} at most",
        filling.bytes_current, filling.bytes_max
    );
    assert!(filling.bytes_current < 64 * 1024 * 1024, "{}", filling.bytes_current);
    let flood = allocation_counter::measure(|| {
        for principal in 0..BUCKETS_MAX as u128 {
            // The result does not matter: a principal beyond the full map shares a bucket.
            let _ = buckets.spend(&quota, key(principal + 1_000_000_000), now);
        }
    });
    assert_eq!((flood.bytes_current, buckets.len()), (0, BUCKETS_MAX));
    // Earlier principals keep their buckets: of 50, one was spent, and the next one leaves 48.
    assert_eq!(buckets.peek(&quota, key(7), now).expect("some are left").remaining, 48);
}

const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
/// The memory that one key may take: 96 bytes of its own, and 52 in a table that has just doubled.
const KEY_BYTES_MAX: u64 = 150;
fn subscription(number: u64) -> SubscriptionRecord {
    let plan = Plan::open("gold".parse().unwrap(), CredentialKinds::ANY);
    SubscriptionRecord::new(
        format!("sub_{number}").parse().unwrap(),
        "acme".parse().unwrap(),
        &plan,
        ApiKeyEnvironment::Live,
        NOW,
    )
}

/// Returns a key of one of ten subscriptions and seven scope sets; every second key expires.
fn key(number: u64) -> ApiKeyRecord {
    let digest = CredentialDigest::sha256(&number.to_string());
    let new_key = NewApiKey {
        id: digest.to_hex()[..16].parse().unwrap(),
        digest,
        origin: ApiKeyOrigin::Own,
        environment: ApiKeyEnvironment::Live,
        name: format!("key {number} of a build server"),
        organization: "acme".parse().unwrap(),
        subscription: format!("sub_{}", number % 10).parse().unwrap(),
        scopes: format!("orders:read orders:write tier:{}", number % 7).parse().unwrap(),
        addresses: Vec::new(),
        expires_at: number
            .is_multiple_of(2)
            .then(|| NOW.saturating_add(Duration::from_secs(86_400))),
    };
    ApiKeyRecord::new(new_key, NOW).unwrap()
}

fn at_first_revision<T>(record: T) -> Versioned<T> {
    Versioned {
        record,
        revision: Revision(1),
    }
}

/// A sixteenth of a million fills the tables to the same share as a million.
#[test]
fn a_key_takes_at_most_150_bytes_of_memory() {
    const KEYS: u64 = 62_500;
    let (directory, clients) = (Directory::new(), Clients::default());
    let load = |part| enforce::load(part, &directory, &clients, NOW);
    load(Contents {
        subscriptions: (0..10).map(|number| at_first_revision(subscription(number))).collect(),
        ..Contents::default()
    });
    let filling = allocation_counter::measure(|| {
        for number in 0..KEYS {
            load(Contents {
                api_keys: vec![at_first_revision(key(number))],
                ..Contents::default()
            });
        }
    });
    let retained = u64::try_from(filling.bytes_current).expect("more was kept than let go");
    println!("{KEYS} keys: {retained} bytes, {} each", retained / KEYS);
    assert_eq!(directory.len() as u64, KEYS);
    assert!(retained <= KEYS * KEY_BYTES_MAX, "{} bytes each", retained / KEYS);
    // The tables grow in parts, so the peak stays near the final size.
    assert!(
        filling.bytes_max <= retained + retained / 50,
        "{} at most, {retained} kept",
        filling.bytes_max
    );
}

#[test]
fn s149_a_yaml_bomb_is_refused_with_bounded_memory() {
    const BYTES_MAX: u64 = 64 * 1024 * 1024;
    for (index, bomb) in yaml_bombs::yaml_bombs().iter().enumerate() {
        let parsing = allocation_counter::measure(|| {
            assert!(
                config::parse(bomb, Path::new("keygate.yaml"), &|_| None).is_err(),
                "bomb {index}"
            );
        });
        println!(
            "bomb {index}: {} bytes of text, {} at most",
            bomb.len(),
            parsing.bytes_max
        );
        assert!(
            parsing.bytes_max <= BYTES_MAX,
            "bomb {index}: {} bytes",
            parsing.bytes_max
        );
    }
}

/// The memory that one route may take until its first request.
const ROUTE_BYTES_MAX: u64 = 4 * 1024;

/// The memory that the series of a route may take once it has answered requests of one kind: two counters and a histogram,
/// each with its labels and the text of its family.
const SERIES_BYTES_MAX: u64 = 3 * 1024;

fn config_of_routes(routes: u64) -> Config {
    let mut text = String::from(ROUTES_BEFORE);
    for number in 0..routes {
        write!(
            text,
            "
  - name: team-{number}-orders
    match: {{ host: api.example.com, path: \"/team-{number}/v1/orders/{{*rest}}\", methods: [GET, POST] }}
    accept: [jwt, api_key]
    issuers: [main]
    scopes: {{ all: [\"orders:read\"] }}
    limits: [per-key, tried]
    upstream: orders"
        )
        .unwrap();
    }
    // `keys.yaml`, which the configuration names, is in this folder.
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/routes.yaml"));
    config::parse(&text, file, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

const ROUTES_BEFORE: &str = "
listeners:
  - address: 127.0.0.1:0
issuers:
  main:
    issuer: https://issuer.example
    audiences: [https://api.example]
    algorithms: [RS256]
    jwks_url: https://issuer.example/jwks
api_keys: { file: keys.yaml }
limits:
  per-key: { by: credential, quota: 1000000/s }
  tried: { by: credential, quota: 1/month, mode: shadow }
upstreams:
  orders: { endpoints: [\"127.0.0.1:9\"] }
routes:";

/// A route is there compiled, and as it was written, for the next reload.
#[test]
fn a_route_takes_at_most_4_kib_of_memory() {
    const ROUTES: u64 = 2_000;
    let mut kept = None;
    let parsing = allocation_counter::measure(|| kept = Some(config_of_routes(ROUTES)));
    let config = kept.unwrap();
    let live = LiveState::new(assemble::metrics(NOW), (Ipv4Addr::LOCALHOST, 9).into());
    let mut kept = None;
    let compiling = allocation_counter::measure(|| kept = Some(Snapshot::compile(&config, &live).unwrap()));
    println!(
        "{ROUTES} routes: {} bytes each in the configuration ({} at most), {} compiled ({} at most)",
        parsing.bytes_current / ROUTES as i64,
        parsing.bytes_max / ROUTES,
        compiling.bytes_current / ROUTES as i64,
        compiling.bytes_max / ROUTES,
    );
    let retained = u64::try_from(parsing.bytes_current + compiling.bytes_current).expect("more was kept than let go");
    assert!(retained <= ROUTES * ROUTE_BYTES_MAX, "{} bytes each", retained / ROUTES);
    let snapshot = kept.unwrap();
    let counting = allocation_counter::measure(|| {
        for route in &snapshot.routes {
            route.metrics.count_allowed(CredentialLabel::Jwt);
            route.metrics.request(&Method::GET, Some(200), Duration::from_millis(1));
        }
    });
    let series = u64::try_from(counting.bytes_current).expect("more was kept than let go");
    println!("{} bytes of series each", series / ROUTES);
    assert!(
        series <= ROUTES * SERIES_BYTES_MAX,
        "{} bytes of series each",
        series / ROUTES
    );
}
