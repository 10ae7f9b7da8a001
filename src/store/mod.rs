//! What outlives the process.

pub mod keys_file;
