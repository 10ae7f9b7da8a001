//! How do commands call the admin API of a gate or its store, and the endpoints of an issuer?

pub mod exchange;
pub mod admin_client;
pub mod token_client;
