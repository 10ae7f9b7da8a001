//! How does pingora connect to an endpoint, and what went wrong where it does not?

use crate::config;
use crate::config::UpstreamProtocol;
use crate::model::resource_shortage::ResourceShortage;
use crate::model::upstream_failure::UpstreamFailure;
use pingora::Error;
use pingora::ErrorType;
use pingora::upstreams::peer::HttpPeer;
use pingora::upstreams::peer::HttpUpstreamRequestPolicy;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The number of requests that share one HTTP/2 connection to an endpoint. Another request opens another connection.
const STREAMS_MAX: usize = 100;

/// Returns the peer at `address` for pingora's proxy. Connecting times out like that of [`plain`], and the response within
/// `left`.
pub fn http(address: SocketAddr, settings: &config::Upstream, timeouts: &config::Timeouts, left: Duration) -> HttpPeer {
    let mut peer = plain(address, timeouts, left);
    let options = &mut peer.options;
    options.read_timeout = Some(timeouts.read.min(left));
    options.write_timeout = Some(timeouts.write);
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
/// `timeouts.connect`, or after `left` if that is less.
pub fn plain(address: SocketAddr, timeouts: &config::Timeouts, left: Duration) -> HttpPeer {
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.connection_timeout = Some(timeouts.connect.min(left));
    peer.options.total_connection_timeout = Some(timeouts.connect.min(left));
    peer
}

/// Returns what went wrong in a connection attempt that failed with `error`.
pub fn connect_failure(error: &Error) -> UpstreamFailure {
    match error.etype() {
        ErrorType::ConnectRefused => UpstreamFailure::Refused,
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => UpstreamFailure::TimedOut,
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => UpstreamFailure::Tls,
        ErrorType::HandshakeError | ErrorType::H2Error | ErrorType::InvalidH2 => UpstreamFailure::NoHttp,
        _ if lacks_resources(error) => UpstreamFailure::NoResources,
        _ => match io_error(error) {
            Some(io::ErrorKind::ConnectionRefused) => UpstreamFailure::Refused,
            Some(io::ErrorKind::ConnectionReset) => UpstreamFailure::Reset,
            _ => UpstreamFailure::Unreachable,
        },
    }
}

/// Returns whether the connection of `error` failed because this machine had nothing left to make it with.
fn lacks_resources(error: &Error) -> bool {
    let Some(error) = error.root_cause().downcast_ref::<io::Error>() else {
        return false;
    };
    // Without an address, every port of this machine is in use for this endpoint.
    ResourceShortage::of(error).is_some() || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Returns what went wrong on a connection to an endpoint that ended with `error`.
pub fn response_failure(error: &Error) -> UpstreamFailure {
    match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => UpstreamFailure::TimedOut,
        ErrorType::InvalidHTTPHeader | ErrorType::InvalidH2 => UpstreamFailure::NoHttp,
        // A malformed chunk, as pingora names it in `protocols/http/v1/body.rs`, which is not public.
        ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd") => UpstreamFailure::NoHttp,
        // A stream of HTTP/2 that the endpoint has reset.
        ErrorType::H2Error => UpstreamFailure::Reset,
        _ => match io_error(error) {
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => UpstreamFailure::Reset,
            _ => UpstreamFailure::Closed,
        },
    }
}

/// Returns the error of the system behind `error`.
fn io_error(error: &Error) -> Option<io::ErrorKind> {
    error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora::OrErr as _;
    use rustix::io::Errno;

    #[test]
    fn connecting_takes_no_longer_than_its_timeout_and_the_time_that_is_left() {
        let secs = Duration::from_secs;
        let timeouts = config::Timeouts {
            connect: secs(3),
            ..config::Timeouts::default()
        };
        for (left, expected) in [(secs(9), secs(3)), (secs(1), secs(1))] {
            let options = plain(([127, 0, 0, 1], 9).into(), &timeouts, left).options;
            let times = [options.connection_timeout, options.total_connection_timeout];
            assert_eq!(times, [Some(expected); 2]);
        }
    }

    #[test]
    fn what_this_machine_lacks_is_no_fault_of_the_endpoint() {
        let failure = |code: Errno| {
            let failed: Result<(), io::Error> = Err(code.into());
            connect_failure(&failed.or_err(ErrorType::ConnectError, "test").unwrap_err())
        };
        let lacking = [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::ADDRNOTAVAIL,
        ];
        for code in lacking {
            assert_eq!(failure(code), UpstreamFailure::NoResources, "{code}");
        }
        assert_eq!(failure(Errno::CONNREFUSED), UpstreamFailure::Refused);
        assert_eq!(failure(Errno::HOSTUNREACH), UpstreamFailure::Unreachable);
    }
}
