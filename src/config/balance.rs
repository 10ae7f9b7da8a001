//! Which endpoint gets a request, how often may a request be sent again, and when is an endpoint left out?

use crate::config::check::Checker;
use crate::config::health;
use crate::config::read::FromText;
use crate::config::read::Keyword;
use crate::config::read::OrKeyword;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::reserved_header::carries_credentials;
use crate::config::text::Timeout;
use crate::config::text::mismatch;
use crate::config::tree::NodeId;
use crate::model::identity_field;
use http::HeaderName;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// The choice among the endpoints of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    #[default]
    RoundRobin,
    Random,
    /// Of two taken at random, the one with fewer requests.
    LeastRequests,
    /// Requests with the same key go to the same endpoint.
    ConsistentHash(HashKey),
}

/// The part of a request that a consistent hash goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    /// The bearer of the credential; without one, the client's address.
    #[default]
    Principal,
    /// The client's address, without its port.
    Address,
    /// A header field; without it, the client's address.
    Header(HeaderName),
}

impl FromText for HashKey {
    const DESCRIPTION: &'static str = "`principal`, `address` or `header:` with a name, such as `header:x-tenant`";
    const PATTERN: &'static str = "principal|address|header:[^ ]+";

    fn from_text(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("header:")) {
            ("principal", _) => Ok(Self::Principal),
            ("address", _) => Ok(Self::Address),
            (_, Some(name)) => {
                let name = HeaderName::from_text(name)?;
                if carries_credentials(&name) || name.as_str().starts_with(identity_field::PREFIX) {
                    let problem = mismatch::<Self>();
                    return Err(format!(
                        "{problem}\nclients may send what they like in `{name}`; write `principal`"
                    ));
                }
                Ok(Self::Header(name))
            }
            (_, None) => Err(mismatch::<Self>()),
        }
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal => out.write_str("principal"),
            Self::Address => out.write_str("address"),
            Self::Header(name) => write!(out, "header:{name}"),
        }
    }
}

/// When an endpoint is left out because it fails requests, and how it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// The failures in a row after which an endpoint is left out. Default 1.
    pub failures: u32,
    /// The time until it is probed for the first time; each further time is twice as long. Default 1 s.
    pub time: Duration,
    /// The longest time between two probes. Default 60 s.
    pub time_max: Duration,
    /// The time in which an endpoint that answers again gets all of its requests back. Default 10 s.
    pub return_time: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 1,
            time: Duration::from_secs(1),
            time_max: Duration::from_secs(60),
            return_time: Duration::from_secs(10),
        }
    }
}

/// How often a request is sent to another endpoint because one has failed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Further attempts of one request after it was sent. Default 1; 0 for none.
    pub attempts: u32,
    /// The retries of all requests together, in percent of the requests. Default 20.
    pub budget_percent: u32,
    /// The statuses after which a request with an idempotent method is sent again.
    pub statuses: Vec<StatusCode>,
    /// The wait for the head of the response in an attempt after which another one is left. `None`: that of
    /// `read_timeout`.
    pub try_timeout: Option<Duration>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 1,
            budget_percent: 20,
            statuses: Vec::new(),
            try_timeout: None,
        }
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WrittenBalance {
    RoundRobin,
    Random,
    LeastRequests,
    ConsistentHash,
}

/// When an endpoint that fails requests is left out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Ejection")]
pub(in crate::config) struct EjectionSection {
    /// Failed requests in a row after which an endpoint is left out. Default 1.
    failures: Option<TypedNode<NonZeroU32>>,
    /// Until its first probe; each further one comes after twice the time. Default `1s`.
    time: Option<Text<Timeout>>,
    /// The longest time between two probes. Default `60s`.
    time_max: Option<Text<Timeout>>,
    /// In which an endpoint that answers again gets all of its requests back. Default `10s`.
    return_time: Option<Text<Timeout>>,
}

/// Written `off`.
#[derive(Debug)]
pub(in crate::config) struct NoEjection;

impl Keyword for NoEjection {
    const KEYWORD: &'static str = "off";
    const ALTERNATIVE: &'static str = "a map of keys";
}

