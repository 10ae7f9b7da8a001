//! Keygate is a reverse proxy that forwards a request to an API only if the request carries exactly one valid
//! credential, or if its route is public. For migrations, an issuer, a rule or a limit can be in shadow mode, and a
//! route can report two credentials: then such a violation is recorded, and the request is forwarded.
//!
//! A program that decides requests in its own process starts at [`Gate::open`]. The rest of this page is for readers of
//! the source.
//!
//! # Two sides
//!
//! The *data side* decides and forwards requests. `gate` decides, in the order of its stages: accept, intake,
//! authenticate, authorize, admit. `fetch` fetches issuers' keys, introspects tokens and resolves upstreams' names.
//! `proxy` receives a request, has the gate decide it, and forwards it. The *control side*, `control`, issues
//! credentials to clients, serves operators, and keeps its records in the `store`. Neither side imports the other:
//! `runtime` builds both and connects them.
//!
//! The gate reads two values. The `Snapshot` is compiled from the configuration file, immutable, and replaced as a
//! whole. `Live` holds the state that outlives a reload: issuers' keys, the counters of limits, caches of validated
//! tokens, the addresses of endpoints, the metrics, and the `Directory` of API keys, clients, subscriptions and tokens.
//!
//! # Modules
//!
//! - `model`: the types that the modules share.
//! - `jose`: JSON Web Tokens and keys; `limit`: quotas; `upstream`: groups of endpoints.
//! - `config`: the configuration file; `keys_file`: the file of API keys.
//! - `observe`: logs, metrics and readiness.
//! - `gate`, `fetch`, `proxy`: the data side.
//! - `control`, `store`: the control side.
//! - `runtime`: assembles both sides, serves, reloads and stops.
//! - `explain`: shows one decision step by step; `compare`: compares two configurations. Neither starts a server.
//! - `cli`: the commands of the binary; `embed`: the public API of the library.
//!
//! Read `gate/decide.rs` first, then `proxy/exchange/mod.rs`: the life of one request.
//!
//! # Invariants
//!
//! - A request is forwarded only with a `Permit`, and only `decide` creates one. Every other outcome is a `Stop`: a
//!   `Denial`, an answer of the gate, a call of the control side, or a `Need`.
//! - A decision does no I/O: it reads and changes memory alone, and `now` is an argument. A `Need` names the missing
//!   I/O.
//! - A request is decided and forwarded with one `Snapshot`. Only the repeated check of a stream's credential uses the
//!   current snapshot.
//! - If Keygate cannot validate a credential for a reason of its own, such as missing keys, the request is not
//!   forwarded, unless the issuer is in shadow mode. The answer is 503, or 500 after a panic, but never 401.
#![forbid(unsafe_code)]
// Outside tests, `expect("why it cannot happen")` gives the reason that `unwrap` hides.
#![warn(clippy::unwrap_used)]
// Without the feature `gateway`, items that only the gateway uses are unused.
#![cfg_attr(not(feature = "gateway"), allow(dead_code, unused_imports))]

// A module is public only with the feature `internals`, for Keygate's own tests and benches.
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
pub use model::endpoint_address::EndpointAddress;

/// The filter for pingora proxies of other programs.
///
/// [`Filter`](filter::Filter) has a method for each phase of `pingora::proxy::ProxyHttp`: a proxy calls them in its own
/// phases, before or after its own rules. [`Guard`](filter::Guard) bounds what pingora leaves unbounded. A whole proxy:
///
/// ```no_run
/// # fn main() {}
#[doc = include_str!("../tests/clients/shop.rs")]
/// ```
pub mod filter {
    pub use crate::embed::Guard;
    pub use crate::proxy::filter::Filter;
    pub use crate::proxy::filter::FilterContext;
}

/// Runs the command line of the binary `keygate`, and returns its exit code.
#[cfg(feature = "gateway")]
#[doc(hidden)]
pub fn main() -> std::process::ExitCode {
    cli::main()
}
