//! Which resource does this machine lack, if the system cannot make a socket?

use rustix::io::Errno;
use std::io;

/// The resource that a socket needs and that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceShortage {
    /// The process has no file descriptor left.
    ProcessDescriptors,
    /// The system has no file descriptor left.
    SystemDescriptors,
    /// The system has no memory left for sockets.
    Memory,
}

impl ResourceShortage {
    /// Returns the shortage that `error` reports; `None` for another error.
    pub fn of(error: &io::Error) -> Option<Self> {
        // The standard library has a kind for the last of these alone.
        match Errno::from_io_error(error)? {
            Errno::MFILE => Some(Self::ProcessDescriptors),
            Errno::NFILE => Some(Self::SystemDescriptors),
            Errno::NOBUFS | Errno::NOMEM => Some(Self::Memory),
            _ => None,
        }
    }
}
