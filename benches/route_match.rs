//! Does finding a route take the same time among ten routes and among ten thousand?

use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use http::Method;
use keygate::config::PathPattern;
use keygate::gate::accept::Matcher;
use keygate::gate::accept::matcher::Lookup;
use keygate::gate::accept::matcher::Pattern;
use std::hint::black_box;

/// The number of routes that the requests use. They stay in the processor's cache; the rest of a large table does not.
const IN_USE: usize = 64;

fn matcher(routes: usize) -> (Matcher<usize>, Vec<String>) {
    let patterns: Vec<PathPattern> = (0..routes)
        .map(|route| {
            format!("/v1/service-{route}/{{id}}/items/{{*rest}}")
                .parse()
                .expect("a pattern")
        })
        .collect();
    let matcher = Matcher::compile(patterns.iter().enumerate().map(|(route, path)| {
        let pattern = Pattern {
            hosts: &[],
            path,
            methods: &[],
        };
        (pattern, route)
    }));
    let paths = (0..routes)
        .step_by(routes.div_ceil(IN_USE))
        .map(|route| format!("/v1/service-{route}/4711/items/a/b"))
        .collect();
    (matcher.expect("no two routes are alike"), paths)
}

fn find(matcher: &Matcher<usize>, path: &str) -> bool {
    let found = matcher.find("api.example", path, &Method::GET, |one, other| one == other);
    matches!(found, Lookup::Found(_))
}

fn routes(criterion: &mut Criterion) {
    for count in [10, 1_000, 10_000] {
        let (matcher, paths) = matcher(count);
        assert!(paths.iter().all(|path| find(&matcher, path)));
        assert!(!find(&matcher, "/v1/service-x/4711/items/a"));
        let mut next = paths.iter().cycle();
        criterion.bench_function(&format!("one of {count}"), |bencher| {
            bencher.iter(|| find(&matcher, black_box(next.next().expect("a cycle never ends"))));
        });
        criterion.bench_function(&format!("none of {count}"), |bencher| {
            bencher.iter(|| find(&matcher, black_box("/v1/service-x/4711/items/a")));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = routes
}
criterion_main!(benches);
