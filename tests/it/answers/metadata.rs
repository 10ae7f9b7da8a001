//! Can a client find out where to get a token (RFC 9728)?

use super::Gate;
use super::bearer;
use crate::support::GatewayBuilder;
use crate::support::issuer::ISSUER;
use serde_json::json;

const HERE: &str = "/.well-known/oauth-protected-resource";

/// Adds the resources `api` (at the root of one host), `v1` and `other` (on one path at two hosts),
/// their routes, and routes without a resource.
fn routes(gate: GatewayBuilder) -> GatewayBuilder {
    let route = |path: &str, more: &str| format!("match: {{ path: \"{path}\" }}\nupstream: up\n{more}");
    gate.top(
        "resources:\n  api: { url: \"https://api.example.com\", documentation: \"https://docs.example.com/api\" }\n  \
         v1: { url: \"https://API.example.com:8443/v1\" }\n  other: { url: \"https://other.example.com/v1\" }",
    )
    .issuer(
        "second",
        "issuer: https://second.example.test\naudiences: any\npublic_key_files: [issuer.pem]",
    )
    .route(
        "read",
        &route(
            "/read/{*rest}",
            "accept: [jwt, api_key]\nresource: api\nissuers: [main]\nscopes: { all: [\"orders:read\"] }",
        ),
    )
    .route(
        "write",
        &route(
            "/write/{*rest}",
            "accept: [jwt]\nresource: api\nscopes: { all: [\"orders:write\"], any: [\"orders:read\", admin] }",
        ),
    )
    .route(
        "v1",
        &route("/v1/{*rest}", "accept: [jwt]\nresource: v1\nissuers: [second]"),
    )
    .route("other", &route("/other", "accept: [jwt]\nresource: other"))
    .route("none", &route("/none", "accept: [jwt]"))
    .route("key", &route("/key", "accept: [api_key]"))
    .route("open", &route("/open", "public: true"))
}

#[test]
fn metadata_say_whose_tokens_count_and_which_scopes_there_are() {
    let gate = Gate::start(routes);
    let response = gate.ask_at("api.example.com", &format!("GET {HERE}"), "");
    assert_eq!(response.status, 200);
    assert_eq!(
        response.json(),
        json!({
            "resource": "https://api.example.com",
            "authorization_servers": [ISSUER, "https://second.example.test"],
            "scopes_supported": ["admin", "orders:read", "orders:write"],
            "bearer_methods_supported": ["header"],
            "resource_documentation": "https://docs.example.com/api",
        })
    );
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    let record = gate.record(&response);
    assert_eq!(
        (&record["decision"], &record["reason"], &record["route"]),
        (
            &json!("answer"),
            &json!("document"),
            &json!("keygate.resource-metadata")
        )
    );
    assert_eq!(gate.decisions("keygate.resource-metadata", "answer", "document"), 1.0);
    let head = gate.ask_at("api.example.com", &format!("HEAD {HERE}"), "");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, response.header("content-length"))
    );
    let post = gate.ask_at("api.example.com", &format!("POST {HERE}"), "");
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    // The host distinguishes two resources on one path.
    let v1 = gate
        .ask_at("api.example.com:8443", &format!("GET {HERE}/v1"), "")
        .json();
    assert_eq!(
        v1,
        json!({
            // As configured, byte for byte: clients compare the value with the URL that they used (section 3.3).
            "resource": "https://API.example.com:8443/v1",
            "authorization_servers": ["https://second.example.test"],
            "bearer_methods_supported": ["header"],
        })
    );
    let other = gate.ask_at("Other.Example.com.", &format!("GET {HERE}/v1"), "").json();
    assert_eq!(other["resource"], "https://other.example.com/v1");
}

