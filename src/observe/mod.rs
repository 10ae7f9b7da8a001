//! What operators see.

pub mod metrics;
pub mod panics;
pub mod access;
pub mod log;
pub mod trace;
pub mod ready;
pub mod escape;
pub mod redact;
pub mod process;
