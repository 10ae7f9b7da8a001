//! When is an issuer's key set fetched next?

use crate::config::issuer::RemoteKeys;
use http::HeaderMap;
use http::HeaderValue;
use http::header::AGE;
use http::header::CACHE_CONTROL;
use std::time::Duration;

/// The lifetime of a set whose response states no lifetime.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// The pause after the first failure; it doubles with each further failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause before the first set is loaded, without jitter. Until then, every token of the issuer is rejected
/// with 503.
const START_RETRY_MAX: Duration = Duration::from_secs(30);
/// The fraction by which a pause is spread at random, so that replicas started together do not fetch together.
const JITTER: f64 = 0.1;

/// The freshness that a response states (RFC 9111 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// There is no `max-age`, no `no-cache` and no `no-store`.
    Unspecified,
    /// `no-store`, `no-cache`, or an unreadable value. RFC 9111 section 4.2.1 encourages caches to treat an unreadable
    /// value as stale.
    None,
    /// The smallest `max-age`, less `Age`.
    For(Duration),
}

impl Freshness {
    /// Reads `Cache-Control` and `Age`. Ignores `s-maxage`, which is for shared caches.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut freshness = Self::Unspecified;
        for value in headers.get_all(CACHE_CONTROL) {
            let Ok(text) = value.to_str() else {
                return Self::None;
            };
            for directive in text.split(',') {
                let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
                let name = name.trim();
                if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
                    return Self::None;
                }
                if name.eq_ignore_ascii_case("max-age") {
                    let Some(max_age) = delta_seconds(argument.trim().trim_matches('"')) else {
                        return Self::None;
                    };
                    freshness = match freshness {
                        Self::For(earlier) => Self::For(earlier.min(max_age)),
                        Self::Unspecified | Self::None => Self::For(max_age),
                    };
                }
            }
        }
        match freshness {
            Self::For(max_age) => Self::For(max_age.saturating_sub(age(headers))),
            Self::Unspecified | Self::None => freshness,
        }
    }
}

/// Returns the time that the response has spent in caches. An unreadable `Age` is ignored (RFC 9111 section 5.1).
fn age(headers: &HeaderMap) -> Duration {
    let text = headers.get(AGE).map(HeaderValue::to_str);
    text.and_then(Result::ok)
        .and_then(delta_seconds)
        .unwrap_or(Duration::ZERO)
}

/// Parses delta-seconds (RFC 9111 section 1.2.2): digits only. A value too large for `u64` becomes `u32::MAX`.
fn delta_seconds(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))))
}

/// Returns the pause after a success: the stated freshness, between `min_refresh` and `max_refresh`, spread by up to a
/// tenth either way within these bounds. `random` is in 0..1.
pub fn after_success(source: &RemoteKeys, freshness: Freshness, random: f64) -> Duration {
    let lifetime = match freshness {
        Freshness::Unspecified => DEFAULT_LIFETIME,
        Freshness::None => Duration::ZERO,
        Freshness::For(duration) => duration,
    };
    // The configuration rejects a `min_refresh` above `max_refresh`; this line would use `min_refresh`.
    let base = lifetime.min(source.max_refresh).max(source.min_refresh);
    let shortest = base.mul_f64(1.0 - JITTER).max(source.min_refresh);
    let longest = base.mul_f64(1.0 + JITTER).min(source.max_refresh).max(shortest);
    shortest + (longest - shortest).mul_f64(random)
}

/// The history of an issuer's set: never loaded, or loaded at least once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadHistory {
    Never,
    Loaded,
}

/// Returns the pause after `failures` failed attempts in a row (1 for the first): 1 s, 2 s, 4 s …, at most 30 s until a
/// set is loaded. Afterwards at most `min_refresh`, but at least `cooldown` and 1 s. Adds up to a tenth at random;
/// `random` is in 0..1.
pub fn after_failure(source: &RemoteKeys, loaded: LoadHistory, failures: u32, random: f64) -> Duration {
    let pause = match loaded {
        LoadHistory::Never => return backoff(failures, random),
        LoadHistory::Loaded => doubled(failures)
            .min(source.min_refresh)
            .max(source.cooldown)
            .max(FIRST_RETRY),
    };
    pause.mul_f64(1.0 + JITTER * random)
}

