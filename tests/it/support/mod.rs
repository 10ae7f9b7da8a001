//! What tests of the whole need: a client and an upstream that speak raw bytes, the real binary, and configuration text.

// Shared by tests that each use a part of it.
#![allow(dead_code, unused_imports)]

mod binary;
mod fake_upstream;
mod gateway;
mod http1;
pub mod issuer;
mod raw_client;

pub use binary::Binary;
pub use fake_upstream::FakeUpstream;
pub use fake_upstream::ReceivedRequest;
pub use gateway::GatewayBuilder;
pub use http1::Response;
pub use issuer::TestIssuer;
pub use raw_client::RawClient;
pub use raw_client::get;

use std::time::Duration;

/// How long anything in a test may take before it counts as hanging. Far beyond what is needed, so that a busy machine
/// fails nothing.
pub const PATIENCE: Duration = Duration::from_secs(20);
