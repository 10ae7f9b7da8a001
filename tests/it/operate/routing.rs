//! Which route does a raw target match, and does the upstream get the target that was checked?

use crate::operate::ISSUER_YAML;
use crate::operate::bearer;
use crate::operate::get;
use crate::operate::request;
use crate::operate::token;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::lane::lanes;
use keygate::config;
use keygate::jose::sign::SigningKey;
use serde_json::json;

/// A gate, its upstream, and the header line of a valid token.
struct RoutedGate {
    upstream: FakeUpstream,
    running: LocalGate,
    good: String,
}

/// Routes that protect `/admin` and everything below it. The other routes are public.
const ADMIN_ROUTES: [(&str, &str); 5] = [
    ("admin", "match: { path: /admin }\naccept: [jwt]\nupstream: only"),
    (
        "admin-below",
        "match: { path: \"/admin/{*rest}\" }\naccept: [jwt]\nupstream: only",
    ),
    ("api", "match: { path: \"/api/{*rest}\" }\npublic: true\nupstream: only"),
    ("one", "match: { path: \"/{page}\" }\npublic: true\nupstream: only"),
    ("dotted", "match: { path: /v1.0/status }\npublic: true\nupstream: only"),
];

impl RoutedGate {
    fn start(routes: &[(&str, &str)]) -> Self {
        let upstream = FakeUpstream::start();
        let issuer = SigningKey::generate_es256().unwrap();
        let mut gateway = GatewayBuilder::new()
            .issuer("main", ISSUER_YAML)
            .upstream("only", upstream.address());
        for (name, yaml) in routes {
            gateway = gateway.route(name, yaml);
        }
        let running = LocalGate::start_with(&gateway.yaml(), &[("issuer.pem", &issuer.public_pem())]);
        let good = bearer(&token(&issuer, &json!({})));
        Self {
            upstream,
            running,
            good,
        }
    }

    /// Sends a request on a connection of its own.
    fn ask(&self, method: &str, target: &str, headers: &[&str]) -> Response {
        let mut client = RawClient::connect(self.running.data());
        client.send(request(method, target, headers));
        match method {
            "HEAD" => client.receive_to_head(),
            _ => client.receive(),
        }
    }

    /// Returns the target as it reached the upstream, or the status of the refusal.
    fn forwarded(&self, target: &str, headers: &[&str]) -> Result<String, u16> {
        let before = self.upstream.received().len();
        let response = self.ask("GET", target, headers);
        let received = self.upstream.received();
        match response.status {
            200 => {
                assert_eq!(received.len(), before + 1, "{target}");
                Ok(received[before].target().to_owned())
            }
            status => {
                assert_eq!(received.len(), before, "{target} was answered {status} and forwarded");
                Err(status)
            }
        }
    }

    #[track_caller]
    fn check(&self, target: &str, expected: Result<&str, u16>) {
        let forwarded = self.forwarded(target, &[]);
        assert_eq!(forwarded.as_deref().map_err(|status| *status), expected, "{target:?}");
    }
}

lanes!(s089_dot_segments_are_refused_in_every_spelling);
fn s089_dot_segments_are_refused_in_every_spelling() {
    let site = RoutedGate::start(&ADMIN_ROUTES);
    for target in [
        "/api/../admin",
        "/api/%2e%2e/admin",
        "/api/%2E./admin",
        "/api/.%2e/admin",
        "/api/./admin",
        "/api/%2e/admin",
        "/api/..",
        "/..",
        "/.",
        "/api/..;/admin",
        "/api/..;a=b/admin",
        "/api/.;/admin",
        "/api/%2e%2e%3b/admin",
        "/api/%252e%252e/admin",
        "/api/x/../../admin",
        "/api/..%2fadmin",
        "/api/..%5cadmin",
    ] {
        site.check(target, Err(400));
        assert_eq!(site.forwarded(target, &[&site.good]), Err(400), "{target}");
    }
    // Dots within a segment are plain text.
    for target in ["/api/..x", "/api/x..", "/api/...", "/api../x.html"] {
        let expected = if target == "/api../x.html" {
            Err(404)
        } else {
            Ok(target)
        };
        site.check(target, expected);
    }
}

