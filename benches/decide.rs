//! How long does a whole decision in memory take, with a valid credential or a common reason for refusal, and on two
//! threads? `-- count` counts instructions instead.

mod count;
mod fixture;

use criterion::Criterion;
use criterion::criterion_group;
use fixture::BenchRequest;
use fixture::Fixture;
use fixture::KEYS_IN_USE;
use fixture::request;
use http::request::Parts;
use std::hint::black_box;
use std::time::Duration;

/// The allocator of the binary: the decision on a token that is seen first allocates.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Returns whether `cargo test --benches` runs the program: each bench runs once, and a small set-up is enough.
fn quick() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}

fn ask<'a>(path: &'a str) -> BenchRequest<'a> {
    BenchRequest {
        path,
        api_key: None,
        token: None,
    }
}

fn allowed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allow");
    let many = if quick() { 1_000 } else { 1_000_000 };
    for count in [10, many] {
        let fixture = Fixture::with_keys(count);
        let requests: Vec<Parts> = fixture
            .keys
            .iter()
            .map(|key| {
                request(BenchRequest {
                    api_key: Some(key),
                    ..ask("/v1/orders/7")
                })
            })
            .collect();
        requests.iter().for_each(|parts| fixture.permits(parts));
        let mut next = requests.iter().cycle();
        group.bench_function(format!("api key, one of {count}"), |bencher| {
            bencher.iter(|| {
                fixture
                    .decide(black_box(next.next().expect("a cycle never ends")))
                    .is_ok()
            });
        });
    }

    let fixture = Fixture::with_keys(1);
    let token = fixture.fresh_token("orders:read orders:write");
    let parts = request(BenchRequest {
        token: Some(&token),
        ..ask("/v1/orders/7")
    });
    fixture.permits(&parts);
    group.bench_function("token, remembered", |bencher| {
        bencher.iter(|| fixture.decide(black_box(&parts)).is_ok());
    });
    group.bench_function("token, seen first (RS256)", |bencher| {
        bencher.iter(|| {
            fixture.forget_token(&token);
            fixture.decide(black_box(&parts)).is_ok()
        });
    });
    let open = request(ask("/v1/open"));
    fixture.permits(&open);
    group.bench_function("public route", |bencher| {
        bencher.iter(|| fixture.decide(black_box(&open)).is_ok());
    });
    group.finish();
}

fn denied(criterion: &mut Criterion) {
    let fixture = Fixture::with_keys(10);
    let stranger = Fixture::with_keys(1);
    let key = fixture.keys[0].as_str();
    let unknown = stranger.keys[0].as_str();
    let mistyped = format!("{}0", &key[..key.len() - 1]);
    let mistyped = if mistyped == key {
        format!("{}1", &key[..key.len() - 1])
    } else {
        mistyped
    };
    let good = fixture.fresh_token("orders:read");
    let expired = fixture.expired_token();
    // Change the first character of the signature: the last one has unused bits.
    let dot = good.rfind('.').expect("a token has dots");
    let other = if good.as_bytes()[dot + 1] == b'A' { "B" } else { "A" };
    let forged = format!("{}{other}{}", &good[..=dot], &good[dot + 2..]);

    let with_key = |path, key| BenchRequest {
        api_key: Some(key),
        ..ask(path)
    };
    let with_token = |token| BenchRequest {
        token: Some(token),
        ..ask("/v1/orders/7")
    };
    fixture.permits(&request(with_key("/v1/spent", key)));
    let both = BenchRequest {
        api_key: Some(key),
        ..with_token(&good)
    };
    let mut group = criterion.benchmark_group("deny");
    for (reason, case) in [
        ("no_route", ask("/v2/orders/7")),
        ("credential_missing", ask("/v1/orders/7")),
        ("two_credentials", both),
        ("api_key_checksum", with_key("/v1/orders/7", mistyped.as_str())),
        ("api_key_unknown", with_key("/v1/orders/7", unknown)),
        ("token_expired", with_token(expired.as_str())),
        ("bad_signature", with_token(forged.as_str())),
        ("insufficient_scope", with_key("/v1/admin/7", key)),
        ("limit_spent", with_key("/v1/spent", key)),
    ] {
        let parts = request(case);
        fixture.denies(&parts, reason);
        group.bench_function(reason, |bencher| {
            bencher.iter(|| fixture.decide(black_box(&parts)).is_err());
        });
    }
    group.finish();
}

/// Measures a decision on one thread and on two: with different API keys on each thread, and with the same key or token
/// on both.
fn shared(criterion: &mut Criterion) {
    let fixture = Fixture::with_keys(KEYS_IN_USE);
    let of = |path, keys: &[String]| -> Vec<Parts> {
        let requests = keys.iter().map(|key| {
            request(BenchRequest {
                api_key: Some(key),
                ..ask(path)
            })
        });
        requests.collect()
    };
    let halves = fixture.keys.split_at(fixture.keys.len() / 2);
    let token = fixture.fresh_token("orders:read");
    let hot_token = || {
        vec![request(BenchRequest {
            token: Some(&token),
            ..ask("/v1/plain")
        })]
    };
    let hot_key = |path| of(path, &fixture.keys[..1]);
    let mut group = criterion.benchmark_group("threads");
    for (name, requests) in [
        (
            "independent keys",
            [of("/v1/plain", halves.0), of("/v1/plain", halves.1)],
        ),
        ("one hot key", [hot_key("/v1/plain"), hot_key("/v1/plain")]),
        ("one hot token", [hot_token(), hot_token()]),
        (
            "one hot key and its limit",
            [hot_key("/v1/orders/7"), hot_key("/v1/orders/7")],
        ),
    ] {
        requests.iter().flatten().for_each(|parts| fixture.permits(parts));
        for threads in [1, 2] {
            group.bench_function(format!("{name}, {threads}"), |bencher| {
                bencher.iter_custom(|iterations| on_threads(&fixture, &requests[..threads], iterations));
            });
        }
    }
    group.finish();
}

/// Makes `iterations` decisions on each thread, one thread per element of `requests`. Returns the mean processor time
/// of a thread, which perfect scaling keeps constant. Elapsed time would include other load of the machine. Processor
/// time does not include sleep on a lock.
fn on_threads(fixture: &Fixture, requests: &[Vec<Parts>], iterations: u64) -> Duration {
    // The limit refills one request each microsecond: 4 µs per decision are enough for two threads on one bucket.
    let per_decision = Duration::from_micros(4);
    let from = fixture.advance(per_decision.saturating_mul(u32::try_from(iterations).unwrap_or(u32::MAX)));
    let decide = &|requests: &[Parts]| {
        let (mut next, mut now) = (requests.iter().cycle(), from);
        let before = thread_cpu_time();
        for _ in 0..iterations {
            now = now.saturating_add(per_decision);
            let parts = next.next().expect("a cycle never ends");
            assert!(fixture.decide_at(black_box(parts), now).is_ok());
        }
        thread_cpu_time() - before
    };
    let total: Duration = std::thread::scope(|scope| {
        let threads: Vec<_> = requests
            .iter()
            .map(|requests| scope.spawn(move || decide(requests)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it decides"))
            .sum()
    });
    total / u32::try_from(requests.len()).expect("a few")
}

/// Returns the processor time of the calling thread.
fn thread_cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says so");
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("a number comes first"))
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = allowed, denied, shared
}

fn main() {
    if count::run_mode() {
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
