//! How does a program decide requests in its own process, without a `keygate` in front? With this public API:
//! [`Gate::open`] compiles a configuration file, [`Upkeep::run`] keeps the gate up to date, and an [`Exchange`]
//! decides, rewrites and records one request. The program moves the bytes. In a pingora proxy, `Filter` does the same
//! in pingora's phases.

mod gate;
mod upkeep;
mod exchange;
mod principal;
mod filter;

pub use exchange::Decision;
pub use exchange::Exchange;
pub use filter::Guard;
pub use gate::Gate;
pub use gate::OpenError;
pub use principal::Principal;
pub use upkeep::Upkeep;
