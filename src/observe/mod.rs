//! What operators see.

pub mod access;
pub mod escape;
pub mod log;
pub mod metrics;
pub mod process;
pub mod ready;
pub mod trace;
