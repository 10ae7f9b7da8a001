//! Which client has failed to authenticate too often, and from
//! where (S139)? Counted per client and source, in bounded memory.

use crate::limit::key::source_of;
use crate::limit::quota::CompiledQuota;
use crate::limit::refilling::Bucket;
use crate::model::client_address::ClientAddress;
use crate::model::clock::Tick;
use crate::model::id::ClientId;
use crate::model::plan::Quota;
use quick_cache::sync::Cache;
use std::time::Duration;

/// The number of pairs in memory. Beyond it, pairs that are rarely seen are dropped, so no client is refused because of
/// others. An attacker who names so many clients to be forgotten gains little: secrets are too long to be guessed.
const PAIRS_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub struct Failures {
    /// The remaining failures of each pair. Unknown clients are counted too:
    /// otherwise the first refusal would reveal that a client exists (S133).
    buckets: Cache<(ClientId, ClientAddress), Bucket>,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            buckets: Cache::new(PAIRS_MAX),
        }
    }
}

impl Failures {
    /// Returns the time until `client` may authenticate from `source` again; `None` if it may now.
    pub fn retry_after(&self, client: &ClientId, source: ClientAddress, quota: &Quota, now: Tick) -> Option<Duration> {
        let bucket = self.buckets.get(&(client.clone(), source.map(source_of)))?;
        bucket.wait(&CompiledQuota::compile(quota), now)
    }

    /// Counts a failure of `client` from `source`.
    pub fn count(&self, client: &ClientId, source: ClientAddress, quota: &Quota, now: Tick) {
        let pair = (client.clone(), source.map(source_of));
        // Two concurrent failures may count once: this is a limit on guessing, not an exact count.
        let bucket = self.buckets.get(&pair).unwrap_or_default();
        let bucket = bucket.spend(&CompiledQuota::compile(quota), now);
        self.buckets.insert(pair, bucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::net::Ipv4Addr;
    use std::net::Ipv6Addr;
    use std::num::NonZeroU32;

    const HERE: ClientAddress = ClientAddress::Known(IpAddr::V4(Ipv4Addr::LOCALHOST));

    fn quota() -> Quota {
        Quota {
            requests: NonZeroU32::new(10).unwrap(),
            period: Duration::from_secs(60),
            burst: NonZeroU32::new(20).unwrap(),
        }
    }

    fn client(id: &str) -> ClientId {
        id.parse().unwrap()
    }

    /// Fails to authenticate; returns the time to wait if the attempt is refused.
    fn fail(failures: &Failures, id: &str, source: ClientAddress, now: Tick) -> Option<Duration> {
        let wait = failures.retry_after(&client(id), source, &quota(), now);
        if wait.is_none() {
            failures.count(&client(id), source, &quota(), now);
        }
        wait
    }

    #[test]
    fn s139_fifty_failures_in_a_minute_are_stopped_and_others_go_on() {
        let failures = Failures::default();
        let mut compared = 0;
        for second in 0..50 {
            let now = Tick::ZERO.saturating_add(Duration::from_secs(second));
            compared += usize::from(fail(&failures, "a", HERE, now).is_none());
        }
        // Twenty at once, and one more every six seconds.
        assert_eq!(compared, 28);
        let now = Tick::ZERO.saturating_add(Duration::from_secs(50));
        assert!(fail(&failures, "a", HERE, now).is_some());
        assert_eq!(fail(&failures, "b", HERE, now), None);
        let elsewhere = ClientAddress::Known("192.0.2.1".parse().unwrap());
        assert_eq!(fail(&failures, "a", elsewhere, now), None);
        // The clients of a proxy that does not name them are not the proxy.
        let behind = ClientAddress::Unknown {
            proxy: Ipv4Addr::LOCALHOST.into(),
        };
        assert_eq!(fail(&failures, "a", behind, now), None);
    }

    #[test]
    fn waiting_exactly_as_long_as_told_is_enough() {
        let failures = Failures::default();
        while fail(&failures, "a", HERE, Tick::ZERO).is_none() {}
        let wait = fail(&failures, "a", HERE, Tick::ZERO).unwrap();
        let almost = Tick::ZERO.saturating_add(wait - Duration::from_nanos(1));
        assert!(failures.retry_after(&client("a"), HERE, &quota(), almost).is_some());
        let then = Tick::ZERO.saturating_add(wait);
        assert_eq!(fail(&failures, "a", HERE, then), None);
        assert!(fail(&failures, "a", HERE, then).is_some());
    }

    #[test]
    fn one_ipv6_network_is_one_source_and_memory_is_bounded() {
        let failures = Failures::default();
        let peer = |number: u128| ClientAddress::Known(IpAddr::V6(Ipv6Addr::from_bits(number)));
        for low in 0..20 {
            assert_eq!(fail(&failures, "a", peer(1 << 127 | low), Tick::ZERO), None);
        }
        assert!(fail(&failures, "a", peer(1 << 127 | 77), Tick::ZERO).is_some());
        for high in 1..40_000_u128 {
            failures.count(&client("a"), peer(high << 64), &quota(), Tick::ZERO);
        }
        assert!(failures.buckets.len() <= PAIRS_MAX);
        assert_eq!(fail(&failures, "a", HERE, Tick::ZERO), None);
    }
}
