//! How do commands use HTTP? To call the admin API of a gate or of its store, and an issuer.

pub mod exchange;
pub mod admin_client;
pub mod token_client;
