//! Which pages may call a route, and which fields does their browser get?

use super::*;
use crate::gate::accept::AcceptRules;
use std::path::Path;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Returns the rules of a route for GET and POST with `section` in its `cors`.
fn cors(section: &str) -> Cors {
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\n\
         api_keys: {{ file: keys.yaml }}\n\
         upstreams: {{ e: {{ builtin: echo }} }}\n\
         routes: [{{ name: a, match: {{ path: /, methods: [GET, POST] }}, accept: [api_key], upstream: e, cors: {{ {section} }} }}]\n"
    );
    let config = config::parse(&yaml, Path::new("conf/keygate.yaml"), &|_| None);
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    let route = &config.routes[0];
    Cors::compile(route.cors.as_ref().unwrap(), &route.accept, &config.api_keys)
}

fn header_map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// Returns the fields of the answer to a preflight, a line each.
fn answer(cors: &Cors, origin: &str, method: &str, headers: &[(&str, &str)]) -> Result<Vec<String>, CorsError> {
    let origin = HeaderValue::from_str(origin).unwrap();
    let preflight = Preflight {
        origin: &origin,
        method: method.parse().unwrap(),
    };
    let answer = cors.answer(&preflight, &header_map(headers))?;
    assert_eq!(
        (answer.status, answer.body.len(), answer.close),
        (StatusCode::NO_CONTENT, 0, false)
    );
    Ok(lines(answer.headers))
}

