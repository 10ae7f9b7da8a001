//! Sending it on; takes a `Permit`.

pub mod headers;
pub mod vouch;
pub mod preview;
pub mod stream_end;
pub mod target;
