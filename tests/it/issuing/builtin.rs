//! The gate's own endpoints: which requests do they refuse before they read the form, and on which listener are they?

use super::Gate;
use super::gate;
use super::gate::basic;
use super::gate::form;
use crate::support::get;
use serde_json::json;

#[test]
fn s136_urls_come_from_the_configuration_and_never_from_host() {
    let gate = Gate::start();
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n\r\n");
        let response = gate.client().exchange(request);
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(!response.text().contains("evil"), "{}", response.text());
        let problem = response.json();
        assert_eq!(problem["issuer"], gate::ISSUER);
        assert_eq!(problem["token_endpoint"], format!("{}/oauth/token", gate::ISSUER));
        assert_eq!(problem["jwks_uri"], format!("{}/oauth/jwks", gate::ISSUER));
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        let mut client = gate.client();
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        let head = client.receive_to_head();
        let length = response.body.len().to_string();
        assert_eq!((head.status, head.header("content-length")), (200, Some(&*length)));
        assert!(client.is_closed(), "no body comes");
    }
}

#[test]
fn the_token_endpoint_is_no_page_s_to_call_and_takes_post_alone() {
    let gate = Gate::start();
    let preflight = "OPTIONS /oauth/token HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    let response = gate.client().exchange(preflight);
    assert_eq!(response.status, 405);
    assert_eq!(response.header("access-control-allow-origin"), None);
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let request = format!("{method} /oauth/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut client = gate.client();
        client.send(request);
        let response = client.receive_to_head();
        assert_eq!(
            (response.status, response.header("allow")),
            (405, Some("POST")),
            "{method}"
        );
    }
    let from_page = form(
        "/oauth/token",
        "Origin: https://evil.example\r\n",
        "grant_type=client_credentials",
    );
    let response = gate.client().exchange(from_page);
    assert_eq!(response.header("access-control-allow-origin"), None);
}

#[test]
fn secrets_in_clear_text_are_refused_unread_but_from_loopback_and_trusted_proxies_over_tls() {
    let gate = Gate::start();
    let (id, secret) = gate.secret_client(json!({}));
    let ask = |headers: &str| {
        let headers = format!("{headers}{}", basic(&id, &secret));
        gate.client()
            .exchange(form("/oauth/token", &headers, "grant_type=client_credentials"))
    };
    assert_eq!(ask("").status, 200);
    assert_eq!(
        ask("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n").status,
        200
    );
    for headers in [
        "X-Forwarded-For: 192.0.2.1\r\n",
        "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n",
        "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https, http\r\n",
    ] {
        let response = ask(headers);
        assert_eq!(response.status, 400, "{headers}");
        let problem = response.json();
        assert_eq!(problem["type"], "urn:keygate:problem:clear-text");
        assert_eq!(problem["error"], "invalid_request");
    }
    // The metadata contain no secret, so a request for them may come in clear text.
    let metadata = "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
    assert_eq!(gate.client().exchange(metadata).status, 200);
    gate.running.reload(&gate::with_endpoint(", allow_clear_text: true"));
    assert_eq!(ask("X-Forwarded-For: 192.0.2.1\r\n").status, 200);
}

#[test]
fn a_request_is_bounded_and_its_connection_goes_on_like_after_any_refusal() {
    let gate = Gate::start();
    let (id, secret) = gate.secret_client(json!({}));
    let (headers, good) = (basic(&id, &secret), "grant_type=client_credentials");
    // Refusals and responses alternate on one connection.
    let mut client = gate.client();
    for _ in 0..2 {
        assert_eq!(
            client
                .exchange(form("/oauth/token", &headers, "grant_type=password"))
                .status,
            400
        );
        assert_eq!(client.exchange(form("/oauth/token", &headers, good)).status, 200);
    }
    let length = |length: usize| format!("POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let announced = gate.client().exchange(length(64 * 1024 + 1));
    assert_eq!(announced.status, 413);
    let chunked = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        64 * 1024 + 1,
        "x".repeat(64 * 1024 + 1)
    );
    assert_eq!(gate.client().exchange(chunked).status, 413);
    let fits = format!("{good}&padding={}", "x".repeat(64 * 1024 - good.len() - 9));
    assert_eq!(fits.len(), 64 * 1024);
    assert_ne!(
        gate.client().exchange(form("/oauth/token", &headers, &fits)).status,
        413
    );
    // The client waits for `100 Continue` before it sends the body.
    let expecting = form("/oauth/token", &format!("{headers}Expect: 100-continue\r\n"), good);
    let mut client = gate.client();
    client.send(&expecting[..expecting.len() - good.len()]);
    assert_eq!(client.receive().status, 100);
    assert_eq!(client.exchange(good).status, 200);
}

