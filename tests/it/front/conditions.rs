//! Do headers and query decide between the routes of one path, and can a client make them decide otherwise than they read?

use crate::front::Gate;
use crate::front::get_with;
use crate::support::lane::lanes;
use serde_json::json;

/// Starts a gate whose routes at `/o` differ in their conditions. `secret` and `plain` ask for a token.
fn gate() -> Gate {
    let route = |conditions: &str, more: &str| {
        format!("match: {{ path: \"/o/{{*rest}}\", {conditions} }}\n{more}\nupstream: up")
    };
    let public = "public: true";
    Gate::start_with(|gate| {
        gate.route("v2", &route("headers: { X-Version: \"2\" }", public))
            .route(
                "v2-beta",
                &route("headers: { x-version: \"2\", x-beta: { present: true } }", public),
            )
            .route("v1x", &route("headers: { x-version: { prefix: \"1.\" } }", public))
            .route("search", &route("query: { \"q\u{e9}\": \"a b\" }", public))
            .route(
                "secret",
                &route("headers: { x-secret: \"yes\" }, methods: [GET]", "accept: [jwt]"),
            )
            .route("plain", &route("methods: [PUT, GET]", "accept: [jwt]"))
            .route(
                "alone",
                "match: { path: /alone, query: { v: \"1\" } }\npublic: true\nupstream: up",
            )
            .route("rest", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: up")
    })
}

lanes!(headers_and_query_decide_the_route);
fn headers_and_query_decide_the_route() {
    let gate = gate();
    let token = format!("Authorization: Bearer {}\r\n", gate.token);
    let mut client = gate.connect();
    for (method, target, fields, route) in [
        ("DELETE", "/o/a", "x-version: 2\r\n", "v2"),
        ("DELETE", "/o/a", "X-VERSION: 2\r\n", "v2"),
        ("DELETE", "/o/a", "x-version:   2  \r\n", "v2"),
        ("DELETE", "/o/a", "x-version: 2\r\nx-beta:\r\n", "v2-beta"),
        ("DELETE", "/o/a", "x-version: 1.9\r\n", "v1x"),
        ("DELETE", "/o/a?q%C3%A9=a%20b", "", "search"),
        ("DELETE", "/o/a?x=1&q\u{e9}=a+b", "", "search"),
        ("DELETE", "/o/a?q%C3%A9=a%20b", "x-version: 2\r\n", "v2"),
        ("GET", "/o/a", "x-secret: yes\r\n", "secret"),
        // A route that lists the method goes before one with conditions that does not.
        ("GET", "/o/a", "x-version: 2\r\n", "plain"),
        ("PUT", "/o/a", "x-version: 22\r\n", "plain"),
        ("GET", "/o/a", "x-version: 2,2\r\n", "plain"),
        ("GET", "/alone?v=1", "", "alone"),
        ("GET", "/aside?v=1&v=2", "x-version: 1\r\nx-version: 2\r\n", "rest"),
    ] {
        let request = get_with(target, &format!("{fields}{token}")).replacen("GET", method, 1);
        // A public route drops the token unread.
        let response = client.exchange(&request);
        let record = gate.running.record(&response);
        assert_eq!(
            (&record["route"], response.status),
            (&json!(route), 200),
            "{method} {target} {fields}: {record}"
        );
    }
    // The query is forwarded as it came.
    let received = gate.upstream.received().pop().unwrap();
    assert_eq!(received.target(), "/aside?v=1&v=2");
}

lanes!(s099_a_miss_of_the_conditions_leads_to_no_less_specific_path);
fn s099_a_miss_of_the_conditions_leads_to_no_less_specific_path() {
    let gate = gate();
    for target in ["/alone", "/alone?v=2", "/alone?V=1", "/alone?v=1%00"] {
        let response = gate.refuses(get_with(target, ""), 404, "conditions_unmet");
        assert_eq!(response.json()["title"], "Not found");
    }
    // DELETE is listed by no route, and no conditions hold.
    let request = get_with("/o/a", "").replacen("GET", "DELETE", 1);
    gate.refuses(request, 404, "conditions_unmet");
    gate.refuses(get_with("/o/a", "x-version: 2\r\n"), 401, "credential_missing");
}

lanes!(a_name_that_decides_is_there_once_and_reads_one_way);
fn a_name_that_decides_is_there_once_and_reads_one_way() {
    let gate = gate();
    let twice = "x-version: 2\r\nx-version: 2\r\n";
    for (method, target, fields, reason, name) in [
        ("DELETE", "/o/a", twice, "matched_header_repeated", "x-version"),
        (
            "DELETE",
            "/o/a",
            "x-version: 2\r\nX-Beta: 1\r\nx-beta: 1\r\n",
            "matched_header_repeated",
            "x-beta",
        ),
        (
            "DELETE",
            "/o/a?q%C3%A9=1&q%c3%a9=1",
            "",
            "matched_parameter_repeated",
            "q\u{e9}",
        ),
        (
            "DELETE",
            "/o/a?q%C3%A9=%ff",
            "",
            "matched_parameter_encoding",
            "q\u{e9}",
        ),
        ("GET", "/alone?x;v=1", "", "matched_parameter_separator", "v"),
        ("GET", "/alone?v=1&%76=2", "", "matched_parameter_repeated", "v"),
    ] {
        let request = get_with(target, fields).replacen("GET", method, 1);
        let response = gate.refuses(request, 400, reason);
        let problem = response.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.ends_with(&format!("Its name is `{name}`.")), "{detail}");
    }
    // Where a route that lists the method has been found, no other fields are read.
    gate.refuses(get_with("/o/a", twice), 401, "credential_missing");
}

