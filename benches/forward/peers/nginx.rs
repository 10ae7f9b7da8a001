//! How is nginx configured? As a proxy that checks no credential: that would need Lua, a separate module.

use crate::peers::free_addresses;
use crate::process::Process;
use crate::process::ProcessLauncher;
use std::net::SocketAddr;
use std::process::Command;
use std::process::Stdio;

pub struct Nginx {
    pub process: Process,
    _folder: tempfile::TempDir,
}

/// Starts nginx.
///
/// # Errors
/// If nginx is not installed.
pub fn start(under: &ProcessLauncher, upstream: SocketAddr) -> Result<Nginx, String> {
    if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
        return Err("nginx is left out: apt-get install nginx-light".to_owned());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [address] = free_addresses();
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, configuration(address, upstream)).expect("a file can be written");
    let mut command = under.command("nginx");
    command
        .args(["-e", "stderr", "-p"])
        .arg(folder.path())
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null());
    Ok(Nginx {
        process: Process::start_at(&mut command, &[address]),
        _folder: folder,
    })
}

fn configuration(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  upstream orders {{ server {upstream}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://orders;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
    }}
  }}
}}
"
    )
}
