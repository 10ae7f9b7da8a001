//! Limits: how often, counted by what, and which headers say so.

use crate::model::names::Name;
use crate::model::plan::Quota;

/// `limits.<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub name: Name,
    /// What shares one bucket. Never empty; several are counted as a combination.
    pub by: Vec<LimitBy>,
    pub quota: Quota,
}

/// What a bucket belongs to. Unproved text is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitBy {
    /// The API key; of a token, its client or, where it names none, its subject.
    Credential,
    Client,
    Subject,
    Organization,
    /// The client's address; IPv6 by /64.
    Ip,
    Route,
}

/// Which families of headers tell a client about its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitHeaders {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10). Default true.
    pub standard: bool,
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`. Default true.
    pub legacy: bool,
}
