//! What does an operator see of endpoints, and can one be taken out?

use super::GET;
use super::counts;
use crate::support::Admin;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RunningGate;
use serde_json::json;
use std::process::Command;

const TOKEN: &str = "correct-horse-battery-staple-and-more";

fn yaml(upstreams: &[&FakeUpstream]) -> String {
    let list: Vec<String> = upstreams
        .iter()
        .map(|upstream| format!("\"{}\"", upstream.address()))
        .collect();
    GatewayBuilder::new()
        .admin(&format!("token: {TOKEN}"))
        .upstream_with("api", &format!("endpoints: [{}]", list.join(", ")))
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api")
        .yaml()
}

fn send(gate: &RunningGate, count: usize) {
    for _ in 0..count {
        assert_eq!(RawClient::connect(gate.data()).exchange(GET).status, 200);
    }
}

#[test]
fn a_drained_endpoint_gets_no_requests_until_it_is_undrained_also_after_a_reload() {
    let [one, two] = [(); 2].map(|()| FakeUpstream::start());
    let gate = LocalGate::start(&yaml(&[&one, &two]));
    gate.wait_ready();
    send(&gate, 4);
    assert_eq!(counts(&[&one, &two]), [2, 2]);
    let admin = Admin::new(&gate, TOKEN);
    let endpoint = json!({ "endpoint": one.address().to_string() });
    let drained = admin.perform("POST", "/upstreams/api/drain", Some(endpoint.clone()));
    assert_eq!(drained["endpoints"][0]["state"], "drained");
    send(&gate, 4);
    gate.reload(&(yaml(&[&one, &two]) + "log: { level: warn }\n"));
    send(&gate, 2);
    assert_eq!(counts(&[&one, &two]), [2, 8]);
    let listed = admin.get("/upstreams");
    let upstream = &listed["upstreams"][0];
    assert_eq!(
        (&upstream["name"], &upstream["balance"]),
        (&json!("api"), &json!("round_robin"))
    );
    assert_eq!(upstream["endpoints"][1]["requests"], 8);
    admin.perform("POST", "/upstreams/api/undrain", Some(endpoint));
    assert_eq!(admin.get("/upstreams/api")["endpoints"][0]["state"], "returning");
}

#[test]
fn where_every_endpoint_is_drained_requests_are_503() {
    let one = FakeUpstream::start();
    let gate = LocalGate::start(&yaml(&[&one]));
    gate.wait_ready();
    let admin = Admin::new(&gate, TOKEN);
    let endpoint = json!({ "endpoint": one.address().to_string() });
    admin.perform("POST", "/upstreams/api/drain", Some(endpoint));
    let response = RawClient::connect(gate.data()).exchange(GET);
    assert_eq!(response.status, 503);
    assert_eq!(gate.record(&response)["reason"], "no_endpoint");
    for (path, body, status) in [
        ("/upstreams/api/drain", json!({ "endpoint": "10.0.0.5:1" }), 404),
        ("/upstreams/none/drain", json!({ "endpoint": "10.0.0.5:1" }), 404),
        ("/upstreams/api/drain", json!({}), 422),
    ] {
        assert_eq!(admin.call("POST", path, Some(body)).status, status, "{path}");
    }
}

#[test]
fn the_command_lists_shows_drains_and_undrains() {
    let [one, two] = [(); 2].map(|()| FakeUpstream::start());
    let gate = Binary::start(&yaml(&[&one, &two]));
    gate.wait_ready();
    let run = |args: &[&str]| {
        let output = Command::new(crate::support::program())
            .current_dir(gate.folder())
            .env("KEYGATE_ADMIN_TOKEN", TOKEN)
            .arg("upstreams")
            .args(args)
            .args(["--admin", &format!("http://{}", gate.admin())])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    };
    let endpoint = one.address().to_string();
    let listed = run(&["list"]);
    assert!(
        listed
            .lines()
            .any(|line| line.starts_with("api") && line.contains("round_robin")),
        "{listed}"
    );
    assert!(run(&["drain", "api", &endpoint]).contains("drained"));
    let shown = run(&["show", "api"]);
    let line = shown.lines().find(|line| line.contains(&endpoint)).unwrap();
    assert!(line.contains("drained"), "{shown}");
    assert!(!run(&["undrain", "api", &endpoint]).contains("drained"));
}
