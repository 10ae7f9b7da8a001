//! Which address does a client have, as far as Keygate knows it?

use std::net::IpAddr;

/// The address of a client. A type of its own, because the address of a proxy must not stand in for that of a client: it
/// would open API keys that are bound to the proxy's network, and it would be written into records as the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    Known(IpAddr),
    /// The trusted proxy with this address does not report one address of its client.
    Unknown {
        proxy: IpAddr,
    },
}

impl ClientAddress {
    /// Returns the address, to grant access by and to record.
    pub const fn known(self) -> Option<IpAddr> {
        match self {
            Self::Known(address) => Some(address),
            Self::Unknown { .. } => None,
        }
    }

    /// Returns the same with `change` of the address, the client's or the proxy's.
    #[must_use]
    pub fn map(self, change: impl FnOnce(IpAddr) -> IpAddr) -> Self {
        match self {
            Self::Known(address) => Self::Known(change(address)),
            Self::Unknown { proxy } => Self::Unknown { proxy: change(proxy) },
        }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self::Known(address)
    }
}
