//! Where do requests go? Endpoints, timeouts and header rules of upstreams.

use crate::config::balance;
use crate::config::balance::Balance;
use crate::config::balance::Ejection;
use crate::config::balance::EjectionSection;
use crate::config::balance::HashKey;
use crate::config::balance::NoEjection;
use crate::config::balance::Retries;
use crate::config::balance::RetriesSection;
use crate::config::balance::WrittenBalance;
use crate::config::check::Checker;
use crate::config::endpoint;
use crate::config::endpoint::Endpoint;
use crate::config::endpoint::Endpoints;
use crate::config::header_rules;
use crate::config::header_rules::Direction;
use crate::config::header_rules::HeaderRules;
use crate::config::header_rules::OwnHeaders;
use crate::config::header_rules::ResponseSection;
use crate::config::health;
use crate::config::health::HealthCheck;
use crate::config::listener::timeout;
use crate::config::name_server;
use crate::config::name_server::NameServer;
use crate::config::read::NamedEntries;
use crate::config::read::OrKeyword;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::text::Timeout;
use crate::config::timeouts;
use crate::config::timeouts::Timeouts;
use crate::config::tree::NodeId;
use crate::config::upstream_credential;
use crate::config::upstream_credential::UpstreamCredential;
use crate::config::upstream_tls;
use crate::config::upstream_tls::UpstreamTls;
use crate::model::names::Name;
use http::HeaderName;
use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
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
    pub balance: Balance,
    /// `None`: an endpoint that fails requests goes on getting them.
    pub ejection: Option<Ejection>,
    pub retries: Retries,
    /// The requests that an endpoint has at once. `None`: any number.
    pub requests_max: Option<u32>,
    /// The wait for an endpoint that has fewer. Default 1 s.
    pub queue_time: Duration,
    /// `None`: endpoints are not checked.
    pub health: Option<HealthCheck>,
    /// TLS to the endpoints that have it. `None` where none has.
    pub tls: Option<Arc<UpstreamTls>>,
    /// The name servers that are asked for the names of endpoints. Empty: those of the system.
    pub name_servers: Box<[SocketAddr]>,
}

impl Upstream {
    /// Returns whether the endpoints speak HTTP/2.
    pub const fn speaks_http2(&self) -> bool {
        matches!(self.protocol, UpstreamProtocol::H2 | UpstreamProtocol::H2c)
    }

    /// Returns the files of certificates and keys.
    pub fn tls_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.tls.iter().flat_map(|tls| {
            let authorities = tls.authorities.iter().map(|authorities| &authorities.file);
            let client = tls.client.iter().flat_map(|client| [&client.file, &client.key_file]);
            authorities.chain(client)
        })
    }
}

/// The protocol that an upstream's endpoints speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    #[default]
    Http1,
    /// HTTP/2 over TLS, negotiated by ALPN (RFC 9113 section 3.2).
    H2,
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

