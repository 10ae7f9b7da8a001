//! An endpoint as pingora dials it.

use crate::config;
use pingora::upstreams::peer::HttpPeer;
use std::net::SocketAddr;
use std::time::Duration;

/// Plain HTTP/1.1 to `address`, with every timeout set: pingora's defaults wait for ever. `left` is what is left of the
/// upstream's total, so that an upstream that says nothing is answered for when that ends.
pub fn plain(address: SocketAddr, settings: &config::Upstream, left: Duration) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.connection_timeout = Some(settings.connect_timeout.min(left));
    peer.options.total_connection_timeout = Some(settings.connect_timeout.min(left));
    peer.options.read_timeout = Some(settings.read_timeout.min(left));
    peer.options.write_timeout = Some(settings.write_timeout.min(left));
    peer.options.idle_timeout = Some(settings.idle_timeout);
    Box::new(peer)
}