/// An upstream that reads `x_version` as `x-version` would see a version that decided no route.
#[test]
fn s080_a_header_that_decides_has_no_alias() {
    let gate = gate();
    gate.refuses(get_with("/o/a", "x_version: 2\r\n"), 400, "header_alias");
    gate.refuses(get_with("/aside", "X.Beta: 2\r\n"), 400, "header_alias");
    gate.refuses(
        get_with("/o/a", "Connection: x-version\r\nx-version: 2\r\n"),
        400,
        "connection_nomination",
    );
}

lanes!(a_preflight_is_answered_where_every_route_that_may_get_the_request_agrees);
fn a_preflight_is_answered_where_every_route_that_may_get_the_request_agrees() {
    let route = |path: &str, conditions: &str, origin: &str| {
        format!(
            "match: {{ path: {path}{conditions} }}\naccept: [jwt]\nupstream: up\n\
             cors: {{ origins: [{origin}], headers: [authorization, x-version] }}"
        )
    };
    let by_header = ", headers: { x-version: \"2\" }";
    let (app, other) = ("https://app.test", "https://other.test");
    let gate = Gate::start_with(|gate| {
        gate.route("same", &route("/same", "", app))
            .route("same-2", &route("/same", by_header, app))
            .route("differ", &route("/differ", "", app))
            .route("differ-2", &route("/differ", by_header, other))
            .route("none", &route("/none", "", app))
            .route(
                "none-2",
                &format!("match: {{ path: /none{by_header} }}\naccept: [jwt]\nupstream: up"),
            )
            .route("only-2", &route("/only", by_header, app))
    });
    let preflight = |path: &str| {
        let fields = format!(
            "Origin: {app}\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: x-version\r\n"
        );
        gate.exchange(get_with(path, &fields).replacen("GET", "OPTIONS", 1))
    };
    for (path, status) in [("/same", 204), ("/only", 204), ("/differ", 401), ("/none", 401)] {
        let response = preflight(path);
        assert_eq!(response.status, status, "{path}");
        let allowed = response.header("access-control-allow-methods").is_some();
        assert_eq!(allowed, status == 204, "{path}");
    }
    // A refusal before the choice of a route has CORS fields where the routes agree.
    for (path, is_readable) in [("/same", true), ("/differ", false)] {
        let fields = format!("Origin: {app}\r\nx-version: 1\r\nx-version: 2\r\n");
        let response = gate.exchange(get_with(path, &fields));
        assert_eq!(response.status, 400, "{path}");
        assert_eq!(
            response.header("access-control-allow-origin").is_some(),
            is_readable,
            "{path}"
        );
    }
    // A request that meets no conditions is of no route.
    let response = gate.exchange(get_with("/only", &format!("Origin: {app}\r\n")));
    assert_eq!(
        (response.status, response.header("access-control-allow-origin")),
        (404, Some(app))
    );
}
