//! How is HAProxy configured? It verifies tokens with `jwt_verify`, without a cache, and looks up API keys in a map.

use crate::credentials::AUDIENCE;
use crate::credentials::ISSUER;
use crate::peers::Addresses;
use crate::peers::PeerConfig;
use crate::peers::free_addresses;
use crate::process::Process;
use crate::process::ProcessLauncher;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

pub struct HaProxy {
    pub process: Process,
    pub addresses: Addresses,
    _folder: tempfile::TempDir,
}

/// Starts HAProxy.
///
/// # Errors
/// If HAProxy is not installed.
pub fn start(under: &ProcessLauncher, trusted: &PeerConfig<'_>) -> Result<HaProxy, String> {
    if Command::new("haproxy")
        .arg("-v")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        return Err("HAProxy is left out: apt-get install haproxy".to_owned());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let addresses = free_addresses();
    let write = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).expect("a file can be written");
    };
    let lines: String = trusted.keys.iter().map(|key| format!("{key} billing\n")).collect();
    write("keys.map", &lines);
    write("rs256.pem", &trusted.issuer.rs256.public_pem());
    write("haproxy.cfg", &configuration(folder.path(), &addresses, trusted));
    let records = File::create(folder.path().join("access.log")).expect("a file can be written");
    let mut command = under.command("haproxy");
    command
        .arg("-f")
        .arg(folder.path().join("haproxy.cfg"))
        .stdin(Stdio::null())
        .stdout(records);
    Ok(HaProxy {
        process: Process::start_at(&mut command, &addresses),
        addresses,
        _folder: folder,
    })
}

fn configuration(folder: &Path, addresses: &Addresses, trusted: &PeerConfig<'_>) -> String {
    let folder = folder.display();
    let upstream = trusted.upstream;
    let [open, key, token, full] = addresses;
    // Compare the algorithm before the verification: `jwt_verify` uses the algorithm that the token names.
    let checks = format!(
        "
  http-request set-var(txn.token) http_auth_bearer
  http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify(txn.alg,\"{folder}/rs256.pem\") 1 }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.iss') -m str {ISSUER} }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.aud') -m str {AUDIENCE} }}
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.exp),sub(txn.now) -m int gt 0 }}
  http-request deny deny_status 403 unless {{ var(txn.token),jwt_payload_query('$.scope') -m reg (^|\\ )orders:read(\\ |$) }}
  http-request set-header x-subject %[var(txn.token),jwt_payload_query('$.sub')]
  http-request del-header authorization
"
    );
    format!(
        "
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 10m
  timeout server 10m
  http-reuse always
frontend open
  bind {open}
  default_backend orders
frontend key
  bind {key}
  http-request set-var(txn.client) req.hdr(x-api-key),map({folder}/keys.map)
  http-request deny deny_status 401 unless {{ var(txn.client) -m found }}
  http-request del-header x-api-key
  http-request set-header x-client %[var(txn.client)]
  default_backend orders
frontend token
  bind {token}
{checks}
  default_backend orders
frontend full
  bind {full}
  log stdout format raw local0
  option httplog
{checks}
  http-request track-sc0 hdr(x-subject) table subjects
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 1000000 }}
  default_backend orders
backend subjects
  stick-table type string len 64 size 100k expire 10m store http_req_rate(1s)
backend orders
  server one {upstream}
"
    )
}
