//! Which socket addresses does an endpoint of an upstream have now?

use arc_swap::ArcSwap;
use std::net::IpAddr;
use std::net::SocketAddr;

/// The host, the port and the addresses of an endpoint. Names are resolved in the background (`fetch/resolve.rs`),
/// never during a request.
#[derive(Debug)]
pub struct EndpointState {
    host: String,
    port: u16,
    addresses: ArcSwap<Vec<SocketAddr>>,
    /// The address if `host` is an IP address; `None` for a name.
    literal: Option<SocketAddr>,
}

impl EndpointState {
    /// Returns an endpoint at `host`, which is a name or an IP address without brackets. A name has no addresses until
    /// [`Self::replace`] sets them.
    pub fn new(host: &str, port: u16) -> Self {
        let literal = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        Self {
            host: host.to_owned(),
            port,
            addresses: ArcSwap::from_pointee(literal.into_iter().collect()),
            literal,
        }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether the addresses come from DNS.
    pub fn is_name(&self) -> bool {
        self.literal.is_none()
    }

    /// Returns whether the host is a name without addresses, because it was never resolved.
    pub fn never_resolved(&self) -> bool {
        self.is_name() && self.addresses.load().is_empty()
    }

    /// Replaces the addresses of a name. Has no effect on [`Self::address`] if the host is an IP address.
    pub fn replace(&self, addresses: Vec<SocketAddr>) {
        self.addresses.store(addresses.into());
    }

    /// Returns the address number `turn` modulo the number of addresses; `None` without addresses.
    pub fn address(&self, turn: usize) -> Option<SocketAddr> {
        if let Some(literal) = self.literal {
            return Some(literal);
        }
        let addresses = self.addresses.load();
        addresses.get(turn % addresses.len().max(1)).copied()
    }
}
