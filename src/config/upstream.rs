//! Where do requests go? Endpoints, timeouts and header rules of upstreams.

use crate::config::api_keys::secret;
use crate::config::check::Checker;
use crate::config::check::values;
use crate::config::listener::timeout;
use crate::config::read::FromText;
use crate::config::read::NamedEntries;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::reserved_header::is_framing_header;
use crate::config::reserved_header::is_reserved_header;
use crate::config::text::SecretText;
use crate::config::text::Timeout;
use crate::config::text::host_name;
use crate::config::text::mismatch;
use crate::config::timeouts;
use crate::config::timeouts::Timeouts;
use crate::config::tree::NodeId;
use crate::model::identity_field;
use crate::model::names::Name;
use crate::model::secret::Secret;
use http::HeaderName;
use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::time::Duration;

/// `upstreams.<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub name: Name,
    pub kind: UpstreamKind,
    /// The time limits of requests, where their route sets none.
    pub timeouts: Timeouts,
    /// How long an idle connection is kept for the next request. Default 60 s.
    pub idle_timeout: Duration,
    /// The `Host` of forwarded requests. `None` keeps the request's own.
    pub host: Option<HeaderValue>,
    /// Set on every request, in place of the client's values. Never a credential or identity header.
    pub set_headers: Vec<(HeaderName, HeaderValue)>,
    /// Removed from every request.
    pub remove_headers: Vec<HeaderName>,
    /// Connection attempts for one request, each on the next endpoint. Default 2.
    pub connect_attempts: u32,
    pub protocol: UpstreamProtocol,
}

/// The protocol that an upstream's endpoints speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    #[default]
    Http1,
    /// HTTP/2 without TLS, known beforehand (RFC 9113 section 3.3).
    H2c,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// Servers, used in turn. Never empty.
    Endpoints(Vec<Endpoint>),
    /// Keygate responds with the request that an upstream would have received.
    Echo,
}

/// `host:port`, without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// Returns the problem of a URL in place of an endpoint, and what to write.
    fn mistaken_url(text: &str) -> String {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if text.starts_with("unix:") {
            return "this version connects to no sockets of files\nhave it listen on a loopback port: `127.0.0.1:3000`"
                .to_owned();
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let with_port = match Self::from_text(authority) {
            Ok(_) => authority.to_owned(),
            Err(_) if text.contains("://") => format!("{authority}:80"),
            Err(_) => return mismatch::<Self>(),
        };
        if Self::from_text(&with_port).is_err() {
            return mismatch::<Self>();
        }
        let more = match scheme.to_ascii_lowercase().as_str() {
            // `orders:443` in its place would be plain HTTP to a port that expects TLS.
            "https" | "grpcs" | "h2" | "wss" => {
                return "this version connects to upstreams without TLS\nname a port of it that speaks plain HTTP, in a \
                        network of your own, such as `10.0.0.5:8080`"
                    .to_owned();
            }
            "h2c" | "grpc" => ", and `protocol: h2c` beside `endpoints`",
            _ if !path.is_empty() => {
                "; the path is that of the request, and a route cuts off its front with `strip_prefix`"
            }
            _ => "",
        };
        format!("{}\nwrite `{with_port}`{more}", mismatch::<Self>())
    }
}

impl FromText for Endpoint {
    const DESCRIPTION: &'static str =
        "`host:port`, such as `10.0.0.5:8080`, `[fd00::5]:8080` or `orders.internal:8080`";
    const PATTERN: &'static str = "[^/@ ]+:[0-9]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Err(Self::mistaken_url(text));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(match host_name(text) {
                Some(_) => format!("{}\nwrite the port too, such as `{text}:8080`", mismatch::<Self>()),
                None => mismatch::<Self>(),
            });
        };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|&port| digits && port != 0);
        let port = port.ok_or("a port is between 1 and 65535")?;
        let host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().map_err(|_| mismatch::<Self>())?.to_string(),
            None => host_name(host).ok_or_else(mismatch::<Self>)?,
        };
        Ok(Self { host, port })
    }
}

