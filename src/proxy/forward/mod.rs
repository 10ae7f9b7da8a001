//! Sending it on; takes a `Permit`.

pub mod headers;
pub mod peer;
pub mod vouch;
pub mod preview;
pub mod target;
