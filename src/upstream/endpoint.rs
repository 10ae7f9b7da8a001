//! Which addresses does an endpoint of an upstream have now?

use arc_swap::ArcSwap;
use std::net::IpAddr;
use std::net::SocketAddr;

/// The name and the addresses of an endpoint. Names are resolved
/// in the background (`fetch/resolve.rs`), never during a request.
#[derive(Debug)]
pub struct EndpointState {
    host: String,
    port: u16,
    addresses: ArcSwap<Vec<SocketAddr>>,
    literal: Option<SocketAddr>,
}

impl EndpointState {
    /// Returns the endpoint `host`, a name or an address without
    /// brackets. A name has no addresses until it is resolved.
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

    /// Returns whether the endpoint is a name that was never resolved.
    pub fn never_resolved(&self) -> bool {
        self.is_name() && self.addresses.load().is_empty()
    }

    pub fn replace(&self, addresses: Vec<SocketAddr>) {
        self.addresses.store(addresses.into());
    }

    /// Returns one of the addresses; `turn` rotates over several.
    pub fn address(&self, turn: usize) -> Option<SocketAddr> {
        if let Some(literal) = self.literal {
            return Some(literal);
        }
        let addresses = self.addresses.load();
        addresses.get(turn % addresses.len().max(1)).copied()
    }
}
