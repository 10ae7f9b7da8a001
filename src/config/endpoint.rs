//! Where do the servers of an upstream listen? `host:port`, `https://host`, `unix:/path`, each with a weight, or the name of SRV
//! records (RFC 2782), such as `_orders._tcp.internal`.

use crate::config::check::Checker;
use crate::config::read::FromText;
use crate::config::read::ParsedText;
use crate::config::read::Text;
use crate::config::read::TextOrMap;
use crate::config::read::TypedNode;
use crate::config::text::host_name;
use crate::config::text::mismatch;
use crate::config::tree::NodeId;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

/// The largest weight of an endpoint.
pub const WEIGHT_MAX: u32 = 100;

/// The longest path of a unix socket, in bytes (`sun_path` of `sockaddr_un`, with its final NUL).
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// The port of `https://` without one (RFC 9110 section 4.2.2).
const HTTPS_PORT: u16 = 443;

/// An entry of `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: EndpointHost,
    pub is_tls: bool,
    /// Its part of the requests, beside the weights of the others. From 1 to [`WEIGHT_MAX`]; default 1.
    pub weight: u32,
}

/// The place of a server, before its name is resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointHost {
    Inet {
        /// A name or an address, without brackets.
        host: String,
        port: u16,
    },
    /// SRV records name hosts, ports and weights.
    Srv {
        /// `_service._tcp.name`.
        name: String,
    },
    Unix {
        /// An absolute path.
        path: Arc<Path>,
    },
}

impl fmt::Display for EndpointHost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet { host, port } if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Inet { host, port } => write!(out, "{host}:{port}"),
            Self::Srv { name } => out.write_str(name),
            Self::Unix { path } => write!(out, "unix:{}", path.display()),
        }
    }
}

impl EndpointHost {
    /// Returns the name that name servers are asked for; `None` for an address.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Inet { host, .. } => Some(host.as_str()).filter(|host| host.parse::<IpAddr>().is_err()),
            Self::Srv { name } => Some(name),
            Self::Unix { .. } => None,
        }
    }
}

/// The address of an endpoint, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct EndpointUrl {
    host: EndpointHost,
    is_tls: bool,
}

impl EndpointUrl {
    /// Parses `host:port`, or `host` where there is a `default_port`, or a name of SRV records.
    fn inet(text: &str, default_port: Option<u16>) -> Result<EndpointHost, String> {
        if text.starts_with('_') && !text.contains(':') && !is_srv_name(text) {
            return Err(format!(
                "{}\nSRV records have a name such as `_orders._tcp.internal`",
                mismatch::<Self>()
            ));
        }
        if is_srv_name(text) {
            if let Some((_, port)) = text.split_once(':') {
                return Err(format!(
                    "{}\nSRV records have the port: leave out `:{port}`",
                    mismatch::<Self>()
                ));
            }
            // Every name of records is absolute, with the dot at its end or without.
            let name = host_name(text.strip_suffix('.').unwrap_or(text)).ok_or_else(mismatch::<Self>)?;
            return Ok(EndpointHost::Srv { name });
        }
        let has_port = text
            .rsplit_once(':')
            .is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
        let (host, port) = match (has_port, default_port) {
            (true, _) => {
                let (host, port) = text.rsplit_once(':').ok_or_else(mismatch::<Self>)?;
                let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse::<u16>().ok().filter(|&port| digits && port != 0);
                (host, port.ok_or("a port is between 1 and 65535")?)
            }
            (false, Some(port)) => (text, port),
            (false, None) => {
                return Err(match host_name(text) {
                    Some(_) => format!("{}\nwrite the port too, such as `{text}:8080`", mismatch::<Self>()),
                    None => mismatch::<Self>(),
                });
            }
        };
        let host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().map_err(|_| mismatch::<Self>())?.to_string(),
            None => host_name(host).ok_or_else(mismatch::<Self>)?,
        };
        Ok(EndpointHost::Inet { host, port })
    }

    fn unix(path: &str) -> Result<EndpointHost, String> {
        if !path.starts_with('/') {
            return Err(format!(
                "{}\nthe path begins with `/`: `unix:/run/app.sock`",
                mismatch::<Self>()
            ));
        }
        if path.len() > UNIX_PATH_BYTES_MAX {
            return Err(format!("the path of a socket has at most {UNIX_PATH_BYTES_MAX} bytes"));
        }
        Ok(EndpointHost::Unix {
            path: Path::new(path).into(),
        })
    }

    /// Returns the problem of another URL in place of an endpoint, and what to write.
    fn mistaken_url(text: &str) -> String {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_tls = matches!(scheme.as_str(), "https" | "grpcs" | "h2" | "wss");
        let default_port = text.contains("://").then_some(if is_tls { HTTPS_PORT } else { 80 });
        let Ok(host) = Self::inet(authority, default_port) else {
            return mismatch::<Self>();
        };
        let more = match scheme.as_str() {
            "h2c" | "grpc" => ", and `protocol: h2c` beside `endpoints`",
            "h2" | "grpcs" => ", and `protocol: h2` beside `endpoints`",
            _ if !path.is_empty() => {
                "; the path is that of the request, and a route changes it with `strip_prefix`, `add_prefix` or `rewrite`"
            }
            _ => "",
        };
        let scheme = if is_tls { "https://" } else { "" };
        format!("{}\nwrite `{scheme}{host}`{more}", mismatch::<Self>())
    }
}

