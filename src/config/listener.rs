//! Where do connections come in, and how much may one connection and one request cost?

use crate::config::address_rules;
use crate::config::address_rules::AddressRules;
use crate::config::check::Checker;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::text::Size;
use crate::config::text::Timeout;
use crate::config::tls;
use crate::config::tls::ListenerTls;
use crate::config::tree::NodeId;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

/// One address that accepts connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    /// `None` for plain HTTP.
    pub tls: Option<ListenerTls>,
    /// The protocol without TLS. With TLS, each client chooses HTTP/2 or HTTP/1.1 (ALPN, RFC 7301).
    pub plain: PlainProtocol,
    pub http1: Http1Lane,
    /// The addresses of peers that may connect.
    pub addresses: AddressRules,
}

/// The protocol of a listener without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlainProtocol {
    #[default]
    Http1,
    /// HTTP/2 without TLS (RFC 9113 section 3.3), where a client knows beforehand that the server speaks it.
    H2c,
}

/// The code that carries requests of HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Http1Lane {
    /// Keygate's own.
    #[default]
    Own,
    /// pingora's proxy, which also carries HTTP/2.
    Pingora,
}

/// Bounds that apply to every listener. A request over a bound is refused with the status in parentheses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Bytes of the whole head: request line and header fields (431). Default 32 KiB.
    pub head_bytes_max: usize,
    /// Header fields (431). Default 100.
    pub header_count_max: usize,
    /// Bytes of the request target (414). Default 8 KiB.
    pub target_bytes_max: usize,
    /// Bytes of a request body, counted as it streams (413). Default 10 MiB.
    pub body_bytes_max: u64,
    /// Bytes of a bearer token or an API key (400). Default 8 KiB.
    pub credential_bytes_max: usize,
    /// Bytes of a body that are read before they are passed on, in each direction. A client that does not read its response
    /// holds about twice as much. Default 64 KiB.
    pub buffer_bytes: usize,
    /// Longest time from the first byte of a head to its last (408), and of a TLS handshake. Default 10 s.
    pub head_timeout: Duration,
    /// How long a connection may be idle between requests. Default 75 s.
    pub idle_timeout: Duration,
    /// Longest time between two reads of a request body (408). Default 30 s.
    pub body_read_timeout: Duration,
    /// Connections at once, over all listeners (503, then closed). Default 10 000.
    pub connections_max: usize,
    /// Requests on one connection before it is closed. Default 10 000.
    pub requests_per_connection_max: u32,
}

/// One address that accepts connections.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Listener")]
pub(in crate::config) struct Section {
    /// Address and port, such as `0.0.0.0:8080`. Required.
    #[schemars(required)]
    address: Option<Text<SocketAddr>>,
    /// Certificates, for HTTPS. Default: plain HTTP.
    tls: Option<TypedNode<tls::Section>>,
    /// The protocol without TLS: `http1` or `h2c`. With TLS, clients choose HTTP/2 or HTTP/1.1. Default `http1`.
    protocol: Option<TypedNode<PlainProtocol>>,
    /// The code that carries HTTP/1.1: `own`, or `pingora`, which needs twice the processor time: the answer to a fault that
    /// is found in the first. Default `own`.
    http1: Option<TypedNode<Http1Lane>>,
    /// The addresses of peers that may connect; others are closed without an answer. Of a client behind a proxy, the peer is the
    /// proxy. Default: every address.
    addresses: Option<TypedNode<address_rules::Section>>,
}

pub(in crate::config) fn convert(
    sections: Vec<TypedNode<Section>>,
    checker: &mut Checker<'_>,
) -> Vec<TypedNode<Listener>> {
    let mut listeners: Vec<TypedNode<Listener>> = Vec::new();
    for section in sections {
        let hint = "such as `address: 127.0.0.1:8080`";
        let Some(address) = checker.need(section.at, "address", section.value.address, hint) else {
            continue;
        };
        let is_tls = section.value.tls.is_some();
        let tls = section.value.tls.map(|written| tls::convert(written, checker));
        let plain = section.value.protocol;
        if let (true, Some(written)) = (is_tls, &plain) {
            let hint = "remove the key: with `tls`, each client chooses HTTP/2 or HTTP/1.1";
            checker.error_with(written.at, "no-effect", "the listener has `tls`", hint);
        }
        let plain = plain.map(|written| written.value).unwrap_or_default();
        let http1 = section.value.http1;
        if let (PlainProtocol::H2c, Some(written)) = (plain, &http1) {
            let hint = "remove one of the two keys";
            checker.error_with(written.at, "no-effect", "the listener speaks HTTP/2 alone", hint);
        }
        let addresses = section.value.addresses;
        let addresses = addresses.map(|written| {
            let at = written.at;
            let rules = address_rules::convert(written, checker)?;
            warn_of_loopback(&rules, address.get().ip(), at, checker);
            Some(rules)
        });
        let listener = TypedNode {
            at: address.at,
            value: Listener {
                address: address.take(),
                // Without a value, a mistake was reported, and the configuration is refused.
                tls: tls.flatten(),
                plain,
                http1: http1.map(|written| written.value).unwrap_or_default(),
                addresses: addresses.flatten().unwrap_or_default(),
            },
        };
        refuse_shared(&listeners, listener.at, listener.value.address, checker);
        listeners.push(listener);
    }
    listeners
}

