//! How long does a limit take to count a request: in one hot bucket, in one of a million buckets, on several threads?

use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use keygate::limit::key::bucket_key;
use keygate::limit::keyed::BUCKETS_MAX;
use keygate::limit::keyed::Buckets;
use keygate::limit::quota::CompiledQuota;
use keygate::limit::quota::LimitQuota;
use keygate::model::clock::Now;
use keygate::model::clock::Tick;
use keygate::model::clock::Timestamp;
use keygate::model::plan::Quota;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;
use std::time::Instant;

fn quota() -> LimitQuota {
    LimitQuota::Refilling(CompiledQuota::compile(&Quota {
        requests: NonZeroU32::new(1_000_000).expect("not zero"),
        period: Duration::from_secs(1),
        burst: NonZeroU32::new(1_000_000).expect("not zero"),
    }))
}

fn keys(count: usize) -> Vec<u128> {
    (0..count).map(|key| bucket_key(&["bench", &key.to_string()])).collect()
}

/// Runs `each` for every number below `iterations`, divided among `threads`, and returns the elapsed time.
fn on_threads(threads: u64, iterations: u64, each: impl Fn(u64) + Sync) -> Duration {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let each = &each;
            scope.spawn(move || (thread..iterations).step_by(threads as usize).for_each(each));
        }
    });
    started.elapsed()
}

fn buckets(criterion: &mut Criterion) {
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let count = if quick { 1_000 } else { BUCKETS_MAX };
    let keys = keys(count);
    let quota = quota();
    // The quota refills one request each microsecond.
    let at = |request: u64| Now {
        wall: Timestamp::default(),
        tick: Tick::from_nanos(1_000_000_000 + request * 1_000),
    };
    let spend = |buckets: &Buckets, key: u128, request: u64| {
        black_box(buckets.spend(&quota, key, at(request)).is_ok());
    };

    let hot = Buckets::new(BUCKETS_MAX);
    for threads in [1, 2, 4] {
        criterion.bench_function(&format!("one hot bucket, {threads} threads"), |bencher| {
            bencher.iter_custom(|iterations| on_threads(threads, iterations, |request| spend(&hot, keys[0], request)));
        });
    }
    let cold = Buckets::new(BUCKETS_MAX);
    keys.iter().for_each(|key| spend(&cold, *key, 0));
    assert_eq!(cold.len(), count);
    for threads in [1, 2, 4] {
        criterion.bench_function(&format!("{count} cold buckets, {threads} threads"), |bencher| {
            bencher.iter_custom(|iterations| {
                on_threads(threads, iterations, |request| {
                    // A stride that visits every bucket before it repeats one.
                    let key = keys[(request as usize).wrapping_mul(7_919) % keys.len()];
                    spend(&cold, key, request);
                })
            });
        });
    }
    // A full map is swept when a new principal needs a bucket.
    criterion.bench_function(&format!("sweep of {count} buckets, none recovered"), |bencher| {
        bencher.iter(|| cold.sweep(Tick::ZERO));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = buckets
}
criterion_main!(benches);
