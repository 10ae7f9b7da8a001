//! Does finding a route take the same time among ten routes and among ten thousand?

use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use keygate::config::MatchConditions;
use keygate::config::MatchField;
use keygate::config::PathPattern;
use keygate::config::ValuePattern;
use keygate::config::match_condition::MatchCondition;
use keygate::gate::accept::Matcher;
use keygate::gate::accept::matcher::Lookup;
use keygate::gate::accept::matcher::Pattern;
use keygate::gate::accept::matcher::RequestParts;
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
    let conditions = MatchConditions::default();
    let matcher = Matcher::compile(patterns.iter().enumerate().map(|(route, path)| {
        let pattern = Pattern {
            hosts: &[],
            path,
            methods: &[],
            conditions: &conditions,
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
    find_with(matcher, path, &HeaderMap::new(), None)
}

fn find_with(matcher: &Matcher<usize>, path: &str, headers: &HeaderMap, query: Option<&str>) -> bool {
    let request = RequestParts {
        host: "api.example",
        path,
        method: &Method::GET,
        headers,
        query,
    };
    let found = matcher.find(&request, |one, other| one == other);
    matches!(found, Lookup::Found(_))
}

/// Returns a matcher whose routes all have one path and differ in the value of `field`.
fn one_path(routes: usize, field: &MatchField) -> Matcher<usize> {
    let path: PathPattern = "/v1/items/{*rest}".parse().expect("a pattern");
    let conditions: Vec<MatchConditions> = (0..routes)
        .map(|route| {
            let condition = MatchCondition {
                field: field.clone(),
                pattern: ValuePattern::Exact(route.to_string()),
            };
            MatchConditions::new(vec![condition])
        })
        .collect();
    let routes = conditions.iter().enumerate().map(|(route, conditions)| {
        let pattern = Pattern {
            hosts: &[],
            path: &path,
            methods: &[],
            conditions,
        };
        (pattern, route)
    });
    Matcher::compile(routes).expect("no two routes are alike")
}

/// Routes that only the value of a header, or of a query parameter, tells apart.
fn conditions(criterion: &mut Criterion) {
    let name = HeaderName::from_static("x-version");
    let path = "/v1/items/a/b";
    for count in [1, 100, 1_000] {
        let matcher = one_path(count, &MatchField::Header(name.clone()));
        let headers: Vec<HeaderMap> = (0..count)
            .step_by(count.div_ceil(IN_USE))
            .map(|value| HeaderMap::from_iter([(name.clone(), HeaderValue::from(value))]))
            .collect();
        assert!(headers.iter().all(|headers| find_with(&matcher, path, headers, None)));
        assert!(!find(&matcher, path));
        let mut next = headers.iter().cycle();
        criterion.bench_function(&format!("one of {count} by header"), |bencher| {
            bencher.iter(|| {
                let headers = next.next().expect("a cycle never ends");
                find_with(&matcher, black_box(path), headers, None)
            });
        });
        let matcher = one_path(count, &MatchField::Parameter("version".to_owned()));
        let query = "page=2&sort=name&version=0";
        assert!(find_with(&matcher, path, &HeaderMap::new(), Some(query)));
        criterion.bench_function(&format!("one of {count} by query"), |bencher| {
            let headers = HeaderMap::new();
            bencher.iter(|| find_with(&matcher, black_box(path), &headers, black_box(Some(query))));
        });
    }
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
    targets = routes, conditions
}
criterion_main!(benches);
