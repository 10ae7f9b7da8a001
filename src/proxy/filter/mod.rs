//! How does pingora's proxy carry a request that Keygate decides? `Filter` has a method for each phase of pingora's proxy,
//! for Keygate's own `ProxyLane` as for proxies of other people. `guard` bounds what pingora leaves unbounded.

mod client;
mod context;
mod failure;
mod own_answer;
mod phases;
mod request_head;
mod response_head;
pub mod guard;
pub mod lane;

pub use context::ExchangeSlot;
pub use context::FilterContext;
pub use phases::Filter;
