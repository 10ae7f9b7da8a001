//! The token endpoint: a file for each RFC with tests named by section, then files for other properties.

mod fixture;
mod store;

mod rfc6749;
mod rfc7523;
mod rfc7009;
mod rfc7662;
mod rfc8414;
mod rfc8707;
mod rfc9068;
mod replay;
mod guesses;
mod in_force;
mod refusals;
mod jwks_url;
