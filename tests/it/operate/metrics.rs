//! Are `/metrics`, `/livez` and `/readyz` well formed and true, and on the right listener?

use crate::operate::ISSUER_YAML;
use crate::operate::api_key;
use crate::operate::bearer;
use crate::operate::get;
use crate::operate::put_key;
use crate::operate::request;
use crate::operate::token;
use crate::support;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::KillAtEnd;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use serde_json::json;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;

/// Returns a gate after allowed, rejected and malformed requests, a failed
/// connection to an upstream, and a reload of either result.
fn after_a_mix_of_traffic() -> (LocalGate, FakeUpstream) {
    let (upstream, jwks) = (FakeUpstream::start(), FakeUpstream::start());
    let issuer = SigningKey::generate_es256().unwrap();
    let gateway = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }\nfailed_authentication: { quota: 3/hour }")
        .issuer("main", ISSUER_YAML)
        .issuer(
            "broken",
            &format!(
                "issuer: https://broken.test\naudiences: any\njwks_url: http://{}/\nallow_http: true\nallow_private_addresses: true",
                jwks.address()
            ),
        )
        .limit("few", "by: credential\nquota: 1/hour")
        .upstream("only", upstream.address())
        .upstream("dead", "127.0.0.1:1".parse().unwrap())
        .route("a", "match: { path: /a }\naccept: [jwt, api_key]\nlimits: [few]\nupstream: only")
        .route("scoped", "match: { path: /scoped }\naccept: [jwt]\nscopes: { all: [admin] }\nupstream: only")
        .route("dead", "match: { path: /dead }\npublic: true\nupstream: dead");
    let yaml = gateway.yaml();
    let gate = LocalGate::start_with(
        &yaml,
        &[("issuer.pem", &issuer.public_pem()), ("keys.yaml", "keys: []\n")],
    );
    let good = bearer(&token(&issuer, &json!({})));
    let key = put_key(&gate);
    assert_eq!(get(gate.data(), "/a", &[&api_key(key.expose())]).status, 200);
    for (path, headers) in [
        ("/a", &[good.as_str()][..]),
        ("/a", &[&good]),
        ("/a", &[]),
        ("/a", &["Authorization: Bearer x.y.z"]),
        ("/a", &[&good, "x-api-key: x"]),
        ("/scoped", &[&good]),
        ("/dead", &[]),
        ("/nowhere", &[]),
        ("/a/../b", &[]),
    ] {
        get(gate.data(), path, headers);
    }
    let mut client = RawClient::connect(gate.data());
    client.send("nonsense\r\n\r\n").receive();
    gate.reload(&gateway.top("log: { level: warn }").yaml());
    gate.reload("nonsense");
    assert_eq!(gate.metric(crate::operate::REFUSED), 1.0);
    (gate, upstream)
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics_of_a_running_gateway() {
    let (gate, _upstream) = after_a_mix_of_traffic();
    let response = support::get(gate.admin(), "/metrics");
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) => panic!("promtool is needed for this test: {error}"),
    };
    promtool.stdin.take().unwrap().write_all(&response.body).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.is_empty(), "{text}");
}

