//! The one integration binary: what Keygate does, through its public interface and its real sockets.

mod support;
mod config;
mod docs;
