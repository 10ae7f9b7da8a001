//! Where the two sides meet.

pub mod admin;
pub mod echo;