fn lines(fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Vec<String> {
    let line = |(name, value): (HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    fields.into_iter().map(line).collect()
}

const A: &str = "https://a.test";
const REQUEST_HEADERS: &str = "access-control-request-headers";

#[test]
fn a_preflight_gets_all_methods_and_headers_of_the_route() {
    let expected = [
        "access-control-allow-origin: https://a.test",
        "access-control-allow-methods: GET, POST",
        "access-control-allow-headers: x-api-key, content-type",
        "access-control-max-age: 600",
        "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    ];
    let plain = cors("origins: https://a.test");
    assert_eq!(answer(&plain, A, "GET", &[]).unwrap(), expected);
    let with_cookies = cors("origins: https://a.test, credentials: true");
    let cookies = ["access-control-allow-credentials: true"];
    assert_eq!(
        answer(&with_cookies, A, "POST", &[]).unwrap(),
        [&expected[..], &cookies].concat()
    );
    let any = cors("origins: \"*\", methods: [POST], headers: [x-a], max_age: 5s");
    let fields = answer(&any, A, "POST", &[]).unwrap();
    assert_eq!(
        fields[..4],
        [
            "access-control-allow-origin: *",
            "access-control-allow-methods: POST",
            "access-control-allow-headers: x-a",
            "access-control-max-age: 5",
        ]
    );
}

#[test]
fn a_preflight_is_refused_for_its_origin_its_method_or_a_header() {
    let rules = cors("origins: [https://a.test, https://b.test], headers: [x-a, x-b]");
    let check = |origin: &str, method: &str, headers: &[(&str, &str)], expected: Result<(), CorsError>| {
        assert_eq!(
            answer(&rules, origin, method, headers).map(drop),
            expected,
            "{origin} {method} {headers:?}"
        );
    };
    check("https://b.test", "GET", &[], Ok(()));
    for origin in [
        "https://c.test",
        "https://a.test:8443",
        "HTTPS://a.test",
        "null",
        "*",
        "",
    ] {
        check(origin, "GET", &[], Err(CorsError::Origin));
    }
    // GET includes HEAD.
    check(A, "HEAD", &[], Ok(()));
    check(A, "PUT", &[], Err(CorsError::Method));
    check(A, "get", &[], Err(CorsError::Method));
    for good in ["", "x-a", "X-B,\tx-a", ", ,x-a,"] {
        check(A, "GET", &[(REQUEST_HEADERS, good)], Ok(()));
    }
    for bad in ["x-c", "x-a, x-c", "x-a x-b", "\u{e9}"] {
        check(A, "GET", &[(REQUEST_HEADERS, bad)], Err(CorsError::Header));
    }
    check(
        A,
        "GET",
        &[(REQUEST_HEADERS, "x-a"), (REQUEST_HEADERS, "x-c")],
        Err(CorsError::Header),
    );
    let only_post = cors("origins: https://a.test, methods: [POST]");
    assert_eq!(answer(&only_post, A, "HEAD", &[]), Err(CorsError::Method));
}

#[test]
fn only_pages_of_an_allowed_origin_may_read_a_response() {
    let plain = cors("origins: https://a.test");
    let exposed =
        "access-control-expose-headers: www-authenticate, retry-after, ratelimit, ratelimit-policy, x-request-id";
    let of = |cors: &Cors, fields: &[(&str, &str)]| lines(cors.responses.fields(&header_map(fields)));
    let origin = "access-control-allow-origin: https://a.test";
    assert_eq!(of(&plain, &[("origin", A)]), [origin, exposed]);
    for fields in [
        &[][..],
        &[("origin", "https://b.test")],
        &[("origin", A), ("origin", A)],
    ] {
        assert_eq!(of(&plain, fields), [""; 0], "{fields:?}");
    }
    let with_cookies = cors("origins: https://a.test, credentials: true, expose: [x-a]");
    assert_eq!(
        of(&with_cookies, &[("origin", A)]),
        [
            origin,
            "access-control-expose-headers: x-a",
            "access-control-allow-credentials: true"
        ]
    );
    assert_eq!(of(&with_cookies, &[]), [""; 0]);
    let any = cors("origins: \"*\"");
    assert_eq!(
        of(&any, &[("origin", "https://b.test")])[0],
        "access-control-allow-origin: *"
    );
    assert!(plain.responses.varies() && !any.responses.varies());
}

#[test]
fn a_preflight_is_an_options_with_one_origin_and_one_method_and_without_a_credential() {
    let usual = [("host", "a"), ("origin", A), ("access-control-request-method", "PUT")];
    let found = |method: Method, fields: &[(&str, &str)]| {
        let mut parts = http::Request::builder()
            .method(method)
            .uri("/")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        parts.headers = header_map(fields);
        let rules = AcceptRules::new(API_KEY, []);
        let inbound = Inbound::new(&parts, [192, 0, 2, 1].into(), &[], &rules).unwrap();
        Preflight::of(&inbound, &API_KEY).map(|preflight| (preflight.origin.clone(), preflight.method))
    };
    let with = |field: (&'static str, &'static str)| [&usual[..], &[field]].concat();
    assert_eq!(
        found(Method::OPTIONS, &usual),
        Some((HeaderValue::from_static(A), Method::PUT))
    );
    assert_eq!(found(Method::GET, &usual), None);
    for fields in [
        usual[..2].to_vec(),
        [usual[0], usual[2]].to_vec(),
        with(("authorization", "Bearer a")),
        with(("x-api-key", "k")),
        with(("origin", A)),
        with(("access-control-request-method", "PUT")),
        [usual[0], usual[1], ("access-control-request-method", "a b")].to_vec(),
    ] {
        assert_eq!(found(Method::OPTIONS, &fields), None, "{fields:?}");
    }
}

#[test]
fn cors_names_have_one_prefix_and_a_vary_with_origin_is_complete() {
    for name in [
        "access-control-allow-origin",
        "Access-Control-Max-Age",
        "access-control-",
    ] {
        assert!(is_cors_name(name), "{name}");
    }
    for name in ["access-control", "access-contro1-max-age", "x-access-control-a", ""] {
        assert!(!is_cors_name(name), "{name}");
    }
    for (vary, expected) in [
        ("Origin", true),
        ("accept, ORIGIN", true),
        ("*", true),
        ("accept", false),
        ("origins", false),
        ("", false),
    ] {
        assert_eq!(names_origin(&HeaderValue::from_static(vary)), expected, "{vary}");
    }
}

#[test]
fn refusals_without_a_route_have_the_rules_on_which_the_routes_of_the_host_agree() {
    let hosts = |text: &str| match text {
        "" => Vec::new(),
        "*.test" => vec![HostPattern::Suffix("test".to_owned())],
        host => vec![HostPattern::Exact(host.to_owned())],
    };
    let (a, more_methods) = (
        cors("origins: [\"https://a.test\"]"),
        cors("origins: [\"https://a.test\"], methods: [GET]"),
    );
    let b = cors("origins: [\"https://b.test\"]");
    assert_ne!(a, more_methods);
    let agreed = |routes: &[(&str, Option<&Cors>)], host: &str| {
        let mut table = HostCors::default();
        for (pattern, rules) in routes {
            table.add(&hosts(pattern), *rules);
        }
        table.of(host).cloned()
    };
    let (of_a, of_b) = (Some(a.responses.clone()), Some(b.responses.clone()));
    assert_eq!(agreed(&[], "x.test"), None);
    assert_eq!(
        agreed(&[("x.test", Some(&a)), ("x.test", Some(&more_methods))], "x.test"),
        of_a
    );
    assert_eq!(agreed(&[("x.test", Some(&a)), ("y.test", Some(&b))], "x.test"), of_a);
    assert_eq!(agreed(&[("x.test", Some(&a)), ("y.test", Some(&b))], "y.test"), of_b);
    assert_eq!(agreed(&[("x.test", Some(&a)), ("x.test", Some(&b))], "x.test"), None);
    assert_eq!(agreed(&[("x.test", Some(&a)), ("x.test", None)], "x.test"), None);
    assert_eq!(agreed(&[("x.test", None), ("x.test", Some(&a))], "x.test"), None);
    // A request for the host can also reach the routes of `*.test` and of any host.
    assert_eq!(
        agreed(&[("x.test", Some(&a)), ("*.test", Some(&a)), ("", Some(&a))], "x.test"),
        of_a
    );
    assert_eq!(agreed(&[("x.test", Some(&a)), ("*.test", Some(&b))], "x.test"), None);
    assert_eq!(agreed(&[("x.test", Some(&a)), ("", None)], "x.test"), None);
    assert_eq!(agreed(&[("x.test", Some(&a)), ("", None)], "z.test"), None);
}
