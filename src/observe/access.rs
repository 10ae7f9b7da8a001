//! What is written about each request?

mod line;
mod writer;

pub use writer::AccessLog;

use crate::model::clock::Timestamp;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

/// How a request ended for Keygate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    Allow,
    #[default]
    Deny,
    /// Answered by the gate itself, out of memory.
    Answer,
    /// Allowed, but no answer could be got; or we failed ourselves.
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

/// One request, refused ones included, written when it ends. What is not known is `None` and is not written. Never a
/// credential: `query` comes redacted, `credential_id` is the public id.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessRecord<'a> {
    /// When the request's head was complete.
    pub time: Timestamp,
    pub request_id: &'a str,
    /// The socket's other end.
    pub peer: Option<SocketAddr>,
    /// Whom the request is from, past trusted proxies.
    pub client: Option<IpAddr>,
    pub method: Option<&'a str>,
    pub host: Option<&'a str>,
    /// As it arrived, without query.
    pub path: Option<&'a str>,
    /// Values of credential parameters already taken out.
    pub query: Option<&'a str>,
    pub route: Option<&'a str>,
    /// What the client was answered; `None` when it left before.
    pub status: Option<u16>,
    pub decision: Decision,
    /// Of a closed set, the same word as in metrics.
    pub reason: Option<&'static str>,
    /// The rule that refused it, where it has a name.
    pub rule: Option<&'a str>,
    /// What would have refused it, were it not in shadow mode: a word of the set of `reason`.
    pub would_deny: Option<&'static str>,
    /// The rule, limit or issuer that it is, where it has a name.
    pub would_deny_by: Option<&'a str>,
    pub credential_type: Option<&'static str>,
    pub subject: Option<&'a str>,
    pub client_id: Option<&'a str>,
    pub organization: Option<&'a str>,
    pub credential_id: Option<&'a str>,
    /// The subscription that the credential is under, and its plan.
    pub subscription: Option<&'a str>,
    pub plan: Option<&'a str>,
    pub issuer: Option<&'a str>,
    /// The limit that refused it.
    pub limit: Option<&'a str>,
    pub upstream: Option<&'a str>,
    pub endpoint: Option<SocketAddr>,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    pub duration: Duration,
    /// From the first connection attempt to the end of the answer.
    pub upstream_duration: Option<Duration>,
    pub trace_id: Option<&'a str>,
    pub user_agent: Option<&'a str>,
}

/// RFC 3339 in UTC with three decimals; past the year 9999 it stays at its end.
pub fn rfc3339(time: Timestamp) -> impl std::fmt::Display {
    let time = i64::try_from(time.as_unix_millis())
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .unwrap_or(jiff::Timestamp::MAX);
    std::fmt::from_fn(move |out| write!(out, "{time:.3}"))
}

#[cfg(test)]
mod tests;
