//! Where does a connection to an endpoint lead?

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// The address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    Inet(SocketAddr),
    /// The path of a unix socket.
    Unix(Arc<Path>),
}

impl EndpointAddress {
    /// Returns the `Host` for a request to the address itself. A socket is `localhost`, as curl and nginx have it.
    pub fn host(&self) -> String {
        match self {
            Self::Inet(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}