lanes!(s090_forms_that_two_readers_take_differently_are_refused);
fn s090_forms_that_two_readers_take_differently_are_refused() {
    let site = RoutedGate::start(&ADMIN_ROUTES);
    for target in [
        "//admin",
        "/api//admin",
        "/admin//",
        "//",
        "/api/a%2fadmin",
        "/api/a%2Fadmin",
        "/admin%2fx",
        "/api/%5cadmin",
        "/api/\\admin",
        "/api/%00",
        "/api/a%00b",
        "/api/%0a",
        "/api/%0d%0aX:1",
        "/api/%09",
        "/api/%7f",
        "/api/%252fadmin",
        "/api/%c0%ae",
        "/api/%c0%af",
        "/api/%e0%80%af",
        "/api/%ff",
        "/api/%ed%a0%80",
        "/api/%",
        "/api/%2",
        "/api/%zz",
        "/api/%u0061",
        "/api/\u{e4}",
    ] {
        site.check(target, Err(400));
    }
    // Targets with one normalized form are forwarded in that form.
    for (target, forwarded) in [
        ("/api/%61", "/api/a"),
        ("/api/%7e", "/api/~"),
        ("/api/%c3%a4", "/api/%C3%A4"),
        ("/api/a|b", "/api/a%7Cb"),
        ("/api/%20", "/api/%20"),
        // Encoded twice, but no decoding gives a separator or a dot.
        ("/api/%2561", "/api/%2561"),
        ("/%61pi/x", "/api/x"),
    ] {
        site.check(target, Ok(forwarded));
    }
    // Routes match the normalized form, so `/admin` is protected however it is percent-encoded.
    for target in ["/%61dmin", "/ad%6din", "/admi%6E/x"] {
        site.check(target, Err(401));
        let forwarded = site.forwarded(target, &[&site.good]).unwrap();
        assert!(["/admin", "/admin/x"].contains(&forwarded.as_str()), "{forwarded}");
    }
}

lanes!(s091_near_spellings_are_never_less_protected);
fn s091_near_spellings_are_never_less_protected() {
    let site = RoutedGate::start(&ADMIN_ROUTES);
    site.check("/admin", Err(401));
    site.check("/admin/users", Err(401));
    for near in [
        "/admin/",
        "/admin.",
        "/ADMIN",
        "/Admin",
        "/admin;",
        "/admin;a=b",
        "/admin%20",
        "/admin%2e",
        "/admin..",
        "/admin%3b",
        "/%2561dmin",
        "/adm%2569n/x",
    ] {
        site.check(near, Err(404));
    }
    // A common prefix is no match.
    site.check("/administrator", Ok("/administrator"));
    site.check("/admi", Ok("/admi"));
}

// It is about bytes of a head that frames cannot carry.
lanes!(s092_targets_of_other_forms_are_refused_or_mean_their_path: own, own_tls, filter_http1);
fn s092_targets_of_other_forms_are_refused_or_mean_their_path() {
    let site = RoutedGate::start(&ADMIN_ROUTES);
    for target in ["/api/x#/admin", "*", "api/x", "", "?x", "api.test/api/x", "/api/x#"] {
        site.check(target, Err(400));
    }
    for target in [
        "ftp://api.test/api/x",
        "http:///api/x",
        "http://",
        "http://u@api.test/api/x",
    ] {
        let status = site.forwarded(target, &[]).expect_err(target);
        assert_eq!(status, 400, "{target}");
    }
    // An encoded question mark belongs to the path, and stays encoded.
    site.check("/api/x%3fa=b", Ok("/api/x%3Fa=b"));
    site.check("/admin%3fx", Err(404));
    site.check("/api/x?a=%2e%2e/%2f", Ok("/api/x?a=%2e%2e/%2f"));
    site.check("/api/x?/../admin", Ok("/api/x?/../admin"));
    // An absolute-form target is forwarded in origin form if it names the host of the Host field.
    site.check("http://api.test/api/x?y", Ok("/api/x?y"));
    site.check("http://api.test/admin", Err(401));
    let shouted = site.ask("GET", "http://API.test/api/x", &[]);
    assert_eq!(
        (shouted.status, shouted.json()["status"].as_u64()),
        (400, Some(400)),
        "identical, and refused in our words"
    );
    assert_eq!(
        site.forwarded("http://API.test/api/x", &["Host: API.test"]).as_deref(),
        Ok("/api/x")
    );
}