#[test]
fn each_decision_and_request_is_counted_where_it_belongs() {
    let (gate, upstream) = after_a_mix_of_traffic();
    let decision = |route: &str, kind: &str, outcome: &str, reason: &str| {
        let labels = format!("credential_type=\"{kind}\",outcome=\"{outcome}\",reason=\"{reason}\",route=\"{route}\"");
        gate.metric(&format!("keygate_decisions_total{{{labels}}}"))
    };
    for (route, kind, outcome, reason) in [
        ("a", "jwt", "allow", "none"),
        ("a", "jwt", "deny", "limit_spent"),
        ("a", "none", "deny", "credential_missing"),
        ("a", "api_key", "allow", "none"),
        ("scoped", "jwt", "deny", "insufficient_scope"),
        ("dead", "none", "allow", "none"),
        ("none", "none", "deny", "no_route"),
        ("none", "none", "deny", "path_dot_segment"),
    ] {
        wait_until(&format!("{route} {kind} {outcome} {reason}"), || {
            decision(route, kind, outcome, reason) == 1.0
        });
    }
    for (series, value) in [
        ("keygate_heads_refused_total{reason=\"request_line\"}", 1.0),
        (
            "keygate_requests_total{method=\"GET\",route=\"scoped\",status_class=\"4xx\"}",
            1.0,
        ),
        (
            "keygate_requests_total{method=\"GET\",route=\"dead\",status_class=\"5xx\"}",
            1.0,
        ),
        ("keygate_api_keys{state=\"active\"}", 1.0),
        ("keygate_issuer_keys{issuer=\"main\"}", 1.0),
        ("keygate_issuer_keys{issuer=\"broken\"}", 0.0),
        ("keygate_limit_decisions_total{limit=\"few\",outcome=\"allow\"}", 2.0),
        ("keygate_limit_decisions_total{limit=\"few\",outcome=\"deny\"}", 1.0),
        ("keygate_requests_in_flight", 0.0),
        ("keygate_panics_total", 0.0),
        ("keygate_access_records_dropped_total", 0.0),
        ("keygate_token_cache_entries", 1.0),
    ] {
        wait_until(&format!("{series} {value}, not {}", gate.metric(series)), || {
            gate.metric(series) == value
        });
    }
    assert!(gate.metric("keygate_upstream_connect_failures_total{upstream=\"dead\"}") >= 1.0);
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn a_listener_that_accepts_has_a_series_for_each_error_before_the_first() {
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .upstream("only", upstream.address())
        .route("a", "match: { path: /a }\npublic: true\nupstream: only")
        .yaml();
    let text = support::get(LocalGate::start(&yaml).admin(), "/metrics").text();
    for listener in ["data", "admin"] {
        for reason in [
            "process_descriptors",
            "system_descriptors",
            "memory",
            "connection_lost",
            "other",
        ] {
            let series = format!("keygate_accept_errors_total{{listener=\"{listener}\",reason=\"{reason}\"}} 0\n");
            assert!(text.contains(&series), "{series}");
        }
    }
}

#[test]
fn a_gateway_whose_issuer_is_away_is_alive_and_not_ready() {
    let upstream = FakeUpstream::start();
    let issuer = SigningKey::generate_es256().unwrap();
    let yaml = GatewayBuilder::new()
        .issuer(
            "away",
            "issuer: https://issuer.test\naudiences: any\njwks_url: http://127.0.0.1:1/\nallow_http: true\nallow_private_addresses: true",
        )
        .upstream("only", upstream.address())
        .route("a", "match: { path: /a }\naccept: [jwt]\nupstream: only")
        .yaml();
    let gate = LocalGate::start(&yaml);
    assert_eq!(support::get(gate.admin(), "/livez").status, 200);
    let ready = support::get(gate.admin(), "/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(crate::operate::condition(&gate, "issuer:away")["status"], "failing");
    let refused = get(gate.data(), "/a", &[&bearer(&token(&issuer, &json!({})))]);
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
}

#[test]
fn s151_the_admin_paths_are_on_the_admin_listener_only() {
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .upstream("only", upstream.address())
        .route("a", "match: { path: /a }\npublic: true\nupstream: only")
        .route(
            "guarded",
            "match: { host: guarded.test, path: \"/{*rest}\" }\naccept: [api_key]\nupstream: only",
        )
        .yaml();
    let yaml = format!("{yaml}api_keys: {{ file: keys.yaml }}\n");
    let gate = LocalGate::start_with(&yaml, &[("keys.yaml", "keys: []\n")]);
    let admin_host = format!("Host: {}", gate.admin());
    for path in [
        "/metrics",
        "/livez",
        "/readyz",
        "/admin/v1/keys",
        "/debug/pprof",
        "/.well-known/x",
        "/",
    ] {
        assert_eq!(get(gate.data(), path, &[]).status, 404, "{path}");
        assert_eq!(get(gate.data(), path, &[&admin_host]).status, 404, "{path}");
        let status = if path == "/" { 404 } else { 401 };
        assert_eq!(get(gate.data(), path, &["Host: guarded.test"]).status, status, "{path}");
    }
    // The admin listener serves no route.
    for path in [
        "/a",
        "/",
        "/metrics/",
        "//metrics",
        "/metrics/../a",
        "http://guarded.test/metrics",
    ] {
        let response = get(gate.admin(), path, &["Host: localhost"]);
        assert!([400, 404, 421].contains(&response.status), "{path} {}", response.status);
    }
    for (headers, status) in [
        (&["Host: localhost"][..], 200),
        (&["Host: evil.test"], 421),
        (&["Host: localhost", "Origin: https://evil.test"], 403),
        (&["Host: localhost", "Host: localhost"], 421),
    ] {
        assert_eq!(get(gate.admin(), "/metrics", headers).status, status, "{headers:?}");
    }
    assert_eq!(
        RawClient::connect(gate.admin())
            .exchange(request("POST", "/metrics", &["Host: localhost", "Content-Length: 0"]))
            .status,
        404
    );
    assert_eq!(upstream.received().len(), 0);
}

#[test]
fn without_an_admin_section_there_is_no_admin_listener() {
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .upstream("only", upstream.address())
        .route("a", "match: { path: /a }\npublic: true\nupstream: only")
        .yaml();
    let without = yaml.replace("admin:\n  address: 127.0.0.1:0\n", "");
    // The data listener, the admin listener and the built-in echo upstream.
    assert_eq!(listeners_of(&yaml), (3, true));
    assert_eq!(listeners_of(&without), (2, false));
}

/// Runs the program until it has opened all its listeners. Returns the number of sockets that listen, and whether the
/// whole log names an admin listener.
fn listeners_of(yaml: &str) -> (usize, bool) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keygate.yaml");
    std::fs::write(&file, yaml).unwrap();
    let child = Command::new(crate::support::program())
        .args(["run", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.path().join("err")).unwrap())
        .spawn()
        .unwrap();
    let mut child = KillAtEnd(child);
    let log = || std::fs::read_to_string(folder.path().join("err")).unwrap();
    // The program binds all listeners before it logs the first.
    wait_until("it listens", || log().contains("Listening"));
    let count = listening_sockets(child.0.id());
    let id = child.0.id().to_string();
    assert!(
        Command::new("sh")
            .args(["-c", "kill -s TERM \"$0\"", &id])
            .status()
            .unwrap()
            .success()
    );
    wait_until("it ends", || child.0.try_wait().unwrap().is_some());
    (count, log().contains("\"listener\":\"admin\""))
}

/// Returns how many TCP sockets of the process `id` listen.
fn listening_sockets(id: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    let own: Vec<String> = files
        .filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    // The fourth column is the state, of which `0A` is LISTEN; the tenth is the number of the socket.
    let sockets = tables.iter().flat_map(|table| table.lines().skip(1));
    sockets
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| columns[3] == "0A" && own.iter().any(|socket| socket == columns[9]))
        .count()
}
