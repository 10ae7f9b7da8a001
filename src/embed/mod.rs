//! The front door: what a program uses that decides requests in its own process, in place of running `keygate` in front.
//!
//! [`Gate::open`] compiles a configuration file, [`Upkeep::run`] keeps it up to date, and an [`Exchange`] decides one
//! request, rewrites it for its upstream, and writes its access record. The program carries the bytes.

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
