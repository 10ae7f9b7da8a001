//! Does a second process take over from the first without a request lost, and does the first go on where the second fails?

use crate::support::Admin;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::KillAtEnd;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::TestIssuer;
use crate::support::free_address;
use crate::support::get;
use crate::support::issuer::key;
use crate::support::program;
use crate::support::wait_until;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

const TOKEN: &str = "correct-horse-battery-staple-and-more";
const GET: &str = "GET /open HTTP/1.1\r\nHost: a\r\n\r\n";

/// Returns a configuration whose addresses are known, with a store and a token endpoint, and with `more`.
fn config(upstream: SocketAddr, more: &str) -> String {
    let (data, admin) = (free_address(), free_address());
    format!(
        "listeners: [{{ address: \"{data}\" }}]
admin: {{ address: \"{admin}\", token: {TOKEN} }}
hand_over: hand-over.sock
store: {{ path: keygate.db }}
token_endpoint: {{ issuer: \"http://{data}\" }}
upstreams: {{ api: {{ endpoints: [\"{upstream}\"] }} }}
routes:
  - {{ name: open, match: {{ path: /open }}, public: true, upstream: api }}
  - {{ name: keys, match: {{ path: /keys }}, accept: [api_key, jwt], issuers: [keygate], upstream: api }}
{more}"
    )
}

/// Returns an issuer, whose keys a start waits for.
fn with_issuer(issuer: &TestIssuer, start_wait: &str) -> String {
    let settings = issuer
        .yaml(&format!("start_wait: {start_wait}"))
        .replace('\n', "\n    ");
    format!("issuers:\n  slow:\n    {settings}\n")
}

fn with_key(key: &str) -> String {
    format!("GET /keys HTTP/1.1\r\nHost: a\r\nX-Api-Key: {key}\r\n\r\n")
}

fn create_key(gate: &Binary, name: &str) -> (String, String) {
    let created = Admin::new(gate, TOKEN).create("/keys", json!({ "name": name, "expires": "90d" }));
    let text = |member: &str| {
        created[member]
            .as_str()
            .unwrap_or_else(|| panic!("{created}"))
            .to_owned()
    };
    (text("id"), text("key"))
}

/// Returns the request for a token of a new client.
fn token_request(gate: &Binary) -> String {
    let body = json!({ "name": "app", "authentication": "client_secret" });
    let created = Admin::new(gate, TOKEN).create("/clients", body);
    let text = |member: &str| created[member].as_str().unwrap_or_else(|| panic!("{created}"));
    let credentials = STANDARD.encode(format!("{}:{}", text("id"), text("client_secret")));
    let body = "grant_type=client_credentials";
    format!(
        "POST /oauth/token HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[track_caller]
fn token_of(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}

fn with_token(token: &str) -> String {
    format!("GET /keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")
}

#[test]
fn the_second_gate_has_listeners_and_store_and_the_first_ends_once_it_has_drained() {
    let upstream = FakeUpstream::start();
    let mut first = Binary::start(&config(upstream.address(), ""));
    let (_, key) = create_key(&first, "before");
    let request = token_request(&first);
    let mut kept = RawClient::connect(first.data());
    assert_eq!(kept.exchange(GET).status, 200);
    // The rest of its body comes while the first gate drains.
    let (begin, rest) = request.split_at(request.len() - 5);
    let mut begun = RawClient::connect(first.data());
    begun.send(begin);
    let second = first.start_successor().unwrap_or_else(|output| panic!("{output}"));
    assert_eq!((second.data(), second.admin()), (first.data(), first.admin()));
    first.wait_for_output("Draining");
    token_of(&begun.send(rest).receive());
    // A request on a connection of the first gate is answered, and it closes.
    let response = kept.exchange(GET);
    assert_eq!(response.status, 200);
    assert_eq!(response.headers_named("connection"), ["close"]);
    assert!(first.wait_exit().success());
    // The second has what the first had, and writes to the store.
    assert_eq!(RawClient::connect(second.data()).exchange(with_key(&key)).status, 200);
    let (id, key) = create_key(&second, "after");
    assert_eq!(RawClient::connect(second.data()).exchange(with_key(&key)).status, 200);
    let token = token_of(&RawClient::connect(second.data()).exchange(&request));
    assert_eq!(
        RawClient::connect(second.data()).exchange(with_token(&token)).status,
        200
    );
    Admin::new(&second, TOKEN).perform("POST", &format!("/keys/{id}/revoke"), None);
    assert_eq!(RawClient::connect(second.data()).exchange(with_key(&key)).status, 401);
    // And a third takes over from the second.
    let third = second.start_successor().unwrap_or_else(|output| panic!("{output}"));
    second.wait_for_output("Draining");
    wait_until("the third answers", || get(third.admin(), "/readyz").status == 200);
    assert_eq!(RawClient::connect(third.data()).exchange(with_key(&key)).status, 401);
}

#[test]
fn while_the_second_gate_starts_the_first_serves_and_has_its_tokens_issued_by_the_second() {
    let (upstream, issuer) = (FakeUpstream::start(), TestIssuer::start(&[&key(Algorithm::Es256)]));
    let yaml = config(upstream.address(), "");
    let first = Binary::start(&format!("{yaml}{}", with_issuer(&issuer, "0s")));
    let request = token_request(&first);
    let held = issuer.hang();
    first.replace_file("keygate.yaml", &format!("{yaml}{}", with_issuer(&issuer, "60s")));
    let mut connection = RawClient::connect(first.data());
    assert_eq!(connection.exchange(GET).status, 200);
    let second = std::thread::scope(|scope| {
        // Waits for the issuer's keys once it has the store.
        let starting = scope.spawn(|| first.start_successor());
        wait_until("the second gate has the store", || {
            first.folder().join("hand-over.sock.calls").exists()
        });
        let token = token_of(&connection.exchange(&request));
        assert_eq!(
            connection.exchange(with_token(&token)).status,
            200,
            "the first gate verifies it"
        );
        assert!(!first.output().contains("Draining"));
        // The admin API is the second gate's, which does not accept yet.
        assert_eq!(Admin::new(&first, TOKEN).call("GET", "/keys", None).status, 503);
        drop(held);
        starting.join().unwrap()
    });
    let second = second.unwrap_or_else(|output| panic!("{output}"));
    first.wait_for_output("Draining");
    assert_eq!(Admin::new(&second, TOKEN).call("GET", "/keys", None).status, 200);
}

#[test]
fn where_the_second_gate_fails_the_first_goes_on_with_its_store() {
    let upstream = FakeUpstream::start();
    let yaml = config(upstream.address(), "");
    let first = Binary::start(&yaml);
    let request = token_request(&first);
    // Once before it has the store, and once after.
    first.replace_file("keygate.yaml", &format!("{yaml}unknown: 1\n"));
    let output = first.start_successor().map(drop).unwrap_err();
    assert!(output.contains("unknown"), "{output}");
    first.replace_file("keygate.yaml", &yaml);
    std::fs::create_dir(first.folder().join("hand-over.sock.calls")).unwrap();
    let output = first.start_successor().map(drop).unwrap_err();
    assert!(
        output.contains("hand-over.sock.calls is there and is no socket"),
        "{output}"
    );
    first.wait_for_output("this gate goes on serving");
    let token = token_of(&RawClient::connect(first.data()).exchange(&request));
    assert_eq!(
        RawClient::connect(first.data()).exchange(with_token(&token)).status,
        200
    );
    let (_, key) = create_key(&first, "still");
    assert_eq!(RawClient::connect(first.data()).exchange(with_key(&key)).status, 200);
    // The next one succeeds.
    std::fs::remove_dir(first.folder().join("hand-over.sock.calls")).unwrap();
    let second = first.start_successor().unwrap_or_else(|output| panic!("{output}"));
    assert_eq!(RawClient::connect(second.data()).exchange(with_key(&key)).status, 200);
}

#[test]
fn a_second_gate_that_is_stopped_while_it_starts_has_not_taken_over() {
    let (upstream, issuer) = (FakeUpstream::start(), TestIssuer::start(&[]));
    let yaml = config(upstream.address(), "");
    let first = Binary::start(&format!("{yaml}{}", with_issuer(&issuer, "0s")));
    let request = token_request(&first);
    first.replace_file("keygate.yaml", &format!("{yaml}{}", with_issuer(&issuer, "60s")));
    let mut second = Command::new(program());
    second
        .args(["run", "--config", "keygate.yaml"])
        .current_dir(first.folder());
    let second = second.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut second = KillAtEnd(second);
    wait_until("the second gate has the store", || {
        first.folder().join("hand-over.sock.calls").exists()
    });
    let pid = second.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(second.0.wait().unwrap().success());
    first.wait_for_output("this gate goes on serving");
    let token = token_of(&RawClient::connect(first.data()).exchange(&request));
    assert_eq!(
        RawClient::connect(first.data()).exchange(with_token(&token)).status,
        200
    );
}

/// A load of `wrk` on connections that are kept.
struct Load(Child);

impl Load {
    fn start(address: SocketAddr, seconds: u32) -> Self {
        let child = Command::new("wrk")
            .args([
                "-t1",
                "-c16",
                "--timeout",
                "10s",
                &format!("-d{seconds}s"),
                &format!("http://{address}/open"),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/run installs wrk");
        Self(child)
    }

    /// Returns what `wrk` prints at its end.
    fn end(self) -> String {
        let output = self.0.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn no_request_fails_under_load_while_gates_take_over_and_fail_to() {
    let upstream = FakeUpstream::start();
    let yaml = config(upstream.address(), "");
    let mut first = Binary::start(&yaml);
    let load = Load::start(first.data(), 8);
    wait_until("the load has begun", || upstream.received().len() > 100);
    first.replace_file("keygate.yaml", &format!("{yaml}unknown: 1\n"));
    assert!(first.start_successor().is_err());
    first.replace_file("keygate.yaml", &yaml);
    let mut second = first.start_successor().unwrap_or_else(|output| panic!("{output}"));
    assert!(first.wait_exit().success());
    let _third = second.start_successor().unwrap_or_else(|output| panic!("{output}"));
    assert!(second.wait_exit().success());
    let report = load.end();
    assert!(report.contains("requests in"), "{report}");
    assert!(
        !report.contains("Socket errors") && !report.contains("Non-2xx"),
        "{report}"
    );
}
