//! Which target and which fields reach the upstream, and which
//! fields the client? The rules of forwarding, without sockets.

pub mod request_fields;
pub mod target;
pub mod identity_token;
pub mod preview;
pub mod response_fields;
pub mod media_type;
pub mod date;
pub mod retry;
pub mod stream_end;
