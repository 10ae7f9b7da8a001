use super::*;
use crate::runtime::assemble;
use http::Method;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

const REASONS: Reasons = Reasons {
    denials: &["no_credential", "token_expired"],
    heads: &["head_too_large"],
    connections: &["too_many"],
};

const GOLDEN: &str = "tests/data/metrics.txt";

fn metrics() -> Metrics {
    Metrics::new(&REASONS, Timestamp::from_unix_secs(1_700_000_000))
}

/// Returns metrics with a series in every family.
fn full() -> Metrics {
    let metrics = metrics();
    count_each(&metrics);
    metrics
}

/// Counts something in every family. Each call counts the same.
fn count_each(metrics: &Metrics) {
    let route = metrics.requests.of_route("orders");
    route.request(&Method::GET, Some(200), Duration::from_millis(3));
    route.count_allowed(CredentialLabel::Jwt);
    route.count_denied(CredentialLabel::None, "no_credential");
    route.count_two_credentials();
    metrics
        .upstreams
        .of("orders")
        .observe_response(Some(200), Duration::from_millis(2));
    metrics.upstream_credentials.of("orders").count_refusal();
    let token = metrics.upstream_credentials.of_token("orders");
    token.count_fetch(TokenFetchResult::Success);
    token.set_remaining(Some(Duration::from_secs(60)));
    metrics.issuers.of("main").count_fetch(FetchResult::Success);
    metrics.issuers.of("main").set(IssuerGauges {
        usable: 2,
        skipped: 1,
        age: Some(Duration::from_secs(9)),
        from_disk: true,
        last_success: Some(Timestamp::from_unix_secs(1000)),
        next_fetch: Some(Timestamp::from_unix_secs(2000)),
        consecutive_failures: 3,
    });
    let introspection = metrics.introspection.of("main");
    introspection.count_call(CallResult::Active, Duration::from_millis(2));
    introspection.set_cache_size(2, 1, 3_000);
    metrics.tls.count_handshake(HandshakeResult::Success);
    let expiry = Timestamp::from_unix_secs(1_800_000_000);
    let certificate = ("0.0.0.0:8443".to_owned(), "api.example.com".to_owned(), expiry);
    metrics.tls.set_certificates([certificate].into_iter());
    metrics.limits.of("per-key").count_allowed();
    let endpoint = EndpointReading {
        address: "10.0.0.5:8080".to_owned(),
        state: "serving",
        is_in_service: true,
        in_flight: 1,
        requests: 3,
        failures: 2,
        ejections: 1,
    };
    metrics
        .endpoints
        .set("orders", &["serving", "ejected"], false, &[endpoint]);
    metrics.api_keys.set(ApiKeyCounts::default());
    metrics.issued.count_request("token", Some("invalid_client"));
    metrics.issued.set_clients(ClientCounts::default());
    metrics.issued.set_subscriptions([0; 4]);
    metrics
        .reloads
        .count(ReloadResult::Success, Timestamp::from_unix_secs(1_700_000_001));
    metrics.reloads.set_restart_needed([("listeners", true)]);
    let status = StoreStatus {
        is_writable: true,
        ..StoreStatus::default()
    };
    metrics.store.set(&status, Timestamp::from_unix_secs(1_700_000_002));
}

/// Returns the lines of one metric, without `# HELP` and `# TYPE`.
fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = metrics.text();
    text.lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn check(metrics: &Metrics, name: &str, expected: &[&str]) {
    assert_eq!(lines(metrics, name), expected);
}

/// Returns whether promtool accepts `text`, and its output.
fn promtool(arguments: &[&str], text: &str) -> (bool, String) {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there (it is in Debian's package `prometheus`)");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), printed)
}

/// Returns the names of all families, from the `# TYPE` lines.
fn family_names() -> BTreeSet<String> {
    let text = full().text();
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned))
        .collect()
}

