//! Why does the process not start?

use crate::gate::accept::matcher::MatcherError;
use crate::runtime::follow_store::StoreStartError;
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
    #[error("cannot install signal handlers")]
    Signals(#[source] std::io::Error),
}