/// Where requests go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Upstream")]
pub(in crate::config) struct Section {
    /// `host:port` each, without TLS, asked in turn. This or `builtin`.
    endpoints: Option<Texts<Endpoint>>,
    /// `echo`: Keygate answers itself with what would have reached an upstream. This or `endpoints`.
    builtin: Option<Builtin>,
    /// To connect. Default `2s`.
    connect_timeout: Option<Text<Timeout>>,
    /// Between two reads of the response; also the wait for its head. Default `60s`.
    read_timeout: Option<Text<Timeout>>,
    /// Between two writes of the request. Default `30s`.
    write_timeout: Option<Text<Timeout>>,
    /// From the first attempt to connect to the last byte of the response. WebSockets, server-sent events and gRPC go on
    /// for longer. Default `30m`.
    total_timeout: Option<Text<Timeout>>,
    /// How long an idle connection is kept for the next request. Default `60s`.
    idle_timeout: Option<Text<Timeout>>,
    /// The `Host` that is sent. Default: the one that was asked for.
    host: Option<Text<HeaderValue>>,
    /// Headers set on every request, in place of what the client sent. A text that begins with `file:` is the path of
    /// the file that holds the value.
    set_headers: Option<NamedEntries<HeaderName, Text<HeaderValue>>>,
    /// Headers removed from every request.
    remove_headers: Option<Texts<HeaderName>>,
    /// Connection attempts for one request, each on the next endpoint. Default 2.
    connect_attempts: Option<TypedNode<NonZeroU32>>,
    /// `auto`, `http1`, or `h2c` for HTTP/2 without TLS, as gRPC servers speak it. Without TLS, `auto` is `http1`. Default
    /// `auto`.
    protocol: Option<TypedNode<WrittenProtocol>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WrittenProtocol {
    Auto,
    Http1,
    H2c,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Builtin {
    Echo,
}

pub(in crate::config) fn convert(
    sections: NamedEntries<Name, Section>,
    api_key_header: &HeaderName,
    claim_headers: &[&HeaderName],
    checker: &mut Checker<'_>,
) -> BTreeMap<Name, Upstream> {
    let mut upstreams = BTreeMap::new();
    for (name, TypedNode { value: section, at }) in sections.0 {
        if let Some(upstream) = upstream(name.clone(), section, at, api_key_header, claim_headers, checker) {
            upstreams.insert(name, upstream);
        }
    }
    upstreams
}

fn upstream(
    name: Name,
    section: Section,
    at: NodeId,
    api_key_header: &HeaderName,
    claim_headers: &[&HeaderName],
    checker: &mut Checker<'_>,
) -> Option<Upstream> {
    let kind = kind(section.endpoints, section.builtin, at, checker);
    let set = section.set_headers.map(|set| set.0).unwrap_or_default();
    let remove = section.remove_headers.map(|remove| remove.value).unwrap_or_default();
    check_headers(&set, &remove, api_key_header, claim_headers, checker);
    if let Some(attempts) = &section.connect_attempts
        && attempts.value.get() > CONNECT_ATTEMPTS_MAX
    {
        checker.error(
            attempts.at,
            "out-of-range",
            format!("at most {CONNECT_ATTEMPTS_MAX} attempts"),
        );
    }
    Some(Upstream {
        name,
        kind: kind?,
        timeouts: timeouts::of_upstream(timeouts::Written {
            connect: section.connect_timeout,
            read: section.read_timeout,
            write: section.write_timeout,
            total: section.total_timeout,
        }),
        idle_timeout: timeout(section.idle_timeout, Duration::from_secs(60)),
        host: section.host.map(Text::take),
        set_headers: set
            .into_iter()
            .filter_map(|(name, value)| Some((name, header_value(value.value, checker)?)))
            .collect(),
        remove_headers: values(remove),
        connect_attempts: section.connect_attempts.map_or(2, |attempts| attempts.value.get()),
        protocol: match section.protocol.map(|written| written.value) {
            None | Some(WrittenProtocol::Auto | WrittenProtocol::Http1) => UpstreamProtocol::Http1,
            Some(WrittenProtocol::H2c) => UpstreamProtocol::H2c,
        },
    })
}

/// Returns the value of a header: the text, or the content of the file that `file:path` names. Reports a file that cannot
/// be read, or whose content is no header value.
fn header_value(written: Text<HeaderValue>, checker: &mut Checker<'_>) -> Option<HeaderValue> {
    let at = written.at;
    if !checker.tree.is_file_reference(at) {
        return Some(written.take());
    }
    let reference = Secret::new(String::from_utf8_lossy(written.get().as_bytes()).into_owned());
    let content = secret(at, SecretText(reference), checker)?;
    let text = std::str::from_utf8(content.expose()).unwrap_or("\0");
    match HeaderValue::from_text(text) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Some(value)
        }
        Err(problem) => {
            checker.error_with(
                at,
                "bad-value",
                format!("the file's content is {problem}"),
                "one line of text",
            );
            None
        }
    }
}

