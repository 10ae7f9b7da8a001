//! May browser pages call a route only from the origins that the route names (S097)?

use super::Gate;
use super::bearer;
use crate::support::GatewayBuilder;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::lane::lanes;
use serde_json::json;

const APP: &str = "https://app.example.com";

/// Starts a gate with the routes `post` (only POST, two origins), `any` (every origin), `cookies` (with credentials,
/// one request an hour), `gets` and `puts` (one path; only `gets` has CORS settings), and three
/// without CORS settings: `plain`, `open-options` and `theirs`.
fn gate() -> Gate {
    Gate::start(routes)
}

fn routes(gate: GatewayBuilder) -> GatewayBuilder {
    let at =
        |path: &str, more: &str| format!("match: {{ path: \"{path}\" }}\naccept: [jwt, api_key]\nupstream: up\n{more}");
    gate.limit("once", "by: credential\nquota: 1/hour\nburst: 1")
        .route(
            "post",
            &format!(
                "match: {{ path: \"/post/{{*rest}}\", methods: [POST] }}\naccept: [jwt, api_key]\nupstream: up\n\
                 scopes: {{ all: [\"orders:read\"] }}\ncors: {{ origins: [{APP}, \"http://localhost:3000\"] }}"
            ),
        )
        .route("any", &at("/any/{*rest}", "cors: { origins: \"*\", max_age: 0s }"))
        .route(
            "cookies",
            &at(
                "/cookies/{*rest}",
                &format!(
                    "limits: [once]\ncors: {{ origins: [{APP}], credentials: true, headers: [x-a, Authorization], \
                     expose: [x-total], methods: [GET], max_age: 1h }}"
                ),
            ),
        )
        .route(
            "gets",
            &format!(
                "match: {{ path: /both, methods: [GET] }}\naccept: [jwt]\nupstream: up\ncors: {{ origins: [{APP}] }}"
            ),
        )
        .route(
            "puts",
            "match: { path: /both, methods: [PUT, OPTIONS] }\naccept: [jwt]\nupstream: up",
        )
        .route("plain", &at("/plain/{*rest}", ""))
        .route(
            "open-options",
            "match: { path: /theirs, methods: [OPTIONS] }\npublic: true\nupstream: up",
        )
        .route(
            "theirs",
            "match: { path: /theirs, methods: [POST] }\naccept: [jwt]\nupstream: up",
        )
}

fn preflight(origin: &str, method: &str, more: &str) -> String {
    format!("Origin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n{more}")
}

/// Returns every CORS header of the response, in lower case and sorted.
fn cors_fields(response: &Response) -> Vec<String> {
    let ours = response
        .headers
        .iter()
        .filter(|(name, _)| name.to_ascii_lowercase().starts_with("access-control-"));
    let mut lines: Vec<String> = ours
        .map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase()))
        .collect();
    lines.sort();
    lines
}

lanes!(s097_a_preflight_is_answered_by_the_route_of_the_method_it_asks_about);
fn s097_a_preflight_is_answered_by_the_route_of_the_method_it_asks_about() {
    let gate = gate();
    let request_fields = preflight(
        APP,
        "POST",
        "Access-Control-Request-Headers: content-type, X-API-Key,authorization\r\n",
    );
    let (response, record) = gate.ask_recorded("OPTIONS /post/1", &request_fields);
    assert_eq!(response.status, 204);
    assert_eq!(
        cors_fields(&response),
        [
            "access-control-allow-headers: authorization, x-api-key, content-type",
            "access-control-allow-methods: POST",
            "access-control-allow-origin: https://app.example.com",
            "access-control-max-age: 600",
        ]
    );
    assert_eq!(
        response.header("vary"),
        Some("Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
    );
    // A 204 has no Content-Length (RFC 9110 section 8.6) and no Transfer-Encoding (RFC 9112 section 6.1).
    assert_eq!(
        (response.header("content-length"), response.header("transfer-encoding")),
        (None, None)
    );
    assert_eq!(
        (
            &record["decision"],
            &record["reason"],
            &record["route"],
            &record["status"]
        ),
        (&json!("answer"), &json!("preflight"), &json!("post"), &json!(204))
    );
    assert_eq!(gate.decisions("post", "answer", "preflight"), 1.0);
    assert!(gate.upstream.received().is_empty());
}

lanes!(what_is_allowed_is_what_the_route_says);
fn what_is_allowed_is_what_the_route_says() {
    let gate = gate();
    let response = gate.ask("OPTIONS /cookies/1", &preflight(APP, "GET", ""));
    assert_eq!(
        cors_fields(&response),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-headers: x-a, authorization",
            "access-control-allow-methods: GET",
            "access-control-allow-origin: https://app.example.com",
            "access-control-max-age: 3600",
        ]
    );
    // The gate never grants access to a private network, so this field has no effect.
    let request_fields = preflight(
        "https://anyone.example",
        "DELETE",
        "Access-Control-Request-Private-Network: true\r\n",
    );
    assert_eq!(
        cors_fields(&gate.ask("OPTIONS /any/1", &request_fields)),
        [
            "access-control-allow-headers: authorization, x-api-key, content-type",
            "access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE",
            "access-control-allow-origin: *",
            "access-control-max-age: 0",
        ]
    );
}

