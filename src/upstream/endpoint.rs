//! Which socket addresses does an endpoint of an upstream have now, and which of them fail?

use crate::model::clock::Tick;
use arc_swap::ArcSwap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The time without a failure after which a response shows that an address serves again. Without it, an address that fails
/// every second request would change its state, and write to the log, with every request.
const RECOVERY: Duration = Duration::from_secs(10);

/// An address and its failures since it began to fail.
#[derive(Debug)]
struct AddressState {
    address: SocketAddr,
    /// 0 while the address serves.
    failures: AtomicU64,
    /// The time of the last failure, as [`Tick::as_nanos`].
    last_failure: AtomicU64,
}

impl AddressState {
    const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            failures: AtomicU64::new(0),
            last_failure: AtomicU64::new(0),
        }
    }

    fn copy(&self) -> Self {
        Self {
            address: self.address,
            failures: AtomicU64::new(self.failures.load(Ordering::Relaxed)),
            last_failure: AtomicU64::new(self.last_failure.load(Ordering::Relaxed)),
        }
    }

    fn note_failure(&self, now: Tick) -> bool {
        self.last_failure.store(now.as_nanos(), Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed) == 0
    }

    fn note_success(&self, now: impl FnOnce() -> Tick) -> Option<u64> {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let last_failure = Tick::from_nanos(self.last_failure.load(Ordering::Relaxed));
        if now().saturating_since(last_failure) < RECOVERY {
            return None;
        }
        // Of several responses at once, one sees the failures.
        Some(self.failures.swap(0, Ordering::Relaxed)).filter(|failures| *failures > 0)
    }
}

/// The host, the port and the addresses of an endpoint. Names are resolved in the background (`fetch/resolve.rs`),
/// never during a request.
#[derive(Debug)]
pub struct EndpointState {
    host: String,
    port: u16,
    addresses: ArcSwap<Vec<AddressState>>,
    /// The address if `host` is an IP address; `None` for a name.
    literal: Option<AddressState>,
}

impl EndpointState {
    /// Returns an endpoint at `host`, which is a name or an IP address without brackets. A name has no addresses until
    /// [`Self::replace`] sets them.
    pub fn new(host: &str, port: u16) -> Self {
        let literal = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        Self {
            host: host.to_owned(),
            port,
            addresses: ArcSwap::default(),
            literal: literal.map(AddressState::new),
        }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether the addresses come from DNS.
    pub const fn is_name(&self) -> bool {
        self.literal.is_none()
    }

    /// Returns whether the host is a name without addresses, because it was never resolved.
    pub fn never_resolved(&self) -> bool {
        self.is_name() && self.addresses.load().is_empty()
    }

    /// Replaces the addresses of a name; those that stay keep their failures. Has no effect if the host is an IP address.
    pub fn replace(&self, addresses: Vec<SocketAddr>) {
        let before = self.addresses.load();
        let state = |address: SocketAddr| match before.iter().find(|state| state.address == address) {
            Some(state) => state.copy(),
            None => AddressState::new(address),
        };
        let addresses: Vec<AddressState> = addresses.into_iter().map(state).collect();
        self.addresses.store(addresses.into());
    }

    /// Records a failure of `address`. Returns whether the address began to fail with it.
    pub fn note_failure(&self, address: SocketAddr, now: Tick) -> bool {
        self.with(address, |state| state.note_failure(now)).unwrap_or_default()
    }

    /// Records a response of `address`. Returns the number of failures before it where the address serves again with it.
    pub fn note_success(&self, address: SocketAddr, now: impl FnOnce() -> Tick) -> Option<u64> {
        self.with(address, |state| state.note_success(now)).flatten()
    }

    /// Calls `with` with the state of `address`; `None` if the endpoint does not have it any more.
    fn with<T>(&self, address: SocketAddr, with: impl FnOnce(&AddressState) -> T) -> Option<T> {
        if let Some(literal) = &self.literal {
            return Some(with(literal));
        }
        let addresses = self.addresses.load();
        addresses.iter().find(|state| state.address == address).map(with)
    }

    /// Returns the address number `turn` modulo the number of addresses; `None` without addresses.
    pub fn address(&self, turn: usize) -> Option<SocketAddr> {
        if let Some(literal) = &self.literal {
            return Some(literal.address);
        }
        let addresses = self.addresses.load();
        addresses.get(turn % addresses.len().max(1)).map(|state| state.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Tick {
        Tick::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn an_address_begins_to_fail_once_and_serves_again_after_a_time_without_failures() {
        let address = "127.0.0.1:80".parse().unwrap();
        let endpoint = EndpointState::new("127.0.0.1", 80);
        assert_eq!(endpoint.note_success(address, || at(1)), None);
        assert!(endpoint.note_failure(address, at(2)));
        assert_eq!(
            endpoint.note_success(address, || at(3)),
            None,
            "it fails every second time"
        );
        assert!(!endpoint.note_failure(address, at(4)));
        assert_eq!(endpoint.note_success(address, || at(13)), None);
        assert_eq!(endpoint.note_success(address, || at(14)), Some(2));
        assert_eq!(endpoint.note_success(address, || at(15)), None);
        assert!(endpoint.note_failure(address, at(16)), "it fails anew");
    }

    #[test]
    fn the_addresses_of_a_name_fail_apart_and_keep_their_failures() {
        let [one, two, three]: [SocketAddr; 3] = [1, 2, 3].map(|last| ([192, 0, 2, last], 80).into());
        let endpoint = EndpointState::new("api.example", 80);
        assert!(!endpoint.note_failure(one, at(1)), "it has no addresses yet");
        endpoint.replace(vec![one, two]);
        assert!(endpoint.note_failure(one, at(1)) && endpoint.note_failure(two, at(1)));
        endpoint.replace(vec![two, three]);
        assert_eq!(endpoint.note_success(two, || at(20)), Some(1));
        assert_eq!(endpoint.note_success(three, || at(20)), None);
        endpoint.replace(vec![one]);
        assert_eq!(
            endpoint.note_success(one, || at(40)),
            None,
            "an address that comes back is new"
        );
    }
}
