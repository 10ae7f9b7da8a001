//! How does pingora connect to an endpoint?

use crate::config;
use pingora::upstreams::peer::HttpPeer;
use std::net::SocketAddr;
use std::time::Duration;

/// Returns a plain TCP peer at `address`. Connecting times out after
/// the upstream's `connect_timeout`, or after `left` if that is less.
pub fn plain(address: SocketAddr, settings: &config::Upstream, left: Duration) -> HttpPeer {
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.connection_timeout = Some(settings.connect_timeout.min(left));
    peer.options.total_connection_timeout = Some(settings.connect_timeout.min(left));
    peer
}