lanes!(s097_a_preflight_for_what_is_not_allowed_is_told_nothing_that_is);
fn s097_a_preflight_for_what_is_not_allowed_is_told_nothing_that_is() {
    let gate = gate();
    let refused = |path: &str, fields: &str, reason: &str| {
        let (response, record) = gate.ask_recorded(&format!("OPTIONS {path}"), fields);
        assert_eq!((response.status, &record["reason"]), (403, &json!(reason)), "{fields}");
        assert_eq!(response.json()["type"], "urn:keygate:problem:cors");
        assert_eq!(record["decision"], "deny");
        for header in ["allow-methods", "allow-headers", "max-age"] {
            assert_eq!(response.header(&format!("access-control-{header}")), None, "{fields}");
        }
        assert_eq!(response.headers_named("www-authenticate").len(), 0);
        response
    };
    for origin in [
        "https://evil.example",
        "https://app.example.com.evil.example",
        "https://app.example.com:444",
        "https://app.example.com:443",
        "http://app.example.com",
        "https://APP.example.com",
        "https://app.example.com/",
        "https://app.example.co",
        "https://xapp.example.com",
        "app.example.com",
        "null",
        "*",
        "https://app.example.com https://evil.example",
        "",
    ] {
        let response = refused("/post/1", &preflight(origin, "POST", ""), "cors_origin");
        assert_eq!(cors_fields(&response), [""; 0], "{origin}");
        assert_eq!(response.header("vary"), Some("Origin"));
    }
    refused("/cookies/1", &preflight(APP, "PUT", ""), "cors_method");
    for names in ["x-b", "x-a, x-b", "x-a\u{e9}", "*", "x-a x-b"] {
        let fields = preflight(APP, "GET", &format!("Access-Control-Request-Headers: {names}\r\n"));
        refused("/cookies/1", &fields, "cors_header");
    }
    let twice = "Access-Control-Request-Headers: x-a\r\nAccess-Control-Request-Headers: cookie\r\n";
    refused("/cookies/1", &preflight(APP, "GET", twice), "cors_header");
    assert_eq!(gate.decisions("post", "deny", "cors_origin"), 14.0);
}

lanes!(s097_any_other_options_is_authenticated);
fn s097_any_other_options_is_authenticated() {
    let gate = gate();
    let token = gate.token();
    let origin = format!("Origin: {APP}\r\n");
    for fields in [
        String::new(),
        origin.clone(),
        "Access-Control-Request-Method: GET\r\n".to_owned(),
        // A request with two `Origin` or two `Access-Control-Request-Method` fields is not a preflight.
        preflight(APP, "GET", &origin),
        preflight(APP, "GET", "Access-Control-Request-Method: GET\r\n"),
        preflight(APP, "GE T", ""),
        preflight(APP, "", ""),
        // No route serves the requested method, so the request is an ordinary OPTIONS.
        preflight(APP, "PROPFIND", ""),
        preflight(APP, "get", ""),
    ] {
        for path in ["/any/1", "/plain/1"] {
            let (response, record) = gate.ask_recorded(&format!("OPTIONS {path}"), &fields);
            assert_eq!(
                (response.status, &record["reason"]),
                (401, &json!("credential_missing")),
                "{path} {fields}"
            );
        }
        assert_eq!(gate.ask("OPTIONS /any/1", &(fields + &bearer(&token))).status, 200);
    }
    let arrived = gate.upstream.received().len();
    // On a route without CORS, a preflight is an ordinary OPTIONS too.
    let request_fields = preflight(APP, "GET", "");
    assert_eq!(gate.ask("OPTIONS /plain/1", &request_fields).status, 401);
    // The route of the requested method decides, not the route of OPTIONS.
    assert_eq!(gate.ask("OPTIONS /both", &request_fields).status, 204);
    assert_eq!(gate.ask("OPTIONS /both", &preflight(APP, "PUT", "")).status, 401);
    // The only route of `/post` serves POST, so an ordinary OPTIONS is 405; so is a preflight for another method.
    assert_eq!(gate.ask("OPTIONS /post/1", "").status, 405);
    assert_eq!(gate.ask("OPTIONS /post/1", &preflight(APP, "DELETE", "")).status, 405);
    assert_eq!(gate.ask("OPTIONS /nowhere", &request_fields).status, 404);
    assert_eq!(gate.upstream.received().len(), arrived);
    // A route may leave preflights to its upstream.
    assert_eq!(gate.ask("OPTIONS /theirs", &preflight(APP, "POST", "")).status, 200);
    assert_eq!(gate.upstream.received().len(), arrived + 1);
}

