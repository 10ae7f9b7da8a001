//! Settings that need a restart, and refused configurations: what do a reload's metrics and `/readyz` say?

use crate::operate::REFUSED;
use crate::operate::RELOADED;
use crate::operate::condition;
use crate::operate::get;
use crate::support;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use serde_json::Value;
use std::net::SocketAddr;

const RESTART_NEEDED: &str = "keygate_config_reloads_total{result=\"restart_needed\"}";
const LISTENERS: &str = "keygate_config_restart_needed{setting=\"listeners\"}";
const LOG: &str = "keygate_config_restart_needed{setting=\"log\"}";

fn yaml(upstream: SocketAddr, path: &str) -> String {
    GatewayBuilder::new()
        .upstream("only", upstream)
        .route(
            "only",
            &format!("match: {{ path: {path} }}\npublic: true\nupstream: only"),
        )
        .yaml()
}

/// Returns the configuration with a second listener before the first.
fn with_another_listener(yaml: &str, address: &str) -> String {
    yaml.replacen("listeners:\n", &format!("listeners:\n  - address: {address}\n"), 1)
}

#[track_caller]
fn check_ready(gate: &LocalGate, status: &str) -> Value {
    let response = support::get(gate.admin(), "/readyz");
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.json()["status"], status, "{}", response.text());
    response.json()
}

#[test]
fn what_needs_a_restart_is_no_whole_reload_and_is_shown_until_it_is_undone() {
    let upstream = FakeUpstream::start();
    let gate = LocalGate::start(&yaml(upstream.address(), "/a"));
    let counts = || [RELOADED, RESTART_NEEDED, REFUSED].map(|series| gate.metric(series));
    assert_eq!((counts(), gate.metric(LISTENERS)), ([1.0, 0.0, 0.0], 0.0));
    check_ready(&gate, "ok");

    gate.reload(&with_another_listener(&yaml(upstream.address(), "/b"), "127.0.0.1:1"));
    assert_eq!((counts(), gate.metric(LISTENERS)), ([1.0, 1.0, 0.0], 1.0));
    assert_eq!(get(gate.data(), "/b", &[]).status, 200, "the rest is in force");
    check_ready(&gate, "degraded");
    let restart = condition(&gate, "restart");
    assert_eq!(restart["status"], "degraded");
    let detail = restart["detail"].as_str().unwrap();
    assert!(detail.contains("restart Keygate"), "{detail}");
    assert!(detail.contains("listeners (127.0.0.1:1 is not open)"), "{detail}");

    // The next change is not what waits, but the whole is still not in force.
    let third = with_another_listener(&yaml(upstream.address(), "/c"), "127.0.0.1:1");
    gate.reload(&format!("{third}log: {{ level: debug }}\n"));
    assert_eq!((counts(), gate.metric(LISTENERS)), ([1.0, 2.0, 0.0], 1.0));
    assert_eq!(gate.metric(LOG), 1.0);
    assert_eq!(get(gate.data(), "/c", &[]).status, 200);
    assert_eq!(gate.metric("keygate_config_last_reload_success"), 1.0);

    gate.reload(&yaml(upstream.address(), "/a"));
    assert_eq!((counts(), gate.metric(LISTENERS)), ([2.0, 2.0, 0.0], 0.0));
    assert_eq!(gate.metric(LOG), 0.0);
    check_ready(&gate, "ok");
    assert_eq!(condition(&gate, "restart"), Value::Null);
}

#[test]
fn what_a_reload_changes_in_a_listener_waits_for_no_restart() {
    let upstream = FakeUpstream::start();
    let plain = yaml(upstream.address(), "/a");
    let gate = LocalGate::start(&plain);
    let first = "  - address: 127.0.0.1:0\n";
    for (settings, log) in [
        ("", "log: { access: false }\n"),
        ("    protocol: h2c\n", ""),
        ("    http1: pingora\n", ""),
        ("", ""),
    ] {
        let before = gate.metric(RELOADED);
        let listener = plain
            .replace("    http1: pingora\n", "")
            .replacen(first, &format!("{first}{settings}"), 1);
        gate.reload(&format!("{listener}{log}"));
        assert_eq!(gate.metric(RELOADED), before + 1.0, "{settings}{log}");
        check_ready(&gate, "ok");
    }
    assert_eq!(gate.metric(RESTART_NEEDED), 0.0);
}

#[test]
fn a_refused_reload_is_degraded_and_hides_no_restart() {
    let upstream = FakeUpstream::start();
    let good = yaml(upstream.address(), "/a");
    let gate = LocalGate::start(&good);
    gate.reload(&with_another_listener(&good, "127.0.0.1:1"));
    gate.reload("routes: nonsense\n");
    check_ready(&gate, "degraded");
    assert_eq!(condition(&gate, "config")["status"], "degraded");
    assert_eq!(condition(&gate, "restart")["status"], "degraded");
    assert_eq!(gate.metric(LISTENERS), 1.0);
    gate.reload(&good);
    check_ready(&gate, "ok");
}
