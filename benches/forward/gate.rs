//! How is Keygate started with the keys and the issuer of the bench?

use crate::credentials;
use crate::peers::PeerConfig;
use crate::process::Process;
use crate::process::ProcessLauncher;
use keygate::model::api_key;
use keygate::model::api_key::Digester;
use serde_json::Value;
use std::ffi::OsString;
use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Stdio;

/// More than any row sends, so that Keygate does not close a connection.
const REQUESTS_PER_CONNECTION: usize = 10_000_000;

pub struct Gate {
    pub process: Process,
    configuration: String,
    folder: tempfile::TempDir,
}

/// The settings of a gate, except its issuer and keys.
pub struct Setup {
    pub threads: usize,
    /// The number of routes in addition to those that all gates have.
    pub routes: usize,
    pub records: Records,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            threads: 1,
            routes: 0,
            records: Records::Discarded,
        }
    }
}

/// The destination of access records.
#[derive(Clone, Copy)]
pub enum Records {
    /// `/dev/null`, so that reading the records takes no time.
    Discarded,
    File,
}

/// Returns a path that route number `route` of [`Setup::routes`] matches.
pub fn path(route: usize) -> String {
    format!("/v2/r{route}")
}

/// Returns the program in `KEYGATE_BIN`, for another version or build, or else the program built with the bench.
pub fn program() -> OsString {
    std::env::var_os("KEYGATE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_keygate").into())
}

impl Gate {
    pub fn start(under: &ProcessLauncher, trusted: &PeerConfig<'_>, setup: &Setup) -> Self {
        let issuer = trusted.issuer;
        let configuration = configuration(trusted.upstream, setup);
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, content: &str| {
            std::fs::write(folder.path().join(name), content).expect("a file can be written");
        };
        write("rs256.pem", &issuer.rs256.public_pem());
        write("es256.pem", &issuer.es256.public_pem());
        write("eddsa.pem", &issuer.eddsa.public_pem());
        write("keys.yaml", &keys_file(trusted.keys));
        write("keygate.yaml", &configuration);
        let records = match setup.records {
            Records::Discarded => Stdio::null(),
            Records::File => {
                let file = std::fs::File::create(folder.path().join("access.log"));
                file.expect("a file can be written").into()
            }
        };
        let mut command = under.command(program());
        command
            .args(["run", "--threads", &setup.threads.to_string(), "--config"])
            .arg(folder.path().join("keygate.yaml"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(records);
        Self {
            process: Process::start(&mut command, listening),
            configuration,
            folder,
        }
    }

    /// Writes a configuration with the same routes, limits and keys. `number` changes its text, because a reload skips
    /// an unchanged file. The text of number 0 is the text of the start.
    pub fn change_configuration(&self, number: usize) {
        let requests = format!("requests_per_connection: {}", REQUESTS_PER_CONNECTION - number % 1_000);
        let changed = self.configuration.replace(
            &format!("requests_per_connection: {REQUESTS_PER_CONNECTION}"),
            &requests,
        );
        // Rename the new file, so that the gate never reads half a file.
        let (new, file) = ("keygate.yaml.new", "keygate.yaml");
        std::fs::write(self.folder.path().join(new), changed).expect("a file can be written");
        std::fs::rename(self.folder.path().join(new), self.folder.path().join(file)).expect("it can be renamed");
    }
}

fn listening(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let data = line["message"] == "Listening" && line["listener"] == "data";
    data.then(|| line["address"].as_str()?.parse().ok()).flatten()
}

pub fn keys_file(keys: &[String]) -> String {
    let digester = Digester::new(None);
    let mut file = "keys:\n".to_owned();
    for key in keys {
        let digest = digester.digest(key).to_hex();
        let key = api_key::parse(key, "kg").expect("a key of ours");
        writeln!(
            file,
            "  - {{ id: {}, digest: \"sha256:{digest}\", name: ci, env: live, scopes: [orders:read], client: billing, \
             expires_at: never }}",
            key.id
        )
        .expect("text takes what is written to it");
    }
    file
}

fn configuration(upstream: SocketAddr, setup: &Setup) -> String {
    let issuer = credentials::ISSUER;
    let audience = credentials::AUDIENCE;
    let routes: String = (0..setup.routes).map(route).collect();
    format!(
        "
listeners:
  - address: 127.0.0.1:0
requests: {{ requests_per_connection: {REQUESTS_PER_CONNECTION} }}
issuers:
  main:
    issuer: {issuer}
    audiences: [{audience}]
    algorithms: [RS256, ES256, EdDSA]
    public_key_files: [rs256.pem, es256.pem, eddsa.pem]
api_keys: {{ file: keys.yaml }}
limits:
  wide: {{ by: credential, quota: 1000000/s }}
  spent: {{ by: credential, quota: 1/month }}
upstreams:
  orders: {{ endpoints: [\"{upstream}\"] }}
routes:
  - name: open
    match: {{ path: /v1/open }}
    public: true
    upstream: orders
  - name: orders
    match: {{ host: api.example, path: \"/v1/orders/{{*rest}}\", methods: [GET] }}
    accept: [jwt, api_key]
    scopes: {{ all: [\"orders:read\"] }}
    upstream: orders
  - name: limited
    match: {{ host: api.example, path: /v1/limited }}
    accept: [jwt, api_key]
    scopes: {{ all: [\"orders:read\"] }}
    limits: [wide]
    upstream: orders
  - name: admin
    match: {{ path: /v1/admin }}
    accept: [api_key]
    scopes: {{ all: [admin] }}
    upstream: orders
  - name: spent
    match: {{ path: /v1/spent }}
    accept: [api_key]
    limits: [spent]
    upstream: orders
{routes}"
    )
}

fn route(number: usize) -> String {
    // On one line: a configuration of 10 000 routes must stay below 1 MiB.
    let path = path(number);
    format!("  - {{ name: r{number}, match: {{ path: {path} }}, accept: [api_key], upstream: orders }}\n")
}
