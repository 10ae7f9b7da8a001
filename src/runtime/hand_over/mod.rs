//! How does a new process take the place of the one that serves, so that no request is lost? Over a socket of their own (`hand_over`
//! in the configuration), the gate before gives its listening sockets and the lock of its store, and drains once the new one
//! serves. In order:
//!
//! 1. The successor connects, and receives the listening sockets. Both processes have them from here on; the one before accepts.
//! 2. The successor compiles its configuration. Then it asks for the store: the gate before writes what it still has in memory, lets
//!    calls of the token endpoint and of the admin API wait, and gives the lock.
//! 3. The successor opens the store, and takes the calls that the gate before still receives ([`relay`]).
//! 4. The successor accepts connections, and says so. The gate before drains.
//!
//! Where the successor ends before the last step, the gate before goes on as if nothing had happened.

pub mod message;
pub mod ownership;
pub mod predecessor;
pub mod relay;
pub mod successor;

pub use ownership::Ownership;
pub use ownership::StoreOwner;
pub use predecessor::Predecessor;

use std::io;

/// Why a process cannot take over from the one before.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    #[error("the gate before refuses: {0}")]
    Refused(String),
    #[error("the gate before is of another version, which hands over otherwise; stop it first")]
    OtherProtocol,
    #[error("the gate before does not answer: {0}")]
    Io(#[from] io::Error),
}
