//! How does pingora connect to an endpoint, and what went wrong where it does not?

use crate::config;
use crate::model::endpoint_address::EndpointAddress;
use crate::model::resource_shortage::ResourceShortage;
use crate::model::upstream_failure::UpstreamFailure;
use crate::upstream::Choice;
use crate::upstream::TlsIdentity;
use pingora::Error;
use pingora::ErrorType;
use pingora::upstreams::peer::HttpPeer;
use pingora::upstreams::peer::HttpUpstreamRequestPolicy;
use std::io;
use std::time::Duration;

/// The number of requests that share one HTTP/2 connection to an endpoint. Another request opens another connection.
const STREAMS_MAX: usize = 100;

/// Returns the peer of `choice` for pingora's proxy. Connecting times out like that of [`plain`], and the response within
/// `left`.
///
/// # Errors
/// Those of [`plain`].
pub fn http(
    choice: &Choice,
    settings: &config::Upstream,
    timeouts: &config::Timeouts,
    left: Duration,
) -> Result<HttpPeer, UpstreamFailure> {
    let mut peer = plain(choice, timeouts, left)?;
    let options = &mut peer.options;
    options.read_timeout = Some(timeouts.read.min(left));
    options.write_timeout = Some(timeouts.write);
    options.idle_timeout = Some(settings.idle_timeout);
    // The filter writes the whole head, so pingora has nothing to remove.
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    if settings.speaks_http2() {
        options.set_http_version(2, 2);
        options.max_h2_streams = STREAMS_MAX;
    }
    Ok(peer)
}

/// Returns the peer of `choice`. Connecting and the TLS handshake time out after `timeouts.connect`, or after `left` if that
/// is less.
///
/// # Errors
/// The path of a unix socket is too long for the system; `config::load` refuses it.
pub fn plain(choice: &Choice, timeouts: &config::Timeouts, left: Duration) -> Result<HttpPeer, UpstreamFailure> {
    connecting(choice.endpoint.address(), choice.tls.as_deref(), timeouts, left)
}

/// Returns the peer at `address` with the identity `tls`, like [`plain`].
///
/// # Errors
/// Those of [`plain`].
pub fn connecting(
    address: &EndpointAddress,
    tls: Option<&TlsIdentity>,
    timeouts: &config::Timeouts,
    left: Duration,
) -> Result<HttpPeer, UpstreamFailure> {
    let server_name = tls.map_or_else(String::new, |tls| tls.server_name().to_owned());
    let mut peer = match address {
        EndpointAddress::Inet(address) => HttpPeer::new(address, tls.is_some(), server_name),
        EndpointAddress::Unix(path) => path
            .to_str()
            .and_then(|path| HttpPeer::new_uds(path, tls.is_some(), server_name).ok())
            .ok_or(UpstreamFailure::Unreachable)?,
    };
    if let Some(tls) = tls {
        // Without it, pingora shares connections between peers with other authorities.
        peer.group_key = tls.uid();
        peer.options.ca = tls.authorities().cloned();
        peer.client_cert_key = tls.client().cloned();
    }
    let time = timeouts.connect.min(left);
    peer.options.connection_timeout = Some(time);
    peer.options.total_connection_timeout = Some(time);
    Ok(peer)
}

/// A connection attempt that failed.
#[derive(Clone, Debug)]
pub struct ConnectError {
    pub failure: UpstreamFailure,
    /// The problem of a TLS handshake, for the operator.
    pub problem: Option<String>,
}

impl ConnectError {
    pub fn of(error: &Error) -> Self {
        let failure = connect_failure(error);
        Self {
            failure,
            problem: (failure == UpstreamFailure::Tls).then(|| problem(error)),
        }
    }
}

impl From<UpstreamFailure> for ConnectError {
    fn from(failure: UpstreamFailure) -> Self {
        Self { failure, problem: None }
    }
}

/// Returns what went wrong in the words of the layer that noticed it, for the operator. The text of an error has the words of each
/// layer, the outer ones first, and pingora puts the local address behind all.
pub fn problem(error: &Error) -> String {
    let text = error.to_string();
    let text = text.split(" cause: local address ").next().unwrap_or_default();
    let words = text.rsplit("cause: ").next().unwrap_or_default();
    let words = words.rsplit("context: ").next().unwrap_or_default();
    words.split(", SNI: ").next().unwrap_or_default().trim().to_owned()
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
            let address = EndpointAddress::Inet(([127, 0, 0, 1], 9).into());
            let options = connecting(&address, None, &timeouts, left).unwrap().options;
            let times = [options.connection_timeout, options.total_connection_timeout];
            assert_eq!(times, [Some(expected); 2]);
        }
    }

    #[test]
    fn a_problem_is_in_the_words_of_the_layer_that_noticed_it() {
        let inner: Result<(), io::Error> = Err(io::Error::other("invalid peer certificate: UnknownIssuer"));
        let inner = inner
            .or_err(ErrorType::TLSHandshakeFailure, "tls connect error")
            .unwrap_err();
        assert_eq!(problem(&inner), "invalid peer certificate: UnknownIssuer");
        let context = format!("TLS connect() failed: {inner}, SNI: a.example");
        let local = io::Error::other("local address 127.0.0.1:53242");
        let outer = Error::because(ErrorType::TLSHandshakeFailure, context, local);
        assert_eq!(problem(&outer), "invalid peer certificate: UnknownIssuer");
        assert_eq!(
            problem(&Error::explain(ErrorType::ConnectTimedout, "timeout 2s")),
            "timeout 2s"
        );
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
