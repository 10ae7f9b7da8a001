//! Who may use the admin API? Whoever has the configured token (RFC 6750), and guesses at it are few.

use crate::control::admin::answer::Answer;
use crate::control::admin::answer::problem;
use crate::model::clock::Tick;
use crate::model::secret::Secret;
use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

/// Wrong tokens from one source: so many at once, and one more each [`ONE_EACH`].
const BURST: u32 = 5;
const ONE_EACH: Duration = Duration::from_secs(1);
/// Sources remembered. Beyond it they share one count, so that many addresses buy no more guesses and no more memory.
const SOURCES_MAX: usize = 1024;
const SHARED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Why a request may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Refusal {
    /// No token is configured, so nobody may.
    Off,
    TooManyFailures {
        retry_after: Duration,
    },
    Missing,
    Wrong,
}

impl Refusal {
    pub(in crate::control) fn answer(self) -> Answer {
        let challenge = |error: &'static str| (header::WWW_AUTHENTICATE, HeaderValue::from_static(error));
        match self {
            Self::Off => problem(
                StatusCode::FORBIDDEN,
                "admin-api-off",
                "the admin API is off: set `admin.token` in the configuration (\"${KEYGATE_ADMIN_TOKEN}\")",
            ),
            Self::TooManyFailures { retry_after } => {
                let secs = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                let detail = "too many wrong tokens came from this address; nothing was compared";
                problem(StatusCode::TOO_MANY_REQUESTS, "too-many-failures", detail)
                    .with(header::RETRY_AFTER, HeaderValue::from(secs.max(1)))
            }
            Self::Missing => {
                let detail = "send the token of `admin.token` as `Authorization: Bearer …`";
                let (name, value) = challenge("Bearer realm=\"keygate admin\"");
                problem(StatusCode::UNAUTHORIZED, "credential-missing", detail).with(name, value)
            }
            Self::Wrong => {
                let detail = "this is not the token of `admin.token`";
                let (name, value) = challenge("Bearer realm=\"keygate admin\", error=\"invalid_token\"");
                problem(StatusCode::UNAUTHORIZED, "invalid-token", detail).with(name, value)
            }
        }
    }
}

pub(in crate::control) struct Access {
    token: RwLock<Option<Secret<Vec<u8>>>>,
    /// By source: when it would have recovered from all its failures (the theoretical arrival time of GCRA).
    failures: Mutex<HashMap<IpAddr, Tick>>,
}

impl Access {
    pub(in crate::control) fn new(token: Option<Secret<Vec<u8>>>) -> Self {
        Self {
            token: RwLock::new(token),
            failures: Mutex::default(),
        }
    }

    pub(in crate::control) fn replace(&self, token: Option<Secret<Vec<u8>>>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// # Errors
    /// Anything but exactly one `Authorization: Bearer` with the token. A source whose guesses are spent is refused
    /// without a comparison, also with the right token: else guessing could simply go on.
    pub(in crate::control) fn check(&self, headers: &HeaderMap, peer: IpAddr, now: Tick) -> Result<(), Refusal> {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = token.as_ref() else {
            return Err(Refusal::Off);
        };
        let source = source_of(peer);
        if let Some(retry_after) = self.spent(source, now) {
            return Err(Refusal::TooManyFailures { retry_after });
        }
        let Some(shown) = bearer(headers) else {
            return Err(Refusal::Missing);
        };
        if Secret::new(shown.to_vec()) == *token {
            return Ok(());
        }
        self.count(source, now);
        Err(Refusal::Wrong)
    }

    /// How long until `source` may guess again; `None` when it may now.
    fn spent(&self, source: IpAddr, now: Tick) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let known = if failures.len() >= SOURCES_MAX && !failures.contains_key(&source) {
            failures.get(&SHARED)
        } else {
            failures.get(&source)
        };
        let ahead = known?.saturating_since(now) + ONE_EACH;
        let over = ahead.saturating_sub(ONE_EACH * BURST);
        (!over.is_zero()).then_some(over)
    }

    fn count(&self, source: IpAddr, now: Tick) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= SOURCES_MAX {
            failures.retain(|_, recovered| *recovered > now);
        }
        let full = failures.len() >= SOURCES_MAX && !failures.contains_key(&source);
        let recovered = failures.entry(if full { SHARED } else { source }).or_insert(now);
        *recovered = (*recovered).max(now).saturating_add(ONE_EACH);
    }
}

