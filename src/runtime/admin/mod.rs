//! How do operators reach the process? Over the admin listener and the admin socket beside the store, which have the
//! same endpoints. A data listener never serves these endpoints.

pub mod endpoints;
pub mod listener;
pub mod record;
pub mod socket;
#[cfg(test)]
mod tests;
