//! How does Keygate ask the endpoints of an upstream whether they are well?

use crate::config::check::Checker;
use crate::config::endpoint::Endpoint;
use crate::config::read::FromText;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::text::Timeout;
use crate::config::text::mismatch;
use crate::config::tree::NodeId;
use http::HeaderValue;
use http::StatusCode;
use http::uri::PathAndQuery;
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::time::Duration;

/// The health check of an upstream's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub kind: HealthCheckKind,
    /// The time between two checks of an endpoint. Default 5 s.
    pub interval: Duration,
    /// The time for one check. Default 2 s.
    pub timeout: Duration,
    /// The failed checks in a row after which an endpoint gets no more requests. Default 2.
    pub failures: u32,
    /// The passed checks in a row after which it gets them again. Default 2.
    pub successes: u32,
}

/// The question of a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheckKind {
    /// `GET` of a path.
    Http {
        path: PathAndQuery,
        /// The `Host` of the request. `None`: that of the upstream, or the endpoint's name.
        host: Option<HeaderValue>,
        /// The statuses of a healthy endpoint. Empty: 200 to 299.
        statuses: Vec<StatusCode>,
        /// A text that the body of a healthy endpoint contains.
        body: Option<String>,
    },
    /// The endpoint takes a connection, with its TLS handshake where it has TLS.
    Tcp,
    /// `grpc.health.v1.Health/Check` says `SERVING`.
    Grpc {
        /// Empty: the server as a whole.
        service: String,
    },
}

/// The path of a health check.
#[derive(Debug)]
pub(in crate::config) struct CheckPath(PathAndQuery);

impl FromText for CheckPath {
    const DESCRIPTION: &'static str = "a path that begins with `/`, such as `/healthz`";
    const PATTERN: &'static str = "/[^ #]*";

    fn from_text(text: &str) -> Result<Self, String> {
        let path = text
            .parse()
            .ok()
            .filter(|_| text.starts_with('/') && !text.contains('#'));
        path.map(Self).ok_or_else(mismatch::<Self>)
    }
}

/// A health check. `path`, `grpc` or `tcp` says what is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HealthCheck")]
pub(in crate::config) struct Section {
    /// `GET` this path. This, `grpc` or `tcp`.
    path: Option<Text<CheckPath>>,
    /// With `path`: the `Host` of the check. Default: that of the upstream, or the endpoint's name.
    host: Option<Text<HeaderValue>>,
    /// With `path`: the statuses of a healthy endpoint. Default: 200 to 299.
    statuses: Option<TypedNode<Vec<TypedNode<u32>>>>,
    /// With `path`: a text that the body of a healthy endpoint contains, in its first 64 KiB.
    body: Option<TypedNode<String>>,
    /// Ask `grpc.health.v1.Health/Check` for this service, or with `""` for the whole server.
    grpc: Option<TypedNode<String>>,
    /// `true`: only connect.
    tcp: Option<TypedNode<bool>>,
    /// Between two checks of an endpoint. Default `5s`.
    interval: Option<Text<Timeout>>,
    /// For one check. Default `2s`.
    timeout: Option<Text<Timeout>>,
    /// Failed checks in a row after which an endpoint gets no more requests. Default 2.
    failures: Option<TypedNode<NonZeroU32>>,
    /// Passed checks in a row after which it gets them again. Default 2.
    successes: Option<TypedNode<NonZeroU32>>,
}

/// Returns the health check, and reports a section that says not what to ask, or asks what the endpoints do not speak.
pub(in crate::config) fn convert(
    written: Option<TypedNode<Section>>,
    speaks_http2: bool,
    endpoints: &[(Endpoint, NodeId)],
    checker: &mut Checker<'_>,
) -> Option<HealthCheck> {
    let TypedNode { value: section, at } = written?;
    let or =
        |written: Option<Text<Timeout>>, secs| written.map_or(Duration::from_secs(secs), |written| written.take().0);
    let (interval, timeout) = (or(section.interval, 5), or(section.timeout, 2));
    let times = |written: Option<TypedNode<NonZeroU32>>| written.map_or(2, |written| written.value.get());
    let (failures, successes) = (times(section.failures), times(section.successes));
    let tcp = section.tcp.filter(|tcp| tcp.value);
    let statuses = statuses(section.statuses, 200, checker);
    let kind = match (section.path, section.grpc, tcp) {
        (Some(path), None, None) => HealthCheckKind::Http {
            path: path.take().0,
            host: section.host.map(Text::take),
            statuses,
            body: section.body.map(|body| body.value),
        },
        (None, Some(grpc), None) => {
            if !speaks_http2 && !endpoints.is_empty() {
                let hint = "write `protocol: h2c` (or `h2` over TLS) beside `endpoints`, or check a `path`";
                checker.error_with(
                    grpc.at,
                    "protocol-and-check",
                    "gRPC is HTTP/2, and this upstream is not",
                    hint,
                );
            }
            HealthCheckKind::Grpc { service: grpc.value }
        }
        (None, None, Some(_)) => HealthCheckKind::Tcp,
        (None, None, None) => {
            checker.error_with(
                at,
                "no-check",
                "nothing says how to check",
                "such as `path: /healthz`, `grpc: \"\"` or `tcp: true`",
            );
            return None;
        }
        _ => {
            checker.error(at, "two-kinds", "only one of `path`, `grpc` and `tcp`");
            return None;
        }
    };
    if !matches!(kind, HealthCheckKind::Http { .. }) {
        for key in ["host", "statuses", "body"] {
            if let Some(entry) = checker.tree.entry(at, key) {
                checker.error(entry, "no-effect", "only a check of a `path` has this");
            }
        }
    }
    Some(HealthCheck {
        kind,
        interval,
        timeout,
        failures,
        successes,
    })
}

/// Returns the statuses of a list, and reports those below `first` and above 599.
pub(in crate::config) fn statuses(
    written: Option<TypedNode<Vec<TypedNode<u32>>>>,
    first: u32,
    checker: &mut Checker<'_>,
) -> Vec<StatusCode> {
    let mut statuses = Vec::new();
    for written in written.into_iter().flat_map(|list| list.value) {
        let code = u16::try_from(written.value).ok();
        let status = code.and_then(|code| StatusCode::from_u16(code).ok());
        match status.filter(|_| (first..600).contains(&written.value)) {
            Some(status) => statuses.push(status),
            None => checker.error(written.at, "bad-value", format!("a status between {first} and 599")),
        }
    }
    statuses
}
