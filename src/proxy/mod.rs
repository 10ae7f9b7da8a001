//! How does a permitted request reach its upstream? Takes a `Permit` from the gate and moves bytes.

#[cfg(feature = "gateway")]
pub mod peer;
pub mod forward;
pub mod exchange;
#[cfg(feature = "gateway")]
pub mod http1;
