//! Other proxies, from packages that a person can install. One that is not there is left out.

pub mod envoy;
pub mod haproxy;
pub mod nginx;

use crate::credentials::Issuer;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;

/// What a peer checks on one of its addresses. Keygate has one address for all, and paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    Nothing,
    ApiKey,
    /// RS256 signature, issuer, audience, expiry and the scope `orders:read`.
    Token,
    /// The same, a limit per subject that nobody reaches, and an access log in a file.
    TokenLimitLog,
}

impl Checks {
    pub const ALL: [Self; 4] = [Self::Nothing, Self::ApiKey, Self::Token, Self::TokenLimitLog];
}

/// What a peer is configured with.
pub struct PeerConfig<'a> {
    pub upstream: SocketAddr,
    pub issuer: &'a Issuer,
    pub keys: &'a [String],
}

/// An address for each of [`Checks`], in that order.
pub type Addresses = [SocketAddr; Checks::ALL.len()];

/// Ports that were free a moment ago: peers say nowhere which they would have taken.
pub fn free_addresses() -> Addresses {
    let listeners = Checks::ALL.map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address"))
}
