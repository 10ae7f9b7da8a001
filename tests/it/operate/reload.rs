//! Changes of the configuration, keys and PEM files: which are put in force, which are refused, and what survives?

use crate::operate::AUDIENCE;
use crate::operate::ISSUER;
use crate::operate::ISSUER_YAML;
use crate::operate::REFUSED;
use crate::operate::RELOADED;
use crate::operate::api_key;
use crate::operate::bearer;
use crate::operate::condition;
use crate::operate::create_key;
use crate::operate::get;
use crate::operate::keys_command;
use crate::operate::put_keys;
use crate::operate::reload;
use crate::operate::request;
use crate::operate::token;
use crate::operate::write_config;
use crate::support::Admin;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::ReceivedRequest;
use crate::support::StopAtEnd;
use crate::support::wait_for;
use crate::support::wait_until;
use crate::support::yaml_bombs::yaml_bombs;
use keygate::jose::sign::SigningKey;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

const LAST_SUCCESS: &str = "keygate_config_last_reload_success";

/// Starts an upstream that responds with its own name and the `x-version` that it received.
fn naming(name: &'static str) -> FakeUpstream {
    let upstream = FakeUpstream::start();
    upstream.respond_with(move |request: &ReceivedRequest| {
        let body = format!("{name} {}", request.headers_named("x-version").join(","));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    upstream
}

#[test]
fn s150_every_request_sees_one_whole_configuration() {
    let upstreams = [naming("one"), naming("two")];
    let issuer = SigningKey::generate_es256().unwrap();
    let version = |index: usize| {
        let (name, quota) = [("one", 100_000), ("two", 200_000)][index];
        GatewayBuilder::new()
            .issuer("main", ISSUER_YAML)
            .limit("all", &format!("by: credential\nquota: {quota}/s"))
            .upstream_with(
                "only",
                &format!(
                    "endpoints: [\"{}\"]\nset_headers: {{ x-version: {name} }}",
                    upstreams[index].address()
                ),
            )
            .route(
                "only",
                &format!(
                    "match: {{ path: \"/{{*rest}}\" }}\naccept: [jwt]\nscopes: {{ all: [{name}] }}\nlimits: [all]\nupstream: only"
                ),
            )
            .yaml()
    };
    let binary = Binary::start_with(&version(0), &[("issuer.pem", &issuer.public_pem())]);
    let both = bearer(&token(&issuer, &json!({ "scope": "one two" })));
    let ask = request("GET", "/a", &[&both]);
    let stop = AtomicBool::new(false);
    let seen = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let before = binary.metric(RELOADED);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = RawClient::connect(binary.data());
                while !stop.load(Ordering::Relaxed) {
                    let response = client.exchange(&ask);
                    assert_eq!(response.status, 200, "{}", response.text());
                    let index = match (response.text().as_str(), response.header("x-ratelimit-limit")) {
                        ("one one", Some("100000")) => 0,
                        ("two two", Some("200000")) => 1,
                        mixed => panic!("a mixture of configurations: {mixed:?}"),
                    };
                    seen[index].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stopping = StopAtEnd(&stop);
        for round in 1..=100 {
            let yaml = version(round % 2);
            // The file watcher finds the first 20 changes; a signal announces the rest.
            if round <= 20 {
                write_config(&binary, &yaml);
            } else {
                binary.reload(&yaml);
            }
            let seen = &seen[round % 2];
            let before = seen.load(Ordering::Relaxed);
            // Each of the four clients may still get one response of this version from the round before the last.
            wait_until("requests see it", || seen.load(Ordering::Relaxed) > before + 4);
        }
    });
    let seen = seen.map(AtomicUsize::into_inner);
    assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
    assert_eq!(binary.metric(REFUSED), 0.0);
    wait_until("the last one is counted", || binary.metric(RELOADED) >= before + 100.0);
    assert_eq!(binary.metric(RELOADED), before + 100.0, "one change is one reload");
}

/// Returns the number of log lines with this message so far.
fn count(binary: &Binary, message: &str) -> usize {
    binary.output().matches(&format!("\"message\":\"{message}\"")).count()
}

/// Sends SIGHUP and waits until one more line has this message.
#[track_caller]
fn signal_and_wait(binary: &Binary, message: &str) {
    let before = count(binary, message);
    binary.signal("HUP");
    wait_until(message, || count(binary, message) > before);
}

#[test]
fn one_change_is_one_reload_whoever_notices_it_first() {
    const UNCHANGED: &str = "Configuration unchanged";
    let upstream = FakeUpstream::start();
    let good = one_route(&upstream);
    let binary = Binary::start(&good);
    let reloads = || (binary.metric(RELOADED), binary.metric(REFUSED));
    let (started, _) = reloads();
    signal_and_wait(&binary, UNCHANGED);
    assert_eq!(reloads(), (started, 0.0));

    // The watcher reloads first; a signal after that is acknowledged and changes nothing.
    reload(&binary, &good.replace("path: /a", "path: /b"));
    assert_eq!(get(binary.data(), "/b", &[]).status, 200);
    signal_and_wait(&binary, UNCHANGED);
    assert_eq!(reloads(), (started + 1.0, 0.0));
    assert!(!binary.output().contains("\"generation\":3"), "{}", binary.output());

    // The same text written again is no change.
    let before = count(&binary, UNCHANGED);
    write_config(&binary, &good.replace("path: /a", "path: /b"));
    wait_until("it is looked at", || count(&binary, UNCHANGED) > before);
    assert_eq!(reloads(), (started + 1.0, 0.0));

    // The watcher reports a refusal once; every signal reports it again.
    write_config(&binary, "nonsense");
    wait_until("refused", || reloads().1 > 0.0);
    signal_and_wait(&binary, "Configuration refused; the one before goes on serving");
    assert_eq!(reloads(), (started + 1.0, 1.0));
    assert_eq!(binary.metric(LAST_SUCCESS), 0.0);

    // The text in force differs from the text read last, so it is a change.
    reload(&binary, &good.replace("path: /a", "path: /b"));
    assert_eq!(binary.metric(LAST_SUCCESS), 1.0);
    assert_eq!(condition(&binary, "config")["detail"], "");
}

#[test]
fn a_rotated_secret_in_a_file_is_taken_up_without_a_signal() {
    let token = |name: &str| format!("{name}-0123456789abcdef0123456789abcdef");
    let yaml = "listeners: [{ address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0, token: \"file:token\" }
store: { path: keygate.db }
upstreams: { echo: { builtin: echo } }
routes: [{ name: a, match: { path: /a }, public: true, upstream: echo }]
";
    let binary = Binary::start_with(yaml, &[("token", &token("first"))]);
    let status = |name: &str| Admin::new(&binary, &token(name)).call("GET", "/keys", None).status;
    assert_eq!((status("first"), status("second")), (200, 401));
    let started = binary.metric(RELOADED);
    binary.replace_file("token", &token("second"));
    wait_until("the new token is taken up", || binary.metric(RELOADED) > started);
    assert_eq!((status("first"), status("second")), (401, 200));
    // Broken for a moment: the secret before goes on, and the file is looked at again.
    binary.replace_file("token", "short");
    wait_until("it is refused", || binary.metric(REFUSED) > 0.0);
    assert_eq!(status("second"), 200);
    binary.replace_file("token", &token("third"));
    wait_until("the third token is taken up", || {
        binary.metric(RELOADED) > started + 1.0
    });
    assert_eq!(status("third"), 200);
}

#[test]
fn a_keys_file_that_is_written_again_with_the_same_text_is_no_reload() {
    let upstream = FakeUpstream::start();
    let gateway = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }\nfailed_authentication: off")
        .upstream("only", upstream.address())
        .route("only", "match: { path: /a }\naccept: [api_key]\nupstream: only");
    let binary = Binary::start_with(&gateway.yaml(), &[("keys.yaml", "keys: []\n")]);
    let started = binary.metric(RELOADED);
    let key = create_key(binary.folder(), &[]);
    let with_key = request("GET", "/a", &[&api_key(&key)]);
    RawClient::connect(binary.data()).exchange_until(&with_key, 200, &[401]);
    wait_until("it is counted", || binary.metric(RELOADED) > started);
    signal_and_wait(&binary, "Configuration unchanged");
    let keys = std::fs::read_to_string(binary.folder().join("keys.yaml")).unwrap();
    binary.replace_file("keys.yaml", &keys);
    binary.wait_for_output("API keys unchanged");
    assert_eq!(binary.metric(RELOADED), started + 1.0);
    // A broken file is refused once, whether the watcher or a signal finds it.
    binary.replace_file("keys.yaml", "keys: 7\n");
    wait_until("refused", || binary.metric(REFUSED) > 0.0);
    signal_and_wait(&binary, "Configuration refused; the one before goes on serving");
    assert_eq!(binary.metric(REFUSED), 1.0);
    binary.replace_file("keys.yaml", &keys);
    wait_until("it recovers", || binary.metric(LAST_SUCCESS) == 1.0);
    assert_eq!(binary.metric(RELOADED), started + 2.0);
}

