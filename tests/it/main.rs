//! The one integration binary: what Keygate does, through its public interface and its real sockets.

mod support;
mod architecture;
mod docs;
mod config;
mod decide;
mod front;
mod tokens;
mod issuer_keys;
mod issuers;
mod forward;
mod policy;
mod streams;
mod panics;
mod operate;
mod cli;
mod answers;
mod include;
mod diff;
