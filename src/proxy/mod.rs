//! The data side: a request's way, in the order of its stages. `decide.rs` is the file to read first.

pub mod accept;
pub mod authenticate;
pub mod authorize;
pub mod fetch;
pub mod forward;
pub mod intake;
pub mod limit;
pub mod upstream;
