//! How many more may fail now? The generic cell rate algorithm for what the control side counts: one instant each.

use crate::model::clock::Tick;
use crate::model::plan::Quota;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::time::Duration;

/// So many at once, and one more each so often. What is remembered is when all would be recovered (the theoretical
/// arrival time).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    pub burst: u32,
    pub one_each: Duration,
}

impl Gcra {
    pub fn of(quota: &Quota) -> Self {
        Self {
            burst: quota.burst.get(),
            one_each: quota.period / quota.requests.get(),
        }
    }

    /// How long until one more may; `None` when it may now.
    pub fn wait(self, recovered: Tick, now: Tick) -> Option<Duration> {
        let ahead = recovered.saturating_since(now) + self.one_each;
        let over = ahead.saturating_sub(self.one_each.saturating_mul(self.burst));
        (!over.is_zero()).then_some(over)
    }

    /// What is to be remembered after one more.
    pub fn spend(self, recovered: Tick, now: Tick) -> Tick {
        recovered.max(now).saturating_add(self.one_each)
    }
}

/// One IPv4 address, or the /64 of an IPv6 one: within it a host takes whichever address it likes.
pub fn source_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}
