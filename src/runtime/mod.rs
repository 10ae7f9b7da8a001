//! Where the parts meet: assembled, served, reloaded, shut down.

pub mod control_plane;
pub mod follow_store;
pub mod admin;
pub mod admin_socket;
pub mod local_admin;
pub mod echo;
pub mod assemble;
pub mod client_jwks;
pub mod issuers;
pub mod kept;
pub mod signing_key;
pub mod reload;
pub mod watch;
pub mod serve;
pub mod workers;
