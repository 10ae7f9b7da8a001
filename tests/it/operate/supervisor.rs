//! What does systemd, or a container, learn of the process, and which sockets does it hand over?

use crate::support::Binary;
use crate::support::RawClient;
use crate::support::folder_with;
use crate::support::free_address;
use crate::support::program;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::time::Duration;

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

fn config() -> String {
    config_at("127.0.0.1:0", "127.0.0.1:0", "")
}

fn config_at(data: &str, admin: &str, more: &str) -> String {
    format!(
        "listeners: [{{ address: \"{data}\" }}]
admin: {{ address: \"{admin}\" }}
upstreams: {{ echo: {{ builtin: echo }} }}
routes: [{{ name: open, match: {{ path: /a }}, public: true, upstream: echo }}]
{more}"
    )
}

/// The socket on which systemd hears of a service.
struct Supervisor {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Supervisor {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { folder, socket }
    }

    fn path(&self) -> String {
        self.folder.path().join("notify").display().to_string()
    }

    /// Returns the lines of the next message.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let len = self.socket.recv(&mut buffer).expect("a message");
        let text = std::str::from_utf8(&buffer[..len]).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn systemd_learns_when_the_gate_is_ready_reloads_and_stops() {
    let supervisor = Supervisor::new();
    let gate = Binary::start_with_env(&config(), &[], &[("NOTIFY_SOCKET", &supervisor.path())]);
    assert_eq!(supervisor.next(), ["READY=1", "STATUS=Serving"]);
    assert_eq!(RawClient::connect(gate.data()).exchange(GET).status, 200, "it is ready");
    gate.signal("HUP");
    let reloading = supervisor.next();
    assert_eq!(reloading[0], "RELOADING=1");
    let time = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
    assert_eq!(supervisor.next(), ["READY=1", "STATUS=Serving"]);
    // A file that is refused ends the reload too, and systemctl shows why.
    std::fs::write(gate.folder().join("keygate.yaml"), "routes: 1\n").unwrap();
    gate.signal("HUP");
    let mut message = supervisor.next();
    while message[0] == "RELOADING=1" {
        message = supervisor.next();
    }
    assert_eq!(message[0], "READY=1");
    assert!(
        message[1].starts_with("STATUS=Configuration refused, the one before serves: ") && message.len() == 2,
        "{message:?}"
    );
    gate.signal("TERM");
    assert_eq!(supervisor.next(), ["STOPPING=1", "STATUS=Draining"]);
}

#[test]
fn systemd_hears_that_the_gate_lives() {
    let supervisor = Supervisor::new();
    let variables = [("NOTIFY_SOCKET", &*supervisor.path()), ("WATCHDOG_USEC", "10000000")];
    let _gate = Binary::start_with_env(&config(), &[], &variables);
    assert_eq!(supervisor.next()[0], "READY=1");
    assert_eq!(supervisor.next(), ["WATCHDOG=1"]);
}

#[test]
fn a_socket_that_systemd_passes_is_the_listener_with_its_address_and_holds_the_connections_of_a_restart() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let config = config_at(&address.to_string(), "127.0.0.1:0", "");
    // A client that comes before the gate waits for it.
    let mut early = RawClient::connect(address);
    early.send(GET);
    let gate = Binary::start_on_socket(&config, socket.try_clone().unwrap());
    assert_eq!(gate.data(), address);
    assert_eq!(early.receive().status, 200);
    drop(gate.stop());
    let mut between = RawClient::connect(address);
    between.send(GET);
    let _gate = Binary::start_on_socket(&config, socket);
    assert_eq!(between.receive().status, 200);
}

#[test]
fn a_socket_that_systemd_passes_for_no_listener_stops_the_start() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let passed = socket.local_addr().unwrap();
    let folder = folder_with(&config(), &[]);
    let output = Command::new("sh")
        .args([
            "-c",
            "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run --config keygate.yaml",
        ])
        .arg(program())
        .current_dir(folder.path())
        .stdin(std::os::fd::OwnedFd::from(socket))
        .output()
        .unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        messages.contains(&format!("systemd passes a socket at {passed}")) && messages.contains("keygate.yaml"),
        "{messages}"
    );
}

#[test]
fn a_secret_may_be_a_credential_of_systemd() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pepper"), "correct-horse-battery-staple-and-more").unwrap();
    let config = format!(
        "{}api_keys: {{ pepper: \"file:${{CREDENTIALS_DIRECTORY}}/pepper\" }}\n",
        config()
    );
    let path = folder.path().display().to_string();
    let gate = Binary::start_with_env(&config, &[], &[("CREDENTIALS_DIRECTORY", &path)]);
    assert_eq!(RawClient::connect(gate.data()).exchange(GET).status, 200);
}

fn ready(folder: &Path) -> Output {
    let mut command = Command::new(program());
    command.args(["ready", "--config", "keygate.yaml"]).current_dir(folder);
    command.output().unwrap()
}

#[test]
fn a_health_check_asks_the_gate_with_its_own_program() {
    let address = free_address();
    let admin = address.to_string();
    let folder = folder_with(&config_at("127.0.0.1:0", &admin, ""), &[]);
    let output = ready(folder.path());
    assert_eq!(output.status.code(), Some(4), "no gate answers: {output:?}");
    let gate = Binary::start(&config_at("127.0.0.1:0", &admin, "shutdown: { delay: 60s }\n"));
    let output = ready(gate.folder());
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(0), &b"ready (ok)\n"[..]),
        "{output:?}"
    );
    gate.signal("TERM");
    gate.wait_for_output("Not ready any more");
    let output = ready(gate.folder());
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{messages}");
    assert!(
        messages.contains("draining is failing: shutting down") && messages.contains("not ready"),
        "{messages}"
    );
}