/// Returns the pause after `failures` failed attempts in a row to get something without which requests are refused: 1 s,
/// 2 s, 4 s …, at most 30 s. Adds up to a tenth at random; `random` is in 0..1.
pub fn backoff(failures: u32, random: f64) -> Duration {
    doubled(failures).min(START_RETRY_MAX).mul_f64(1.0 + JITTER * random)
}

fn doubled(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::fake_issuer::jwks_url;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[track_caller]
    fn check(values: &[&str], age: Option<&str>, expected: Freshness) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        if let Some(age) = age {
            headers.insert(AGE, HeaderValue::from_str(age).unwrap());
        }
        assert_eq!(Freshness::of(&headers), expected, "{values:?} {age:?}");
    }

    #[test]
    fn cache_control_is_read_as_in_rfc_9111() {
        let five = Freshness::For(secs(5));
        check(&[], None, Freshness::Unspecified);
        check(&["public, must-revalidate"], None, Freshness::Unspecified);
        check(&["s-maxage=9"], None, Freshness::Unspecified);
        check(&["max-age=5"], None, five);
        check(&["public, MAX-AGE=5 , must-revalidate"], None, five);
        check(&["max-age=\"5\""], None, five);
        check(&["max-age=9, max-age=5"], None, five);
        check(&["max-age=5", "max-age=9"], None, five);
        check(&["max-age=15"], Some("10"), five);
        check(&["max-age=15"], Some("20"), Freshness::For(secs(0)));
        check(&["max-age=5"], Some("-1"), five);
        check(&["no-store"], None, Freshness::None);
        check(&["max-age=5, No-Cache"], None, Freshness::None);
        check(&["max-age=5", "no-store"], None, Freshness::None);
        check(&["no-cache=\"set-cookie\", max-age=5"], None, Freshness::None);
        for unreadable in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=5s",
            "max-age=+5",
            "max-age=5.0",
            "max-age=\u{e9}",
        ] {
            check(&[unreadable], None, Freshness::None);
        }
        check(
            &["max-age=99999999999999999999999"],
            None,
            Freshness::For(Duration::from_secs(u64::from(u32::MAX))),
        );
    }

    #[test]
    fn refresh_stays_between_its_bounds_and_is_spread() {
        let mut source = jwks_url("https://issuer.example/");
        source.min_refresh = secs(60);
        source.max_refresh = secs(3600);
        let of = |freshness, random| after_success(&source, freshness, random);
        assert_eq!(of(Freshness::Unspecified, 0.0), secs(270));
        assert_eq!(of(Freshness::Unspecified, 0.5), secs(300));
        assert_eq!(of(Freshness::Unspecified, 1.0), secs(330));
        for short in [
            Freshness::None,
            Freshness::For(secs(0)),
            Freshness::For(secs(59)),
            Freshness::For(secs(60)),
        ] {
            assert_eq!(of(short, 0.0), secs(60), "{short:?}");
            assert_eq!(of(short, 1.0), secs(66), "{short:?}");
        }
        for long in [secs(3600), secs(3601), secs(u64::from(u32::MAX))] {
            assert_eq!(of(Freshness::For(long), 0.0), secs(3240), "{long:?}");
            assert_eq!(of(Freshness::For(long), 1.0), secs(3600), "{long:?}");
        }
        assert_eq!(of(Freshness::For(secs(1000)), 0.5), secs(1000));
    }

    #[test]
    fn at_start_failures_are_retried_faster() {
        let source = jwks_url("https://issuer.example/");
        let pauses: Vec<_> = (1..=7)
            .map(|n| after_failure(&source, LoadHistory::Never, n, 0.0).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(after_failure(&source, LoadHistory::Never, u32::MAX, 1.0), secs(33));
    }

    #[test]
    fn once_loaded_failures_keep_to_the_cooldown() {
        let mut source = jwks_url("https://issuer.example/");
        source.cooldown = secs(30);
        source.min_refresh = secs(60);
        let pauses = |source: &RemoteKeys| -> Vec<_> {
            (1..=8)
                .map(|n| after_failure(source, LoadHistory::Loaded, n, 0.0).as_secs())
                .collect()
        };
        assert_eq!(pauses(&source), [30, 30, 30, 30, 30, 32, 60, 60]);
        source.cooldown = secs(0);
        assert_eq!(pauses(&source), [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
