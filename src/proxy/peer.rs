//! How does pingora connect to an endpoint?

use crate::config;
use crate::config::UpstreamProtocol;
use pingora::upstreams::peer::HttpPeer;
use pingora::upstreams::peer::HttpUpstreamRequestPolicy;
use std::net::SocketAddr;
use std::time::Duration;

/// The requests that share one HTTP/2 connection to an endpoint. More open a further connection.
const STREAMS_MAX: usize = 100;

/// Returns the peer at `address` for pingora's proxy. Connecting times out like that of [`plain`], and the response within
/// `left`.
pub fn http(address: SocketAddr, settings: &config::Upstream, left: Duration) -> HttpPeer {
    let mut peer = plain(address, settings, left);
    let options = &mut peer.options;
    options.read_timeout = Some(settings.read_timeout.min(left));
    options.write_timeout = Some(settings.write_timeout);
    options.idle_timeout = Some(settings.idle_timeout);
    // The filter writes the whole head, so pingora has nothing to remove.
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    if settings.protocol == UpstreamProtocol::H2c {
        options.set_http_version(2, 2);
        options.max_h2_streams = STREAMS_MAX;
    }
    peer
}

/// Returns a plain TCP peer at `address`. Connecting times out after
/// the upstream's `connect_timeout`, or after `left` if that is less.
pub fn plain(address: SocketAddr, settings: &config::Upstream, left: Duration) -> HttpPeer {
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.connection_timeout = Some(settings.connect_timeout.min(left));
    peer.options.total_connection_timeout = Some(settings.connect_timeout.min(left));
    peer
}
