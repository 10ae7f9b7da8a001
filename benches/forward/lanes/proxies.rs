//! Which proxies does the bench of the lanes start, and with which rows?

use crate::credentials;
use crate::gate::keys_file;
use crate::lanes::traffic::PEM;
use crate::lanes::traffic::PRIVATE_PEM;
use crate::lanes::traffic::Protocol;
use crate::lanes::traffic::Row;
use crate::peers::PeerConfig;
use crate::peers::envoy;
use crate::peers::free_addresses;
use crate::process::Process;
use crate::process::ProcessLauncher;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use tempfile::TempDir;

/// The settings that all proxies share.
pub struct LaneInputs<'a> {
    /// The upstream of HTTP/1.1.
    pub http1: SocketAddr,
    /// The upstream of gRPC over HTTP/2.
    pub http2: SocketAddr,
    pub issuer: &'a credentials::Issuer,
    pub keys: &'a [String],
    /// A token of the issuer.
    pub token: &'a str,
}

/// The kind of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneProxy {
    Bare,
    Keygate,
    Haproxy,
    Nginx,
    Envoy,
}

/// A proxy in a process of its own. Dropping it ends the process.
pub struct RunningLanes {
    pub process: Process,
    pub rows: Vec<Row>,
    _folder: TempDir,
}

impl LaneProxy {
    pub const ALL: [Self; 5] = [Self::Bare, Self::Keygate, Self::Haproxy, Self::Nginx, Self::Envoy];

    /// Returns whether `cargo test --benches` starts the proxy: not if other software is necessary.
    pub const fn is_tested(self) -> bool {
        matches!(self, Self::Bare | Self::Keygate)
    }

    /// Starts the proxy.
    ///
    /// # Errors
    /// Its program is not installed. The message says how to install it.
    pub fn start(self, under: &ProcessLauncher, inputs: &LaneInputs<'_>) -> Result<RunningLanes, String> {
        match self {
            Self::Bare => Ok(start_bare(under, inputs)),
            Self::Keygate => Ok(start_keygate(under, inputs)),
            Self::Haproxy => start_haproxy(under, inputs),
            Self::Nginx => start_nginx(under, inputs),
            Self::Envoy => start_envoy(under, inputs),
        }
    }
}

impl LaneInputs<'_> {
    fn key(&self) -> Option<(&'static str, String)> {
        Some(("x-api-key", self.keys[0].clone()))
    }

    fn token(&self) -> Option<(&'static str, String)> {
        Some(("authorization", format!("Bearer {}", self.token)))
    }
}

