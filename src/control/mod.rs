//! The control side: administrators manage organizations, keys and clients here, and clients get their access tokens.
//! It takes no part in forwarding and never names the data side; `runtime` passes in the state that both sides share.

pub mod clients;
pub mod enforce;
pub mod standing;
pub mod key_verdict;
pub mod signing_keys;
pub mod token;
pub mod state;
pub mod registry;
pub mod admin;
#[cfg(test)]
mod fixture;

pub use state::Control;
pub use state::Settings;
