//! Which headers tell a client about its limits?

use crate::config::RateLimitHeaders;
use crate::gate::admit::Admission;
use crate::gate::admit::LimitFacts;
use crate::gate::admit::SpentLimit;
use crate::limit::quota::LimitQuota;
use crate::model::names::Name;
use http::HeaderName;
use http::HeaderValue;
use http::header::RETRY_AFTER;

/// The quota policy (draft-ietf-httpapi-ratelimit-headers-10 section 3).
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The state of the quota (draft-ietf-httpapi-ratelimit-headers-10 section 4).
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Returns the value of `RateLimit-Policy`. The value is the same for every request of a limit, so it is made once.
pub(super) fn policy(name: &Name, quota: &LimitQuota) -> HeaderValue {
    // A `Name` has no character that a structured-field string must escape (RFC 9651 section 3.3.3).
    let text = format!(
        "\"{name}\";q={};w={}",
        quota.policy_requests(),
        quota.policy_window_secs()
    );
    HeaderValue::try_from(text).expect("a name and numbers are visible ASCII")
}

/// Returns the headers for a response to an admitted request; none where no limit applies.
pub fn admission_fields(
    admission: &Admission,
    families: RateLimitHeaders,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    admission
        .closest()
        .into_iter()
        .flat_map(move |facts| of_facts(facts, families))
}

/// Returns the headers of a 429: those of the spent limit, and `Retry-After`, even where both families are off.
pub fn refusal_fields(
    spent: &SpentLimit,
    families: RateLimitHeaders,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    of_facts(spent.facts(), families).chain([(RETRY_AFTER, HeaderValue::from(spent.retry_after_secs()))])
}

/// Returns the headers about a limit. `r` counts down from `q`, and the numbers mean:
/// - `q` is the maximum number of requests at once: the burst, or the requests of a fixed window.
/// - `w` is the time in seconds in which `q` requests refill, rounded up, or the length of a fixed window.
/// - `r` is the number of requests that the client could make now, all at once.
/// - `t` is the time in seconds until the client can make at least one request more than `r`; in a fixed window, until it
///   ends. In a 429, `r` is 0 and `t` equals `Retry-After`.
///
/// `X-RateLimit-Limit`, `-Remaining` and `-Reset` are `q`, `r` and `t`.
fn of_facts(facts: &LimitFacts, families: RateLimitHeaders) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    // Make the pairs one by one: through arrays, each pair was moved five times.
    (0..5).filter_map(move |place| match place {
        0 if families.standard => Some((RATELIMIT_POLICY, facts.policy.clone())),
        1 if families.standard => Some((RATELIMIT, state(facts))),
        2 if families.legacy => Some((X_RATELIMIT_LIMIT, HeaderValue::from(facts.policy_requests))),
        3 if families.legacy => Some((X_RATELIMIT_REMAINING, HeaderValue::from(facts.remaining))),
        4 if families.legacy => Some((X_RATELIMIT_RESET, HeaderValue::from(facts.reset_secs))),
        _ => None,
    })
}

