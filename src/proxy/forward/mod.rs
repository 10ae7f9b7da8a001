//! Which target and fields does the upstream receive, and which fields the client? The rules of forwarding, without
//! sockets.

pub mod certificate_fields;
pub mod request_fields;
pub mod target;
pub mod identity_token;
pub mod preview;
pub mod response_paths;
pub mod response_fields;
pub mod media_type;
pub mod date;
pub mod drain;
pub mod escape;
pub mod retry;
pub mod stream_end;

#[cfg(test)]
mod tests;
