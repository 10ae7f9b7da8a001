//! HTTP/1.1 messages as bytes (RFC 9112): where a body ends, and what stands in a head.

pub mod body;
pub mod buffer;
pub mod chunks;
pub mod date;
pub mod request;
pub mod response;
