//! How are requests received and forwarded over HTTP/1.1 (RFC 9112)?

pub mod request;
pub mod response;
pub mod body;
pub mod chunks;
pub mod frames;
pub mod buffer;
pub mod response_head;
pub mod pool;
pub mod downstream;
pub mod relay;
pub mod lane;
pub mod hand_over;
pub mod connection;