/// One IPv4 address, or the /64 of an IPv6 one: within it a host takes whichever address it likes.
fn source_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// What follows the scheme of the one `Authorization`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn access() -> Access {
        Access::new(Some(Secret::new(TOKEN.into())))
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn with(token: &str) -> HeaderMap {
        headers(&[&format!("Bearer {token}")])
    }

    #[test]
    fn exactly_one_bearer_token_that_is_the_configured_one_may() {
        let check = |values: &[&str], expected| {
            assert_eq!(
                access().check(&headers(values), HERE, Tick::ZERO),
                expected,
                "{values:?}"
            );
        };
        let good = format!("Bearer {TOKEN}");
        check(&[&good], Ok(()));
        check(&[&format!("bearer {TOKEN}")], Ok(()));
        for missing in [&[][..], &["Basic abc"], &["Bearer"], &[""], &[&good, &good]] {
            check(missing, Err(Refusal::Missing));
        }
        for wrong in [
            "Bearer ",
            "Bearer x",
            &format!("Bearer {TOKEN} "),
            &format!("Bearer {TOKEN}0"),
            &format!("Bearer {}", &TOKEN[1..]),
            &format!("Bearer  {TOKEN}"),
            &format!("Bearer {}", TOKEN.to_uppercase()),
        ] {
            check(&[wrong], Err(Refusal::Wrong));
        }
    }

    #[test]
    fn without_a_configured_token_nobody_may_and_a_replaced_one_is_gone() {
        let access = Access::new(None);
        assert_eq!(access.check(&with(""), HERE, Tick::ZERO), Err(Refusal::Off));
        assert_eq!(access.check(&headers(&[]), HERE, Tick::ZERO), Err(Refusal::Off));
        access.replace(Some(Secret::new(TOKEN.into())));
        assert_eq!(access.check(&with(TOKEN), HERE, Tick::ZERO), Ok(()));
        access.replace(Some(Secret::new(b"another token of 32 characters!!".to_vec())));
        assert_eq!(access.check(&with(TOKEN), HERE, Tick::ZERO), Err(Refusal::Wrong));
    }

    #[test]
    fn guesses_are_few_and_waiting_as_long_as_told_is_enough() {
        let access = access();
        for _ in 0..BURST {
            assert_eq!(access.check(&with("x"), HERE, Tick::ZERO), Err(Refusal::Wrong));
        }
        // The right one is not compared either, and asking costs nothing more.
        for token in ["x", TOKEN, TOKEN] {
            let retry_after = ONE_EACH;
            assert_eq!(
                access.check(&with(token), HERE, Tick::ZERO),
                Err(Refusal::TooManyFailures { retry_after })
            );
        }
        let elsewhere = "192.0.2.1".parse().unwrap();
        assert_eq!(access.check(&with(TOKEN), elsewhere, Tick::ZERO), Ok(()));
        let almost = Tick::ZERO.saturating_add(ONE_EACH - Duration::from_nanos(1));
        assert!(access.check(&with(TOKEN), HERE, almost).is_err());
        let then = Tick::ZERO.saturating_add(ONE_EACH);
        assert_eq!(access.check(&with(TOKEN), HERE, then), Ok(()));
        assert_eq!(access.check(&with("x"), HERE, then), Err(Refusal::Wrong));
        assert!(access.check(&with(TOKEN), HERE, then).is_err());
    }

    #[test]
    fn many_addresses_buy_neither_guesses_nor_memory() {
        let access = access();
        let guess = |number: u128| {
            let peer = IpAddr::V6(Ipv6Addr::from_bits(number));
            access.check(&with("x"), peer, Tick::ZERO)
        };
        // One /64 is one source.
        for low in 0..u128::from(BURST) {
            assert_eq!(guess(1 << 127 | low), Err(Refusal::Wrong));
        }
        assert!(matches!(guess(1 << 127 | 77), Err(Refusal::TooManyFailures { .. })));
        let mut compared = 0;
        for high in 1..5_000_u128 {
            compared += usize::from(guess(high << 64) == Err(Refusal::Wrong));
        }
        assert!(compared <= SOURCES_MAX + BURST as usize, "{compared}");
        assert!(access.failures.lock().unwrap().len() <= SOURCES_MAX + 1);
        let mapped = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(mapped("::ffff:192.0.2.1"), mapped("192.0.2.1"));
    }
}
