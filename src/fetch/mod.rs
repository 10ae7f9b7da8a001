//! Which I/O gets issuers' keys, introspection responses and the addresses of upstreams?

pub mod address;
pub mod breaker;
pub mod client;
pub mod client_token;
pub mod discovery;
pub mod dns;
pub mod file;
pub mod introspect;
pub mod jwks;
pub mod issuer_key_files;
pub mod meet;
pub mod on_demand;
pub mod outcome;
pub mod resolve;
pub mod schedule;
pub mod source;

#[cfg(test)]
mod fake_issuer;
#[cfg(test)]
mod tests;