impl FromText for EndpointUrl {
    const DESCRIPTION: &'static str = "`host:port`, `https://host` or `unix:/path`, such as `10.0.0.5:8080`, \
                                       `[fd00::5]:8080`, `https://api.example.com` or `unix:/run/app.sock`";
    const PATTERN: &'static str = "[^/@ ]+:[0-9]+|_[^/@: ]+|https://[^/@ ]+|unix:/[^\\n]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let host = Self::unix(path)?;
            return Ok(Self { host, is_tls: false });
        }
        if let Some(authority) = text.strip_prefix("https://")
            && !authority.contains('/')
        {
            let host = Self::inet(authority, Some(HTTPS_PORT))?;
            return Ok(Self { host, is_tls: true });
        }
        if text.contains('/') {
            return Err(Self::mistaken_url(text));
        }
        let host = Self::inet(text, None)?;
        Ok(Self { host, is_tls: false })
    }
}

/// Returns whether `text` begins as the name of SRV records does, `_service._tcp.` (RFC 2782).
fn is_srv_name(text: &str) -> bool {
    let mut labels = text.splitn(3, '.');
    let service = labels
        .next()
        .is_some_and(|label| label.len() > 1 && label.starts_with('_'));
    service && labels.next().is_some_and(|label| label.eq_ignore_ascii_case("_tcp")) && labels.next().is_some()
}

/// An endpoint with a weight.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Endpoint")]
pub(in crate::config) struct Section {
    /// `host:port`, `https://host`, `unix:/path` or the name of SRV records. Required.
    #[schemars(required)]
    address: Option<Text<EndpointUrl>>,
    /// Its part of the requests: with 3, three times as many as an endpoint with 1. 1 to 100. Default 1.
    weight: Option<TypedNode<NonZeroU32>>,
}

/// `endpoints` of an upstream.
pub(in crate::config) type Endpoints = TypedNode<Vec<TypedNode<TextOrMap<EndpointUrl, Section>>>>;

/// Returns the endpoints, each with its place, and reports those that are written twice.
pub(in crate::config) fn convert(written: Endpoints, checker: &mut Checker<'_>) -> Vec<(Endpoint, NodeId)> {
    let mut endpoints: Vec<(Endpoint, NodeId)> = Vec::new();
    for TypedNode { value, at } in written.value {
        let (url, weight) = match value {
            TextOrMap::Text(url) => (
                Some(TypedNode {
                    value: ParsedText(url),
                    at,
                }),
                None,
            ),
            TextOrMap::Map(section) => {
                let address = checker.need(at, "address", section.address, "such as `address: \"10.0.0.5:8080\"`");
                (address, section.weight)
            }
        };
        if let Some(weight) = &weight
            && weight.value.get() > WEIGHT_MAX
        {
            checker.error(weight.at, "out-of-range", format!("at most {WEIGHT_MAX}"));
        }
        let Some(url) = url else {
            continue;
        };
        let place = url.at;
        let EndpointUrl { host, is_tls } = url.take();
        if let (EndpointHost::Srv { .. }, Some(weight)) = (&host, &weight) {
            checker.error_with(
                weight.at,
                "no-effect",
                "SRV records have weights of their own",
                "remove `weight`",
            );
        }
        if endpoints.iter().any(|(earlier, _)| earlier.host == host) {
            checker.error(place, "duplicate-entry", "this is listed twice");
            continue;
        }
        let weight = weight.map_or(1, |weight| weight.value.get());
        endpoints.push((Endpoint { host, is_tls, weight }, place));
    }
    refuse_mixture(&endpoints, checker);
    endpoints
}

