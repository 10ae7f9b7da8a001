//! How many requests does a limit allow, counted by which property, and which headers report it?

use crate::config::check::Checker;
use crate::config::read::Keyword;
use crate::config::read::NamedEntries;
use crate::config::read::OneOrMany;
use crate::config::read::OrKeyword;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::rule::Mode;
use crate::config::rule::warn_of_shadow;
use crate::config::text::Rate;
use crate::config::tree::NodeId;
use crate::model::names::Name;
use crate::model::plan::Quota;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// `limits.<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub name: Name,
    /// Requests that are equal in all of these share one bucket. Never empty.
    pub by: Vec<LimitBy>,
    pub quota: Quota,
    /// Default `Refilling`.
    pub window: LimitWindow,
    /// Default `Enforce`.
    pub mode: Mode,
}

/// The shortest period of a limit that keeps its counts over a restart.
const LONG_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// How a quota is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitWindow {
    /// The quota refills evenly, and a burst of it may come at once: in any period, at most the burst and the quota pass.
    #[default]
    Refilling,
    /// Exactly the quota in each period of the clock (UTC), and nothing refills before the period ends.
    Fixed,
}

/// What a bucket belongs to. Unproved text is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
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

impl Limit {
    /// Returns whether the limit counts by a property of the principal.
    pub(in crate::config) fn needs_principal(&self) -> bool {
        !self.by.iter().all(|by| matches!(by, LimitBy::Ip | LimitBy::Route))
    }

    /// Returns whether the counts of this limit outlive a restart: where its period is a day or longer.
    pub fn is_long(&self) -> bool {
        self.quota.period >= LONG_PERIOD
    }

    /// Returns the quota as text: `500/min, burst 50` or `500/min, fixed window`.
    pub fn quota_text(&self) -> String {
        match self.window {
            LimitWindow::Refilling => self.quota.to_string(),
            LimitWindow::Fixed => format!("{}, fixed window", self.quota.rate_text()),
        }
    }
}

impl fmt::Display for LimitBy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Credential => "credential",
            Self::Client => "client",
            Self::Subject => "subject",
            Self::Organization => "organization",
            Self::Ip => "ip",
            Self::Route => "route",
        })
    }
}

