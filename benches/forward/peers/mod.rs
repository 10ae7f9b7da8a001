//! Which other proxies are measured? Those that packages provide; a proxy that is not installed is left out.

pub mod envoy;
pub mod haproxy;
pub mod nginx;

use crate::credentials::Issuer;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;

/// The checks of a peer on one of its addresses. Keygate has one address, and the path selects the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    Nothing,
    ApiKey,
    /// RS256 signature, issuer, audience, expiry and the scope `orders:read`.
    Token,
    /// Like `Token`, with a limit per subject that is never reached, and an access log in a file.
    TokenLimitLog,
}

impl Checks {
    pub const ALL: [Self; 4] = [Self::Nothing, Self::ApiKey, Self::Token, Self::TokenLimitLog];
}

/// The configuration of a peer.
pub struct PeerConfig<'a> {
    pub upstream: SocketAddr,
    pub issuer: &'a Issuer,
    pub keys: &'a [String],
}

/// An address for each of [`Checks`], in that order.
pub type Addresses = [SocketAddr; Checks::ALL.len()];

/// Returns loopback addresses with ports that were free a moment ago: peers do not report a port that they choose.
pub fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address"))
}
