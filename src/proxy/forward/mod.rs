//! Sending it on; takes a `Permit`.

pub mod answered;
pub mod headers;
pub mod peer;
pub mod pool;
pub mod vouch;
pub mod preview;
pub mod relay;
pub mod stream_end;
pub mod target;