/// With more attempts, the client of a request that no endpoint accepts would only wait longer.
const CONNECT_ATTEMPTS_MAX: u32 = 10;

fn kind(
    endpoints: Option<Texts<Endpoint>>,
    builtin: Option<Builtin>,
    at: NodeId,
    checker: &mut Checker<'_>,
) -> Option<UpstreamKind> {
    match (endpoints, builtin) {
        (Some(endpoints), None) => Some(UpstreamKind::Endpoints(checker.distinct(endpoints.value))),
        (None, Some(Builtin::Echo)) => {
            for key in [
                "connect_timeout",
                "read_timeout",
                "write_timeout",
                "total_timeout",
                "idle_timeout",
                "host",
                "connect_attempts",
                "protocol",
            ] {
                if let Some(entry) = checker.tree.entry(at, key) {
                    checker.error(entry, "not-with-builtin", "a built-in upstream is never connected to");
                }
            }
            Some(UpstreamKind::Echo)
        }
        (Some(_), Some(_)) => {
            checker.error(
                at,
                "two-kinds",
                "has both `endpoints` and `builtin`, and can be only one of them",
            );
            None
        }
        (None, None) => {
            if checker.tree.entry(at, "builtin").is_none() {
                checker.report_missing(
                    at,
                    "endpoints",
                    "such as `endpoints: [\"10.0.0.5:8080\"]`, or `builtin: echo`",
                );
            }
            None
        }
    }
}

fn check_headers(
    set: &[(HeaderName, TypedNode<Text<HeaderValue>>)],
    remove: &[Text<HeaderName>],
    api_key_header: &HeaderName,
    claim_headers: &[&HeaderName],
    checker: &mut Checker<'_>,
) {
    checker.refuse_duplicates(remove);
    for (index, (name, value)) in set.iter().enumerate() {
        let carries_claim = claim_headers.contains(&name);
        if is_reserved_header(name) || name == api_key_header || carries_claim {
            let hint = if *name == http::header::HOST {
                "use `host`"
            } else if carries_claim {
                "an issuer's `claim_headers` has it, and upstreams believe what it says"
            } else {
                "Keygate itself decides about credentials, identity and framing"
            };
            let problem = format!("`{name}` cannot be set here");
            checker.error_with(value.at, "reserved-header", problem, hint);
        }
        // Header names are case-insensitive, so these are one header.
        if set.iter().take(index).any(|(earlier, _)| earlier == name) {
            checker.error(value.at, "duplicate-entry", format!("`{name}` is set twice"));
        }
        if let Some(removed) = remove.iter().find(|removed| removed.get() == name) {
            checker.error(
                removed.at,
                "conflicting-headers",
                format!("`{name}` is set and removed"),
            );
        }
    }
    for removed in remove {
        let name = removed.get();
        if is_framing_header(name) || name.as_str().starts_with(identity_field::PREFIX) || claim_headers.contains(&name)
        {
            let problem = checker.with_value(removed.at, "cannot be removed");
            let hint = "Keygate itself decides about identity and framing";
            checker.error_with(removed.at, "reserved-header", problem, hint);
        }
    }
}