/// Returns rows with one credential: of `protocols`, each with its address.
fn rows(
    name: &'static str,
    credential: &Option<(&'static str, String)>,
    protocols: &[(Protocol, SocketAddr)],
) -> Vec<Row> {
    let row = |&(protocol, address): &(Protocol, SocketAddr)| Row {
        name,
        protocol,
        address,
        credential: credential.clone(),
    };
    protocols.iter().map(row).collect()
}

fn start_bare(under: &ProcessLauncher, inputs: &LaneInputs<'_>) -> RunningLanes {
    let addresses: [SocketAddr; 4] = free_addresses();
    let [plain, tls, h2c, grpc] = addresses;
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = under.command(&program);
    command
        .arg("bare-lanes")
        .args([inputs.http1, inputs.http2].map(|address| address.to_string()))
        .args(addresses.map(|address| address.to_string()))
        .stdin(Stdio::null());
    let protocols = [
        (Protocol::Http1, plain),
        (Protocol::Http1Tls, tls),
        (Protocol::Http2, h2c),
        (Protocol::Http2Tls, tls),
        (Protocol::Grpc, grpc),
        (Protocol::Handshake, tls),
        (Protocol::Resumption, tls),
    ];
    RunningLanes {
        process: Process::start_at(&mut command, &addresses),
        rows: rows("bare pingora", &None, &protocols),
        _folder: folder(),
    }
}

fn start_keygate(under: &ProcessLauncher, inputs: &LaneInputs<'_>) -> RunningLanes {
    let folder = folder();
    let addresses: [SocketAddr; 4] = free_addresses();
    let [own, pingora, h2c, tls] = addresses;
    put(&folder, "keys.yaml", &keys_file(inputs.keys));
    put(&folder, "rs256.pem", &inputs.issuer.rs256.public_pem());
    put(&folder, "keygate.yaml", &keygate_configuration(&addresses, inputs));
    let mut command = under.command(crate::gate::program());
    command
        .args(["run", "--threads", "1", "--config"])
        .arg(folder.path().join("keygate.yaml"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let by_key = [
        (Protocol::Http1, own),
        (Protocol::Http1Tls, tls),
        (Protocol::Http2, h2c),
        (Protocol::Http2Tls, tls),
        (Protocol::Grpc, h2c),
        (Protocol::Handshake, tls),
        (Protocol::Resumption, tls),
    ];
    let by_pingora = [(Protocol::Http1, pingora)];
    let mut all = rows("keygate: API key", &inputs.key(), &by_key);
    all.extend(rows("keygate: API key, `http1: pingora`", &inputs.key(), &by_pingora));
    all.extend(rows("keygate: RS256 token", &inputs.token(), &[(Protocol::Http2, h2c)]));
    RunningLanes {
        process: Process::start_at(&mut command, &addresses),
        rows: all,
        _folder: folder,
    }
}

fn keygate_configuration(addresses: &[SocketAddr; 4], inputs: &LaneInputs<'_>) -> String {
    let [own, pingora, h2c, tls] = addresses;
    let LaneInputs { http1, http2, .. } = inputs;
    let (issuer, audience) = (credentials::ISSUER, credentials::AUDIENCE);
    format!(
        "
listeners:
  - address: {own}
  - {{ address: {pingora}, http1: pingora }}
  - {{ address: {h2c}, protocol: h2c }}
  - {{ address: {tls}, tls: {{ certificate: {PEM}, private_key: {PRIVATE_PEM} }} }}
requests: {{ requests_per_connection: 10000000 }}
issuers:
  main:
    issuer: {issuer}
    audiences: [{audience}]
    public_key_files: [rs256.pem]
api_keys: {{ file: keys.yaml }}
upstreams:
  orders: {{ endpoints: [\"{http1}\"] }}
  grpc: {{ endpoints: [\"{http2}\"], protocol: h2c }}
routes:
  - name: orders
    match: {{ path: /v1/orders }}
    accept: [jwt, api_key]
    scopes: {{ all: [\"orders:read\"] }}
    upstream: orders
  - name: grpc
    match: {{ path: /shop.Orders/Get }}
    accept: [jwt, api_key]
    scopes: {{ all: [\"orders:read\"] }}
    upstream: grpc
"
    )
}

fn start_haproxy(under: &ProcessLauncher, inputs: &LaneInputs<'_>) -> Result<RunningLanes, String> {
    if !is_installed("haproxy", "-v") {
        return Err("HAProxy is left out: apt-get install haproxy".to_owned());
    }
    let folder = folder();
    let addresses: [SocketAddr; 3] = free_addresses();
    let [http1, tls, h2c] = addresses;
    let lines: String = inputs.keys.iter().map(|key| format!("{key} billing\n")).collect();
    put(&folder, "keys.map", &lines);
    let both = [PEM, PRIVATE_PEM].map(|file| std::fs::read_to_string(file).expect("a file of conf/"));
    put(&folder, "both.pem", &both.concat());
    put(
        &folder,
        "haproxy.cfg",
        &haproxy_configuration(folder.path(), &addresses, inputs.http1),
    );
    let mut command = under.command("haproxy");
    command
        .arg("-f")
        .arg(folder.path().join("haproxy.cfg"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let protocols = [
        (Protocol::Http1, http1),
        (Protocol::Http1Tls, tls),
        (Protocol::Http2, h2c),
        (Protocol::Http2Tls, tls),
        (Protocol::Handshake, tls),
        (Protocol::Resumption, tls),
    ];
    Ok(RunningLanes {
        process: Process::start_at(&mut command, &addresses),
        rows: rows("HAProxy: API key", &inputs.key(), &protocols),
        _folder: folder,
    })
}

fn haproxy_configuration(folder: &Path, addresses: &[SocketAddr; 3], upstream: SocketAddr) -> String {
    let folder = folder.display();
    let [http1, tls, h2c] = addresses;
    format!(
        "global
    nbthread 1
    maxconn 4000
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
frontend in
    bind {http1}
    bind {tls} ssl crt {folder}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2
    bind {h2c} proto h2
    acl known req.hdr(x-api-key),map_str({folder}/keys.map) -m found
    http-request deny deny_status 401 unless known
    http-request set-header x-client %[req.hdr(x-api-key),map_str({folder}/keys.map)]
    http-request del-header x-api-key
    default_backend up
backend up
    http-reuse always
    server up {upstream}
"
    )
}

fn start_nginx(under: &ProcessLauncher, inputs: &LaneInputs<'_>) -> Result<RunningLanes, String> {
    if !is_installed("nginx", "-v") {
        return Err("nginx is left out: apt-get install nginx-light".to_owned());
    }
    let folder = folder();
    let addresses: [SocketAddr; 2] = free_addresses();
    let [h2c, tls] = addresses;
    put(
        &folder,
        "nginx.conf",
        &nginx_configuration(folder.path(), h2c, tls, inputs.http1),
    );
    let mut command = under.command("nginx");
    command
        .args(["-e", "stderr", "-p"])
        .arg(folder.path())
        .arg("-c")
        .arg(folder.path().join("nginx.conf"))
        .stdin(Stdio::null());
    let protocols = [
        (Protocol::Http1Tls, tls),
        (Protocol::Http2, h2c),
        (Protocol::Http2Tls, tls),
        (Protocol::Handshake, tls),
        (Protocol::Resumption, tls),
    ];
    Ok(RunningLanes {
        process: Process::start_at(&mut command, &addresses),
        rows: rows("nginx, which checks nothing", &None, &protocols),
        _folder: folder,
    })
}

fn nginx_configuration(folder: &Path, h2c: SocketAddr, tls: SocketAddr, upstream: SocketAddr) -> String {
    let log = folder.join("access.log");
    format!(
        "
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log {log};
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  ssl_certificate {PEM};
  ssl_certificate_key {PRIVATE_PEM};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:all:10m;
  upstream orders {{ server {upstream}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen {h2c} http2;
    listen {tls} ssl http2;
    location / {{
      proxy_pass http://orders;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
    }}
  }}
}}
",
        log = log.display()
    )
}

fn start_envoy(under: &ProcessLauncher, inputs: &LaneInputs<'_>) -> Result<RunningLanes, String> {
    let folder = folder();
    let addresses: [SocketAddr; 4] = free_addresses();
    let [h2c, tls, token, grpc] = addresses;
    let trusted = PeerConfig {
        upstream: inputs.http1,
        issuer: inputs.issuer,
        keys: inputs.keys,
    };
    let lanes = envoy::LaneAddresses {
        h2c,
        tls,
        token,
        grpc,
        grpc_upstream: inputs.http2,
    };
    let configuration = envoy::lanes(folder.path(), &lanes, &trusted, PEM, PRIVATE_PEM);
    let process = envoy::start_with(under, folder.path(), &configuration, &addresses)?;
    let by_key = [
        (Protocol::Http1Tls, tls),
        (Protocol::Http2, h2c),
        (Protocol::Http2Tls, tls),
        (Protocol::Grpc, grpc),
        (Protocol::Handshake, tls),
        (Protocol::Resumption, tls),
    ];
    let mut all = rows("Envoy: API key", &inputs.key(), &by_key);
    all.extend(rows("Envoy: RS256 token", &inputs.token(), &[(Protocol::Http2, token)]));
    Ok(RunningLanes {
        process,
        rows: all,
        _folder: folder,
    })
}

fn is_installed(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn put(folder: &TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).expect("a file can be written");
}