/// Holds the first load in the middle: the load reads a secret from a named pipe, into which the test writes.
#[test]
fn a_change_during_a_load_is_not_missed() {
    // Opening a pipe for writing fails until the gate opens the pipe for reading.
    const O_NONBLOCK: i32 = 0o4000;
    const PEPPER: &str = "a-pepper-of-the-tests-0123456789";
    let upstream = FakeUpstream::start();
    let version = |path: &str| {
        GatewayBuilder::new()
            .top("api_keys: { file: keys.yaml, pepper: \"file:pepper\" }")
            .upstream("only", upstream.address())
            .route(
                "only",
                &format!("match: {{ path: {path} }}\npublic: true\nupstream: only"),
            )
            .yaml()
    };
    let gate = LocalGate::start_with(&version("/begin"), &[("keys.yaml", "keys: []\n"), ("pepper", PEPPER)]);
    let pepper = gate.folder().join("pepper");
    std::fs::remove_file(&pepper).unwrap();
    let made = Command::new("mkfifo").arg(&pepper).status().unwrap();
    assert!(made.success());
    gate.replace_file("keygate.yaml", &version("/early"));
    std::thread::scope(|scope| {
        let check = scope.spawn(|| gate.check_files());
        let mut pipe = wait_for("the gate reads the secret, after the configuration", || {
            OpenOptions::new()
                .write(true)
                .custom_flags(O_NONBLOCK)
                .open(&pepper)
                .ok()
        });
        gate.replace_file("keygate.yaml", &version("/late"));
        gate.replace_file("pepper", PEPPER);
        pipe.write_all(PEPPER.as_bytes()).unwrap();
        drop(pipe);
        check.join().unwrap();
    });
    let status = |path: &str| get(gate.data(), path, &[]).status;
    assert_eq!(
        (status("/early"), status("/late")),
        (200, 404),
        "the first change alone"
    );
    gate.check_files();
    assert_eq!(
        (status("/early"), status("/late")),
        (404, 200),
        "the change during the load"
    );
}

