//! Do the commands that create, show and revoke credentials work over the socket of
//! a running gate, over its admin listener, and on the store of a stopped gate?

mod explain;
mod nouns;
mod references;
mod refusals;
mod restore;
mod tokens;

use crate::support::GatewayBuilder;
use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::poll;
use keygate::model::api_key::CredentialDigest;
use serde_json::Value;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

const ADMIN_TOKEN: &str = "the-admin-token-of-these-tests-0123456789";

/// How the commands of a test reach the gate or the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Socket,
    Listener,
    /// On the store, without a running gate.
    Store,
}

/// A folder with a configuration, the output of all commands so far, and a gate unless commands work on the store.
struct CommandFixture {
    transport: Transport,
    folder: tempfile::TempDir,
    gate: Option<Gate>,
    outputs: RefCell<Vec<CommandOutput>>,
}

/// A running gate. Killed when dropped.
struct Gate {
    child: Child,
    data: SocketAddr,
    admin: SocketAddr,
}

/// The arguments, exit code and output of a command.
#[derive(Clone, Debug)]
struct CommandOutput {
    args: Vec<String>,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a free address of `localhost`, by which a test asks too. Another process may take the address before the caller does, so
/// the caller tries again.
fn localhost_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn configuration(data: SocketAddr, admin: SocketAddr) -> String {
    GatewayBuilder::new()
        .admin(&format!("token: {ADMIN_TOKEN}"))
        .top("store: { path: keygate.db }")
        .top(&format!("token_endpoint: {{ issuer: 'http://{data}' }}"))
        .top(
            "plans:\n  gold: { credentials: api_key, scopes: [\"orders:read\"], payment: required }\n  \
             free: { credentials: [api_key, client_secret], approval: automatic }",
        )
        .upstream_with("echo", "builtin: echo")
        .route(
            "key",
            "match: { path: \"/key/{*rest}\" }\naccept: [api_key]\nupstream: echo",
        )
        .route(
            "orders",
            "match: { path: \"/orders/{*rest}\" }\naccept: [jwt, api_key]\nissuers: [keygate]\n\
             scopes: { all: [\"orders:read\"] }\nupstream: echo",
        )
        .yaml()
        .replacen("127.0.0.1:0", &data.to_string(), 1)
        .replacen("127.0.0.1:0", &admin.to_string(), 1)
}

impl CommandFixture {
    #[track_caller]
    fn new(transport: Transport) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Tries again: another process may take a free port before the gate does.
        for _ in 0..5 {
            let (data, admin) = (localhost_address(), localhost_address());
            std::fs::write(folder.path().join("keygate.yaml"), configuration(data, admin)).unwrap();
            let gate = match transport {
                Transport::Store => None,
                Transport::Socket | Transport::Listener => match Gate::start(folder.path(), data, admin) {
                    Some(gate) => Some(gate),
                    None => continue,
                },
            };
            return Self {
                transport,
                folder,
                gate,
                outputs: RefCell::default(),
            };
        }
        panic!("no free port");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> SocketAddr {
        self.gate.as_ref().expect("a gate runs").data
    }

    fn admin(&self) -> String {
        format!("http://{}", self.gate.as_ref().expect("a gate runs").admin)
    }

    /// Returns a command of the program in the folder and, of this process's environment, with only `PATH`.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(crate::support::program());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .args(args);
        command
    }

    /// Runs a command on the gate or the store.
    #[track_caller]
    fn run(&self, args: &[&str]) -> CommandOutput {
        self.run_from(args, Stdio::null())
    }

    /// Runs a command on the gate or the store that reads a file of the folder from stdin.
    #[track_caller]
    fn run_with_stdin(&self, args: &[&str], file: &str) -> CommandOutput {
        self.run_from(args, std::fs::File::open(self.file(file)).unwrap().into())
    }

    #[track_caller]
    fn run_from(&self, args: &[&str], stdin: Stdio) -> CommandOutput {
        let admin;
        let options: &[&str] = match self.transport {
            Transport::Socket | Transport::Store => &["--config", "keygate.yaml"],
            Transport::Listener => {
                admin = self.admin();
                &["--admin", &admin]
            }
        };
        let args = [args, options].concat();
        let mut command = self.command(&args);
        if self.transport == Transport::Listener {
            command.env("KEYGATE_ADMIN_TOKEN", ADMIN_TOKEN);
        }
        command.stdin(stdin);
        self.record(command, &args)
    }

