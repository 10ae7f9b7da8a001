//! The admin listener: `/metrics`, `/livez`, `/readyz`. Never a data listener.

use std::net::SocketAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub address: SocketAddr,
}