#[test]
fn a_request_in_flight_finishes_on_the_configuration_it_began_with() {
    let upstream = FakeUpstream::start();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    upstream.respond_with(move |_| {
        let _ = released.lock().unwrap().recv_timeout(crate::support::PATIENCE);
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow".to_vec()
    });
    let gateway = GatewayBuilder::new().upstream("only", upstream.address());
    let open = "public: true\nupstream: only";
    let old = gateway
        .clone()
        .route("old", &format!("match: {{ path: /slow }}\n{open}"));
    let new = gateway.route("new", &format!("match: {{ path: /other }}\n{open}"));
    let gate = LocalGate::start(&old.yaml());
    let mut client = RawClient::connect(gate.data());
    client.send(request("GET", "/slow", &[]));
    upstream.wait_received(1);
    gate.reload(&new.yaml());
    assert_eq!(get(gate.data(), "/slow", &[]).status, 404);
    release.send(()).unwrap();
    assert_eq!(client.receive().text(), "slow");
    // The connection stays open; its next request sees the new configuration.
    assert_eq!(client.exchange(request("GET", "/slow", &[])).status, 404);
    let records = gate.wait_access_records(3);
    let in_flight = records.iter().find(|record| record["status"] == 200).unwrap();
    assert_eq!(in_flight["route"], "old");
}