/// Further attempts of requests that an endpoint has failed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Retries")]
pub(in crate::config) struct RetriesSection {
    /// Further attempts of one request after it was sent, 0 to 5. Default 1.
    attempts: Option<TypedNode<u32>>,
    /// Retries of all requests together, in percent of the requests, 1 to 100. Default 20.
    budget_percent: Option<TypedNode<NonZeroU32>>,
    /// Statuses after which a request with an idempotent method is sent again, such as 503. Default none.
    statuses: Option<TypedNode<Vec<TypedNode<u32>>>>,
    /// The wait for the response's head in every attempt but the last. Default: `read_timeout`.
    try_timeout: Option<Text<Timeout>>,
}

/// With more attempts, a request that no endpoint can answer would only load all of them.
const ATTEMPTS_MAX: u32 = 5;

/// Returns the choice among endpoints, and reports a key without a consistent hash.
pub(in crate::config) fn balance(
    written: Option<TypedNode<WrittenBalance>>,
    key: Option<Text<HashKey>>,
    checker: &mut Checker<'_>,
) -> Balance {
    let balance = match written.map(|written| written.value) {
        None | Some(WrittenBalance::RoundRobin) => Balance::RoundRobin,
        Some(WrittenBalance::Random) => Balance::Random,
        Some(WrittenBalance::LeastRequests) => Balance::LeastRequests,
        Some(WrittenBalance::ConsistentHash) => {
            return Balance::ConsistentHash(key.map(Text::take).unwrap_or_default());
        }
    };
    if let Some(key) = key {
        let hint = "write `balance: consistent_hash` beside it";
        checker.error_with(key.at, "no-effect", "only a consistent hash has a key", hint);
    }
    balance
}

/// Returns when endpoints are ejected; `None` for never.
pub(in crate::config) fn ejection(
    written: Option<TypedNode<OrKeyword<EjectionSection, NoEjection>>>,
    checker: &mut Checker<'_>,
) -> Option<Ejection> {
    let default = Ejection::default();
    let section = match written.map(|written| written.value) {
        None => return Some(default),
        Some(OrKeyword::Keyword(_)) => return None,
        Some(OrKeyword::Value(section)) => section,
    };
    let or = |written: &Option<Text<Timeout>>, default| written.as_ref().map_or(default, |written| written.get().0);
    let ejection = Ejection {
        failures: section
            .failures
            .map_or(default.failures, |failures| failures.value.get()),
        time: or(&section.time, default.time),
        time_max: or(&section.time_max, default.time_max),
        return_time: or(&section.return_time, default.return_time),
    };
    if ejection.time > ejection.time_max {
        let at = section.time.or(section.time_max).map(|written| written.at);
        if let Some(at) = at {
            checker.error(at, "out-of-range", "`time` is longer than `time_max`");
        }
    }
    Some(ejection)
}

pub(in crate::config) fn retries(written: Option<TypedNode<RetriesSection>>, checker: &mut Checker<'_>) -> Retries {
    let default = Retries::default();
    let Some(TypedNode { value: section, at }) = written else {
        return default;
    };
    let mut up_to = |at: NodeId, value: u32, max: u32| {
        if value > max {
            checker.error(at, "out-of-range", format!("at most {max}"));
        }
        value
    };
    let attempts = section.attempts.map_or(default.attempts, |written| {
        up_to(written.at, written.value, ATTEMPTS_MAX)
    });
    let budget_percent = section.budget_percent.map_or(default.budget_percent, |written| {
        up_to(written.at, written.value.get(), 100)
    });
    // The others are answers: an API that says 404 or 429 means it.
    let statuses = health::statuses(section.statuses, 500, checker);
    let try_timeout = section.try_timeout.map(|written| written.take().0);
    if attempts == 0 {
        for key in ["budget_percent", "statuses", "try_timeout"] {
            if let Some(entry) = checker.tree.entry(at, key) {
                checker.error(entry, "no-effect", "with `attempts: 0`, no request is sent again");
            }
        }
    }
    Retries {
        attempts,
        budget_percent,
        statuses,
        try_timeout,
    }
}