/// Compares the metrics with `tests/data/metrics.txt`, because dashboards and alerts rely on names, help, types, labels
/// and their order. `UPDATE_GOLDEN=1` rewrites the file.
#[test]
fn the_text_of_a_gate_reads_as_written_down() {
    let metrics = assemble::metrics(Timestamp::from_unix_secs(1_700_000_000));
    count_each(&metrics);
    let text = metrics.text().replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let lines = text.lines().map(|line| match line.split_once(' ') {
        // The resource usage of the test process varies.
        Some((name, _)) if name.starts_with("process_") && name != "process_start_time_seconds" => name.to_owned(),
        Some(_) | None => line.to_owned(),
    });
    let text: String = lines.map(|line| line + "\n").collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(GOLDEN).unwrap());
}

#[test]
fn promtool_accepts_the_metrics() {
    assert_eq!(promtool(&["check", "metrics"], &full().text()), (true, String::new()));
}

#[test]
fn s145_no_text_of_a_client_makes_a_series() {
    let metrics = metrics();
    let routes = [
        metrics.requests.of_route("orders"),
        metrics.requests.of_no_route().clone(),
    ];
    let send = |count: usize| {
        for number in 0..count {
            let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
            for route in &routes {
                let status = u16::try_from(number % 1000).unwrap();
                route.request(&method, Some(status), Duration::ZERO);
                route.count_denied(CredentialLabel::ApiKey, "no_credential");
                route.count_denied(CredentialLabel::ApiKey, "not in the set");
            }
            metrics.connections.count_refused_head("not in the set");
            metrics.connections.count_refused("not in the set");
        }
    };
    send(1_000);
    let series = metrics.text().lines().count();
    send(10_000);
    assert_eq!(metrics.text().lines().count(), series);
    assert!(!metrics.text().contains("not in the set"));
}

#[test]
fn requests_count_by_method_and_status_class() {
    let metrics = metrics();
    let route = metrics.requests.of_route("orders");
    route.request(&Method::GET, Some(204), Duration::ZERO);
    route.request(&Method::GET, Some(299), Duration::ZERO);
    route.request(&Method::from_bytes(b"get").unwrap(), Some(404), Duration::ZERO);
    route.request(&Method::GET, None, Duration::ZERO);
    route.request(&Method::GET, Some(600), Duration::ZERO);
    check(
        &metrics,
        "keygate_requests_total",
        &[
            r#"keygate_requests_total{method="GET",route="orders",status_class="2xx"} 2"#,
            r#"keygate_requests_total{method="GET",route="orders",status_class="none"} 2"#,
            r#"keygate_requests_total{method="other",route="orders",status_class="4xx"} 1"#,
        ],
    );
}

#[test]
fn decisions_count_by_credential_outcome_and_reason() {
    let metrics = metrics();
    metrics.requests.of_route("orders").count_allowed(CredentialLabel::Jwt);
    metrics.requests.of_route("orders").count_allowed(CredentialLabel::Jwt);
    metrics
        .requests
        .of_route("orders")
        .count_denied(CredentialLabel::Jwt, "token_expired");
    metrics
        .requests
        .of_no_route()
        .count_denied(CredentialLabel::None, "no_credential");
    metrics
        .requests
        .of_no_route()
        .count_denied(CredentialLabel::None, "invented");
    check(
        &metrics,
        "keygate_decisions_total",
        &[
            r#"keygate_decisions_total{credential_type="jwt",outcome="allow",reason="none",route="orders"} 2"#,
            r#"keygate_decisions_total{credential_type="jwt",outcome="deny",reason="token_expired",route="orders"} 1"#,
            r#"keygate_decisions_total{credential_type="none",outcome="deny",reason="no_credential",route="none"} 1"#,
            r#"keygate_decisions_total{credential_type="none",outcome="deny",reason="other",route="none"} 1"#,
        ],
    );
}