// Two hosts in one request of HTTP/2 are tested in `http2`.
lanes!(s093_one_request_has_one_host: own, own_tls, filter_http1);
fn s093_one_request_has_one_host() {
    let site = RoutedGate::start(&ADMIN_ROUTES);
    for (target, headers, expected) in [
        ("http://evil.test/api/x", &["Host: api.test"][..], Err(400)),
        ("http://api.test:81/api/x", &["Host: api.test"], Err(400)),
        ("/api/x", &["Host: api.test", "Host: api.test"], Err(400)),
        ("/api/x", &["Host: api.test", "Host: evil.test"], Err(400)),
        ("/api/x", &["Host: a b"], Err(400)),
        ("/api/x", &["Host: api.test/x"], Err(400)),
        ("/api/x", &["Host: u@api.test"], Err(400)),
        ("/api/x", &["Host: api.test:x"], Err(400)),
        ("/api/x", &["Host: a.test,b.test"], Err(400)),
        ("/api/x", &["Host: api.test"], Ok("/api/x".to_owned())),
    ] {
        assert_eq!(site.forwarded(target, headers), expected, "{target} {headers:?}");
    }
    let mut client = RawClient::connect(site.running.data());
    assert_eq!(client.exchange("GET /api/x HTTP/1.1\r\n\r\n").status, 400);
}

lanes!(s094_a_stripped_prefix_leaves_exactly_what_was_checked);
fn s094_a_stripped_prefix_leaves_exactly_what_was_checked() {
    let strip = "\nstrip_prefix: /v1\npublic: true\nupstream: only";
    let site = RoutedGate::start(&[
        ("v1", &format!("match: {{ path: \"/v1/{{*rest}}\" }}{strip}")),
        ("bare", &format!("match: {{ path: /v1 }}{strip}")),
        (
            "slash",
            &format!("match: {{ path: \"/v1/odd/{{*rest}}\" }}\nallow: [encoded_slash, empty_segments]{strip}"),
        ),
    ]);
    for (target, forwarded) in [
        ("/v1/orders", Ok("/orders")),
        ("/v1/orders?a=/v1/x", Ok("/orders?a=/v1/x")),
        ("/v1/v1/orders", Ok("/v1/orders")),
        ("/v1", Ok("/")),
        ("/v1?x", Ok("/?x")),
        ("/%76%31/orders", Ok("/orders")),
        ("/v1/%6frders", Ok("/orders")),
        ("/v1/a%3Fb", Ok("/a%3Fb")),
        ("/v1/odd/a%2fb", Ok("/odd/a%2Fb")),
        ("/v1/odd/a//b", Ok("/odd/a//b")),
        ("/v1/../orders", Err(400)),
        ("/v1//evil.test/x", Err(400)),
        ("/v1/a%2fb", Err(400)),
        ("/v1x/orders", Err(404)),
        ("/v1/", Err(404)),
    ] {
        site.check(target, forwarded);
    }
    // A target that starts with `//` could be read as the name of another host.
    assert!(
        site.upstream
            .received()
            .iter()
            .all(|request| !request.target().starts_with("//"))
    );
}

lanes!(s095_a_configured_path_is_literal_and_whole);
fn s095_a_configured_path_is_literal_and_whole() {
    let site = RoutedGate::start(&ADMIN_ROUTES);
    site.check("/v1.0/status", Ok("/v1.0/status"));
    for other in [
        "/v1x0/status",
        "/v1.0/status/x",
        "/x/v1.0/status",
        "/v1.0/statusx",
        "/v1.0/statu",
        "/v1.0/",
    ] {
        site.check(other, Err(404));
    }
    // A parameter is one segment; `{*rest}` has at least one character.
    site.check("/api/", Err(404));
    site.check("/a/b", Err(404));
    site.check("/", Err(404));
}

lanes!(s096_nothing_about_a_probe_opens_a_data_route);
fn s096_nothing_about_a_probe_opens_a_data_route() {
    let protected = [("all", "match: { path: \"/{*rest}\" }\naccept: [jwt]\nupstream: only")];
    let site = RoutedGate::start(&protected);
    for path in [
        "/healthz",
        "/livez",
        "/readyz",
        "/metrics",
        "/ping",
        "/health",
        "/status",
        "/.well-known/x",
    ] {
        for agent in [
            "ELB-HealthChecker/2.0",
            "kube-probe/1.30",
            "GoogleHC/1.0",
            "Prometheus/3.0",
        ] {
            let agent = format!("User-Agent: {agent}");
            assert_eq!(site.forwarded(path, &[&agent]), Err(401), "{path} {agent}");
        }
    }
}

