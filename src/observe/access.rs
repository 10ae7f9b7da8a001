//! Which facts about a request does its access record contain?

mod line;
mod writer;

pub use writer::AccessLog;

use crate::model::clock::Timestamp;
use crate::model::endpoint_address::EndpointAddress;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

/// The outcome of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    Allow,
    #[default]
    Deny,
    /// Answered by Keygate itself: a preflight, a public document, or an endpoint of the control side.
    Answer,
    /// Admitted and rejected afterwards, for example because the upstream gave no response; or ended before a decision.
    Error,
}

impl Decision {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Answer => "answer",
            Self::Error => "error",
        }
    }
}

/// One request, logged when it ends. Unknown fields are `None` and are omitted. The written record contains no
/// credential: `query` is redacted by the caller, other texts of the client are redacted when the line is written, and
/// `credential_id` is the public id.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessRecord<'a> {
    /// The time of the request's first byte; for a head or connection that was rejected before there was a request, the
    /// time of the rejection.
    pub time: Timestamp,
    pub request_id: &'a str,
    /// The listener that is none of the data listeners: `admin`, or `admin_socket`.
    pub listener: Option<&'static str>,
    /// The author of a request to the admin API: a client's id, `admin.token` or `local`.
    pub actor: Option<&'a str>,
    /// The address of the connection's downstream end.
    pub peer: Option<SocketAddr>,
    /// The address of the client behind trusted proxies.
    pub client: Option<IpAddr>,
    pub method: Option<&'a str>,
    pub host: Option<&'a str>,
    /// The path as it arrived, without the query.
    pub path: Option<&'a str>,
    /// The query without the values of credential parameters.
    pub query: Option<&'a str>,
    pub route: Option<&'a str>,
    /// The status of the response; `None` if no response was begun.
    pub status: Option<u16>,
    /// `cut` if the response ended before its body was complete; `reason` says why.
    pub response: Option<&'static str>,
    pub decision: Decision,
    /// Why the request was rejected, in the words of the metrics; for an answer of Keygate, its kind or the reason of
    /// the control side; for an allowed request, only why its stream ended early.
    pub reason: Option<&'static str>,
    /// The name of the claim that a token was rejected for.
    pub claim: Option<&'a str>,
    /// The rule that rejected the request, if the rule has a name.
    pub rule: Option<&'a str>,
    /// Why the request would be rejected without shadow mode, in the words of the metrics.
    pub would_deny: Option<&'static str>,
    /// The name of the rule, limit or issuer behind `would_deny`.
    pub would_deny_by: Option<&'a str>,
    pub credential_type: Option<&'static str>,
    pub subject: Option<&'a str>,
    pub client_id: Option<&'a str>,
    pub organization: Option<&'a str>,
    pub credential_id: Option<&'a str>,
    /// The subscription of the credential.
    pub subscription: Option<&'a str>,
    pub plan: Option<&'a str>,
    pub issuer: Option<&'a str>,
    /// The limit that rejected the request.
    pub limit: Option<&'a str>,
    pub upstream: Option<&'a str>,
    /// The endpoint of the last attempt.
    pub endpoint: Option<&'a EndpointAddress>,
    /// The number of endpoints that were asked, one after the other, each time it was asked included; omitted up to 1.
    pub upstream_attempts: u8,
    /// The failure of the endpoint in place of a whole response, in the words of the metrics.
    pub upstream_failure: Option<&'static str>,
    /// Body bytes received from the client.
    pub bytes_in: u64,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    pub duration: Duration,
    /// The time from the request's admission to the end of the exchange; `None` for a request that was not admitted.
    pub upstream_duration: Option<Duration>,
    pub trace_id: Option<&'a str>,
    pub user_agent: Option<&'a str>,
}

/// Returns `time` in RFC 3339 format, in UTC with three decimals. A time after `jiff::Timestamp::MAX`, at the end of
/// 9999, becomes that time.
pub fn rfc3339(time: Timestamp) -> impl std::fmt::Display {
    let time = i64::try_from(time.as_unix_millis())
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .unwrap_or(jiff::Timestamp::MAX);
    std::fmt::from_fn(move |out| write!(out, "{time:.3}"))
}

#[cfg(test)]
mod tests;
