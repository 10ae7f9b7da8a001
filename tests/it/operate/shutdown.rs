//! How does the program start, where does it listen, and how does it end?

use crate::operate::get;
use crate::operate::request;
use crate::support;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::KillAtEnd;
use crate::support::RawClient;
use crate::support::wait_until;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc;

fn open_route(upstream: &FakeUpstream) -> String {
    GatewayBuilder::new()
        .upstream("only", upstream.address())
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: only")
        .yaml()
}

/// Starts an upstream that responds to `/slow` when the test allows, and to everything else at once.
fn slow_upstream() -> (FakeUpstream, mpsc::Sender<()>) {
    let upstream = FakeUpstream::start();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    upstream.respond_with(move |request| {
        if request.target() == "/slow" {
            let _ = released.lock().unwrap().recv_timeout(crate::support::PATIENCE);
        }
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    (upstream, release)
}

#[track_caller]
fn check_signal(signal: &str) {
    let (upstream, release) = slow_upstream();
    let mut binary = Binary::start(&open_route(&upstream));
    let mut idle = RawClient::connect(binary.data());
    assert_eq!(idle.exchange(request("GET", "/fast", &[])).status, 200);
    let mut slow = RawClient::connect(binary.data());
    slow.send(request("GET", "/slow", &[]));
    upstream.wait_received(2);

    binary.signal(signal);
    binary.wait_for_output("Draining");
    wait_until("new connections are refused", || {
        TcpStream::connect(binary.data()).is_err()
    });
    assert!(idle.is_closed(), "a connection without a request is closed at once");
    // Probes still get responses: the gate is alive and not ready.
    assert_eq!(support::get(binary.admin(), "/livez").status, 200);
    assert_eq!(support::get(binary.admin(), "/readyz").status, 503);
    assert_eq!(crate::operate::condition(&binary, "draining")["status"], "failing");

    release.send(()).unwrap();
    let response = slow.receive();
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    // `wait_exit` times out before the gate's own limit for a drain, here and below.
    assert_eq!(binary.wait_exit().code(), Some(0), "{}", binary.output());
    let records = binary.access_records();
    assert_eq!(records.len(), 2, "every record is written: {}", binary.output());
    assert_eq!(
        (&records[1]["path"], &records[1]["status"]),
        (&"/slow".into(), &200.into())
    );
    assert!(binary.output().contains("Stopped"));
}

#[test]
fn sigterm_finishes_what_is_under_way_and_exits_with_0() {
    check_signal("TERM");
}

#[test]
fn sigint_does_the_same() {
    check_signal("INT");
}

/// FOUND F07: the listener closed at once, before a load balancer could notice.
#[test]
fn connections_are_accepted_for_the_delay_while_the_gate_is_not_ready_any_more() {
    let upstream = FakeUpstream::start();
    // Ended by the second signal.
    let mut binary = Binary::start(&format!("{}shutdown: {{ delay: 1h }}\n", open_route(&upstream)));
    binary.signal("TERM");
    wait_until("the gate is not ready", || {
        support::get(binary.admin(), "/readyz").status == 503
    });
    for _ in 0..50 {
        let response = RawClient::connect(binary.data()).exchange(request("GET", "/a", &[]));
        assert_eq!(response.status, 200);
    }
    binary.signal("TERM");
    assert_eq!(binary.wait_exit().code(), Some(0), "{}", binary.output());
}

/// FOUND F07: connections that the system had accepted, and those that had sent nothing yet, were closed without an answer.
#[test]
fn a_connection_that_was_accepted_before_the_end_gets_its_first_answer() {
    let upstream = FakeUpstream::start();
    let mut binary = Binary::start(&open_route(&upstream));
    let mut fresh: Vec<RawClient> = (0..50).map(|_| RawClient::connect(binary.data())).collect();
    binary.signal("TERM");
    binary.wait_for_output("Draining");
    for client in &mut fresh {
        client.send(request("GET", "/a", &[]));
    }
    for mut client in fresh {
        let response = client.receive();
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    }
    assert_eq!(binary.wait_exit().code(), Some(0), "{}", binary.output());
}

/// Opens a WebSocket whose upstream sends `message` after the switch, and returns what the client receives after the head, until
/// the end, when the process is told to stop after `message` has arrived.
fn websocket_until_the_end(message: &'static [u8]) -> Vec<u8> {
    let upstream = FakeUpstream::start();
    upstream.respond_with(move |_| {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        [&head[..], message].concat()
    });
    let yaml = format!("{}shutdown: {{ drain: 1s }}\n", open_route(&upstream));
    let mut binary = Binary::start(&yaml);
    let mut client = TcpStream::connect(binary.data()).unwrap();
    client.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let request = "GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut received = Vec::new();
    let end_of_head = |received: &[u8]| received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    while end_of_head(&received).is_none_or(|end| received.len() < end + 4 + message.len()) {
        let mut bytes = [0; 1024];
        let count = client.read(&mut bytes).unwrap();
        assert!(count > 0, "{received:?}");
        received.extend_from_slice(&bytes[..count]);
    }
    binary.signal("TERM");
    client.read_to_end(&mut received).unwrap();
    assert_eq!(binary.wait_exit().code(), Some(0), "{}", binary.output());
    received.split_off(end_of_head(&received).unwrap() + 4 + message.len())
}

/// FOUND F07, RFC 6455 section 7.4.1.
#[test]
fn a_websocket_ends_with_a_close_frame_where_no_frame_is_under_way() {
    assert_eq!(websocket_until_the_end(b"\x81\x05hello"), b"\x88\x02\x03\xE9");
    assert_eq!(websocket_until_the_end(b""), b"\x88\x02\x03\xE9");
    // Within a frame, a Close frame would be a part of its payload.
    assert_eq!(websocket_until_the_end(b"\x81\x05hel"), b"");
}

#[test]
fn an_idle_gateway_stops_at_once() {
    let upstream = FakeUpstream::start();
    let mut binary = Binary::start(&open_route(&upstream));
    let _idle = RawClient::connect(binary.data());
    binary.signal("TERM");
    assert_eq!(binary.wait_exit().code(), Some(0));
}

#[test]
fn a_request_that_outlasts_the_drain_is_on_record() {
    let (upstream, _release) = slow_upstream();
    let yaml = format!("{}shutdown: {{ drain: 1s }}\n", open_route(&upstream));
    let mut binary = Binary::start(&yaml);
    let mut slow = RawClient::connect(binary.data());
    slow.send(request("GET", "/slow", &[]));
    upstream.wait_received(1);
    binary.signal("TERM");
    assert_eq!(binary.wait_exit().code(), Some(0), "{}", binary.output());
    let records = binary.access_records();
    let paths: Vec<_> = records.iter().map(|record| record["path"].as_str()).collect();
    assert_eq!(paths, [Some("/slow")], "{}", binary.output());
}

/// FOUND F07: the system has told these clients that they are connected.
#[test]
fn connections_that_wait_to_be_accepted_are_served_before_the_end() {
    let upstream = FakeUpstream::start();
    let mut binary = Binary::start(&open_route(&upstream));
    for _ in 0..5 {
        // Stopped, so that the connections are not accepted before the signal.
        binary.signal("STOP");
        let mut clients: Vec<RawClient> = (0..5).map(|_| RawClient::connect(binary.data())).collect();
        for client in &mut clients {
            client.send(request("GET", "/a", &["Connection:close"]));
        }
        binary.signal("TERM");
        binary.signal("CONT");
        for client in &mut clients {
            assert_eq!(client.receive().status, 200);
        }
        assert_eq!(binary.wait_exit().code(), Some(0));
        binary = Binary::start(&open_route(&upstream));
    }
}

#[test]
fn a_signal_ends_a_start_that_waits_for_keys() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let identity = support::issuer::identity_yaml();
    let place = format!("jwks_url: http://{address}/jwks\nallow_http: true\nallow_private_addresses: true");
    let yaml = GatewayBuilder::new()
        .issuer("main", &format!("{identity}\n{place}\nstart_wait: 60s"))
        .upstream_with("echo", "builtin: echo")
        .route("a", "match: { path: /a }\naccept: [jwt]\nupstream: echo")
        .yaml();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keygate.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut child = KillAtEnd(
        Command::new(crate::support::program())
            .args(["run", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // The gate has asked for the keys, so it waits.
    let (asked, _) = silent.accept().unwrap();
    let status = Command::new("kill").arg(child.0.id().to_string()).status().unwrap();
    assert!(status.success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    drop(asked);
}

#[test]
fn a_burst_right_before_the_end_is_on_record_whole() {
    let upstream = FakeUpstream::start();
    let mut binary = Binary::start(&open_route(&upstream));
    let mut client = RawClient::connect(binary.data());
    for _ in 0..500 {
        assert_eq!(client.exchange(request("GET", "/a", &[])).status, 200);
    }
    binary.signal("TERM");
    assert_eq!(binary.wait_exit().code(), Some(0));
    assert_eq!(binary.access_records().len(), 500);
}

#[test]
fn a_request_whose_head_is_half_sent_holds_the_end_up_for_its_head_timeout_at_most() {
    let upstream = FakeUpstream::start();
    let yaml = format!("{}requests: {{ head_timeout: 2s }}\n", open_route(&upstream));
    let mut binary = Binary::start(&yaml);
    let mut half = RawClient::connect(binary.data());
    half.send("GET /a HTTP/1.1\r\nHost: a\r\n");
    let open = "keygate_connections_open";
    wait_until("it is open", || binary.metric(open) == 1.0);
    binary.signal("TERM");
    assert_eq!(binary.wait_exit().code(), Some(0));
}

/// Runs the program until it ends by itself.
#[track_caller]
fn run_to_its_end(yaml: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keygate.yaml");
    std::fs::write(&file, yaml).unwrap();
    let output = Command::new(crate::support::program())
        .args(["run", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_taken_port_is_said_with_its_address_and_its_key() {
    let upstream = FakeUpstream::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let good = open_route(&upstream);
    for (yaml, key) in [
        (good.replacen("127.0.0.1:0", &address, 1), "listeners"),
        (
            good.replacen(
                "address: 127.0.0.1:0\nupstreams",
                &format!("address: {address}\nupstreams"),
                1,
            ),
            "admin.address",
        ),
        (
            good.replacen(
                "  - address: 127.0.0.1:0\n",
                &format!("  - address: 127.0.0.1:0\n  - address: {address}\n"),
                1,
            ),
            "listeners",
        ),
    ] {
        let (code, text) = run_to_its_end(&yaml);
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains(&address) && text.contains(key) && text.contains("in use"),
            "{text}"
        );
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn every_listener_serves_the_same() {
    let upstream = FakeUpstream::start();
    let two = open_route(&upstream).replacen(
        "  - address: 127.0.0.1:0\n",
        "  - address: 127.0.0.1:0\n  - address: \"[::1]:0\"\n",
        1,
    );
    let mut binary = Binary::start(&two);
    let listening = || -> Vec<std::net::SocketAddr> {
        let output = binary.output();
        let lines = output
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let data = lines.filter(|line| line["message"] == "Listening" && line["listener"] == "data");
        data.map(|line| line["address"].as_str().unwrap().parse().unwrap())
            .collect()
    };
    wait_until("both are said", || listening().len() == 2);
    let both = listening();
    assert!(both[0].is_ipv4() && both[1].is_ipv6(), "{both:?}");
    for address in &both {
        assert_eq!(get(*address, "/a", &[]).status, 200, "{address}");
    }
    let records = binary.wait_access_records(2);
    let mut peers: Vec<_> = records
        .iter()
        .map(|record| record["client"].as_str().unwrap())
        .collect();
    // The workers write their records in any order.
    peers.sort_unstable();
    assert_eq!(peers, ["127.0.0.1", "::1"]);
    binary.signal("TERM");
    assert_eq!(binary.wait_exit().code(), Some(0));
    for address in both {
        assert!(TcpStream::connect(address).is_err(), "{address}");
    }
}

#[test]
fn the_threads_that_serve_are_as_many_as_asked() {
    let upstream = FakeUpstream::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keygate.yaml");
    std::fs::write(&file, open_route(&upstream)).unwrap();
    for threads in [1, 3] {
        let child = Command::new(crate::support::program())
            .args(["run", "--threads", &threads.to_string(), "--config"])
            .arg(&file)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let child = KillAtEnd(child);
        let tasks = format!("/proc/{}/task", child.0.id());
        let serving = || {
            let entries = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
            let names = entries.map(|entry| std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default());
            names.filter(|name| name.starts_with("keygate-data")).count()
        };
        wait_until("its threads run", || serving() == threads);
    }
    for bad in ["0", "1025", "x", "100000"] {
        let output = Command::new(crate::support::program())
            .args(["run", "--threads", bad, "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && text.contains("--threads"),
            "{bad}: {text}"
        );
    }
}