    #[track_caller]
    fn record(&self, mut command: Command, args: &[&str]) -> CommandOutput {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        let result = CommandOutput {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        for text in [&result.stdout, &result.stderr] {
            assert!(!text.contains("panicked") && !text.contains(ADMIN_TOKEN), "{result:?}");
        }
        self.outputs.borrow_mut().push(result.clone());
        result
    }

    /// Returns stdout of a command that must succeed.
    #[track_caller]
    fn expect_success(&self, args: &[&str]) -> String {
        self.run(args).expect_success().stdout
    }

    /// Imports the key `text` of another system by its digest, and returns its id.
    #[track_caller]
    fn import(&self, text: &str) -> String {
        std::fs::write(self.file("digest"), CredentialDigest::sha256(text).to_hex() + "\n").unwrap();
        let digest = ["keys", "import", "--digest-file", "digest"];
        let args = [&digest[..], &["--name", "old", "--expires", "30d"]].concat();
        self.expect_success(&args).trim_end().to_owned()
    }

    /// Returns the JSON output of a command that must succeed.
    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let stdout = self.expect_success(&[args, &["--output", "json"]].concat());
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }

    /// Checks that each of `secrets` was printed once, on stdout, and is in no file of the folder except `allowed`.
    #[track_caller]
    fn check_printed_once(&self, secrets: &[&str], allowed: &[&str]) {
        assert!(!secrets.is_empty());
        let files = files_below(self.folder.path());
        for secret in secrets {
            assert!(secret.len() > 16, "{secret}");
            let outputs = self.outputs.borrow();
            let times: usize = outputs.iter().map(|result| result.stdout.matches(secret).count()).sum();
            assert_eq!(times, 1, "{secret}");
            for result in outputs.iter() {
                assert!(!result.stderr.contains(secret), "{result:?}");
                assert!(!result.args.iter().any(|arg| arg.contains(secret)), "{result:?}");
            }
            for file in &files {
                let may = allowed.iter().any(|name| file.ends_with(name));
                let bytes = std::fs::read(file).unwrap_or_default();
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(may || !found, "{secret} in {}", file.display());
            }
        }
    }

    #[track_caller]
    fn call(&self, path: &str, header: &str) -> Response {
        call(self.data(), path, header)
    }

    /// Checks the status of a request with `key`; does nothing where no gate runs.
    #[track_caller]
    fn check_key(&self, key: &str, status: u16) {
        if self.gate.is_some() {
            let response = self.call("/key/hello", &format!("x-api-key: {key}"));
            assert_eq!(response.status, status, "{}", response.text());
        }
    }
}

#[track_caller]
fn call(at: SocketAddr, path: &str, header: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n{header}\r\nConnection: close\r\n\r\n");
    RawClient::connect(at).exchange(request)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files
}

impl Gate {
    /// Starts a gate and waits until the gate is ready; `None` where an address is taken.
    #[track_caller]
    fn start(folder: &Path, data: SocketAddr, admin: SocketAddr) -> Option<Self> {
        let log = |name: &str| {
            let file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(folder.join(name));
            file.unwrap()
        };
        let child = Command::new(crate::support::program())
            .args(["run", "--config", "keygate.yaml"])
            .env_clear()
            .env("HOME", folder)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log("gate.out"))
            .stderr(log("gate.err"))
            .spawn()
            .unwrap();
        let mut gate = Self { child, data, admin };
        let errors = || std::fs::read_to_string(folder.join("gate.err")).unwrap();
        // The program logs `Listening` after it has bound the socket; the admin listener may respond earlier.
        let ready = || errors().contains("Listening") && crate::support::get(admin, "/readyz").status == 200;
        let running = poll(PATIENCE, || {
            let ended = gate.child.try_wait().unwrap().is_some();
            if ended { Some(false) } else { ready().then_some(true) }
        });
        match running {
            Some(true) => Some(gate),
            Some(false) => {
                assert!(errors().contains("cannot listen"), "{}", errors());
                None
            }
            None => panic!("{}", errors()),
        }
    }
}

impl CommandOutput {
    #[track_caller]
    fn expect_success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Returns stderr of a command that failed with `code` and printed nothing on stdout.
    #[track_caller]
    fn expect_failure(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        assert!(!self.stderr.is_empty());
        self.stderr
    }
}
