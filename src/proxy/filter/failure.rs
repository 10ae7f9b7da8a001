//! Which denial is a failure of pingora's proxy?

use crate::gate::denial::Denial;
use crate::model::upstream_failure::UpstreamFailure;
use crate::proxy::peer;
use pingora::Error;
use pingora::ErrorSource;
use pingora::ErrorType;

/// The error with which a phase ends a request that it denies. [`super::FilterContext`] keeps the denial.
pub const DENIED: ErrorType = ErrorType::new("DeniedByKeygate");

/// The error with which a response is discarded, because its request is sent again.
pub const UNWANTED_STATUS: ErrorType = ErrorType::new("UnwantedStatus");

/// Returns the denial for `error`, which ended a request.
pub fn denial(error: &Error) -> Denial {
    match error.esource() {
        ErrorSource::Upstream => match of_upstream(error.etype()) {
            Denial::ConnectFailed if peer::connect_failure(error) == UpstreamFailure::NoResources => {
                Denial::NoResources
            }
            denial => denial,
        },
        ErrorSource::Downstream => of_client(error.etype()),
        // pingora's own faults, such as a closed channel between the two directions. Which side failed is unknown; the
        // client sees the same as after a failure of the upstream.
        ErrorSource::Internal | ErrorSource::Unset => Denial::UpstreamFailed,
    }
}

/// Returns whether `error` is the end of the time for the next part of the response.
pub fn is_silent_upstream(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream && *error.etype() == ErrorType::ReadTimedout
}

fn of_upstream(error: &ErrorType) -> Denial {
    match error {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Denial::ConnectTimeout,
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::TLSHandshakeFailure
        | ErrorType::InvalidCert
        | ErrorType::ConnectError
        | ErrorType::BindError
        | ErrorType::SocketError => Denial::ConnectFailed,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Denial::UpstreamTimeout,
        _ => Denial::UpstreamFailed,
    }
}

/// Returns the denial for an error of the client's side.
pub fn of_client(error: &ErrorType) -> Denial {
    match error {
        // The client sent more bytes after its request.
        ErrorType::ConnectError => Denial::Pipelined,
        ErrorType::ReadTimedout => Denial::BodyTimeout,
        // A malformed chunk, as pingora names it in `protocols/http/v1/body.rs`, which is not public.
        ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd") | ErrorType::InvalidHTTPHeader => {
            Denial::MalformedChunk
        }
        _ => Denial::ClientGone,
    }
}
