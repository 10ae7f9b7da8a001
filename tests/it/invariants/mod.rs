//! What must hold for every input that a parser accepts? One function per parser, from bytes.
//!
//! The fuzz targets (`tests/fuzz`) and the properties (`tests/it/properties.rs`) call only
//! these functions, so that both check the same. Each compares Keygate's reading with an
//! independent one: another parser's, or else a few plain lines that share no code with ours.

pub mod chunks;
pub mod config;
pub mod credential;
pub mod head;
pub mod jwks;
pub mod path;
pub mod query;
pub mod response;
pub mod token;
