//! The one integration binary: what Keygate does, through its public interface and its real sockets.

mod support;
mod invariants;
mod architecture;
mod docs;
mod properties;
mod attacks;
mod config;
mod decide;
mod front;
mod tokens;
mod issuer_keys;
mod issuers;
mod opaque;
mod forward;
mod policy;
mod timeouts;
mod streams;
mod panics;
mod faults;
mod operate;
mod cli;
mod answers;
mod include;
mod diff;
mod explain;
mod systems;