/// Where requests go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Upstream")]
pub(in crate::config) struct Section {
    /// `host:port`, `https://host`, `unix:/path` or the name of SRV records (`_orders._tcp.internal`) each, or a map with a
    /// weight. This or `builtin`.
    endpoints: Option<Endpoints>,
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
    /// `auto`, `http1`, `h2` for HTTP/2 over TLS, or `h2c` for HTTP/2 without TLS, as gRPC servers speak it. `auto` is
    /// `http1`. Default `auto`.
    protocol: Option<TypedNode<WrittenProtocol>>,
    /// `round_robin`, `random`, `least_requests` (of two taken at random, the one with fewer requests) or
    /// `consistent_hash`. Default `round_robin`.
    balance: Option<TypedNode<WrittenBalance>>,
    /// With `balance: consistent_hash`: requests with the same `principal`, client's `address` or `header:x-name` go to the
    /// same endpoint. Default `principal`.
    hash_by: Option<Text<HashKey>>,
    /// When an endpoint that fails requests gets no more of them, or `off`. It comes back when it answers. Never more than
    /// half of the endpoints are left out. Default: after one failure.
    ejection: Option<TypedNode<OrKeyword<EjectionSection, NoEjection>>>,
    /// How often a request is sent to another endpoint after one has failed it. Only with idempotent methods.
    retries: Option<TypedNode<RetriesSection>>,
    /// Requests that an endpoint has at once; over HTTP/1.1 as many connections. Default: any number.
    requests_max: Option<TypedNode<NonZeroU32>>,
    /// How long a request waits where every endpoint has `requests_max`, before it is answered with 503. Default `1s`.
    queue_time: Option<Text<Duration>>,
    /// Ask the endpoints whether they are well. Default: they are not asked.
    health: Option<TypedNode<health::Section>>,
    /// Names, authorities and a client certificate for `https://` endpoints.
    tls: Option<TypedNode<upstream_tls::Section>>,
    /// Name servers that are asked for the names in `endpoints`, such as `127.0.0.1:8600`. Default: those of the system.
    name_servers: Option<Texts<NameServer>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WrittenProtocol {
    Auto,
    Http1,
    H2,
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
    let endpoints = section.endpoints.map(|endpoints| endpoint::convert(endpoints, checker));
    let tls = upstream_tls::convert(section.tls, endpoints.as_deref().unwrap_or_default(), checker);
    let protocol = protocol(section.protocol, endpoints.as_deref().unwrap_or_default(), checker);
    let name_servers = name_server::convert(section.name_servers, endpoints.as_deref().unwrap_or_default(), checker);
    let balance = balance::balance(section.balance, section.hash_by, checker);
    let ejection = balance::ejection(section.ejection, checker);
    let retries = balance::retries(section.retries, checker);
    let requests_max = section.requests_max.map(|written| written.value.get());
    if let (Some(queue_time), None) = (&section.queue_time, requests_max) {
        let hint = "write `requests_max: 100` beside it";
        checker.error_with(
            queue_time.at,
            "no-effect",
            "without `requests_max`, no request waits",
            hint,
        );
    }
    let queue_time = section.queue_time.map_or(Duration::from_secs(1), Text::take);
    let speaks_http2 = matches!(protocol, UpstreamProtocol::H2 | UpstreamProtocol::H2c);
    let health = health::convert(
        section.health,
        speaks_http2,
        endpoints.as_deref().unwrap_or_default(),
        checker,
    );
    let kind = kind(endpoints, section.builtin, at, checker);
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
        protocol,
        balance,
        ejection,
        retries,
        requests_max,
        queue_time,
        health,
        tls: tls.map(Arc::new),
        name_servers,
    })
}

/// Returns the protocol, and reports one that does not go with the endpoints.
fn protocol(
    written: Option<TypedNode<WrittenProtocol>>,
    endpoints: &[(Endpoint, NodeId)],
    checker: &mut Checker<'_>,
) -> UpstreamProtocol {
    let Some(TypedNode { value, at }) = written else {
        return UpstreamProtocol::Http1;
    };
    let (protocol, needs_tls) = match value {
        WrittenProtocol::Auto | WrittenProtocol::Http1 => return UpstreamProtocol::Http1,
        WrittenProtocol::H2 => (UpstreamProtocol::H2, true),
        WrittenProtocol::H2c => (UpstreamProtocol::H2c, false),
    };
    if endpoints.iter().any(|(endpoint, _)| endpoint.is_tls != needs_tls) {
        let (problem, hint) = if needs_tls {
            (
                "`h2` is HTTP/2 over TLS, and an endpoint speaks no TLS",
                "write `protocol: h2c`, or the endpoints as `https://host`",
            )
        } else {
            (
                "`h2c` is HTTP/2 without TLS, and an endpoint speaks TLS",
                "write `protocol: h2`",
            )
        };
        checker.error_with(at, "protocol-and-tls", problem, hint);
    }
    protocol
}

/// With more attempts, the client of a request that no endpoint accepts would only wait longer.
const CONNECT_ATTEMPTS_MAX: u32 = 10;

fn kind(
    endpoints: Option<Vec<(Endpoint, NodeId)>>,
    builtin: Option<Builtin>,
    at: NodeId,
    checker: &mut Checker<'_>,
) -> Option<UpstreamKind> {
    match (endpoints, builtin) {
        (Some(endpoints), None) => {
            let endpoints: Vec<Endpoint> = endpoints.into_iter().map(|(endpoint, _)| endpoint).collect();
            // Each of them was reported.
            (!endpoints.is_empty()).then_some(UpstreamKind::Endpoints(endpoints))
        }
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
                "balance",
                "hash_by",
                "ejection",
                "retries",
                "requests_max",
                "queue_time",
                "health",
                "tls",
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
