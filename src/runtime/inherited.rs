//! Which listening sockets does the process have from its start? systemd can open them before the gate runs, and keeps them
//! open while it is restarted (socket activation, sd_listen_fds(3)); and the gate before can give its own.

use listenfd::ListenFd;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;

/// Listening sockets that the process was started with. Each is used for the listener with its address.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// By systemd.
    passed: Vec<(SocketAddr, TcpListener)>,
    /// By the gate before.
    given: Vec<(SocketAddr, TcpListener)>,
}

impl InheritedSockets {
    /// Takes the sockets that systemd passes, and removes the variables that announce them. Call it before the process has
    /// threads, and once.
    ///
    /// # Errors
    /// A descriptor is no listening socket of TCP.
    pub fn take_passed() -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut sockets = Self::default();
        for position in 0..passed.len() {
            if let Some(socket) = passed.take_tcp_listener(position)? {
                sockets.passed.push((socket.local_addr()?, socket));
            }
        }
        Ok(sockets)
    }

    /// Adds the sockets that the gate before gives. Those of listeners that the configuration has no more are closed.
    pub fn add_given(&mut self, sockets: Vec<(SocketAddr, TcpListener)>) {
        self.given.extend(sockets);
    }

    /// Removes and returns the socket for the listener with this address in the configuration.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        [&mut self.passed, &mut self.given].into_iter().find_map(|sockets| {
            let position = sockets.iter().position(|(own, _)| *own == address)?;
            Some(sockets.remove(position).1)
        })
    }

    /// Returns the addresses of the sockets of systemd that were not taken.
    pub(super) fn left(&self) -> Vec<SocketAddr> {
        self.passed.iter().map(|(address, _)| *address).collect()
    }
}
