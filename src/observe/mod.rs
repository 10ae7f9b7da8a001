//! How do operators observe the process? By metrics, access records, log lines and readiness.

pub mod metrics;
pub mod panics;
pub mod line_queue;
pub mod access;
pub mod log;
#[cfg(feature = "gateway")]
pub mod subscriber;
pub mod trace;
pub mod ready;
pub mod escape;
pub mod redact;
pub mod process;
