//! The data side's carriers: takes a `Permit` from the gate and moves bytes.

pub mod peer;
pub mod forward;
pub mod exchange;
pub mod http1;
