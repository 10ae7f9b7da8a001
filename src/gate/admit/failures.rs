//! Has this address failed to authenticate too often?

use crate::limit::LimitState;
use crate::limit::key::source_key;
use crate::limit::quota::CompiledQuota;
use crate::limit::quota::LimitQuota;
use crate::model::client_address::ClientAddress;
use crate::model::clock::Now;
use crate::model::clock::wait_secs;
use crate::model::plan::Quota;
use std::sync::Arc;
use std::time::Duration;

/// The limit of failed authentications per source: an IPv4 address or an IPv6 /64.
///
/// Used only after an authentication has failed, so a valid credential from the same source still passes (S117). A
/// source over the limit gets the same 429 for every failure, so that the response does not reveal whether a key exists
/// (S118).
#[derive(Clone, Debug)]
pub struct FailureLimit {
    quota: LimitQuota,
    state: Arc<LimitState>,
}

impl FailureLimit {
    pub fn compile(quota: &Quota, state: &Arc<LimitState>) -> Self {
        Self {
            quota: LimitQuota::Refilling(CompiledQuota::compile(quota)),
            state: Arc::clone(state),
        }
    }

    /// Counts one failed authentication from `client`.
    ///
    /// # Errors
    /// The limit is already spent. The error is the time to wait, in whole seconds and at least 1, for `Retry-After`.
    pub fn record(&self, client: ClientAddress, now: Now) -> Result<(), Duration> {
        self.state
            .spend(&self.quota, source_key(client), now)
            .map(drop)
            .map_err(whole_secs)
    }

    /// Returns the time until [`Self::record`] succeeds for `client`; `None` when it would succeed now. Counts nothing.
    #[cfg(test)]
    pub fn wait(&self, client: ClientAddress, now: Now) -> Option<Duration> {
        self.state
            .peek(&self.quota, source_key(client), now)
            .err()
            .map(whole_secs)
    }
}

fn whole_secs(wait: Duration) -> Duration {
    Duration::from_secs(wait_secs(wait))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Tick;
    use crate::model::clock::Timestamp;
    use std::num::NonZeroU32;

    const START: Now = Now {
        wall: Timestamp::from_unix_secs(0),
        tick: Tick::ZERO,
    };

    fn limit(burst: u32) -> FailureLimit {
        let quota = Quota {
            requests: NonZeroU32::new(60).unwrap(),
            period: Duration::from_secs(60),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        FailureLimit::compile(&quota, &Arc::new(LimitState::new()))
    }

    fn ip(text: &str) -> ClientAddress {
        ClientAddress::Known(text.parse().unwrap())
    }

    #[test]
    fn s117_failures_are_limited_per_source_and_a_query_counts_nothing() {
        let limit = limit(2);
        let guesser = ip("192.0.2.1");
        for _ in 0..10 {
            assert_eq!(limit.wait(guesser, START), None);
        }
        assert_eq!(limit.record(guesser, START), Ok(()));
        assert_eq!(limit.record(guesser, START), Ok(()));
        assert_eq!(limit.record(guesser, START), Err(Duration::from_secs(1)));
        assert_eq!(limit.wait(guesser, START), Some(Duration::from_secs(1)));
        assert_eq!(limit.record(ip("192.0.2.2"), START), Ok(()));
    }

    #[test]
    fn waiting_as_long_as_told_is_enough() {
        let limit = limit(1);
        let guesser = ip("192.0.2.1");
        assert_eq!(limit.record(guesser, START), Ok(()));
        let wait = limit.record(guesser, START).unwrap_err();
        let later = Now {
            tick: START.tick.saturating_add(wait),
            ..START
        };
        assert_eq!(limit.record(guesser, later), Ok(()));
    }

    #[test]
    fn an_ipv6_64_is_one_source() {
        let limit = limit(1);
        assert_eq!(limit.record(ip("2001:db8::1"), START), Ok(()));
        assert_eq!(limit.record(ip("2001:db8::ffff:2"), START), Err(Duration::from_secs(1)));
        assert_eq!(limit.record(ip("2001:db8:0:1::1"), START), Ok(()));
    }
}
