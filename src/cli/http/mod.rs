//! How does the command line speak HTTP? To the admin API of a gate or of its store, and to an issuer.

pub mod exchange;
pub mod admin_client;
pub mod token_client;