/// The families of headers that report limits to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitHeaders {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10). Default true.
    pub standard: bool,
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`. Default true.
    pub legacy: bool,
}

/// How often, counted by what. A route names the limits that hold on it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Limit")]
pub(in crate::config) struct Section {
    /// What shares one bucket; several are counted as a combination. Required.
    #[schemars(required)]
    by: Option<OneOrMany<TypedNode<LimitBy>>>,
    /// Such as `10/s`, `500/min`, `5/hour`, `1000/day`, `10000/month` (30 days); refilled evenly. At most the burst and the
    /// quota pass in any such period. Required.
    #[schemars(required)]
    quota: Option<Text<Rate>>,
    /// How many at once. Default: the number of the quota, as its reader expects who counts per period.
    burst: Option<TypedNode<NonZeroU32>>,
    /// `fixed` lets exactly the quota through in each period of the clock (UTC; a month is 30 days from 1970-01-01), and
    /// nothing refills in between; without `burst`. Default `refilling`.
    window: Option<LimitWindow>,
    /// `shadow` counts what the limit would refuse (`outcome="would_deny"`), refuses nothing and tells clients nothing.
    /// Default `enforce`.
    mode: Option<Mode>,
}

pub(in crate::config) fn convert(
    sections: NamedEntries<Name, Section>,
    checker: &mut Checker<'_>,
) -> BTreeMap<Name, Limit> {
    let mut limits = BTreeMap::new();
    for (name, TypedNode { value: section, at }) in sections.0 {
        let by = checker.need(at, "by", section.by, "such as `by: credential`");
        let mode = section.mode.unwrap_or_default();
        if mode == Mode::Shadow {
            warn_of_shadow("the limit", at, checker);
        }
        let window = section.window.unwrap_or_default();
        if let (LimitWindow::Fixed, Some(burst)) = (window, &section.burst) {
            checker.error_with(
                burst.at,
                "burst-in-fixed-window",
                "a fixed window has no burst: the whole quota may come at once",
                "remove `burst` or `window: fixed`",
            );
        }
        let quota = quota(section.quota, section.burst, at, checker);
        let by = by.map(|by| by.0).unwrap_or_default();
        checker.refuse_duplicates(&by);
        let by = by.into_iter().map(|by| by.value).collect();
        let Some(quota) = quota else {
            continue;
        };
        let limit = Limit {
            name: name.clone(),
            by,
            quota,
            window,
            mode,
        };
        limits.insert(name, limit);
    }
    limits
}

/// Returns the quota that the keys `quota` and `burst` describe. The burst defaults to the whole quota: a reader of
/// "500/min" expects 500 requests at once to pass.
fn quota(
    written: Option<Text<Rate>>,
    burst: Option<TypedNode<NonZeroU32>>,
    at: NodeId,
    checker: &mut Checker<'_>,
) -> Option<Quota> {
    let written = checker.need(at, "quota", written, "such as `quota: 500/min`")?;
    let rate = written.take();
    let given = burst.as_ref().map(|burst| burst.value);
    refuse_large_burst(burst, rate.requests, checker);
    Some(Quota {
        requests: rate.requests,
        period: rate.period,
        burst: given.unwrap_or(rate.requests),
    })
}

/// Reports a burst over the quota: the two numbers were probably swapped.
fn refuse_large_burst(burst: Option<TypedNode<NonZeroU32>>, requests: NonZeroU32, checker: &mut Checker<'_>) {
    if let Some(burst) = burst
        && burst.value > requests
    {
        let problem = checker.with_value(
            burst.at,
            "a burst that is more than the quota allows in its whole period",
        );
        checker.error_with(
            burst.at,
            "bounds-swapped",
            problem,
            "a burst is what may come at once out of the quota",
        );
    }
}

/// So many, and how many of them at once.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Quota")]
pub(in crate::config) struct QuotaSection {
    /// Such as `10/s`, `600/min`, `5/hour`; refilled evenly.
    quota: Option<Text<Rate>>,
    /// How many at once; it may be more than the quota, which then says how fast it comes back.
    burst: Option<TypedNode<NonZeroU32>>,
}

/// Returns a quota of `requests` per minute, for constants.
pub(in crate::config) const fn per_minute(requests: u32, burst: u32) -> Quota {
    Quota {
        requests: NonZeroU32::new(requests).expect("not 0"),
        period: Duration::from_secs(60),
        burst: NonZeroU32::new(burst).expect("not 0"),
    }
}

/// Returns the configured quota, with missing parts from `usual`. A burst from `usual` is at most the configured quota.
pub(in crate::config) fn convert_quota(written: Option<TypedNode<QuotaSection>>, usual: Quota) -> Quota {
    let section = written.map(|written| written.value).unwrap_or_default();
    with_usual(section.quota, section.burst.map(|burst| burst.value), usual)
}

fn with_usual(written: Option<Text<Rate>>, burst: Option<NonZeroU32>, usual: Quota) -> Quota {
    let Some(rate) = written.map(Text::take) else {
        return Quota {
            burst: burst.unwrap_or(usual.burst),
            ..usual
        };
    };
    Quota {
        requests: rate.requests,
        period: rate.period,
        burst: burst.unwrap_or(usual.burst.min(rate.requests)),
    }
}

/// Failed authentications per source address; over it the answer is 429 before anything is looked up.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FailedAuthentication")]
pub(in crate::config) struct FailedSection {
    /// Default `60/min`.
    quota: Option<Text<Rate>>,
    /// How many at once. Default 20, or the number of the quota where that is less.
    burst: Option<TypedNode<NonZeroU32>>,
}

/// `failed_authentication: off`.
#[derive(Debug)]
pub(in crate::config) struct Off;

impl Keyword for Off {
    const KEYWORD: &'static str = "off";
    const ALTERNATIVE: &'static str = "a map with `quota` and `burst`";
}

/// Returns the limit of failed authentications. A missing section stands for the defaults; only `off` disables it.
pub(in crate::config) fn convert_failed(
    written: Option<TypedNode<OrKeyword<FailedSection, Off>>>,
    checker: &mut Checker<'_>,
) -> Option<Quota> {
    let section = match written.map(|written| written.value) {
        None => FailedSection::default(),
        Some(OrKeyword::Keyword(_)) => return None,
        Some(OrKeyword::Value(section)) => section,
    };
    let given = section.burst.as_ref().map(|burst| burst.value);
    let quota = with_usual(section.quota, given, per_minute(60, 20));
    refuse_large_burst(section.burst, quota.requests, checker);
    Some(quota)
}

/// Which families of headers tell a client about its limits.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RateLimitHeaders")]
pub(in crate::config) struct HeadersSection {
    /// `RateLimit-Policy` and `RateLimit`. Default true.
    standard: Option<bool>,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`. Default true.
    legacy: Option<bool>,
}

pub(in crate::config) fn convert_headers(section: HeadersSection) -> RateLimitHeaders {
    RateLimitHeaders {
        standard: section.standard.unwrap_or(true),
        legacy: section.legacy.unwrap_or(true),
    }
}
