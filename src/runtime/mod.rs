//! Where the parts meet: assembled, served, reloaded, shut down.

pub mod admin;
pub mod echo;
pub mod assemble;
pub mod kept;
pub mod signing_key;
pub mod reload;
pub mod watch;
pub mod serve;