/// Returns the value of `RateLimit`. Every response of a limited route has this field, so the value is built on the
/// stack, without `format!`.
fn state(facts: &LimitFacts) -> HeaderValue {
    // A name has at most 64 characters and a number 20.
    const BYTES_MAX: usize = 128;
    let (mut remaining, mut reset) = (itoa::Buffer::new(), itoa::Buffer::new());
    let pieces = [
        "\"",
        facts.limit.as_str(),
        "\";r=",
        remaining.format(facts.remaining),
        ";t=",
        reset.format(facts.reset_secs),
    ];
    let mut text = [0; BYTES_MAX];
    let mut length = 0;
    for piece in pieces {
        text[length..length + piece.len()].copy_from_slice(piece.as_bytes());
        length += piece.len();
    }
    HeaderValue::from_bytes(&text[..length]).expect("a name and numbers are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limit;
    use crate::config::LimitBy;
    use crate::config::LimitWindow;
    use crate::config::Mode;
    use crate::gate::admit::CompiledLimit;
    use crate::gate::admit::Subject;
    use crate::gate::admit::spend;
    use crate::limit::LimitState;
    use crate::model::client_address::ClientAddress;
    use crate::model::clock::Now;
    use crate::model::clock::Tick;
    use crate::model::clock::Timestamp;
    use crate::model::plan::Quota;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    /// 20 s into a minute.
    const NOW: Now = Now {
        wall: Timestamp::from_unix_secs(1_795_985_600),
        tick: Tick::ZERO,
    };

    const BOTH: RateLimitHeaders = RateLimitHeaders {
        standard: true,
        legacy: true,
    };

    fn per_ip(requests: u32, period: Duration, burst: u32) -> CompiledLimit {
        compile(requests, period, burst, LimitWindow::Refilling)
    }

    fn compile(requests: u32, period: Duration, burst: u32, window: LimitWindow) -> CompiledLimit {
        let limit = Limit {
            name: "per-ip".parse().unwrap(),
            by: vec![LimitBy::Ip],
            quota: Quota {
                requests: NonZeroU32::new(requests).unwrap(),
                period,
                burst: NonZeroU32::new(burst).unwrap(),
            },
            window,
            mode: Mode::Enforce,
        };
        CompiledLimit::compile(&limit, &Arc::new(LimitState::new()))
    }

    fn answer(limit: &CompiledLimit, families: RateLimitHeaders) -> BTreeMap<String, String> {
        let route = "any".parse().unwrap();
        let subject = Subject {
            identity: None,
            client: ClientAddress::Known([192, 0, 2, 1].into()),
            route: &route,
        };
        let headers: Vec<_> = match spend(std::slice::from_ref(limit), subject, NOW) {
            Ok(admission) => admission_fields(&admission, families).collect(),
            Err(spent) => refusal_fields(&spent, families).collect(),
        };
        headers
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }

    /// Returns the name and the two parameters of a field whose list has exactly one item.
    fn parse(field: &str, parameters: [&str; 2]) -> (String, [i64; 2]) {
        let list = sfv::Parser::new(field).parse::<sfv::List>().unwrap();
        let [sfv::ListEntry::Item(item)] = list.as_slice() else {
            panic!("{field} is not a list of one item");
        };
        let number = |key: &str| {
            let value = item.params.get(key).unwrap_or_else(|| panic!("{field} has no {key}"));
            i64::from(value.as_integer().unwrap())
        };
        (
            item.bare_item.as_string().unwrap().as_str().to_owned(),
            parameters.map(number),
        )
    }

    #[test]
    fn an_admission_reports_the_remaining_requests() {
        let headers = answer(&per_ip(500, Duration::from_secs(60), 50), BOTH);
        assert_eq!(headers["ratelimit-policy"], "\"per-ip\";q=50;w=6");
        assert_eq!(headers["ratelimit"], "\"per-ip\";r=49;t=1");
        assert_eq!(headers["x-ratelimit-limit"], "50");
        assert_eq!(headers["x-ratelimit-remaining"], "49");
        assert_eq!(headers["x-ratelimit-reset"], "1");
        assert!(!headers.contains_key("retry-after"));
    }

    #[test]
    fn each_family_can_be_switched_off_but_retry_after_stays() {
        let limit = per_ip(1, Duration::from_secs(60), 1);
        let none = RateLimitHeaders {
            standard: false,
            legacy: false,
        };
        assert_eq!(answer(&limit, none).len(), 0);
        assert_eq!(
            answer(&limit, none),
            BTreeMap::from([("retry-after".into(), "60".into())])
        );
        let legacy = RateLimitHeaders {
            standard: false,
            legacy: true,
        };
        assert_eq!(answer(&limit, legacy).len(), 4);
        let standard = RateLimitHeaders {
            standard: true,
            legacy: false,
        };
        assert_eq!(answer(&limit, standard).len(), 3);
    }

    #[test]
    fn a_fixed_window_reports_its_quota_and_when_it_ends() {
        let limit = compile(5, Duration::from_secs(60), 5, LimitWindow::Fixed);
        for left in ["4", "3", "2", "1", "0", "0"] {
            let headers = answer(&limit, BOTH);
            assert_eq!(headers["ratelimit-policy"], "\"per-ip\";q=5;w=60");
            assert_eq!(headers["ratelimit"], format!("\"per-ip\";r={left};t=40"));
            assert_eq!(headers["x-ratelimit-limit"], "5");
            assert_eq!(headers["x-ratelimit-remaining"], left);
            assert_eq!(headers["x-ratelimit-reset"], "40");
        }
        assert_eq!(answer(&limit, BOTH)["retry-after"], "40");
    }

    proptest! {
        #[test]
        fn s116_headers_are_structured_fields_that_do_not_contradict(
            requests in 1_u32..10_000,
            period_secs in 1_u64..5_000_000,
            burst in 1_u32..50,
            fixed: bool,
        ) {
            let (window, most) = if fixed { (LimitWindow::Fixed, requests.min(50)) } else { (LimitWindow::Refilling, burst) };
            let limit = compile(requests.min(if fixed { 50 } else { u32::MAX }), Duration::from_secs(period_secs), burst, window);
            for left in (0..most).rev() {
                let headers = answer(&limit, BOTH);
                let (name, [q, w]) = parse(&headers["ratelimit-policy"], ["q", "w"]);
                prop_assert_eq!(&name, "per-ip");
                prop_assert!(w >= 1);
                let (name, [r, t]) = parse(&headers["ratelimit"], ["r", "t"]);
                prop_assert_eq!(&name, "per-ip");
                prop_assert_eq!(r, i64::from(left));
                // The limit that the headers name is the one that `r` counts down from.
                prop_assert_eq!(q, i64::from(most));
                prop_assert_eq!(&headers["x-ratelimit-limit"], &most.to_string());
                prop_assert_eq!(&headers["x-ratelimit-remaining"], &left.to_string());
                prop_assert_eq!(&headers["x-ratelimit-reset"], &t.to_string());
                prop_assert!(t >= 1);
            }
            let headers = answer(&limit, BOTH);
            let (_, [r, t]) = parse(&headers["ratelimit"], ["r", "t"]);
            prop_assert_eq!(r, 0);
            prop_assert_eq!(headers["retry-after"].parse::<i64>().unwrap(), t);
        }
    }
}
