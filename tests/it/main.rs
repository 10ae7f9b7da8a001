//! The one integration binary: what Keygate does, through its public interface.

mod config;