lanes!(s097_a_preflight_is_authenticated_like_any_request);
fn s097_a_preflight_is_authenticated_like_any_request() {
    let site = RoutedGate::start(&ADMIN_ROUTES);
    for headers in [
        &[][..],
        &["Origin: https://web.test"],
        &["Access-Control-Request-Method: GET"],
        &["Origin: https://web.test", "Access-Control-Request-Method: GET"],
    ] {
        assert_eq!(site.ask("OPTIONS", "/admin", headers).status, 401, "{headers:?}");
    }
    let mut client = RawClient::connect(site.running.data());
    assert_eq!(
        client.exchange("OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n").status,
        400
    );
    assert_eq!(site.upstream.received().len(), 0);
}

// The same in frames is tested in `http2`.
lanes!(s098_a_grpc_path_without_its_slash_is_refused: own, own_tls, filter_http1);
fn s098_a_grpc_path_without_its_slash_is_refused() {
    let site = RoutedGate::start(&ADMIN_ROUTES);
    let grpc = ["Content-Type: application/grpc"];
    assert_eq!(site.ask("POST", "admin/users", &grpc).status, 400);
    let refused = site.ask("POST", "/admin/users", &grpc);
    assert_eq!((refused.status, refused.header("grpc-status")), (401, Some("16")));
}

lanes!(s099_every_method_has_the_routes_protection);
fn s099_every_method_has_the_routes_protection() {
    let site = RoutedGate::start(&[
        (
            "read",
            "match: { path: /things, methods: [GET] }\naccept: [jwt]\nupstream: only",
        ),
        ("all", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: only"),
        (
            "own",
            "match: { path: /own, methods: [PROPFIND] }\naccept: [jwt]\nupstream: only",
        ),
    ]);
    assert_eq!(site.ask("GET", "/things", &[]).status, 401);
    assert_eq!(site.ask("HEAD", "/things", &[]).status, 401);
    // The less specific open route takes none of the other methods.
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for headers in [&[][..], &[site.good.as_str()]] {
            let response = site.ask(method, "/things", headers);
            assert_eq!(
                (response.status, response.header("allow")),
                (405, Some("GET, HEAD")),
                "{method}"
            );
        }
    }
    for method in [
        "get", "Get", "gET", "FOO", "GETX", "TRACE", "CONNECT", "MKCOL", "TRACK", "DEBUG",
    ] {
        let response = site.ask(method, "/things", &[&site.good]);
        assert!(
            [400, 405, 501].contains(&response.status),
            "{method} {}",
            response.status
        );
        assert!(site.upstream.received().is_empty(), "{method}");
    }
    assert_eq!(site.ask("PROPFIND", "/own", &[]).status, 401);
    assert_eq!(site.ask("propfind", "/own", &[&site.good]).status, 400);
    let allowed = site.ask("GET", "/own", &[&site.good]);
    assert_eq!((allowed.status, allowed.header("allow")), (405, Some("PROPFIND")));
    assert_eq!(site.ask("PROPFIND", "/own", &[&site.good]).status, 200);
    assert_eq!(site.ask("HEAD", "/things", &[&site.good]).status, 200);
    let methods: Vec<_> = site
        .upstream
        .received()
        .iter()
        .map(|request| request.method().to_owned())
        .collect();
    assert_eq!(methods, ["PROPFIND", "HEAD"]);
}

