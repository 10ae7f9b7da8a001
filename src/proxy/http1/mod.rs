//! HTTP/1.1: messages as bytes (RFC 9112), and the connections that carry them.

pub mod head;
pub mod request;
pub mod response;
pub mod body;
pub mod chunks;
pub mod buffer;
pub mod response_head;
pub mod pool;
pub mod downstream;
pub mod relay;
pub mod lane;
pub mod connection;
