//! The admin API about issuers: which credentials does it accept, on which listener, and what does it show?

use super::*;
use crate::support::raw_issuer::Reply;
use crate::support::still_clock;
use std::time::Duration;

fn pem_gate<G: StartGate>(admin: &str) -> G {
    G::start_with(&pem_yaml(admin), &[("issuer.pem", &new_key().public_pem())])
}

fn pem_yaml(admin: &str) -> String {
    GatewayBuilder::new()
        .admin(admin)
        .issuer(
            "main",
            &format!("issuer: {ISSUER}\naudiences: [{AUDIENCE}]\npublic_key_files: [issuer.pem]"),
        )
        .upstream_with("api", "builtin: echo")
        .route("api", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api")
        .yaml()
}

const LIST: &str = "/admin/v1/issuers";

/// Lists the issuers until the response has `status`.
#[track_caller]
fn wait_status(gate: &RunningGate, status: u16, meanwhile: u16) {
    let list = format!("GET {LIST} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    RawClient::connect(gate.admin()).exchange_until(&list, status, &[meanwhile]);
}

#[test]
fn only_the_token_is_accepted_and_after_five_guesses_no_other_is_compared_for_a_second() {
    let clock = still_clock();
    let files = [("issuer.pem", &*new_key().public_pem())];
    let gate = LocalGate::start_at(&clock, &pem_yaml(&format!("token: {TOKEN}")), &files);
    assert_eq!(admin(&gate, "GET", LIST).status, 200);
    let missing = admin_with(&gate, "GET", LIST, "");
    assert_eq!(missing.status, 401);
    assert_eq!(
        missing.header("www-authenticate"),
        Some("Bearer realm=\"keygate admin\"")
    );
    assert_eq!(missing.header("cache-control"), Some("no-store"));
    let wrong = || admin_with(&gate, "GET", LIST, "Authorization: Bearer wrong\r\n");
    let first = wrong();
    assert_eq!(first.status, 401);
    assert!(!first.text().contains(TOKEN));
    // The limit is a burst of five and one per second. It never locks the right token out (FOUND F47).
    let statuses: Vec<u16> = (0..6).map(|_| wrong().status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 429, 429]);
    assert_eq!(admin(&gate, "GET", LIST).status, 200);
    let refused = wrong();
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    clock.advance(Duration::from_millis(999));
    assert_eq!(wrong().status, 429);
    clock.advance(Duration::from_millis(1));
    assert_eq!(wrong().status, 401);
}

#[test]
fn s151_it_is_on_the_admin_listener_only_and_refuses_foreign_pages() {
    let gate: LocalGate = pem_gate(&format!("token: {TOKEN}"));
    let authorization = format!("Authorization: Bearer {TOKEN}\r\n");
    let request = |host: &str, more: &str| format!("GET {LIST} HTTP/1.1\r\nHost: {host}\r\n{authorization}{more}\r\n");
    let on = |address, request: String| RawClient::connect(address).exchange(request);
    // On a data listener the path is an ordinary path, which the gate forwards to the upstream.
    let data = on(gate.data(), request("localhost", ""));
    assert!(!data.text().contains("\"issuers\":["), "{}", data.text());
    assert_eq!(on(gate.admin(), request("evil.example", "")).status, 421);
    assert_eq!(
        on(gate.admin(), request("localhost", "Origin: http://evil.example\r\n")).status,
        403
    );
    assert_eq!(on(gate.admin(), request("localhost", "")).status, 200);
}

#[test]
fn an_issuer_with_keys_in_files_is_shown_and_not_fetched() {
    let gate: LocalGate = pem_gate(&format!("token: {TOKEN}"));
    let health = health(&gate);
    assert_eq!(
        (&health["state"], &health["keys_from"]),
        (&json!("ok"), &json!("source"))
    );
    assert_eq!(health["source"]["kind"], "public_key_files");
    assert_eq!(health["keys"][0]["algorithms"], json!(["ES256"]));
    let (status, response) = refresh(&gate);
    assert_eq!((status, &response["outcome"]), (409, &json!("not_fetched")));
    assert_eq!(admin(&gate, "POST", "/admin/v1/issuers/none/refresh").status, 404);
    assert_eq!(admin(&gate, "GET", "/admin/v1/issuers/main/refresh").status, 405);
}

#[test]
fn a_reload_changes_the_token() {
    let gate: Binary = pem_gate("");
    let off = admin(&gate, "GET", LIST);
    assert_eq!(off.status, 403);
    assert!(off.text().contains("set `admin.token`"), "{}", off.text());
    let yaml = std::fs::read_to_string(gate.folder().join("keygate.yaml")).unwrap();
    let admin_section = "admin:\n  address: 127.0.0.1:0\n";
    assert!(yaml.contains(admin_section), "{yaml}");
    gate.reload(&yaml.replace(admin_section, &format!("{admin_section}  token: {TOKEN}\n")));
    wait_status(&gate, 200, 403);
    assert!(
        !gate.output().contains("takes effect after a restart"),
        "{}",
        gate.output()
    );
    gate.reload(&yaml);
    wait_status(&gate, 403, 200);
    assert!(!gate.output().contains(TOKEN));
}

#[test]
fn a_refresh_passes_the_cooldown_and_health_says_what_is_known() {
    let (old, new) = (new_key(), new_key());
    let server = RawIssuer::start();
    server.reply("/jwks", Reply::ok(&set_of(&[&old])));
    let gate = gate("", &by_url(&server, "cooldown: 1h\nmin_refresh: 1h\nwait: 1ms"), &[]);
    gate.wait_ready();
    server.reply("/jwks", Reply::ok(&set_of(&[&old, &new])));
    // The set was fetched a moment ago: an unknown key is refused without another fetch.
    assert_eq!(ask(gate.data(), &token(&new)).status, 401);
    assert_eq!(server.targets().len(), 1);
    let before = health(&gate);
    let (status, response) = refresh(&gate);
    assert_eq!((status, &response["outcome"]), (200, &json!("good")), "{response}");
    assert_eq!(ask(gate.data(), &token(&new)).status, 200);
    let after = health(&gate);
    assert_eq!(after["keys"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&after["fetches_good"], &after["fetches_failed"]),
        (&json!(2), &json!(0))
    );
    let time = |health: &Value, name: &str| health[name].as_str().unwrap().to_owned();
    for name in ["last_good_at", "usable_until", "last_attempt_at"] {
        assert!(time(&after, name) > time(&before, name), "{name}: {after}");
    }
    // The pause until the next fetch is random, so the next fetch may be due earlier than before.
    assert!(time(&after, "next_fetch_at") > time(&after, "last_good_at"));
    let listed = admin(&gate, "GET", LIST).json();
    assert_eq!(listed["issuers"][0]["name"], "main");
    assert!(gate.metric("keygate_issuer_keys_last_success_timestamp_seconds{issuer=\"main\"}") > 1.6e9);
    assert!(gate.metric("keygate_issuer_next_fetch_timestamp_seconds{issuer=\"main\"}") > 1.6e9);
}
