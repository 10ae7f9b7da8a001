//! An address at which every connection is refused.

use std::fmt;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use tokio::net::TcpSocket;

/// An address of 127.0.0.1 that is bound and does not listen, so the system refuses every connection, and no other
/// test can take the port. Dropping it frees the port.
pub struct RefusingAddress(TcpSocket);

impl RefusingAddress {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

impl fmt::Display for RefusingAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(out)
    }
}

#[test]
fn a_refusing_address_refuses_connections_and_keeps_its_port() {
    let refusing = RefusingAddress::new();
    let refused = std::net::TcpStream::connect(refusing.address()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let taken = std::net::TcpListener::bind(refusing.address()).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}