#[test]
fn quotas_survive_a_reload() {
    let upstream = FakeUpstream::start();
    let gateway = |extra: &str| {
        GatewayBuilder::new()
            .limit("few", "by: ip\nquota: 2/hour")
            .upstream("only", upstream.address())
            .route(
                "counted",
                "match: { path: /counted }\npublic: true\nlimits: [few]\nupstream: only",
            )
            .route(
                extra,
                &format!("match: {{ path: /{extra} }}\npublic: true\nupstream: only"),
            )
            .yaml()
    };
    let gate = LocalGate::start(&gateway("a"));
    let ask = || get(gate.data(), "/counted", &[]).status;
    assert_eq!([ask(), ask(), ask()], [200, 200, 429]);
    for extra in ["b", "c", "a"] {
        gate.reload(&gateway(extra));
        assert_eq!(get(gate.data(), &format!("/{extra}"), &[]).status, 200);
        assert_eq!(ask(), 429, "with {extra}");
    }
}

#[test]
fn key_sets_and_remembered_tokens_live_as_long_as_their_issuer_is_unchanged() {
    let (upstream, jwks) = (FakeUpstream::start(), FakeUpstream::start());
    let issuer = SigningKey::generate_es256().unwrap();
    let set = json!({ "keys": [issuer.public_jwk()] }).to_string();
    jwks.respond_with(move |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=3600\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{set}", set.len()).into_bytes()
    });
    let gateway = |path: &str, skew: &str, extra: &str| {
        GatewayBuilder::new()
            .issuer(
                "main",
                &format!(
                    "issuer: {ISSUER}\naudiences: [{AUDIENCE}]\njwks_url: http://{}{path}\nallow_http: true\n\
                     allow_private_addresses: true\nclock_skew: {skew}",
                    jwks.address()
                ),
            )
            .upstream("only", upstream.address())
            .route(extra, "match: { path: \"/{*rest}\" }\naccept: [jwt]\nupstream: only")
            .yaml()
    };
    let gate = LocalGate::start(&gateway("/jwks", "30s", "a"));
    gate.wait_ready();
    assert_eq!(jwks.received().len(), 1);
    let good = bearer(&token(&issuer, &json!({})));
    let ask = || get(gate.data(), "/", &[&good]).status;
    let hits = || gate.metric("keygate_token_cache_hits_total");
    let misses = || gate.metric("keygate_token_cache_misses_total");
    assert_eq!(ask(), 404, "`{{*rest}}` is one character at least");
    let ask = || get(gate.data(), "/a", &[&good]).status;
    assert_eq!((ask(), hits(), misses()), (200, 0.0, 1.0));
    for extra in ["b", "c"] {
        gate.reload(&gateway("/jwks", "30s", extra));
    }
    assert_eq!((ask(), hits(), misses()), (200, 1.0, 1.0), "remembered");
    assert_eq!(jwks.received().len(), 1, "fetched again without need");
    gate.reload(&gateway("/jwks", "31s", "c"));
    gate.wait_ready();
    assert_eq!((ask(), hits(), misses()), (200, 1.0, 2.0), "verified afresh");
    assert_eq!(jwks.received().len(), 1, "the keys are where they were");
    gate.reload(&gateway("/other", "31s", "c"));
    gate.wait_ready();
    assert_eq!((ask(), hits(), misses()), (200, 1.0, 3.0), "other keys, other trust");
    let fetched: Vec<_> = jwks
        .received()
        .iter()
        .map(|request| request.target().to_owned())
        .collect();
    assert_eq!(fetched, ["/jwks", "/other"]);
}

