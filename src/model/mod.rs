//! The nouns every side shares: no I/O, no async, nothing of the configuration file.

pub mod algorithm;
pub mod api_key;
pub mod clock;
pub mod directory;
pub mod issuer;
pub mod names;
pub mod plan;
pub mod scope;
pub mod secret;
