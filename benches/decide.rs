//! A whole decision in memory: good credentials, remembered or not, and each common refusal.

mod fixture;

use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use fixture::Ask;
use fixture::Fixture;
use fixture::request;
use http::request::Parts;
use std::hint::black_box;

/// Under `cargo test --benches` every bench runs once, and set-up is kept small.
fn quick() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}

fn ask<'a>(path: &'a str) -> Ask<'a> {
    Ask {
        path,
        api_key: None,
        token: None,
    }
}

fn allowed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allow");
    let many = if quick() { 1_000 } else { 100_000 };
    for count in [10, many] {
        let fixture = Fixture::with_keys(count);
        // Not one key over and over: a directory that size has callers that size.
        let requests: Vec<Parts> = fixture
            .keys
            .iter()
            .step_by((count / 1_000).max(1))
            .map(|key| {
                request(Ask {
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
    let parts = request(Ask {
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
    // The first byte of the signature; the last ones have stray bits.
    let dot = good.rfind('.').expect("a token has dots");
    let other = if good.as_bytes()[dot + 1] == b'A' { "B" } else { "A" };
    let forged = format!("{}{other}{}", &good[..=dot], &good[dot + 2..]);

    let with_key = |path, key| Ask {
        api_key: Some(key),
        ..ask(path)
    };
    let with_token = |token| Ask {
        token: Some(token),
        ..ask("/v1/orders/7")
    };
    fixture.permits(&request(with_key("/v1/spent", key)));
    let both = Ask {
        api_key: Some(key),
        ..with_token(&good)
    };
    let mut group = criterion.benchmark_group("deny");
    for (reason, asked) in [
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
        let parts = request(asked);
        fixture.denies(&parts, reason);
        group.bench_function(reason, |bencher| {
            bencher.iter(|| fixture.decide(black_box(&parts)).is_err());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = allowed, denied
}
criterion_main!(benches);