#[test]
fn a_key_that_is_exchanged_in_its_file_verifies_nothing_more() {
    let upstream = FakeUpstream::start();
    let [old, new] = [
        SigningKey::generate_es256().unwrap(),
        SigningKey::generate_es256().unwrap(),
    ];
    let yaml = GatewayBuilder::new()
        .top("failed_authentication: off")
        .issuer("main", ISSUER_YAML)
        .upstream("only", upstream.address())
        .route("only", "match: { path: /a }\naccept: [jwt]\nupstream: only")
        .yaml();
    let gate = LocalGate::start_with(&yaml, &[("issuer.pem", &old.public_pem())]);
    let [old, new] = [(&old, "old"), (&new, "new")].map(|(key, _)| (bearer(&token(key, &json!({}))), key.public_pem()));
    let ask = |header: &str| get(gate.data(), "/a", &[header]).status;
    assert_eq!((ask(&old.0), ask(&new.0)), (200, 401));
    gate.replace_file("issuer.pem", &new.1);
    gate.check_files();
    assert_eq!((ask(&old.0), ask(&new.0)), (401, 200), "also remembered tokens end");
    gate.replace_file(
        "issuer.pem",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    );
    gate.check_files();
    assert_eq!(gate.metric(REFUSED), 1.0);
    assert_eq!((ask(&old.0), ask(&new.0)), (401, 200));
    gate.replace_file("issuer.pem", &old.1);
    gate.check_files();
    assert_eq!((ask(&old.0), ask(&new.0)), (200, 401));
    assert_eq!(gate.metric(LAST_SUCCESS), 1.0);
}

/// Returns the YAML of a gateway with one public route at `/a`.
fn one_route(upstream: &FakeUpstream) -> String {
    GatewayBuilder::new()
        .upstream("only", upstream.address())
        .route("only", "match: { path: /a }\npublic: true\nupstream: only")
        .yaml()
}

#[test]
fn s148_a_broken_file_changes_nothing_and_says_so_until_it_is_mended() {
    let upstream = FakeUpstream::start();
    let good = one_route(&upstream);
    let binary = Binary::start(&good);
    let broken = [
        (good.replace("routes:", "routes: ["), "keygate.yaml:"),
        (
            good.replace("public: true", "public: true\n    publik: true"),
            "unknown key",
        ),
        (
            format!("{good}requests: {{ head_timeout: 10 }}\n"),
            "requests.head_timeout",
        ),
        (
            format!("{good}requests: {{ body_bytes: 10MB }}\n"),
            "requests.body_bytes",
        ),
        (good.replace("upstream: only", "upstream: onyl"), "did you mean `only`?"),
        (good.replace("    public: true\n", ""), "routes[0]"),
        (
            format!("{good}api_keys: {{ pepper: \"${{KEYGATE_TEST_NOT_SET}}\" }}\n"),
            "KEYGATE_TEST_NOT_SET",
        ),
        (
            format!("{good}api_keys: {{ file: not-there.yaml }}\n"),
            "not-there.yaml",
        ),
        (
            format!(
                "{good}issuers: {{ main: {{ issuer: 'https://a', audiences: any, public_key_files: [no.pem] }} }}\n"
            ),
            "no.pem",
        ),
        (String::new(), "keygate.yaml"),
    ];
    for (yaml, word) in broken {
        let refused = binary.metric(REFUSED);
        write_config(&binary, &yaml);
        wait_until(word, || binary.metric(REFUSED) > refused);
        assert_eq!(binary.metric(LAST_SUCCESS), 0.0, "{word}");
        // Still ready: the configuration in force is valid.
        assert_eq!(crate::support::get(binary.admin(), "/readyz").status, 200, "{word}");
        let condition = condition(&binary, "config");
        assert_eq!(condition["status"], "degraded");
        let detail = condition["detail"].as_str().unwrap();
        assert!(
            detail.contains("last reload failed") && detail.contains(word),
            "{word}: {detail}"
        );
        binary.wait_for_output("Configuration refused; the one before goes on serving");
        binary.wait_for_output(word);
        assert_eq!(get(binary.data(), "/a", &[]).status, 200, "{word}");
        reload(&binary, &good);
        assert_eq!(binary.metric(LAST_SUCCESS), 1.0);
        assert_eq!(crate::operate::condition(&binary, "config")["detail"], "");
    }
}

