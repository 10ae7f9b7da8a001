//! How long does the choice of an endpoint take, among one and among a hundred? Every request makes one.

use criterion::BatchSize;
use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use keygate::config;
use keygate::config::UpstreamKind;
use keygate::upstream::EndpointSource;
use keygate::upstream::Entry;
use keygate::upstream::Upstream;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

/// Returns an upstream with `count` endpoints and the policy `balance`.
fn upstream(count: u16, balance: &str) -> Arc<Upstream> {
    let list: Vec<String> = (1..=count).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         upstreams: {{ api: {{ endpoints: [{}], balance: {balance} }} }}\n\
         routes: [{{ name: a, match: {{ path: / }}, public: true, upstream: api }}]\n",
        list.join(", ")
    );
    let config = config::parse(&yaml, Path::new("keygate.yaml"), &|_| None).expect("the configuration is valid");
    let settings = config.upstreams.into_values().next().expect("there is one upstream");
    let UpstreamKind::Endpoints(list) = &settings.kind else {
        unreachable!("it has endpoints");
    };
    let entries = list.iter().map(|endpoint| Entry {
        source: Arc::new(EndpointSource::new(&endpoint.host)),
        weight: endpoint.weight,
        tls: None,
    });
    let entries = entries.collect();
    Upstream::new(settings, entries, &Arc::default())
}

fn choose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("choose");
    for balance in ["round_robin", "random", "least_requests", "consistent_hash"] {
        for count in [1, 100] {
            let upstream = upstream(count, balance);
            let mut number = 0_u64;
            group.bench_function(format!("{balance}, {count} endpoints"), |bencher| {
                bencher.iter_batched(
                    || {
                        number += 1;
                        number.to_be_bytes()
                    },
                    |key| black_box(upstream.choose(&key, None).expect("an endpoint is in service")),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, choose);
criterion_main!(benches);
