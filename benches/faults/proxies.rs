//! How are the proxies configured? Alike, as far as they can: health checks every second, one failure is enough, at most half of
//! the endpoints out, two further attempts, 500 ms for each.

use crate::authority;
use crate::authority::Certificates;
use crate::fault::Fault;
use serde_json::Value;
use serde_json::json;
use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Keygate,
    Haproxy,
    Envoy,
}

/// The endpoints that a proxy is in front of.
pub struct Target<'t> {
    pub fault: Fault,
    pub endpoints: &'t [SocketAddr],
    pub name_server: SocketAddr,
    pub certificates: &'t Certificates,
}

/// The process of a proxy. Killed when dropped.
pub struct ProxyProcess {
    child: Child,
    pub address: SocketAddr,
}

impl Drop for ProxyProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    pub const ALL: [Self; 3] = [Self::Keygate, Self::Haproxy, Self::Envoy];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Keygate => "Keygate",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
        }
    }

    /// Starts the proxy with its files in `folder`.
    ///
    /// # Errors
    /// It is not installed.
    pub fn start(self, folder: &Path, target: &Target<'_>) -> Result<ProxyProcess, String> {
        let address = free_address();
        let file = folder.join("proxy.conf");
        let (program, arguments): (OsString, Vec<OsString>) = match self {
            Self::Keygate => {
                write(&file, &keygate(address, target));
                let program = std::env::var_os("KEYGATE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_keygate").into());
                (program, vec!["run".into(), "--config".into(), file.into()])
            }
            Self::Haproxy => {
                write(&file, &haproxy(address, target));
                ("haproxy".into(), vec!["-f".into(), file.into()])
            }
            Self::Envoy => {
                write(&file, &envoy(address, target).to_string());
                let program = std::env::var_os("ENVOY").unwrap_or_else(|| "envoy".into());
                let more = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "off"];
                let file: [OsString; 2] = ["-c".into(), file.into()];
                (program, file.into_iter().chain(more.map(OsString::from)).collect())
            }
        };
        let log = File::create(folder.join("proxy.log")).expect("a file");
        let child = Command::new(&program)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .map_err(|_| format!("left out: no {}", program.display()))?;
        let mut running = ProxyProcess { child, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = running.child.try_wait().expect("a child");
            assert!(ended.is_none(), "{} ended: {}", self.name(), log_of(folder));
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{} does not listen",
                self.name()
            );
            crate::endpoint::pause(Duration::from_millis(20));
        }
        Ok(running)
    }
}

fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("proxy.log")).unwrap_or_default()
}