lanes!(s100_a_protected_default_cannot_be_dropped_by_a_route);
fn s100_a_protected_default_cannot_be_dropped_by_a_route() {
    let upstream = FakeUpstream::start();
    let gateway = GatewayBuilder::new().upstream("only", upstream.address());
    for (yaml, word) in [
        ("match: { path: /a }\nupstream: only", "accept"),
        ("match: { path: /a }\naccept: []\nupstream: only", "accept"),
        (
            "match: { path: /a }\naccept: [jwt]\npublic: true\nupstream: only",
            "public",
        ),
        (
            "match: { path: /a }\npublic: true\nscopes: { all: [x] }\nupstream: only",
            "scopes",
        ),
        ("match: { path: /a }\npublic: false\nupstream: only", "accept"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keygate.yaml");
        std::fs::write(&file, gateway.clone().route("a", yaml).yaml()).unwrap();
        let errors = config::load(&file).unwrap_err().to_string();
        assert!(
            errors.contains("routes[0]") && errors.contains(word),
            "{yaml}: {errors}"
        );
    }
}

// It is about bytes of a head that frames cannot carry.
lanes!(hosts_are_compared_without_case_port_and_final_dot: own, own_tls, filter_http1);
fn hosts_are_compared_without_case_port_and_final_dot() {
    let open = "public: true\nupstream: only";
    let site = RoutedGate::start(&[
        (
            "exact",
            &format!("match: {{ host: api.test, path: /x }}\nstrip_prefix: /x\n{open}"),
        ),
        ("below", &format!("match: {{ host: \"*.api.test\", path: /y }}\n{open}")),
        ("six", &format!("match: {{ host: \"[::1]\", path: /z }}\n{open}")),
        ("four", &format!("match: {{ host: 127.0.0.1, path: /w }}\n{open}")),
        ("any", &format!("match: {{ path: /any }}\n{open}")),
    ]);
    for (host, path, status) in [
        ("api.test", "/x", 200),
        ("API.Test", "/x", 200),
        ("api.test:8080", "/x", 200),
        ("api.test.", "/x", 200),
        ("API.TEST.:443", "/x", 200),
        ("a.api.test", "/x", 404),
        ("xapi.test", "/x", 404),
        ("api.test.evil", "/x", 404),
        ("api.test", "/y", 404),
        ("a.api.test", "/y", 200),
        ("A.b.API.test:1", "/y", 200),
        ("a.api.test.", "/y", 200),
        (".api.test", "/y", 400),
        ("aapi.test", "/y", 404),
        ("[::1]", "/z", 200),
        ("[::1]:8080", "/z", 200),
        ("[0:0::1]", "/z", 200),
        ("[::2]", "/z", 404),
        ("::1", "/z", 400),
        ("127.0.0.1", "/w", 200),
        ("127.0.0.1:80", "/w", 200),
        ("127.1", "/w", 404),
        ("whatever", "/any", 200),
        ("api.test", "/any", 200),
        ("[::1]", "/any", 200),
        ("api.test..", "/any", 400),
    ] {
        let response = get(site.running.data(), path, &[&format!("Host: {host}")]);
        assert_eq!(response.status, status, "{host} {path}: {}", response.text());
    }
}

lanes!(the_more_specific_host_decides_before_the_path);
fn the_more_specific_host_decides_before_the_path() {
    let site = RoutedGate::start(&[
        ("any", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: only"),
        (
            "api",
            "match: { host: api.test, path: \"/{*rest}\" }\naccept: [jwt]\nupstream: only",
        ),
        (
            "below",
            "match: { host: \"*.test\", path: /open }\npublic: true\nupstream: only",
        ),
    ]);
    for (host, path, status) in [
        ("api.test", "/open", 401),
        ("API.TEST.", "/open", 401),
        ("other.test", "/open", 200),
        ("other.test", "/else", 200),
        ("api.test", "/else", 401),
        ("elsewhere", "/open", 200),
    ] {
        assert_eq!(
            get(site.running.data(), path, &[&format!("Host: {host}")]).status,
            status,
            "{host} {path}"
        );
    }
}

lanes!(s087_overriding_headers_move_no_request);
fn s087_overriding_headers_move_no_request() {
    let site = RoutedGate::start(&ADMIN_ROUTES);
    for name in [
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Original-URI",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X-Forwarded-Prefix",
        "X-Forwarded-Uri",
    ] {
        let header = format!("{name}: /api/x");
        assert_eq!(site.forwarded("/admin", &[&header]), Err(401), "{name}");
        let header = format!("{name}: /admin");
        assert_eq!(site.forwarded("/api/x", &[&header]).as_deref(), Ok("/api/x"), "{name}");
    }
    assert!(
        site.upstream
            .received()
            .iter()
            .all(|request| !String::from_utf8_lossy(&request.raw).contains("/admin"))
    );
}