#[test]
fn s148_a_refused_file_is_counted_once_however_often_the_files_are_checked() {
    let upstream = FakeUpstream::start();
    let good = one_route(&upstream);
    let gate = LocalGate::start(&good);
    gate.replace_file("keygate.yaml", "routes: nonsense\n");
    // Every eighth check tries a refused configuration again.
    for check in 1..=17 {
        gate.check_files();
        assert_eq!(gate.metric(REFUSED), 1.0, "check {check}");
    }
    assert_eq!(get(gate.data(), "/a", &[]).status, 200);
}

/// `tests/memory.rs` checks how much memory they take.
#[test]
fn s149_yaml_bombs_are_refused_and_the_gate_serves_on() {
    let upstream = FakeUpstream::start();
    let good = one_route(&upstream);
    let gate = LocalGate::start(&good);
    for (index, bomb) in yaml_bombs().iter().enumerate() {
        let refused = gate.metric(REFUSED);
        gate.reload(bomb);
        assert_eq!(gate.metric(REFUSED), refused + 1.0, "bomb {index}");
        assert_eq!(get(gate.data(), "/a", &[]).status, 200, "bomb {index}");
    }
    gate.reload(&good);
    assert_eq!(gate.metric(LAST_SUCCESS), 1.0);
}

#[test]
fn a_file_that_a_refused_configuration_lacked_cures_it_when_it_comes() {
    let upstream = FakeUpstream::start();
    let issuer = SigningKey::generate_es256().unwrap();
    let protected = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .issuer("main", ISSUER_YAML)
        .upstream("only", upstream.address())
        .route("only", "match: { path: /b }\naccept: [jwt]\nupstream: only")
        .yaml();
    let gate = LocalGate::start(&one_route(&upstream));
    gate.reload(&protected);
    assert_eq!(gate.metric(REFUSED), 1.0);
    gate.replace_file("issuer.pem", &issuer.public_pem());
    gate.replace_file("keys.yaml", "keys: []\n");
    // Only every eighth check of the files retries a refused configuration.
    wait_until("in force", || {
        gate.check_files();
        gate.metric(LAST_SUCCESS) == 1.0
    });
    assert_eq!(get(gate.data(), "/b", &[]).status, 401);
    // Retries are silent: the refusal was counted once.
    assert_eq!(gate.metric(REFUSED), 1.0);
    assert_eq!(
        get(gate.data(), "/b", &[&bearer(&token(&issuer, &json!({})))]).status,
        200
    );
}

