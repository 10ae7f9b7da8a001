//! The rules of forwarding, without sockets: which fields and which target the upstream gets, which fields the client.

pub mod request_fields;
pub mod target;
pub mod vouch;
pub mod preview;
pub mod response_fields;
pub mod media_type;
pub mod date;
pub mod retry;
pub mod stream_end;