#[test]
fn a_reload_keeps_the_counts_of_names_that_stay_and_drops_the_rest() {
    let metrics = full();
    let all = metrics.text();
    let names = |name: &'static str| HashSet::from([name]);
    metrics
        .requests
        .of_no_route()
        .count_denied(CredentialLabel::None, "no_credential");
    metrics.forget_all_but(&ConfiguredNames {
        routes: names("orders"),
        upstreams: names("orders"),
        issuers: names("main"),
        limits: names("per-key"),
    });
    for line in all.lines().filter(|line| !line.starts_with("process_")) {
        assert!(metrics.text().contains(line), "{line}");
    }
    metrics.requests.of_route("orders").count_allowed(CredentialLabel::Jwt);
    assert!(lines(&metrics, "keygate_decisions_total")[0].ends_with(" 2"));

    metrics.forget_all_but(&ConfiguredNames::default());
    let text = metrics.text();
    for gone in ["orders", "main", "per-key"] {
        assert!(!text.contains(&format!("\"{gone}\"")), "{gone}");
    }
    assert!(
        text.contains(r#"route="none""#),
        "requests without a route are no route's"
    );
}

#[test]
fn open_requests_and_connections_are_counted_until_dropped_even_by_a_panic() {
    let metrics = metrics();
    let request = metrics.requests.start();
    let connection = metrics.connections.open();
    check(
        &metrics,
        "keygate_requests_in_flight",
        &["keygate_requests_in_flight 1"],
    );
    drop(request);
    check(
        &metrics,
        "keygate_requests_in_flight",
        &["keygate_requests_in_flight 0"],
    );
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _open = connection;
        std::panic::resume_unwind(Box::new("in a stage"));
    }));
    assert!(panicked.is_err());
    check(&metrics, "keygate_connections_open", &["keygate_connections_open 0"]);
}

#[test]
fn known_reasons_are_there_before_they_happen() {
    let metrics = metrics();
    check(
        &metrics,
        "keygate_heads_refused_total",
        &[
            r#"keygate_heads_refused_total{reason="head_too_large"} 0"#,
            r#"keygate_heads_refused_total{reason="other"} 0"#,
        ],
    );
    check(
        &metrics,
        "keygate_connections_refused_total",
        &[
            r#"keygate_connections_refused_total{reason="other"} 0"#,
            r#"keygate_connections_refused_total{reason="too_many"} 0"#,
        ],
    );
    metrics.connections.count_refused_head("head_too_large");
    metrics.connections.count_refused("too_many");
    for name in ["keygate_heads_refused_total", "keygate_connections_refused_total"] {
        let counted = lines(&metrics, name).iter().filter(|line| line.ends_with(" 1")).count();
        assert_eq!(counted, 1, "{name}");
    }
}

#[test]
fn a_failed_reload_leaves_the_time_of_the_last_good_one() {
    let metrics = metrics();
    metrics
        .reloads
        .count(ReloadResult::Success, Timestamp::from_unix_millis(1_500));
    metrics
        .reloads
        .count(ReloadResult::Failure, Timestamp::from_unix_millis(9_000));
    let timestamp = "keygate_config_last_reload_success_timestamp_seconds";
    check(&metrics, timestamp, &[&format!("{timestamp} 1.5")]);
    let success = "keygate_config_last_reload_success";
    check(&metrics, success, &[&format!("{success} 0")]);
}

#[test]
fn an_issuer_without_keys_reads_as_infinitely_stale() {
    let metrics = metrics();
    metrics.issuers.of("main").set(IssuerGauges::default());
    let age = "keygate_issuer_keys_age_seconds";
    check(&metrics, age, &[&format!("{age}{{issuer=\"main\"}} inf")]);
    assert_eq!(promtool(&["check", "metrics"], &metrics.text()), (true, String::new()));
}

#[test]
fn gauges_that_live_elsewhere_are_set_before_each_scrape() {
    let metrics = metrics();
    let scrapes = Arc::new(AtomicU64::new(0));
    let seen = scrapes.clone();
    metrics.on_scrape(Box::new(move |metrics| {
        let count = seen.fetch_add(1, Ordering::Relaxed) + 1;
        metrics.api_keys.set(ApiKeyCounts {
            active: count,
            ..ApiKeyCounts::default()
        });
    }));
    for count in [1, 2] {
        let expected = format!("keygate_api_keys{{state=\"active\"}} {count}");
        assert_eq!(lines(&metrics, "keygate_api_keys")[0], expected);
    }
}