/// Warns of rules that keep out the peers of a loopback listener, which connect from its own address.
fn warn_of_loopback(rules: &AddressRules, own: IpAddr, at: NodeId, checker: &mut Checker<'_>) {
    if own.is_loopback() && !rules.admits(own) {
        let problem = format!("peers of this listener are on this machine, and {own} is not among the addresses");
        let hint = "`addresses` of a listener are about peers; those of clients behind a proxy belong to the routes";
        checker.warn(at, "refuses-everybody", problem, hint);
    }
}

/// Reports an `address` that cannot be bound beside `listeners`, or that would take some of their connections.
pub(in crate::config) fn refuse_shared(
    listeners: &[TypedNode<Listener>],
    at: NodeId,
    address: SocketAddr,
    checker: &mut Checker<'_>,
) {
    let Some(other) = listeners.iter().find(|other| collide(other.value.address, address)) else {
        return;
    };
    let problem = checker.with_value(at, "another listener has this address already");
    checker.error_conflict(at, "shared-address", problem, other.at);
}

/// Returns whether two addresses conflict. Port 0 never does: the system chooses a
/// free port. `[::]` also takes IPv4 connections, so the family does not matter.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same
}

/// Bounds on what one connection and one request may cost; a request over one is refused with the status in brackets.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Requests")]
pub(in crate::config) struct LimitsSection {
    /// Bytes of the request line and the header fields together (431). Default `32KiB`.
    head_bytes: Option<Text<Size>>,
    /// Header fields (431). Default 100.
    head_count: Option<TypedNode<NonZeroU32>>,
    /// Bytes of path and query (414). Default `8KiB`, at most `64KiB`.
    target_bytes: Option<Text<Size>>,
    /// Bytes of a body, counted as it streams (413). Default `10MiB`.
    body_bytes: Option<Text<Size>>,
    /// Bytes of a bearer token or an API key (400). Default `8KiB`; a JWT has `64KiB` at most.
    credential_bytes: Option<Text<Size>>,
    /// Bytes of a body that are read before they are passed on, in each direction; a client that does not read its response
    /// holds twice as much. From `4KiB` to `1MiB`. Default `64KiB`.
    buffer_bytes: Option<Text<Size>>,
    /// From the first byte of a head to its last (408), and for a whole TLS handshake. Default `10s`.
    head_timeout: Option<Text<Timeout>>,
    /// How long a connection may be idle between requests. Default `75s`.
    idle_timeout: Option<Text<Timeout>>,
    /// Between two reads of a body (408). Default `30s`.
    body_read_timeout: Option<Text<Timeout>>,
    /// Connections at once, over all listeners (503). Default 10000.
    connections: Option<NonZeroU32>,
    /// Requests on one connection before it is closed. Default 10000.
    requests_per_connection: Option<NonZeroU32>,
}

