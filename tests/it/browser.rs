//! What does the script of a page get from a gate? A real browser asks over HTTP/2 and TLS, from the page's own origin and from
//! another one.

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::api_key;
use crate::support::browser::REPORT;
use crate::support::browser::page;
use crate::support::browser::run_page;
use crate::support::tls_client::Authority;

/// Asks for each pair of a target and fields, and returns what a script can read of the answers.
const ASK: &str = r#"
async function ask(target, headers) {
  const response = await fetch(target, { headers });
  const text = await response.text();
  const timing = performance.getEntriesByName(response.url).at(-1);
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    problem: response.status < 400 ? null : JSON.parse(text).type.split(":").at(-1),
    challenge: response.headers.get("www-authenticate"),
    request_id: response.headers.get("x-request-id"),
    limit: response.headers.get("ratelimit"),
    retry_after: response.headers.get("retry-after"),
    protocol: timing ? timing.nextHopProtocol : null,
  };
}
"#;

/// Starts a gate with TLS in front of `upstream`, and returns it with a good key.
fn start(upstream: &FakeUpstream) -> (LocalGate, String) {
    let (key, entry) = api_key("scopes: [read]");
    let certificate = Authority::new().certificate(&["localhost"], |_| ());
    let protected = "accept: [api_key]\nupstream: pages";
    let origin = upstream.address();
    let route = |path: &str, more: &str| format!("match: {{ path: {path} }}\n{protected}\n{more}");
    let yaml = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .upstream("pages", upstream.address())
        .limit("once", "by: credential\nquota: 1/hour\nburst: 1")
        .route("page", "match: { path: /page }\npublic: true\nupstream: pages")
        .route(
            "report",
            &format!("match: {{ path: {REPORT} }}\npublic: true\nupstream: pages"),
        )
        .route("orders", &route("/orders", ""))
        .route("once", &route("/once", "limits: [once]"))
        .route("write", &route("/write", "scopes: { all: [write] }"))
        .route(
            "shared",
            &route("/shared", &format!("cors: {{ origins: [\"http://{origin}\"] }}")),
        )
        .yaml()
        .replacen(
            "  - address: 127.0.0.1:0\n",
            "  - address: 127.0.0.1:0\n    tls: { certificate: one.pem, private_key: one.key }\n",
            1,
        );
    let files = [
        ("keys.yaml", format!("keys:\n{entry}")),
        ("one.pem", certificate.certificate),
        ("one.key", certificate.key),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    (LocalGate::start_with(&yaml, &files), key.expose().to_owned())
}

/// Has `upstream` serve a page with `script` at `/page`, and JSON everywhere else.
fn serve_page(upstream: &FakeUpstream, script: &str) {
    let page = page(&format!("{ASK}{script}"));
    upstream.respond_with(move |request| {
        let (kind, body) = match request.target() {
            "/page" => ("text/html", page.as_str()),
            _ => ("application/json", "{\"orders\":[]}"),
        };
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    });
}

#[test]
fn a_script_of_a_page_is_answered_over_http2_like_any_client() {
    let upstream = FakeUpstream::start();
    let (gate, key) = start(&upstream);
    let script = format!(
        "
        const key = {{ 'x-api-key': '{key}' }};
        return {{
          good: await ask('/orders', key),
          missing: await ask('/orders', {{}}),
          unknown: await ask('/orders', {{ 'x-api-key': 'kg_unknown' }}),
          two: await ask('/orders', {{ ...key, authorization: 'Bearer a.b.c' }}),
          scope: await ask('/write', key),
          first: await ask('/once', key),
          second: await ask('/once', key),
          nowhere: await ask('/nowhere', key),
        }};"
    );
    serve_page(&upstream, &script);
    let results = run_page(&format!("https://localhost:{}/page", gate.data().port()), &upstream);
    let expected = [
        ("good", 200, None),
        ("missing", 401, Some("credential-missing")),
        ("unknown", 401, Some("invalid-api-key")),
        ("two", 400, Some("two-credentials")),
        ("scope", 403, Some("insufficient-scope")),
        ("first", 200, None),
        ("second", 429, Some("limit-spent")),
        ("nowhere", 404, Some("not-found")),
    ];
    for (name, status, problem) in expected {
        let result = &results[name];
        assert_eq!(result["status"], status, "{name}: {results:#}");
        assert_eq!(result["problem"].as_str(), problem, "{name}: {results:#}");
        assert_eq!(result["protocol"], "h2", "{name}: {results:#}");
        assert!(result["request_id"].is_string(), "{name}: {results:#}");
    }
    assert!(
        results["missing"]["challenge"].as_str().unwrap().contains("ApiKey"),
        "{results:#}"
    );
    assert!(results["second"]["retry_after"].is_string(), "{results:#}");
}

#[test]
fn a_script_of_another_origin_reads_answers_and_refusals_where_the_route_lets_it() {
    let upstream = FakeUpstream::start();
    let (gate, key) = start(&upstream);
    let gate_origin = format!("https://localhost:{}", gate.data().port());
    let script = format!(
        "
        const key = {{ 'x-api-key': '{key}' }};
        return {{
          good: await ask('{gate_origin}/shared', key),
          missing: await ask('{gate_origin}/shared', {{}}),
          closed: await ask('{gate_origin}/orders', key).catch(error => error.name),
        }};"
    );
    serve_page(&upstream, &script);
    let results = run_page(&format!("http://{}/page", upstream.address()), &upstream);
    assert_eq!(results["good"]["status"], 200, "{results:#}");
    assert!(results["good"]["request_id"].is_string(), "{results:#}");
    assert_eq!(results["missing"]["status"], 401, "{results:#}");
    assert_eq!(results["missing"]["problem"], "credential-missing", "{results:#}");
    assert_eq!(results["closed"], "TypeError", "no CORS on that route: {results:#}");
    let records = gate.access_records();
    let preflights = records.iter().filter(|record| record["method"] == "OPTIONS");
    assert!(preflights.count() >= 1, "{records:#?}");
}
