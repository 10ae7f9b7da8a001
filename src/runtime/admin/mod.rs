//! Who answers operators? The admin listener and the socket beside the store, with the same endpoints. Never part of a data
//! listener (S151).

pub mod endpoints;
pub mod listener;
pub mod socket;
#[cfg(test)]
mod tests;
