//! How does a request reach its upstream? `exchange` has the gate decide the request, `forward` computes the fields
//! that are forwarded, `handshake` begins TLS, and `http1` moves the bytes.

#[cfg(feature = "gateway")]
pub mod peer;
pub mod forward;
pub mod certificate_names;
pub mod exchange;
#[cfg(feature = "gateway")]
pub mod handshake;
#[cfg(feature = "gateway")]
pub mod http1;
