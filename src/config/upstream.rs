//! Where do requests go? Endpoints, timeouts and header rules of upstreams.

use crate::config::check::Checker;
use crate::config::header_rules;
use crate::config::header_rules::Direction;
use crate::config::header_rules::HeaderRules;
use crate::config::header_rules::OwnHeaders;
use crate::config::header_rules::ResponseSection;
use crate::config::listener::timeout;
use crate::config::read::FromText;
use crate::config::read::NamedEntries;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::text::Timeout;
use crate::config::text::host_name;
use crate::config::text::mismatch;
use crate::config::timeouts;
use crate::config::timeouts::Timeouts;
use crate::config::tree::NodeId;
use crate::config::upstream_credential;
use crate::config::upstream_credential::UpstreamCredential;
use crate::model::names::Name;
use http::HeaderName;
use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
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
    /// The rules for the fields of requests, before those of their route. Routes without rules share these.
    pub request_headers: Arc<HeaderRules>,
    /// The rules for the fields of responses, before those of their route.
    pub response_headers: Arc<HeaderRules>,
    /// The upstream's own credential, in place of the client's.
    pub credential: Option<UpstreamCredential>,
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

impl UpstreamKind {
    /// Returns the endpoints; none of a built-in upstream.
    pub fn endpoints(&self) -> &[Endpoint] {
        match self {
            Self::Endpoints(endpoints) => endpoints,
            Self::Echo => &[],
        }
    }
}

/// `host:port`, without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// Returns the endpoint as it stands in a URL.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

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
                "; the path is that of the request, and a route changes it with `strip_prefix`, `add_prefix` or `rewrite`"
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
    /// Headers added to every request, beside what the client sent. Values are written as in `set_headers`.
    add_headers: Option<NamedEntries<HeaderName, Text<HeaderValue>>>,
    /// Headers removed from every request.
    remove_headers: Option<Texts<HeaderName>>,
    /// Headers of the responses that clients receive.
    response: Option<ResponseSection>,
    /// The upstream's own credential, which no other upstream receives. Default: none.
    credential: Option<TypedNode<upstream_credential::Section>>,
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
    own_headers: &OwnHeaders<'_>,
    checker: &mut Checker<'_>,
) -> BTreeMap<Name, Upstream> {
    let mut upstreams = BTreeMap::new();
    for (name, TypedNode { value: section, at }) in sections.0 {
        if let Some(upstream) = upstream(name.clone(), section, at, own_headers, checker) {
            upstreams.insert(name, upstream);
        }
    }
    upstreams
}

fn upstream(
    name: Name,
    section: Section,
    at: NodeId,
    own_headers: &OwnHeaders<'_>,
    checker: &mut Checker<'_>,
) -> Option<Upstream> {
    let kind = kind(section.endpoints, section.builtin, at, checker);
    let requests = header_rules::Written {
        set: section.set_headers,
        add: section.add_headers,
        remove: section.remove_headers,
    };
    let request_headers = header_rules::convert(requests, Direction::Request, own_headers, checker);
    let credential = section
        .credential
        .and_then(|credential| upstream_credential::convert(credential, own_headers, checker));
    if let Some(credential) = &credential {
        upstream_credential::refuse_rules(credential, &request_headers, at, checker);
    }
    let responses = section.response.unwrap_or_default().into();
    let response_headers = header_rules::convert(responses, Direction::Response, own_headers, checker);
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
        request_headers: Arc::new(request_headers),
        response_headers: Arc::new(response_headers),
        credential,
        connect_attempts: section.connect_attempts.map_or(2, |attempts| attempts.value.get()),
        protocol: match section.protocol.map(|written| written.value) {
            None | Some(WrittenProtocol::Auto | WrittenProtocol::Http1) => UpstreamProtocol::Http1,
            Some(WrittenProtocol::H2c) => UpstreamProtocol::H2c,
        },
    })
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
                "credential",
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