pub(in crate::config) fn convert_limits(section: LimitsSection, checker: &mut Checker<'_>) -> RequestLimits {
    let secs = Duration::from_secs;
    let head_at = section.head_bytes.as_ref().map(|size| size.at);
    let target_at = section.target_bytes.as_ref().map(|size| size.at);
    let credential_at = section.credential_bytes.as_ref().map(|size| size.at);
    let buffer_at = section.buffer_bytes.as_ref().map(|size| size.at);
    let count_at = section.head_count.as_ref().map(|count| count.at);
    let mut limits = RequestLimits {
        head_bytes_max: size(section.head_bytes, 32 << 10),
        header_count_max: count(section.head_count.map(|count| count.value), 100),
        target_bytes_max: size(section.target_bytes, 8 << 10),
        body_bytes_max: section.body_bytes.map_or(10 << 20, |size| size.take().0),
        credential_bytes_max: size(section.credential_bytes, 8 << 10),
        buffer_bytes: size(section.buffer_bytes, 64 << 10),
        head_timeout: timeout(section.head_timeout, secs(10)),
        // Longer than the 60 s of common load balancers, which would otherwise reuse closed connections.
        idle_timeout: timeout(section.idle_timeout, secs(75)),
        body_read_timeout: timeout(section.body_read_timeout, secs(30)),
        connections_max: count(section.connections, 10_000),
        requests_per_connection_max: section.requests_per_connection.map_or(10_000, NonZeroU32::get),
    };
    let (head, uri) = (
        "the HTTP parser takes no larger head",
        "the HTTP parser takes no longer URI",
    );
    for (value, max, at, key, hint) in [
        (limits.head_bytes_max, HEAD_BYTES_MAX, head_at, "head_bytes", head),
        (limits.header_count_max, HEADER_COUNT_MAX, count_at, "head_count", head),
        (limits.target_bytes_max, KIB_64, target_at, "target_bytes", uri),
    ] {
        if value > max
            && let Some(at) = at
        {
            let problem = format!("`{key}` ({value}) is more than {max}");
            checker.error_with(at, "out-of-range", problem, hint);
        }
    }
    if limits.credential_bytes_max > KIB_64
        && let Some(at) = credential_at
    {
        let problem = format!(
            "`credential_bytes` ({}) is more than {KIB_64}",
            limits.credential_bytes_max
        );
        let hint = "a longer JWT is refused in any case (401 instead of 400); write `64KiB`";
        checker.warn(at, "out-of-range", problem, hint);
    }
    if !BUFFER_BYTES.contains(&limits.buffer_bytes)
        && let Some(at) = buffer_at
    {
        let problem = format!("`buffer_bytes` ({}) is not between 4KiB and 1MiB", limits.buffer_bytes);
        let hint = "smaller buffers cost a system call for every few packets, and larger ones make no transfer quicker";
        checker.error_with(at, "out-of-range", problem, hint);
    }
    for (part, part_at, key) in [
        (limits.target_bytes_max, target_at, "target_bytes"),
        (limits.credential_bytes_max, credential_at, "credential_bytes"),
    ] {
        // Report at a configured number. There is one, because the defaults fit together.
        if part > limits.head_bytes_max
            && let Some(at) = part_at.or(head_at)
        {
            let problem = format!("`{key}` ({part}) is more than `head_bytes` ({})", limits.head_bytes_max);
            checker.error_with(
                at,
                "bounds-swapped",
                problem,
                "the head holds it, so it could never be that long",
            );
        }
    }
    // `64KiB` stands for the longest URI, which is two bytes shorter: the parser would answer a longer one with 400, not 414.
    limits.target_bytes_max = limits.target_bytes_max.min(URI_BYTES_MAX);
    limits
}

/// The longest URI that the crate `http` can hold; it refuses a longer one without a reason.
const URI_BYTES_MAX: usize = 65_534;
/// The bound of a token (`BYTES_MAX` of `jose::jws`) and, in round numbers, of a URI.
const KIB_64: usize = 64 << 10;
/// A larger number is a mistake: every connection may hold a head of this size in memory.
const HEAD_BYTES_MAX: usize = (1 << 20) - 1;
/// Up to 1 MiB, as for heads: each connection may hold it twice.
const BUFFER_BYTES: RangeInclusive<usize> = 4 << 10..=1 << 20;
/// `FIELDS_MAX` of the parser (`proxy/http1/request.rs`), which rejects more fields without a reason.
const HEADER_COUNT_MAX: usize = 256;

fn size(written: Option<Text<Size>>, default: usize) -> usize {
    written.map_or(default, |size| usize::try_from(size.take().0).unwrap_or(usize::MAX))
}

fn count(written: Option<NonZeroU32>, default: usize) -> usize {
    written.map_or(default, |count| usize::try_from(count.get()).unwrap_or(usize::MAX))
}

/// Returns the configured timeout, or `default`.
pub(in crate::config) fn timeout(written: Option<Text<Timeout>>, default: Duration) -> Duration {
    written.map_or(default, |timeout| timeout.take().0)
}
