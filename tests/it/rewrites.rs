//! Which path does the upstream receive, and which paths and hosts come back to the client?

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::lane::lanes;

/// Starts a gate with a public route for `/v1/{*rest}` with `route`, and one for `/orders/{id}/items/{*rest}`.
fn gate(upstream: &FakeUpstream, route: &str) -> LocalGate {
    let gate = GatewayBuilder::new()
        .upstream("api", upstream.address())
        .route(
            "v1",
            &format!("match: {{ path: \"/v1/{{*rest}}\" }}\npublic: true\nupstream: api\n{route}"),
        )
        .route(
            "template",
            "match: { path: \"/orders/{id}/items/{*rest}\" }\nrewrite: \"/items/{*rest}\"\npublic: true\nupstream: api",
        )
        .route(
            "other",
            "match: { path: \"/{*rest}\" }\naccept: [api_key]\nupstream: api",
        )
        .top("api_keys: { file: keys.yaml }")
        .yaml();
    let gate = LocalGate::start_with(&gate, &[("keys.yaml", "")]);
    gate.wait_ready();
    gate
}

fn get(gate: &RunningGate, target: &str) -> Response {
    RawClient::connect(gate.data()).exchange(format!("GET {target} HTTP/1.1\r\nHost: api.example.com\r\n\r\n"))
}

lanes!(s094_the_upstream_receives_the_path_that_was_checked_and_changed);
fn s094_the_upstream_receives_the_path_that_was_checked_and_changed() {
    let upstream = FakeUpstream::start();
    let gate = gate(&upstream, "strip_prefix: /v1\nadd_prefix: /api");
    for (target, expected) in [
        ("/v1/orders?a=/v1&b=%7e", "/api/orders?a=/v1&b=%7e"),
        ("/v1/%7euser/a%20b", "/api/~user/a%20b"),
        ("/v1/v1/", "/api/v1/"),
        ("/orders/5/items/a%3Fb/c?d", "/items/a%3Fb/c?d"),
    ] {
        assert_eq!(get(&gate, target).status, 200, "{target}");
        assert_eq!(upstream.received().pop().unwrap().target(), expected);
    }
    // The gate decides by the path before the change, and no change makes a path that would be refused.
    let received = upstream.received().len();
    for (target, status) in [
        ("/api/orders", 401),
        ("/v1/../admin", 400),
        ("/v1/%2e%2e/admin", 400),
        ("/v1/a%2Fb", 400),
        ("/orders/%2e%2e/items/a", 400),
        ("/orders/../items/a", 400),
    ] {
        assert_eq!(get(&gate, target).status, status, "{target}");
    }
    assert_eq!(upstream.received().len(), received);
}

lanes!(redirects_and_cookies_name_what_the_client_knows);
fn redirects_and_cookies_name_what_the_client_knows() {
    let upstream = FakeUpstream::start();
    let own = upstream.address();
    upstream.respond_with(move |_| {
        format!(
            "HTTP/1.1 302 Found\r\nLocation: http://{own}/api/a?b\r\nContent-Location: /api/c\r\nSet-Cookie: a=b; Path=/api\r\n\
             Set-Cookie: c=d\r\nX-Location: /api/a\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    });
    let changed = gate(&upstream, "strip_prefix: /v1\nadd_prefix: /api");
    let response = get(&changed, "/v1/a");
    let named = |response: &Response, name: &str| response.headers_named(name).join(" | ");
    assert_eq!(named(&response, "location"), "/v1/a?b");
    assert_eq!(named(&response, "content-location"), "/v1/c");
    assert_eq!(named(&response, "set-cookie"), "a=b; Path=/v1 | c=d");
    assert_eq!(named(&response, "x-location"), "/api/a");
    // A template has no way back for paths, but the upstream's host is never the client's.
    let response = get(&changed, "/orders/5/items/6");
    assert_eq!(named(&response, "location"), "/api/a?b");
    assert_eq!(named(&response, "content-location"), "/api/c");
    assert_eq!(named(&response, "set-cookie"), "a=b; Path=/api | c=d");
    let plain = gate(&upstream, "");
    assert_eq!(named(&get(&plain, "/v1/a"), "location"), "/api/a?b");
    let kept = gate(&upstream, "strip_prefix: /v1\nadd_prefix: /api\nrewrite_back: false");
    let response = get(&kept, "/v1/a");
    assert_eq!(named(&response, "location"), format!("http://{own}/api/a?b"));
    assert_eq!(named(&response, "content-location"), "/api/c");
    assert_eq!(named(&response, "set-cookie"), "a=b; Path=/api | c=d");
}