/// Returns every word in `text` that starts with `keygate_`.
fn metric_names(text: &str) -> BTreeSet<&str> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .filter(|word| word.starts_with("keygate_"))
        .collect()
}

#[test]
fn alerts_and_dashboard_name_only_metrics_that_exist() {
    let families = family_names();
    for (file, text) in [
        ("alerts.yaml", include_str!("../../../deploy/prometheus/alerts.yaml")),
        (
            "dashboard.json",
            include_str!("../../../deploy/prometheus/dashboard.json"),
        ),
        ("runbook.md", include_str!("../../../deploy/prometheus/runbook.md")),
    ] {
        let used = metric_names(text);
        assert!(used.len() > 5, "{file} {used:?}");
        for name in used {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix).filter(|it| it.ends_with("_seconds")))
                .unwrap_or(name);
            assert!(
                families.contains(family),
                "{file} uses {name}, which no file of metrics has"
            );
        }
    }
}

#[test]
fn every_metric_is_in_the_alerts_or_the_dashboard() {
    let alerts = include_str!("../../../deploy/prometheus/alerts.yaml");
    let dashboard = include_str!("../../../deploy/prometheus/dashboard.json");
    for family in family_names().iter().filter(|name| name.starts_with("keygate_")) {
        assert!(
            alerts.contains(family.as_str()) || dashboard.contains(family.as_str()),
            "{family}"
        );
    }
}

#[test]
fn the_dashboard_is_json_and_every_panel_has_an_expression() {
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../deploy/prometheus/dashboard.json")).unwrap();
    let mut questions = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            assert!(!target["expr"].as_str().unwrap().is_empty());
            questions += 1;
        }
    }
    assert!(questions > 10);
}

#[test]
fn promtool_accepts_the_alerts() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/alerts.yaml");
    let (accepted, output) = promtool(&["check", "rules", "--lint-fatal", file], "");
    assert!(accepted, "{output}");
}

/// Returns the rest of each line that begins with `beginning`.
fn after<'t>(beginning: &str, text: &'t str) -> Vec<&'t str> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix(beginning))
        .collect()
}

#[test]
fn each_alert_has_its_section_in_the_runbook_and_names_it() {
    let alerts = include_str!("../../../deploy/prometheus/alerts.yaml");
    let names = after("- alert: ", alerts);
    assert!(names.len() > 30, "{names:?}");
    assert_eq!(
        after("## ", include_str!("../../../deploy/prometheus/runbook.md")),
        names
    );
    let sections = names.iter().map(|name| {
        let anchor = name.to_ascii_lowercase();
        format!("\"deploy/prometheus/runbook.md#{anchor}\"")
    });
    assert_eq!(after("runbook: ", alerts), sections.collect::<Vec<_>>());
}

#[test]
fn each_alert_fires_in_a_test() {
    let tests = [
        include_str!("../../../deploy/prometheus/alerts_test.yaml"),
        include_str!("../../../deploy/prometheus/alerts_day_test.yaml"),
    ];
    for name in after("- alert: ", include_str!("../../../deploy/prometheus/alerts.yaml")) {
        let firing = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\",");
        assert!(tests.iter().any(|tests| tests.contains(&firing)), "{name}");
    }
}

#[test]
fn the_tests_of_the_alerts_pass() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");
    let [minutes, days] = ["alerts_test", "alerts_day_test"].map(|name| format!("{folder}/{name}.yaml"));
    let (passed, output) = promtool(&["test", "rules", &minutes, &days], "");
    assert!(passed, "{output}");
}

#[test]
fn promtool_accepts_every_expression_of_the_dashboard() {
    // promtool cannot check a single expression, but parses the expressions of recording rules.
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../deploy/prometheus/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let rules: Vec<_> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .enumerate()
        .map(|(place, target)| {
            let question = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
            serde_json::json!({ "record": format!("panel:{place}"), "expr": question })
        })
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    std::fs::write(&file, groups.to_string()).unwrap();
    let (accepted, output) = promtool(&["check", "rules", file.path().to_str().unwrap()], "");
    assert!(accepted, "{output}");
}
