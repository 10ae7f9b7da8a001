//! How are operators served? By the admin listener and the socket beside
//! the store, with the same endpoints, and never by a data listener (S151).

pub mod endpoints;
pub mod listener;
pub mod socket;
#[cfg(test)]
mod tests;
