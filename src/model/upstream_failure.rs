//! What went wrong between Keygate and an endpoint of an upstream? For the operator: clients learn nothing of it.

/// The act of an endpoint in place of a whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// The endpoint refused the connection: nothing listens there.
    Refused,
    /// No connection could be made for another reason, such as a missing route.
    Unreachable,
    /// The connection was reset.
    Reset,
    /// The endpoint closed the connection before the response was complete.
    Closed,
    /// The endpoint did not connect, accept the request or respond in time.
    TimedOut,
    /// The endpoint sent bytes that are no HTTP response.
    NoHttp,
    /// The TLS handshake failed.
    Tls,
    /// This machine had no file descriptor, no port or no memory left for the connection: no fault of the endpoint.
    NoResources,
}

impl UpstreamFailure {
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Unreachable,
        Self::Reset,
        Self::Closed,
        Self::TimedOut,
        Self::NoHttp,
        Self::Tls,
        Self::NoResources,
    ];

    /// Returns the word for metrics, access records and logs; the set is closed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::TimedOut => "timed_out",
            Self::NoHttp => "no_http",
            Self::Tls => "tls",
            Self::NoResources => "no_resources",
        }
    }
}
