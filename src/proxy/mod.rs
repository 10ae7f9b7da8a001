//! How does a request reach its upstream? `exchange` has the gate decide the request, `forward` computes the fields
//! that are forwarded, and `handshake` begins TLS. Two lanes move the bytes: `http1` those of HTTP/1.1, and pingora's proxy
//! with `filter` all others.

pub mod connection_counts;
pub mod peer;
pub mod forward;
pub mod certificate_names;
pub mod exchange;
pub mod listener;
pub mod tls_stream;
pub mod handshake;
pub mod head;
pub mod filter;
pub mod http1;
pub mod health_check;
pub mod probe;