/// Reports SRV records beside other endpoints: their weights and priorities mean nothing to each other.
fn refuse_mixture(endpoints: &[(Endpoint, NodeId)], checker: &mut Checker<'_>) {
    let is_srv = |(endpoint, _): &&(Endpoint, NodeId)| matches!(endpoint.host, EndpointHost::Srv { .. });
    if let (Some((_, at)), false) = (
        endpoints.iter().find(is_srv),
        endpoints.iter().all(|entry| is_srv(&entry)),
    ) {
        let hint = "give each kind an upstream of its own, or name all endpoints in the records";
        checker.error_with(
            *at,
            "mixed-endpoints",
            "the weights of SRV records mean nothing beside other endpoints",
            hint,
        );
    }
}

impl Endpoint {
    /// Returns the name that the certificate of the endpoint must have, where its host says one: a DNS name.
    pub fn dns_name(&self) -> Option<&str> {
        match &self.host {
            EndpointHost::Inet { .. } => self.host.name().filter(|host| !host.contains('_')),
            // Anybody can forge SRV records: no certificate is verified against a name in them.
            EndpointHost::Srv { .. } | EndpointHost::Unix { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, bool)> {
        let url = EndpointUrl::from_text(text).ok()?;
        Some((url.host.to_string(), url.is_tls))
    }

    #[track_caller]
    fn check(text: &str, host: &str, is_tls: bool) {
        assert_eq!(parse(text), Some((host.to_owned(), is_tls)), "{text}");
    }

    #[test]
    fn an_endpoint_is_a_host_with_a_port_a_url_of_https_or_a_socket() {
        check("10.0.0.5:8080", "10.0.0.5:8080", false);
        check("[fd00::5]:8080", "[fd00::5]:8080", false);
        check("[fd00::0005]:80", "[fd00::5]:80", false);
        check("Orders.Internal:80", "orders.internal:80", false);
        check("order_db:65535", "order_db:65535", false);
        check("https://api.example.com", "api.example.com:443", true);
        check("https://api.example.com:8443", "api.example.com:8443", true);
        check("https://[fd00::5]", "[fd00::5]:443", true);
        check("https://10.0.0.5:8443", "10.0.0.5:8443", true);
        check("unix:/run/app.sock", "unix:/run/app.sock", false);
        check("_Orders._TCP.internal", "_orders._tcp.internal", false);
        check("_orders._tcp.internal.", "_orders._tcp.internal", false);
        check("https://_orders._tcp.internal", "_orders._tcp.internal", true);
        for other in [
            "a",
            "a:",
            ":80",
            "a:80/",
            "[a]:80",
            "10.0.0.256:80",
            "1.2.3:80",
            "a..b:80",
            "_orders._tcp.internal:80",
            "_orders._udp.internal",
            "_orders._tcp",
            "_._tcp.internal",
            "-a:80",
            "10.0.0.5",
            "10.0.0.5:0",
            "10.0.0.5:65536",
            "10.0.0.5:+1",
            "fd00::5:8080",
            "[fd00::5]",
            "a b:80",
            "user@host:80",
            "",
            "unix:run/app.sock",
            "unix:",
            "https://",
            "https://a.example/v1",
            "https://a.example:0",
            "http://a.example:80",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        let long = format!("unix:/{}", "a".repeat(UNIX_PATH_BYTES_MAX));
        assert_eq!(parse(&long), None);
        assert!(parse(&long[..long.len() - 1]).is_some());
    }

    #[test]
    fn another_url_is_told_how_to_be_written() {
        for (text, hint) in [
            ("a", "write the port too, such as `a:8080`"),
            ("_orders._udp.internal", "such as `_orders._tcp.internal`"),
            ("_orders._tcp", "such as `_orders._tcp.internal`"),
            ("_orders._tcp.internal:80", "SRV records have the port: leave out `:80`"),
            ("10.0.0.5", "write the port too, such as `10.0.0.5:8080`"),
            ("a:80/v1", "write `a:80`; the path is that of the request"),
            ("http://[fd00::5]/", "write `[fd00::5]:80`"),
            (
                "h2c://a:50051",
                "write `a:50051`, and `protocol: h2c` beside `endpoints`",
            ),
            ("unix:run/app.sock", "the path begins with `/`"),
            ("http://orders", "write `orders:80`"),
            ("http://orders:8080/v1", "write `orders:8080`; the path is"),
            ("HTTPS://orders/", "write `https://orders:443`"),
            ("grpcs://orders", "write `https://orders:443`, and `protocol: h2`"),
            ("grpc://orders:50051", "write `orders:50051`, and `protocol: h2c`"),
        ] {
            let problem = EndpointUrl::from_text(text).unwrap_err();
            assert!(problem.contains(hint), "{text}: {problem}");
        }
    }
}
