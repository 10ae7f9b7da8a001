//! Requests to the admin API: which access records and counts do they leave?

use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::wait_for;
use serde_json::Value;
use serde_json::json;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn gate(more: &str) -> LocalGate {
    let yaml = GatewayBuilder::new()
        .admin(&format!("token: {TOKEN}"))
        .top(&format!("store: {{ path: keygate.db }}\n{more}"))
        .upstream_with("echo", "builtin: echo")
        .route("a", "match: { path: /a }\npublic: true\nupstream: echo")
        .yaml();
    LocalGate::start(&yaml)
}

fn send(gate: &LocalGate, method: &str, target: &str, fields: &str) -> Response {
    let host = if fields.contains("Host: ") {
        ""
    } else {
        "Host: localhost\r\n"
    };
    let head = format!("{method} {target} HTTP/1.1\r\n{host}{fields}Connection: close\r\n\r\n");
    RawClient::connect(gate.admin()).exchange(head)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Waits for the record of the request that got `response`.
#[track_caller]
fn record(gate: &LocalGate, response: &Response) -> Value {
    let id = response
        .header("x-request-id")
        .expect("every response has a request id");
    wait_for("the record is written", || {
        gate.admin_records()
            .into_iter()
            .find(|record| record["request_id"] == id)
    })
}

#[test]
fn an_admin_request_leaves_one_record_with_its_actor_and_without_its_credential() {
    let gate = gate("");
    let body = r#"{"name":"ci","expires":"30d"}"#;
    let fields = format!(
        "{}User-Agent: cli/1\r\nContent-Type: application/json\r\n",
        bearer(TOKEN)
    );
    let head = format!("POST /admin/v1/keys?api_key=secret1 HTTP/1.1\r\nHost: localhost\r\n{fields}");
    let request = format!(
        "{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let response = RawClient::connect(gate.admin()).exchange(request);
    let record = record(&gate, &response);
    for (name, value) in [
        ("listener", json!("admin")),
        ("actor", json!("admin.token")),
        ("decision", json!("allow")),
        ("status", json!(response.status)),
        ("method", json!("POST")),
        ("path", json!("/admin/v1/keys")),
        ("query", json!("api_key=[redacted]")),
        ("host", json!("localhost")),
        ("client", json!("127.0.0.1")),
        ("user_agent", json!("cli/1")),
        ("bytes_in", json!(body.len())),
        ("bytes_out", json!(response.body.len())),
    ] {
        assert_eq!(record[name], value, "{name}: {record}");
    }
    assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
    assert_eq!(record["reason"], Value::Null);
    let secret = response.json()["key"].as_str().map(str::to_owned);
    for credential in [TOKEN, "secret1"].into_iter().chain(secret.as_deref()) {
        assert!(!record.to_string().contains(credential), "{credential}: {record}");
    }
    assert_eq!(gate.admin_records().len(), 1);
    assert_eq!(gate.access_records().len(), 0, "the data side has none");
}

#[test]
fn a_refused_admin_request_is_recorded_and_counted_by_its_reason() {
    let gate = gate("");
    let count = |reason: &str| {
        gate.metric(&format!(
            "keygate_admin_requests_total{{outcome=\"deny\",reason=\"{reason}\"}}"
        ))
    };
    for (path, fields, status, reason) in [
        ("/admin/v1/keys", String::new(), 401, "credential_missing"),
        ("/admin/v1/none", bearer("guess-1"), 401, "token_unknown"),
        (
            "/admin/v1/keys",
            "Host: evil.example\r\n".to_owned(),
            421,
            "foreign_host",
        ),
        (
            "/metrics",
            "Origin: https://evil.example\r\n".to_owned(),
            403,
            "foreign_origin",
        ),
    ] {
        assert_eq!(count(reason), 0.0);
        let response = send(&gate, "GET", path, &fields);
        assert_eq!(response.status, status, "{reason}");
        let record = record(&gate, &response);
        assert_eq!(
            (&record["decision"], &record["reason"]),
            (&json!("deny"), &json!(reason)),
            "{record}"
        );
        assert_eq!(
            (&record["status"], &record["path"]),
            (&json!(status), &json!(path)),
            "{record}"
        );
        assert_eq!(record["actor"], Value::Null);
        assert!(!record.to_string().contains("guess-1"), "{record}");
        assert_eq!(count(reason), 1.0);
    }
    // A source that guesses on leaves records, and no audit event.
    for _ in 0..10 {
        send(&gate, "GET", "/admin/v1/keys", &bearer("guess-1"));
    }
    let last = send(&gate, "GET", "/admin/v1/keys", &bearer("guess-1"));
    assert_eq!(record(&gate, &last)["reason"], "too_many_failures");
    assert!(count("too_many_failures") >= 1.0);
}

#[test]
fn an_unknown_path_is_recorded_and_scrapes_and_probes_are_not() {
    let gate = gate("");
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(send(&gate, "GET", path, "").status, 200);
    }
    let response = send(&gate, "GET", "/admin", "X-Request-Id: mine-1\r\n");
    assert_eq!(
        (response.status, response.header("x-request-id")),
        (404, Some("mine-1"))
    );
    let record = record(&gate, &response);
    assert_eq!(
        (&record["decision"], &record["actor"]),
        (&json!("answer"), &Value::Null)
    );
    assert_eq!(gate.admin_records().len(), 1);
    assert_eq!(
        gate.metric("keygate_admin_requests_total{outcome=\"answer\",reason=\"none\"}"),
        1.0
    );
}

#[test]
fn where_no_access_records_are_wanted_admin_requests_leave_none() {
    let gate = gate("log: { access: false }");
    let list = || send(&gate, "GET", "/admin/v1/keys", &bearer(TOKEN));
    assert_eq!(list().status, 200);
    assert_eq!(
        gate.metric("keygate_admin_requests_total{outcome=\"allow\",reason=\"none\"}"),
        1.0
    );
    let yaml = std::fs::read_to_string(gate.folder().join("keygate.yaml")).unwrap();
    gate.reload(&yaml.replace("log: { access: false }", ""));
    // Records are written in their order, so that this one would come after an earlier one.
    record(&gate, &list());
    assert_eq!(gate.admin_records().len(), 1);
}
