//! Why is a request refused before its credential is read?

use crate::gate::accept::normalize::PathError;
use crate::model::reason::reasons;

/// Why a request with a parsed head is ambiguous, or is not served. A head that does not parse has a
/// [`crate::gate::accept::HeadError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    #[error("path: {0}")]
    Path(PathError),
    #[error("control byte or `#` in the query")]
    QueryByte,
    #[error("no host")]
    HostMissing,
    #[error("more than one host")]
    HostRepeated,
    #[error("host is not `host[:port]`")]
    HostInvalid,
    #[error("authority of the target is not the host")]
    HostMismatch,
    #[error("TRACE and CONNECT are not served")]
    MethodRefused,
    #[error("method is not registered and no route lists it")]
    MethodUnknown,
    #[error("framing fields contradict each other")]
    Framing,
    #[error("a header name with `_` aliases a protected header")]
    HeaderAlias,
    #[error("`Connection` nominates a protected header")]
    ConnectionNomination,
}

reasons! {
    AcceptError {
        Self::QueryByte => "query_byte",
        Self::HostMissing => "host_missing",
        Self::HostRepeated => "host_repeated",
        Self::HostInvalid => "host_invalid",
        Self::HostMismatch => "host_mismatch",
        Self::MethodRefused => "method_refused",
        Self::MethodUnknown => "method_unknown",
        Self::Framing => "framing",
        Self::HeaderAlias => "header_alias",
        Self::ConnectionNomination => "connection_nomination",
    }
    of { Path(PathError) }
}