lanes!(s097_a_request_with_a_credential_is_no_preflight);
fn s097_a_request_with_a_credential_is_no_preflight() {
    let gate = gate();
    let request_fields = preflight(APP, "GET", "");
    for (credential, reason) in [
        (bearer("a.b.c"), "token_malformed"),
        ("Authorization: Basic dTpw\r\n".to_owned(), "authorization_scheme"),
        ("x-api-key: nonsense\r\n".to_owned(), "api_key_unknown"),
    ] {
        let (response, record) = gate.ask_recorded("OPTIONS /cookies/1", &(request_fields.clone() + &credential));
        assert_eq!(record["reason"], reason, "{credential}");
        assert!(matches!(response.status, 400 | 401), "{credential}");
    }
    let both = request_fields.clone() + &bearer("a.b.c") + "x-api-key: a\r\n";
    let (response, record) = gate.ask_recorded("OPTIONS /cookies/1", &both);
    assert_eq!((response.status, &record["reason"]), (400, &json!("two_credentials")));
}

lanes!(what_two_parsers_read_differently_is_refused_in_a_preflight_too);
fn what_two_parsers_read_differently_is_refused_in_a_preflight_too() {
    let gate = gate();
    let request_fields = preflight(APP, "GET", "");
    for (target, reason) in [
        ("/any/a/../b", "path_dot_segment"),
        ("/any//b", "path_empty_segment"),
        ("/any/a%2Fb", "path_encoded_slash"),
        ("/any/a?access_token=x", "query_credential"),
    ] {
        let (response, record) = gate.ask_recorded(&format!("OPTIONS {target}"), &request_fields);
        assert_eq!((response.status, &record["reason"]), (400, &json!(reason)), "{target}");
    }
    let (response, record) = gate.ask_recorded("OPTIONS /any/a", &(request_fields + "X_Api_Key: 1\r\n"));
    assert_eq!((response.status, &record["reason"]), (400, &json!("header_alias")));
}

lanes!(a_page_can_read_answers_and_refusals_alike);
fn a_page_can_read_answers_and_refusals_alike() {
    let gate = gate();
    let token = bearer(&gate.token());
    let origin = format!("Origin: {APP}\r\n");
    let readable = |response: &Response, expose: &str| {
        let mut expected = vec![
            format!("access-control-allow-origin: {APP}"),
            format!("access-control-expose-headers: {expose}"),
        ];
        if expose == "x-total" {
            expected.insert(0, "access-control-allow-credentials: true".to_owned());
        }
        assert_eq!(cors_fields(response), expected, "{}", response.status);
        assert_eq!(response.header("vary"), Some("Origin"), "{}", response.status);
    };
    let ours = "www-authenticate, retry-after, ratelimit, ratelimit-policy, x-request-id";
    for (fields, status) in [
        (token.clone(), 200),
        (format!("x-api-key: {}\r\n", gate.key), 200),
        (String::new(), 401),
        (bearer(&gate.token_with(json!({ "scope": "other" }))), 403),
        ("x-api-key: a,b\r\n".to_owned(), 400),
        ("Content-Length: 99999999\r\n".to_owned() + &token, 413),
    ] {
        let response = gate.ask("POST /post/1", &(origin.clone() + &fields));
        assert_eq!(response.status, status, "{}", response.text());
        readable(&response, ours);
    }
    for status in [200, 429] {
        let response = gate.ask("GET /cookies/1", &(origin.clone() + &token));
        assert_eq!(response.status, status);
        readable(&response, "x-total");
    }
    gate.upstream.respond_with(|_| b"nonsense\r\n\r\n".to_vec());
    let response = gate.ask("POST /post/1", &(origin.clone() + &token));
    assert_eq!(response.status, 502);
    readable(&response, ours);
    let any = gate.ask("GET /any/1", &origin);
    assert_eq!(
        (any.status, any.header("access-control-allow-origin")),
        (401, Some("*"))
    );
    assert_eq!(any.header("vary"), None, "everybody is told the same");
}