#[test]
fn metadata_are_said_at_the_resources_own_host_alone_and_never_from_a_header() {
    let gate = Gate::start(routes);
    for host in ["evil.example", "example.com", "x.api.example.com", "127.0.0.1"] {
        for path in ["", "/v1"] {
            let (line, fields) = (format!("GET {HERE}{path}"), "X-Forwarded-Host: api.example.com\r\n");
            assert_eq!(gate.ask_at(host, &line, fields).status, 404, "{host}{path}");
        }
    }
    for (path, status) in [
        ("", 200),
        ("/", 404),
        ("/v1", 200),
        ("/v1/", 404),
        ("/v2", 404),
        ("/V1", 404),
    ] {
        let response = gate.ask_at(
            "api.example.com",
            &format!("GET {HERE}{path}"),
            "Forwarded: host=evil.example\r\n",
        );
        assert_eq!(response.status, status, "{path}");
        assert!(!response.text().contains("evil"), "{path}");
    }
}

#[test]
fn challenges_say_where_the_metadata_are() {
    let gate = Gate::start(routes);
    let url = |path: &str| format!("resource_metadata=\"https://api.example.com{path}\"");
    let api = url(HERE);
    let v1 = format!("resource_metadata=\"https://api.example.com:8443{HERE}/v1\"");
    let poor = bearer(&gate.token_with(json!({ "scope": "other" })));
    let rows = [
        (
            "/read/1",
            String::new(),
            401,
            format!("Bearer realm=\"keygate\", {api}"),
        ),
        ("/read/1", bearer("a.b.c"), 401, format!(", {api}")),
        (
            "/write/1",
            poor,
            403,
            // Of `orders:write` and `admin`, one is enough: the challenge names the first.
            format!("scope=\"orders:read orders:write\", {api}"),
        ),
        ("/write/1", bearer("a b"), 400, format!(", {api}")),
        ("/v1/1", String::new(), 401, format!("Bearer realm=\"keygate\", {v1}")),
    ];
    for (path, fields, status, expected) in rows {
        // The URL of the metadata does not depend on the request's host.
        let response = gate.ask_at("somewhere.example", &format!("GET {path}"), &fields);
        assert_eq!(response.status, status, "{path}");
        let challenges = response.headers_named("www-authenticate");
        let bearers: Vec<&&str> = challenges
            .iter()
            .filter(|challenge| challenge.starts_with("Bearer "))
            .collect();
        assert_eq!(bearers.len(), 1, "{challenges:?}");
        assert!(
            bearers[0].ends_with(&expected),
            "{} does not end in {expected}",
            bearers[0]
        );
        // An API key is not an OAuth token, so its challenge names no metadata.
        let others = challenges.iter().filter(|challenge| !challenge.starts_with("Bearer "));
        assert!(
            others.clone().all(|challenge| !challenge.contains("resource_metadata")),
            "{challenges:?}"
        );
    }
    for path in ["/none", "/key"] {
        let response = gate.ask(&format!("GET {path}"), "");
        assert_eq!(response.status, 401);
        assert!(
            !format!("{:?}", response.headers).contains("resource_metadata"),
            "{path}"
        );
    }
}

#[test]
fn the_only_resource_is_that_of_every_route_that_takes_tokens() {
    let gate = Gate::start(|gate| {
        gate.top("resources: { api: { url: \"http://localhost:8080/\" } }")
            .route(
                "jwt",
                "match: { path: /jwt }\naccept: [jwt]\nupstream: up\nscopes: { any: [a, b] }",
            )
            .route(
                "key",
                "match: { path: /key }\naccept: [api_key]\nupstream: up\nscopes: { all: [c] }",
            )
    });
    let response = gate.ask("GET /jwt", "");
    let expected = format!("Bearer realm=\"keygate\", resource_metadata=\"http://localhost:8080{HERE}\"");
    assert_eq!(response.header("www-authenticate"), Some(&*expected));
    assert!(
        !gate
            .ask("GET /key", "")
            .header("www-authenticate")
            .unwrap()
            .contains("resource")
    );
    let metadata = gate.ask_at("localhost:1234", &format!("GET {HERE}"), "").json();
    assert_eq!(metadata["resource"], "http://localhost:8080/");
    // The scopes of the route that takes tokens, not of the route that takes keys.
    assert_eq!(metadata["scopes_supported"], json!(["a", "b"]));
}
