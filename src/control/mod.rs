//! The control side: what operators ask and change, and what clients get their credentials from, apart from the requests
//! that are forwarded. It never names the data side; `runtime` hands it what it needs to know of it.

pub mod clients;
pub mod enforce;
pub mod signing_keys;
pub mod token;
pub mod state;
pub mod registry;
pub mod admin;
#[cfg(test)]
mod fixture;

pub use state::Control;
pub use state::Settings;