#[test]
fn keys_made_and_revoked_on_the_command_line_count_without_a_reload() {
    let upstream = FakeUpstream::start();
    let gateway = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }\nfailed_authentication: off")
        .upstream("only", upstream.address())
        .route("only", "match: { path: /a }\naccept: [api_key]\nupstream: only");
    let binary = Binary::start_with(&gateway.yaml(), &[("keys.yaml", "keys: []\n")]);
    let ask = |key: &str| get(binary.data(), "/a", &[&api_key(key)]).status;
    let mut client = RawClient::connect(binary.data());
    let mut wait_status = |key: &str, status: u16, meanwhile: u16| {
        client.exchange_until(&request("GET", "/a", &[&api_key(key)]), status, &[meanwhile]);
    };
    let first = create_key(binary.folder(), &[]);
    wait_status(&first, 200, 401);
    let second = create_key(binary.folder(), &[]);
    wait_status(&second, 200, 401);
    assert_eq!(ask(&first), 200);

    let output = keys_command(binary.folder(), &["revoke", "--yes", &first[8..24]]);
    assert!(output.status.success(), "{output:?}");
    wait_status(&first, 401, 200);
    assert_eq!(ask(&second), 200);

    // A broken keys file revokes no key, and is reported until the file is valid again.
    let good = std::fs::read_to_string(binary.folder().join("keys.yaml")).unwrap();
    let refused = binary.metric(REFUSED);
    binary.replace_file("keys.yaml", &format!("{good}  - id: short\n"));
    wait_until("the broken file is refused", || binary.metric(REFUSED) > refused);
    assert_eq!((ask(&first), ask(&second)), (401, 200));
    binary.wait_for_output("Keys file refused; the keys before go on serving");
    let condition = || condition(&binary, "keys_file");
    assert!(
        condition()["detail"].as_str().unwrap().contains("refused"),
        "{}",
        condition()
    );
    assert_eq!(crate::support::get(binary.admin(), "/readyz").status, 200);
    assert_eq!(binary.metric(LAST_SUCCESS), 0.0);
    binary.replace_file("keys.yaml", &good);
    wait_until("it recovers", || binary.metric(LAST_SUCCESS) == 1.0);
    assert_eq!(condition()["detail"], "2 keys");

    // The same holds when a changed configuration is read together with the broken keys file.
    binary.replace_file("keys.yaml", "keys: 7\n");
    wait_until("refused again", || binary.metric(LAST_SUCCESS) == 0.0);
    let refused = binary.metric(REFUSED);
    binary.reload(
        &gateway
            .route("more", "match: { path: /more }\npublic: true\nupstream: only")
            .yaml(),
    );
    wait_until("the whole is refused", || binary.metric(REFUSED) > refused);
    assert_eq!((ask(&first), ask(&second)), (401, 200));
    // Once the keys file is valid, the changed configuration is put in force.
    binary.replace_file("keys.yaml", &good);
    RawClient::connect(binary.data()).exchange_until(&request("GET", "/more", &[]), 200, &[404]);
    assert_eq!((ask(&first), ask(&second)), (401, 200));
    wait_until("the reload counts as good", || binary.metric(LAST_SUCCESS) == 1.0);
    let stale = condition();
    assert!(!stale.to_string().contains("refused"), "{stale}");
}

#[test]
fn good_keys_do_not_hide_a_refused_configuration() {
    let upstream = FakeUpstream::start();
    let good = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }\nfailed_authentication: off")
        .upstream("only", upstream.address())
        .route("only", "match: { path: /a }\naccept: [api_key]\nupstream: only")
        .yaml();
    let gate = LocalGate::start_with(&good, &[("keys.yaml", "keys: []\n")]);
    let ask = |key: &str| get(gate.data(), "/a", &[&api_key(key)]).status;
    let [(first, one), (second, two)] = [crate::support::api_key(""), crate::support::api_key("")];
    let (both, one) = ([one.clone(), two], [one]);
    put_keys(&gate, &both);
    assert_eq!(ask(second.expose()), 200);
    gate.reload("routes: nonsense\n");
    assert_eq!(gate.metric(LAST_SUCCESS), 0.0);
    // A revoked key must stop working, whatever state the configuration is in.
    put_keys(&gate, &one);
    assert_eq!(
        (ask(first.expose()), ask(second.expose())),
        (200, 401),
        "keys are followed still"
    );
    assert_eq!(gate.metric(LAST_SUCCESS), 0.0);
    put_keys(&gate, &both);
    assert_eq!(
        (ask(first.expose()), ask(second.expose())),
        (200, 200),
        "keys are followed still"
    );
    assert_eq!(gate.metric(LAST_SUCCESS), 0.0);
}

