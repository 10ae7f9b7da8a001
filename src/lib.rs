//! Keygate: a reverse proxy that lets a request through to an API only when it carries exactly one good credential.
//!
//! Two sides, two immutable values between them, one function that decides. The *data side* reads a `Snapshot` (compiled
//! from the configuration file) and a `Directory` (compiled from the keys): `gate` decides, in the order of its stages
//! (accept, intake, authenticate, authorize, admit), `fetch` brings what a decision lacks, and `proxy` carries. A decision
//! yields a `Permit`, which nothing else can make, or a `Denial`. The *control side* (`control`) issues credentials and
//! answers operators. `runtime` builds both values, swaps them in whole, and is where the sides meet.
//!
//! A program that decides requests in its own process starts at [`Gate::open`]; the process `keygate` is `cli` and `runtime`.
//!
//! Read `gate/decide.rs` first, then `proxy/exchange/mod.rs`: one request's life, whatever carries it.
//!
//! Invariants:
//! - Nothing is forwarded without a `Permit`; only `decide` makes one.
//! - Deciding is pure: memory in, answer out, `now` as an argument. What needs I/O comes back as a `Need`.
//! - One request sees one `Snapshot` from start to end.
//! - When Keygate itself cannot tell, the answer is 503, never 401 and never through.
#![forbid(unsafe_code)]
// `expect("why it cannot happen")` says what `unwrap` does not; tests may.
#![warn(clippy::unwrap_used)]
// Without the gateway, some of what only the gateway calls is compiled and not called.
#![cfg_attr(not(feature = "gateway"), allow(dead_code, unused_imports))]

// Private, but for Keygate's own tests and benches: a module is public where the feature `internals` is on.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod model;
#[cfg(not(feature = "internals"))]
mod model;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod jose;
#[cfg(not(feature = "internals"))]
mod jose;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod config;
#[cfg(not(feature = "internals"))]
mod config;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod observe;
#[cfg(not(feature = "internals"))]
mod observe;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod limit;
#[cfg(not(feature = "internals"))]
mod limit;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod upstream;
#[cfg(not(feature = "internals"))]
mod upstream;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod gate;
#[cfg(not(feature = "internals"))]
mod gate;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod fetch;
#[cfg(not(feature = "internals"))]
mod fetch;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod proxy;
#[cfg(not(feature = "internals"))]
mod proxy;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod keys_file;
#[cfg(not(feature = "internals"))]
mod keys_file;
#[cfg(all(feature = "gateway", feature = "internals"))]
#[doc(hidden)]
pub mod store;
#[cfg(all(feature = "gateway", not(feature = "internals")))]
mod store;
#[cfg(all(feature = "gateway", feature = "internals"))]
#[doc(hidden)]
pub mod control;
#[cfg(all(feature = "gateway", not(feature = "internals")))]
mod control;
#[cfg(all(feature = "gateway", feature = "internals"))]
#[doc(hidden)]
pub mod compare;
#[cfg(all(feature = "gateway", not(feature = "internals")))]
mod compare;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod runtime;
#[cfg(not(feature = "internals"))]
mod runtime;
#[cfg(all(feature = "gateway", feature = "internals"))]
#[doc(hidden)]
pub mod explain;
#[cfg(all(feature = "gateway", not(feature = "internals")))]
mod explain;
#[cfg(all(feature = "gateway", feature = "internals"))]
#[doc(hidden)]
pub mod cli;
#[cfg(all(feature = "gateway", not(feature = "internals")))]
mod cli;

#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod embed;
#[cfg(not(feature = "internals"))]
mod embed;

pub use embed::Decision;
pub use embed::Exchange;
pub use embed::Gate;
pub use embed::OpenError;
pub use embed::Principal;
pub use embed::Upkeep;
pub use gate::answer::Answer;

/// Runs the command line: the whole of the binary `keygate`.
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub fn main() -> std::process::ExitCode {
    cli::main()
}
