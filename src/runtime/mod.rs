//! How do the data side and the control side become one process? They are assembled, served, reloaded and shut down.

#[cfg(feature = "gateway")]
pub mod control_plane;
#[cfg(feature = "gateway")]
pub mod store_watch;
#[cfg(feature = "gateway")]
pub mod follow_store;
#[cfg(feature = "gateway")]
pub mod limit_counts;
#[cfg(feature = "gateway")]
pub mod admin;
#[cfg(feature = "gateway")]
pub mod local_admin;
#[cfg(feature = "gateway")]
pub mod echo;
pub mod assemble;
#[cfg(feature = "gateway")]
pub mod client_jwks;
#[cfg(feature = "gateway")]
pub mod issuers;
#[cfg(feature = "gateway")]
pub mod descriptors;
pub mod first_keys;
pub mod issuer_key_files;
pub mod signing_key;
pub mod restart;
pub mod reload;
pub mod watch;
#[cfg(feature = "gateway")]
pub mod serve;
#[cfg(feature = "gateway")]
pub mod accept_errors;
#[cfg(feature = "gateway")]
pub mod workers;
#[cfg(feature = "gateway")]
pub mod tls;
pub mod key_counts;
pub mod steady_time;
pub mod housekeeping;
#[cfg(feature = "gateway")]
pub mod signals;
pub mod ticks;
#[cfg(feature = "gateway")]
#[cfg(test)]
mod test_server;