#[test]
fn a_keys_file_that_becomes_empty_ends_no_key() {
    let upstream = FakeUpstream::start();
    let with = |more: &str| {
        GatewayBuilder::new()
            .top("api_keys: { file: keys.yaml }\nfailed_authentication: off")
            .upstream("only", upstream.address())
            .route(
                "only",
                &format!("match: {{ path: /a }}\naccept: [api_key]\nupstream: only{more}"),
            )
            .yaml()
    };
    let gate = LocalGate::start_with(&with(""), &[("keys.yaml", "")]);
    let ask = |key: &str| get(gate.data(), "/a", &[&api_key(key)]).status;
    let (key, entry) = crate::support::api_key("");
    assert_eq!(ask(key.expose()), 401);
    put_keys(&gate, &[entry]);
    assert_eq!(ask(key.expose()), 200);
    let refused = || gate.metric(REFUSED);
    // Such as while another program writes it.
    let before = refused();
    gate.replace_file("keys.yaml", "");
    gate.check_files();
    assert_eq!((ask(key.expose()), refused()), (200, before + 1.0));
    // The same with a changed configuration.
    gate.reload(&with("\nstrip_prefix: /a"));
    assert_eq!((ask(key.expose()), refused()), (200, before + 2.0));
    gate.replace_file("keys.yaml", "keys: []\n");
    gate.check_files();
    assert_eq!(ask(key.expose()), 401);
}

#[test]
fn what_needs_a_restart_is_named() {
    let upstream = FakeUpstream::start();
    let good = one_route(&upstream);
    let binary = Binary::start(&good);
    let changed = good
        .replacen(
            "  - address: 127.0.0.1:0\n",
            "  - address: 127.0.0.1:0\n  - address: 127.0.0.1:0\n",
            1,
        )
        .replace("path: /a", "path: /b");
    write_config(&binary, &changed);
    binary.wait_for_output("takes effect after a restart");
    let warned = |key: &str| {
        binary
            .output()
            .lines()
            .filter(|line| line.contains("after a restart"))
            .any(|line| line.contains(&format!("\"key\":\"{key}\"")))
    };
    assert!(
        warned("listeners") && !warned("admin") && !warned("log"),
        "{}",
        binary.output()
    );
    binary.wait_for_output("Configuration reloaded");
    // The other changes are in force.
    assert_eq!(get(binary.data(), "/b", &[]).status, 200);
    write_config(&binary, &format!("{changed}log: {{ level: debug }}\n"));
    wait_until("it warns of the log", || warned("log"));
}

#[test]
fn what_a_reload_removes_is_gone_from_routing_and_metrics() {
    let upstream = FakeUpstream::start();
    let gateway = GatewayBuilder::new()
        .upstream("only", upstream.address())
        .route("kept", "match: { path: /kept }\npublic: true\nupstream: only");
    let with = gateway
        .clone()
        .route("removed", "match: { path: /removed }\npublic: true\nupstream: only");
    let gate = LocalGate::start(&with.yaml());
    let both = || ["/kept", "/removed"].map(|path| get(gate.data(), path, &[]).status);
    let metrics = || crate::support::get(gate.admin(), "/metrics").text();
    assert_eq!(both(), [200, 200]);
    wait_until("both are counted", || {
        metrics().contains("route=\"removed\",status_class=\"2xx\"")
    });
    gate.reload(&gateway.yaml());
    assert_eq!(both(), [200, 404]);
    let text = metrics();
    assert!(!text.contains("route=\"removed\""), "{text}");
    gate.reload(&with.yaml());
    assert_eq!(both(), [200, 200]);
    wait_until("counts of a name that stays go on", || {
        gate.metric("keygate_requests_total{method=\"GET\",route=\"kept\",status_class=\"2xx\"}") == 3.0
    });
}
