//! Why is a request refused before anybody asks whose it is?

use crate::proxy::accept::normalize::PathError;
use http::StatusCode;

/// What makes a request ambiguous, or not one that Keygate serves. The head itself has [`crate::proxy::accept::HeadError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    #[error("path: {0}")]
    Path(PathError),
    #[error("query holds a control or non-ASCII byte")]
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

impl AcceptError {
    /// Label value of a denial; a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Path(path) => path.reason(),
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
    }

    /// 400 (RFC 9110 section 15.5.1), but 405 for methods that are known and never served (section 15.5.6).
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path(_)
            | Self::QueryByte
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::HostMismatch
            | Self::MethodUnknown
            | Self::Framing
            | Self::HeaderAlias
            | Self::ConnectionNomination => StatusCode::BAD_REQUEST,
        }
    }

    /// What the client is told: what is wrong, and the cure.
    pub fn detail(&self) -> &'static str {
        match self {
            Self::Path(path) => path.detail(),
            Self::QueryByte => "The query has bytes that are not visible ASCII; percent-encode them.",
            Self::HostMissing => "The request has no Host header; send exactly one.",
            Self::HostRepeated => "The request has more than one Host header; send exactly one.",
            Self::HostInvalid => "The Host header is not host[:port].",
            Self::HostMismatch => "The request target names another host than the Host header; make them the same.",
            Self::MethodRefused => "TRACE and CONNECT are not served.",
            Self::MethodUnknown => "The method is not known here; methods are case-sensitive, write for example GET.",
            Self::Framing => "Send either one Content-Length or one `Transfer-Encoding: chunked`.",
            Self::HeaderAlias => "A header name uses `_` where a protected header has `-`; use the exact name.",
            Self::ConnectionNomination => {
                "The Connection header names a header that is not hop-by-hop; remove it there."
            }
        }
    }
}