#[test]
fn a_body_that_does_not_come_is_a_timeout() {
    let config = gate::with_endpoint("").replace(
        "trusted_proxies:",
        "requests: { body_read_timeout: 300ms }\ntrusted_proxies:",
    );
    let gate = Gate::start_with(&config);
    let response = gate
        .client()
        .exchange("POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\ngrant");
    assert_eq!(response.status, 408);
}

#[test]
fn two_credentials_are_two_here_as_well() {
    let gate = Gate::start();
    let (id, secret) = gate.secret_client(json!({}));
    let headers = format!("{}x-api-key: kg_live_x\r\n", basic(&id, &secret));
    let response = gate
        .client()
        .exchange(form("/oauth/token", &headers, "grant_type=client_credentials"));
    assert_eq!(response.status, 400);
    assert_eq!(response.json()["type"], "urn:keygate:problem:two-credentials");
}

#[test]
fn the_limit_counts_addresses_and_failures_there_lock_nobody_out_of_the_routes() {
    let config =
        gate::with_endpoint(", limit: { quota: 5/hour, burst: 5 }, failures: { quota: 1000/min, burst: 1000 }")
            .replace("quota: 10000/min, burst: 10000", "quota: 3/hour, burst: 3");
    let gate = Gate::start_with(&config);
    let (_, key) = gate.key(None);
    let from = |address: &str| {
        let headers = format!(
            "X-Forwarded-For: {address}\r\nX-Forwarded-Proto: https\r\n{}",
            basic("client_x", "wrong")
        );
        gate.client()
            .exchange(form("/oauth/token", &headers, "grant_type=client_credentials"))
    };
    for _ in 0..5 {
        assert_eq!(from("192.0.2.1").status, 401);
    }
    let spent = from("192.0.2.1");
    assert_eq!(spent.status, 429, "{}", spent.text());
    assert!(
        spent.header("retry-after").is_some() && spent.header("ratelimit").is_some(),
        "{:?}",
        spent.headers
    );
    assert_eq!(from("192.0.2.2").status, 401, "another address");
    let called = format!("GET /any/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nx-api-key: {key}\r\n\r\n");
    assert_eq!(gate.client().exchange(called).status, 200);
    let bad = "GET /any/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nx-api-key: kg_bad\r\n\r\n";
    assert_eq!(gate.client().exchange(bad).status, 401, "no failure was counted for it");
}

#[test]
fn without_a_store_at_its_start_a_gate_says_that_it_cannot_answer() {
    let without = "listeners: [{ address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
upstreams: { echo: { builtin: echo } }
routes: [{ name: open, match: { path: /open }, public: true, upstream: echo }]
";
    let running = crate::support::Binary::start(without);
    let with = format!(
        "{without}store: {{ path: keygate.db }}\ntoken_endpoint: {{ issuer: \"{}\" }}\n",
        gate::ISSUER
    );
    running.reload(&with);
    running.wait_for_output("Configuration reloaded");
    assert!(
        running.output().contains("takes effect after a restart"),
        "{}",
        running.output()
    );
    let response = crate::support::RawClient::connect(running.data()).exchange(form("/oauth/token", "", "a=b"));
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    assert_eq!(response.json()["type"], "urn:keygate:problem:temporarily-unavailable");
}

#[test]
fn s151_the_admin_api_is_not_on_a_data_listener_and_wants_its_own_names() {
    let gate = Gate::start();
    for path in [
        "/admin/v1/keys",
        "/admin/v1/openapi.json",
        "/metrics",
        "/readyz",
        "/livez",
    ] {
        assert_eq!(get(gate.running.data(), path).status, 404, "{path}");
    }
    let ask = |headers: &str| {
        let request = format!(
            "GET /admin/v1/keys HTTP/1.1\r\n{headers}Authorization: Bearer {}\r\nConnection: close\r\n\r\n",
            gate::ADMIN_TOKEN
        );
        crate::support::RawClient::connect(gate.running.admin())
            .exchange(request)
            .status
    };
    assert_eq!(ask("Host: localhost\r\n"), 200);
    assert_eq!(ask("Host: evil.example\r\n"), 421);
    assert_eq!(ask("Host: localhost\r\nOrigin: https://evil.example\r\n"), 403);
}
