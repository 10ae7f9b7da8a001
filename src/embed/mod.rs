//! The public API: how does a program decide requests in its own process, without a `keygate` in front?
//!
//! [`Gate::open`] compiles a configuration file, and [`Upkeep::run`] keeps the gate up to date. An [`Exchange`] decides
//! one request, rewrites its head for the upstream, and writes its access record. The program moves the bytes.

mod gate;
mod upkeep;
mod exchange;
mod principal;

pub use exchange::Decision;
pub use exchange::Exchange;
pub use gate::Gate;
pub use gate::OpenError;
pub use principal::Principal;
pub use upkeep::Upkeep;