lanes!(a_page_that_is_not_named_can_read_nothing);
fn a_page_that_is_not_named_can_read_nothing() {
    let gate = gate();
    let token = bearer(&gate.token());
    for origin in [
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "",
        "Origin: https://app.example.com\r\nOrigin: https://app.example.com\r\n",
    ] {
        for (credential, status) in [(&*token, 200), ("", 401)] {
            let response = gate.ask("POST /post/1", &format!("{origin}{credential}"));
            // CORS does not refuse requests: programs other than browsers send no `Origin`. The credential decides.
            assert_eq!(response.status, status, "{origin}");
            assert_eq!(cors_fields(&response), [""; 0], "{origin}");
            // Caches must not reuse the response for another origin.
            assert_eq!(response.header("vary"), Some("Origin"), "{origin}");
        }
    }
}

lanes!(s086_what_an_upstream_says_of_origins_is_replaced_where_the_route_speaks);
fn s086_what_an_upstream_says_of_origins_is_replaced_where_the_route_speaks() {
    let gate = gate();
    let token = bearer(&gate.token());
    gate.upstream.respond_with(|_| {
        b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Origin: https://evil.example\r\n\
          access-control-allow-credentials: true\r\nAccess-Control-Allow-Private-Network: true\r\n\
          Access-Control-Expose-Headers: x-secret\r\nVary: Accept-Encoding\r\nContent-Length: 2\r\n\r\nok"
            .to_vec()
    });
    for (origin, allowed) in [(APP, Some(APP)), ("https://evil.example", None)] {
        let response = gate.ask("POST /post/1", &format!("Origin: {origin}\r\n{token}"));
        assert_eq!(response.status, 200);
        assert_eq!(response.header("access-control-allow-origin"), allowed, "{origin}");
        assert_eq!(response.header("access-control-allow-credentials"), None);
        assert_eq!(response.header("access-control-allow-private-network"), None);
        assert!(
            !response
                .headers_named("access-control-expose-headers")
                .contains(&"x-secret")
        );
        assert_eq!(response.headers_named("vary"), ["Accept-Encoding", "Origin"]);
    }
    // Where the route has no CORS settings, the upstream's own headers pass.
    let theirs = gate.ask("GET /plain/1", &format!("Origin: {APP}\r\n{token}"));
    assert_eq!(theirs.headers_named("access-control-allow-origin").len(), 2);
    gate.upstream
        .respond_with(|_| b"HTTP/1.1 200 OK\r\nVary: accept, origin\r\nContent-Length: 0\r\n\r\n".to_vec());
    let response = gate.ask("POST /post/1", &format!("Origin: {APP}\r\n{token}"));
    assert_eq!(response.headers_named("vary"), ["accept, origin"], "said already");
}

lanes!(a_preflight_spends_from_no_limit_and_keeps_its_connection);
fn a_preflight_spends_from_no_limit_and_keeps_its_connection() {
    let gate = gate();
    let mut client = RawClient::connect(gate.running.data());
    let request = format!(
        "OPTIONS /cookies/1 HTTP/1.1\r\nHost: a\r\n{}\r\n",
        preflight(APP, "GET", "")
    );
    for _ in 0..5 {
        assert_eq!(client.exchange(&request).status, 204);
    }
    let get = format!(
        "GET /cookies/1 HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\n{}\r\n",
        bearer(&gate.token())
    );
    assert_eq!(client.exchange(&get).status, 200);
    assert_eq!(client.exchange(&get).status, 429);
    assert_eq!(client.exchange(&request).status, 204);
}
