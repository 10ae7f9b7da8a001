//! Why does the process not start?

use crate::gate::accept::matcher::MatcherError;
use crate::runtime::admin::socket::SocketError;
use crate::runtime::follow_store::StoreStartError;
use crate::runtime::hand_over::HandOverError;
use crate::runtime::tls::TlsError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the gate could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} ({key} in {}): {source}", config.display())]
    Bind {
        address: SocketAddr,
        key: &'static str,
        config: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "systemd passes a socket at {}, which is the address of no listener in {}",
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), config.display()
    )]
    UnusedSockets {
        addresses: Vec<SocketAddr>,
        config: PathBuf,
    },
    #[error("cannot listen on a loopback port for the built-in echo upstream: {0}")]
    Echo(std::io::Error),
    #[error("cannot start threads")]
    Threads(#[source] std::io::Error),
    #[error(transparent)]
    Routes(#[from] MatcherError),
    #[error(transparent)]
    Store(#[from] StoreStartError),
    #[error("cannot set up TLS: {0}")]
    Tls(TlsError),
    #[error("cannot take over from the gate that serves: {0}")]
    TakeOver(#[from] HandOverError),
    #[error("hand_over: {0}")]
    HandOverSocket(#[from] SocketError),
    #[error("cannot install signal handlers")]
    Signals(#[source] std::io::Error),
}
