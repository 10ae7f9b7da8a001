//! What must hold of every input that a parser takes, whoever sent it. One function per parser, from bytes.
//!
//! The fuzz targets (`tests/fuzz`) and the properties (`tests/it/properties.rs`) both call these and nothing else, so that
//! neither can come to mean something the other does not. Each compares our reading with one that is not ours: another
//! parser's where there is one, else a few plain lines that know nothing of how ours works.

pub mod chunks;
pub mod config;
pub mod credential;
pub mod head;
pub mod jwks;
pub mod path;
pub mod response;
pub mod token;
