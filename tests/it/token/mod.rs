//! The token endpoint: one file for each RFC, one test for each MUST, named by section.

mod fixture;
mod store;

mod rfc6749;
mod rfc7523;
mod rfc7009;
mod rfc7662;
mod rfc8414;
mod rfc9068;
mod replay;
mod guesses;
mod in_force;
mod refusals;
mod jwks_url;
