//! An endpoint as pingora dials it.

use crate::config;
use pingora::upstreams::peer::HttpPeer;
use std::net::SocketAddr;

/// Plain HTTP/1.1 to `address`, with every timeout set: pingora's defaults wait for ever.
pub fn plain(address: SocketAddr, settings: &config::Upstream) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.connection_timeout = Some(settings.connect_timeout);
    peer.options.total_connection_timeout = Some(settings.connect_timeout);
    peer.options.read_timeout = Some(settings.read_timeout);
    peer.options.write_timeout = Some(settings.write_timeout);
    peer.options.idle_timeout = Some(settings.idle_timeout);
    Box::new(peer)
}