fn write(file: &PathBuf, text: &str) {
    std::fs::write(file, text).expect("a file");
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn keygate(address: SocketAddr, target: &Target<'_>) -> String {
    let scheme = if target.fault.uses_tls() { "https://" } else { "" };
    let endpoints = if target.fault.uses_names() {
        format!("\"{}:{}\"", authority::NAME, target.endpoints[0].port())
    } else {
        let endpoints = target
            .endpoints
            .iter()
            .map(|endpoint| format!("\"{scheme}{endpoint}\""));
        endpoints.collect::<Vec<_>>().join(", ")
    };
    let mut more = String::new();
    if target.fault.uses_tls() {
        let ca = target.certificates.authority.display();
        more.push_str(&format!(
            "\n    tls: {{ server_name: {}, ca_file: {ca} }}",
            authority::NAME
        ));
    }
    if target.fault.uses_names() {
        more.push_str(&format!("\n    name_servers: [\"{}\"]", target.name_server));
    }
    if target.fault == Fault::Slow {
        more.push_str("\n    balance: least_requests");
    }
    let admin = free_address();
    format!(
        "listeners: [{{ address: \"{address}\" }}]
admin: {{ address: \"{admin}\" }}
log: {{ access: false }}
upstreams:
  api:
    endpoints: [{endpoints}]
    connect_timeout: 500ms
    read_timeout: 2s
    retries: {{ attempts: 2, try_timeout: 500ms }}
    health: {{ path: /healthz, interval: 1s, timeout: 500ms, failures: 1, successes: 1 }}{more}
routes:
  - {{ name: api, match: {{ path: \"/{{*rest}}\" }}, public: true, upstream: api }}
"
    )
}

fn haproxy(address: SocketAddr, target: &Target<'_>) -> String {
    let tls = if target.fault.uses_tls() {
        let ca = target.certificates.authority.display();
        let name = authority::NAME;
        format!(" ssl verify required ca-file {ca} verifyhost {name} sni str({name}) check-sni {name}")
    } else {
        String::new()
    };
    let check =
        "check inter 1s fastinter 1s downinter 1s fall 1 rise 1 observe layer7 error-limit 1 on-error mark-down";
    let servers = if target.fault.uses_names() {
        let (name, port) = (authority::NAME, target.endpoints[0].port());
        format!("  server-template s 2 {name}:{port} resolvers names init-addr none {check}\n")
    } else {
        let servers = target.endpoints.iter().enumerate();
        servers
            .map(|(index, endpoint)| format!("  server s{index} {endpoint} {check}{tls}\n"))
            .collect()
    };
    let balance = if target.fault == Fault::Slow {
        "leastconn"
    } else {
        "roundrobin"
    };
    let name_server = target.name_server;
    format!(
        "
global
  nbthread 1
  maxconn 4096
resolvers names
  nameserver one {name_server}
  resolve_retries 2
  timeout resolve 1s
  timeout retry 500ms
  hold valid 1s
defaults
  mode http
  timeout connect 500ms
  timeout client 30s
  timeout server 500ms
  timeout check 500ms
  retries 2
  option redispatch 1
  retry-on conn-failure empty-response junk-response response-timeout
frontend api
  bind {address}
  default_backend api
backend api
  balance {balance}
  option httpchk GET /healthz
{servers}"
    )
}

fn envoy(address: SocketAddr, target: &Target<'_>) -> Value {
    let socket = |address: SocketAddr| json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
    let endpoint = |address: Value| json!({ "endpoint": { "address": address } });
    let endpoints: Vec<Value> = if target.fault.uses_names() {
        let port = target.endpoints[0].port();
        vec![endpoint(
            json!({ "socket_address": { "address": authority::NAME, "port_value": port } }),
        )]
    } else {
        target
            .endpoints
            .iter()
            .map(|address| endpoint(socket(*address)))
            .collect()
    };
    let mut cluster = json!({
        "name": "api",
        "type": if target.fault.uses_names() { "STRICT_DNS" } else { "STATIC" },
        "lb_policy": if target.fault == Fault::Slow { "LEAST_REQUEST" } else { "ROUND_ROBIN" },
        "connect_timeout": "0.5s",
        "load_assignment": { "cluster_name": "api", "endpoints": [{ "lb_endpoints": endpoints }] },
        "health_checks": [{
            "timeout": "0.5s", "interval": "1s", "no_traffic_interval": "1s", "unhealthy_interval": "1s",
            "unhealthy_threshold": 1, "healthy_threshold": 1,
            "http_health_check": { "path": "/healthz" },
        }],
        "outlier_detection": {
            "consecutive_5xx": 1, "consecutive_gateway_failure": 1, "enforcing_consecutive_gateway_failure": 100,
            "interval": "1s", "base_ejection_time": "1s", "max_ejection_percent": 50,
        },
    });
    if target.fault.uses_names() {
        cluster["dns_refresh_rate"] = json!("1s");
        cluster["typed_dns_resolver_config"] = json!({
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                "resolvers": [socket(target.name_server)],
                "dns_resolver_options": { "no_default_search_domain": true },
            },
        });
        cluster["dns_lookup_family"] = json!("V4_ONLY");
    }
    if target.fault.uses_tls() {
        let name = authority::NAME;
        cluster["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": name,
                "common_tls_context": { "validation_context": {
                    "trusted_ca": { "filename": target.certificates.authority },
                    "match_typed_subject_alt_names": [{ "san_type": "DNS", "matcher": { "exact": name } }],
                } },
            },
        });
    }
    json!({ "static_resources": { "clusters": [cluster], "listeners": [{
        "name": "api", "address": socket(address),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "api",
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
                }],
                "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [envoy_route()] }] },
            },
        }] }],
    }] } })
}

fn envoy_route() -> Value {
    let other_host = json!({
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
        },
    });
    json!({
        "match": { "prefix": "/" },
        "route": { "cluster": "api", "timeout": "2s", "retry_policy": {
            "retry_on": "connect-failure,reset", "num_retries": 2, "per_try_timeout": "0.5s",
            "host_selection_retry_max_attempts": 3, "retry_host_predicate": [other_host],
        } },
    })
}
