//! Where can a program listen that a test starts?

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Mutex;

/// Returns a free address. Something has to know it before its program starts,
/// so the address lies in a part of loopback that no other test process uses.
pub fn free_address() -> SocketAddr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 | a, b, c);
    // The tests of one process must not get the same port while the program has not bound it yet.
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let free = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap();
        if GIVEN.lock().unwrap().insert(free) {
            return free;
        }
    }
}
