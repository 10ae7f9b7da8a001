//! Which facts about a request are logged?

mod line;
mod writer;

pub use writer::AccessLog;

use crate::model::clock::Timestamp;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

/// The outcome of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    Allow,
    #[default]
    Deny,
    /// Answered by Keygate itself, from memory.
    Answer,
    /// Allowed, but the upstream gave no response; or Keygate failed.
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

/// One request, refused or not, logged when it ends. Unknown fields are `None` and are left out. Contains no
/// credential: `query` is redacted, and `credential_id` is the public id.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessRecord<'a> {
    /// The time when the request's head was complete.
    pub time: Timestamp,
    pub request_id: &'a str,
    /// The address of the connection's other end.
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
    /// The status of the response; `None` if the client left before it.
    pub status: Option<u16>,
    pub decision: Decision,
    /// A word of the same closed set as in the metrics.
    pub reason: Option<&'static str>,
    /// The rule that refused the request, if it has a name.
    pub rule: Option<&'a str>,
    /// The reason for which the request would be refused without shadow mode; a word of the same set as `reason`.
    pub would_deny: Option<&'static str>,
    /// The rule, limit or issuer behind `would_deny`, if it has a name.
    pub would_deny_by: Option<&'a str>,
    pub credential_type: Option<&'static str>,
    pub subject: Option<&'a str>,
    pub client_id: Option<&'a str>,
    pub organization: Option<&'a str>,
    pub credential_id: Option<&'a str>,
    /// The credential's subscription, and its plan.
    pub subscription: Option<&'a str>,
    pub plan: Option<&'a str>,
    pub issuer: Option<&'a str>,
    /// The limit that refused the request.
    pub limit: Option<&'a str>,
    pub upstream: Option<&'a str>,
    pub endpoint: Option<SocketAddr>,
    /// Body bytes received from the client.
    pub bytes_in: u64,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    pub duration: Duration,
    /// The time from the first connection attempt to the end of the upstream's response.
    pub upstream_duration: Option<Duration>,
    pub trace_id: Option<&'a str>,
    pub user_agent: Option<&'a str>,
}

/// Returns `time` in RFC 3339 format, in UTC with three decimals. Times after the year 9999 become its last instant.
pub fn rfc3339(time: Timestamp) -> impl std::fmt::Display {
    let time = i64::try_from(time.as_unix_millis())
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .unwrap_or(jiff::Timestamp::MAX);
    std::fmt::from_fn(move |out| write!(out, "{time:.3}"))
}

#[cfg(test)]
mod tests;
